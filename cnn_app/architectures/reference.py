"""What each variant costs in its default row, and the single-crop top-1 in percent that its source published.

Counts are measured from the networks built here and tested against them. Top-1 is of ImageNet's validation set where
nothing else is said. Sources: the model pages of torchvision and keras.applications, timm's results-imagenet.csv, the
repositories of the SENet authors and of Megvii, TensorFlow's model pages, and Table 6 of arXiv:1512.03385 for CIFAR-10.
"""

from typing import NamedTuple


class Reference(NamedTuple):
    parameters: int  # trainable
    macs: int  # multiply-adds of convolutions and fully connected layers for one image
    top1: float | None = None  # percent
    source: str = ""


REFERENCE = {
    "perceptron": Reference(1_025, 1_024),
    "neocognitron": Reference(29_722, 5_222_640),
    "lenet5": Reference(61_706, 416_520),
    "alexnet": Reference(62_378_344, 1_135_256_096),
    "zfnet": Reference(107_627_624, 2_476_704_896),
    "vgg11": Reference(132_863_336, 7_609_090_048, 69.05, "timm"),
    "vgg13": Reference(133_047_848, 11_308_466_176),
    "vgg16": Reference(138_357_544, 15_470_264_320, 71.59, "timm"),
    "vgg19": Reference(143_667_240, 19_632_062_464, 72.4, "timm"),
    "vgg11_bn": Reference(132_868_840, 7_609_090_048),
    "vgg13_bn": Reference(133_053_736, 11_308_466_176),
    "vgg16_bn": Reference(138_365_992, 15_470_264_320, 73.35, "timm"),
    "vgg19_bn": Reference(143_678_248, 19_632_062_464),
    "googlenet": Reference(6_998_552, 1_582_671_872),
    "inception_bn": Reference(11_285_224, 2_032_600_064),
    "plain18": Reference(11_515_688, 1_794_805_760),
    "plain34": Reference(21_623_848, 3_644_493_824),
    "resnet18": Reference(11_689_512, 1_814_073_344, 69.758, "torchvision"),
    "resnet34": Reference(21_797_672, 3_663_761_408, 73.314, "torchvision"),
    "resnet50": Reference(25_557_032, 3_857_973_248, 74.9, "keras.applications"),
    "resnet101": Reference(44_549_160, 7_570_194_432),
    "resnet152": Reference(60_192_808, 11_282_415_616),
    "plain20": Reference(269_722, 40_551_040),
    "plain32": Reference(464_154, 68_862_592),
    "plain44": Reference(658_586, 97_174_144),
    "plain56": Reference(853_018, 125_485_696),
    "plain110": Reference(1_727_962, 252_887_680),
    "resnet20": Reference(269_722, 40_551_040, 91.25, "paper; CIFAR-10"),
    "resnet32": Reference(464_154, 68_862_592, 92.49, "paper; CIFAR-10"),
    "resnet44": Reference(658_586, 97_174_144, 92.83, "paper; CIFAR-10"),
    "resnet56": Reference(853_018, 125_485_696, 93.03, "paper; CIFAR-10"),
    "resnet110": Reference(1_727_962, 252_887_680, 93.57, "paper; CIFAR-10"),
    "resnext50_32x4d": Reference(25_028_904, 4_230_479_872, 77.618, "torchvision"),
    "resnext101_32x4d": Reference(44_177_704, 7_969_996_800),
    "resnext101_32x8d": Reference(88_791_336, 16_414_015_488, 79.312, "torchvision"),
    "resnext101_64x4d": Reference(83_455_272, 15_460_270_080),
    "resnext152_32x4d": Reference(59_951_400, 11_709_513_728),
    "seresnet18": Reference(11_778_592, 1_814_160_384),
    "seresnet34": Reference(21_958_868, 3_663_918_592),
    "seresnet50": Reference(28_088_024, 3_860_488_192, 77.63, "SENet authors"),
    "seresnet101": Reference(49_326_872, 7_574_937_600, 78.25, "SENet authors"),
    "seresnet152": Reference(66_821_848, 11_288_993_792, 78.66, "SENet authors"),
    "seresnext50_32x4d": Reference(27_559_896, 4_232_994_816),
    "seresnext101_32x4d": Reference(48_955_416, 7_974_739_968),
    "mobilenet_v1": Reference(4_231_976, 568_740_352, 71.0, "TensorFlow"),
    "mobilenet_v2": Reference(3_504_872, 300_774_272, 71.8, "TensorFlow"),
    "shufflenet_v1": Reference(1_865_728, 137_460_672, 67.8, "Megvii's port"),
    "shufflenet_v2": Reference(2_278_604, 144_907_992, 69.362, "torchvision"),
    "unet": Reference(31_030_658, 150_428_424_448),
    "fcn32s": Reference(134_346_581, 181_365_854_976),
    "fcn16s": Reference(134_357_354, 181_448_086_272),
    "fcn8s": Reference(134_362_751, 181_529_034_048),
    "dilated8": Reference(141_149_720, 826_395_410_952),
    "deconvnet": Reference(251_805_653, 32_745_979_904),
    "text_cnn": Reference(5_990_702, 21_900_600),
    "text_cnn_static": Reference(5_990_702, 21_900_600),
    "text_cnn_nonstatic": Reference(5_990_702, 21_900_600),
    "text_cnn_multichannel": Reference(11_620_502, 21_900_600),
    "autoencoder": Reference(237_249, 1_906_688),
    "vae": Reference(337_633, 2_007_040),
    "captioner": Reference(3_283_720, 64_667_648),
    "tdnn": Reference(142_858, 11_910_400),
    "tdnn_1989": Reference(527, 6_081),
    "tdnn_xvector": Reference(4_984_736, 764_346_368),
    "dqn": Reference(1_693_362, 9_352_192),
    "dqn_2013": Reference(680_770, 2_970_112),
    "dqn_mlp": Reference(10_934, 10_728),
    "window_tagger": Reference(5_085_634, 10_905_600),
    "window_tagger_pos": Reference(5_106_255, 13_248_000),
    "c3d": Reference(79_991_015, 38_548_959_232),
    "c3d_small": Reference(123_904, 17_744_896),
}
