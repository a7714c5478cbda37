"""The usual CIFAR checkpoints of residual networks.

akamaster's pad half of the new channels in front of the old ones and half behind, and were trained on images
scaled by ImageNet's means. Those with torchvision's names (chenyaofo's) are scaled by CIFAR-10's.
"""

from dataclasses import replace

from cnn_app.transfer.pretrained.naming import TORCH_IMAGENET, Conventions, Naming, Network, spelled, torchvision

UNIT = "layer{stage}.{unit0}."
AKAMASTER = torchvision.RESNET | {
    "logits": "linear", "shortcut_conv": UNIT + "shortcut.0", "shortcut_bn": UNIT + "shortcut.1"
}  # fmt: skip
CIFAR = Conventions(mean=(0.4914 * 255, 0.4822 * 255, 0.4465 * 255), std=(0.2023 * 255, 0.1994 * 255, 0.2010 * 255),
               epsilon=1e-5, padding="symmetric")  # fmt: skip


def namings(network: Network) -> list[Naming]:
    if network.family != "resnet" or "stem_pool" in network.names:
        return []
    return [
        *spelled(network, "akamaster resnet", AKAMASTER, replace(TORCH_IMAGENET, crop_share=None, shortcut="around")),
        *spelled(network, "torchvision names, CIFAR resnet", torchvision.RESNET, CIFAR),
    ]
