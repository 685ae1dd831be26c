"""Files of weights: how they may end, and which tensors each network has, to recognise them without torch."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

WEIGHT_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".th")


class Network(NamedTuple):
    """A network's tensors without those of its head and without counters of batches.

    Attributes:
        head: name of the layer whose shape depends on the classes.
        tensors: how many there are.
        checksum: CRC-32 of their sorted lines `NAME SHAPE`, the shape's numbers with commas.
    """

    head: str
    tensors: int
    checksum: int


# A test holds them against torchvision.
NETWORKS: Mapping[str, Network] = MappingProxyType(
    {
        "alexnet": Network("classifier.6", 14, 2998830744),
        "convnext_base": Network("classifier.2", 342, 3071616787),
        "convnext_large": Network("classifier.2", 342, 3502415282),
        "convnext_small": Network("classifier.2", 342, 2074951150),
        "convnext_tiny": Network("classifier.2", 180, 3028809914),
        "densenet121": Network("classifier", 604, 2066099907),
        "densenet161": Network("classifier", 804, 3413893376),
        "densenet169": Network("classifier", 844, 3395957686),
        "densenet201": Network("classifier", 1004, 2774417987),
        "efficientnet_b0": Network("classifier.1", 309, 4255700618),
        "efficientnet_b1": Network("classifier.1", 437, 2570457943),
        "efficientnet_b2": Network("classifier.1", 437, 809827745),
        "efficientnet_b3": Network("classifier.1", 494, 4140541424),
        "efficientnet_b4": Network("classifier.1", 608, 2908591312),
        "efficientnet_b5": Network("classifier.1", 736, 1119468272),
        "efficientnet_b6": Network("classifier.1", 850, 1235805541),
        "efficientnet_b7": Network("classifier.1", 1035, 570710834),
        "efficientnet_v2_l": Network("classifier.1", 1329, 4014407009),
        "efficientnet_v2_m": Network("classifier.1", 961, 3366511259),
        "efficientnet_v2_s": Network("classifier.1", 670, 89556210),
        "googlenet": Network("fc", 285, 319708838),
        "inception_v3": Network("fc", 470, 1877667372),
        "maxvit_t": Network("classifier.5", 547, 1612560268),
        "mnasnet0_5": Network("classifier.1", 260, 3044223410),
        "mnasnet0_75": Network("classifier.1", 260, 2691749698),
        "mnasnet1_0": Network("classifier.1", 260, 214226346),
        "mnasnet1_3": Network("classifier.1", 260, 3249274454),
        "mobilenet_v2": Network("classifier.1", 260, 1076095078),
        "mobilenet_v3_large": Network("classifier.3", 264, 1722985787),
        "mobilenet_v3_small": Network("classifier.3", 208, 2163102196),
        "regnet_x_16gf": Network("fc", 355, 462613463),
        "regnet_x_1_6gf": Network("fc", 295, 508992988),
        "regnet_x_32gf": Network("fc", 370, 2480375225),
        "regnet_x_3_2gf": Network("fc", 400, 1567869425),
        "regnet_x_400mf": Network("fc", 355, 4008525078),
        "regnet_x_800mf": Network("fc", 265, 1587290202),
        "regnet_x_8gf": Network("fc", 370, 653689356),
        "regnet_y_128gf": Network("fc", 538, 3731758159),
        "regnet_y_16gf": Network("fc", 367, 1610508119),
        "regnet_y_1_6gf": Network("fc", 538, 4024208991),
        "regnet_y_32gf": Network("fc", 405, 117998843),
        "regnet_y_3_2gf": Network("fc", 424, 3163187079),
        "regnet_y_400mf": Network("fc", 329, 357454631),
        "regnet_y_800mf": Network("fc", 291, 2294655062),
        "regnet_y_8gf": Network("fc", 348, 2629303131),
        "resnet101": Network("fc", 520, 3353270032),
        "resnet152": Network("fc", 775, 3097297710),
        "resnet18": Network("fc", 100, 2936211558),
        "resnet34": Network("fc", 180, 2443490129),
        "resnet50": Network("fc", 265, 3613829992),
        "resnext101_32x8d": Network("fc", 520, 423694256),
        "resnext101_64x4d": Network("fc", 520, 105489197),
        "resnext50_32x4d": Network("fc", 265, 1430999600),
        "shufflenet_v2_x0_5": Network("fc", 280, 1333224973),
        "shufflenet_v2_x1_0": Network("fc", 280, 2054573306),
        "shufflenet_v2_x1_5": Network("fc", 280, 798024001),
        "shufflenet_v2_x2_0": Network("fc", 280, 1137263386),
        "squeezenet1_0": Network("classifier.1", 50, 3420544474),
        "squeezenet1_1": Network("classifier.1", 50, 3885560932),
        "swin_b": Network("head", 351, 2288845176),
        "swin_s": Network("head", 351, 3258402524),
        "swin_t": Network("head", 183, 2563849873),
        "swin_v2_b": Network("head", 447, 1814331949),
        "swin_v2_s": Network("head", 447, 3560088785),
        "swin_v2_t": Network("head", 231, 2489830840),
        "vgg11": Network("classifier.6", 20, 3620986570),
        "vgg11_bn": Network("classifier.6", 52, 3317081412),
        "vgg13": Network("classifier.6", 24, 2892907320),
        "vgg13_bn": Network("classifier.6", 64, 1679100190),
        "vgg16": Network("classifier.6", 30, 1720769831),
        "vgg16_bn": Network("classifier.6", 82, 778674652),
        "vgg19": Network("classifier.6", 36, 700339077),
        "vgg19_bn": Network("classifier.6", 100, 419780703),
        "vit_b_16": Network("heads.head", 150, 2284023642),
        "vit_b_32": Network("heads.head", 150, 2427387990),
        "vit_h_14": Network("heads.head", 390, 3779705629),
        "vit_l_16": Network("heads.head", 294, 2912087766),
        "vit_l_32": Network("heads.head", 294, 1681010016),
        "wide_resnet101_2": Network("fc", 520, 3938324463),
        "wide_resnet50_2": Network("fc", 265, 356873146),
    }
)
