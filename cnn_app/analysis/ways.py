"""How a network can be looked at: names that commands offer without importing Keras."""

METHODS = {
    "gradcam": "maps of a layer, weighed by the mean of their gradients",
    "gradcam_plus": "the same, weighed by where they are positive",
    "saliency": "the gradient of the pixels",
    "smoothgrad": "the same, mean over noisy copies",
    "integrated": "the same, mean on the way from black, times the pixels",
    "guided": "the gradient without what is negative on the way back",
    "deconvnet": "the same, whether or not a ReLU let anything pass",
    "occlusion": "how far the probability falls where a patch is grey; of any file",
}
DRAWN = {
    "maps": "of a layer",
    "field": "what the middle of a layer's maps sees, and how much of it",
    "strongest": "the images that channels of a layer answer most, and what of them they answer",
    "filters": "of the first convolution",
    "maximised": "an image for each class that its score is largest for",
}
WITHOUT_GRADIENTS = ("occlusion",)  # any file will do
WITHOUT_IMAGES = ("filters", "maximised")
WAYS = (*METHODS, *DRAWN)
