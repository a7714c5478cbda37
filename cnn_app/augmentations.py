"""How training records can be changed: the names, and presets of them. What each does is in `cnn_app.inputs`."""

RESIZED_CROP = "resized-crop"
MOVES = ("flip", "vflip", "crop", "rotate", RESIZED_CROP)  # of images, and of masks with them
CHANGES = ("jitter", "trivialaugment", "randaugment", "erase")  # of images alone
MIXING = ("mixup", "cutmix")  # of images and their classes
OF_WAVES = ("shift", "noise")
AUGMENTATIONS = (*MOVES, *CHANGES, *MIXING, *OF_WAVES)
PRESETS = {  # names for several, of which a task takes those it knows
    "light": ("flip", "crop"),
    "strong": ("flip", RESIZED_CROP, "trivialaugment", "erase", "mixup", "cutmix"),  # torchvision's: see docs/data.md
}
KNOWN = (*PRESETS, *AUGMENTATIONS)
AUGMENT, FINETUNE_AUGMENT = ("crop",), ("flip", "crop")  # where nothing is said: as far as a task knows them
TTA = ("flip", "crop")
