"""How training records can be changed: the names, and presets of them. What each does is in `cnn_app.inputs`."""

RESIZED_CROP = "resized-crop"
MOVES = ("flip", "vflip", "crop", "rotate", RESIZED_CROP)  # of images, and of masks with them
CHANGES = ("jitter", "trivialaugment", "randaugment", "erase")  # of images alone
MIXING = ("mixup", "cutmix")  # of images and their classes
OF_WAVES = ("shift", "noise")
RUN, MIRROR = OF_CLIPS = ("run", "mirror")  # which part of a video, and a flip that no preset or default has
AUGMENTATIONS = (*MOVES, *CHANGES, *MIXING, *OF_WAVES, *OF_CLIPS)
PRESETS = {  # names for several, of which a task takes those it knows
    "light": ("flip", "crop", RUN),
    "strong": (
        "flip",
        RESIZED_CROP,
        RUN,
        "trivialaugment",
        "erase",
        "mixup",
        "cutmix",
    ),  # torchvision's: see docs/data.md
}
KNOWN = (*PRESETS, *AUGMENTATIONS)
AUGMENT, FINETUNE_AUGMENT = ("crop",), ("flip", "crop")  # where nothing is said: as far as a task knows them
CLIPS = "clips"  # several parts of a video
TTA = ("flip", "crop", CLIPS)
