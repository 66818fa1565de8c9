"""torchvision's classification networks by family: where each layout has its head, its stages and its last map.

This module does not import torch: the configuration reads names and sizes from it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """Networks of one layout. A place is a module's path, such as "layer1"; "layer1.*" stands for its blocks.

    Attributes:
        networks: torchvision's names.
        head: the last layer, of as many outputs as there are logits.
        stages: the parts from the input to the head; places with blanks between them are one part.
        feature_map: the module whose output is the last map of features, or its tokens; "-1" is the last block.
        blocks: what activation checkpointing computes twice: modules of one input.
        dropouts: where the layout has dropout of its own, whose rate is then set; none: dropout is put before the head.
        smallest_side: pixels of the smallest side of an image that the network takes.
        side: pixels of the only side that it takes, height and width; 0 for any.
        options: of torchvision's builder.
    """

    networks: tuple[str, ...]
    head: str
    stages: tuple[str, ...]
    feature_map: str
    blocks: tuple[str, ...] = ()
    dropouts: tuple[str, ...] = ()
    smallest_side: int = 32
    side: int = 0
    options: tuple[tuple[str, bool], ...] = ()


def _numbered(pattern: str, *values: object) -> tuple[str, ...]:
    return tuple(pattern.format(value) for value in values)


_RESIDUAL = ("layer1.*", "layer2.*", "layer3.*", "layer4.*")
_REGNETS = ("400mf", "800mf", "1_6gf", "3_2gf", "8gf", "16gf", "32gf")
_INCEPTION = (
    "Conv2d_1a_3x3 Conv2d_2a_3x3 Conv2d_2b_3x3",
    "Conv2d_3b_1x1 Conv2d_4a_3x3",
    "Mixed_5b Mixed_5c Mixed_5d",
    "Mixed_6a Mixed_6b Mixed_6c Mixed_6d Mixed_6e",
    "Mixed_7a Mixed_7b Mixed_7c",
    "fc",
)
_GOOGLENET = (
    "conv1 conv2 conv3",
    "inception3a inception3b",
    "inception4a inception4b inception4c inception4d inception4e",
    "inception5a inception5b",
    "fc",
)

FAMILIES = (
    Family(
        (
            *_numbered("resnet{}", 18, 34, 50, 101, 152),
            *_numbered("resnext{}", "50_32x4d", "101_32x8d", "101_64x4d"),
            *_numbered("wide_resnet{}_2", 50, 101),
        ),
        head="fc",
        stages=("conv1 bn1", "layer1", "layer2", "layer3", "layer4", "fc"),
        feature_map="layer4",
        blocks=_RESIDUAL,
    ),
    Family(
        ("alexnet",),
        head="classifier.6",
        stages=("features.*", "classifier.1", "classifier.4", "classifier.6"),
        feature_map="features",
        dropouts=("classifier",),
        smallest_side=63,
    ),
    Family(
        (*_numbered("vgg{}", 11, 13, 16, 19), *_numbered("vgg{}_bn", 11, 13, 16, 19)),
        head="classifier.6",
        stages=("features.*", "classifier.0", "classifier.3", "classifier.6"),
        feature_map="features",
        dropouts=("classifier",),
    ),
    Family(
        _numbered("densenet{}", 121, 161, 169, 201),
        head="classifier",
        stages=(
            "features.conv0 features.norm0",
            "features.denseblock1 features.transition1",
            "features.denseblock2 features.transition2",
            "features.denseblock3 features.transition3",
            "features.denseblock4 features.norm5",
            "classifier",
        ),
        feature_map="relu",
        blocks=_numbered("features.denseblock{}", 1, 2, 3, 4),
        smallest_side=29,
    ),
    Family(
        ("squeezenet1_0", "squeezenet1_1"),
        head="classifier.1",
        stages=("features.*", "classifier.1"),
        feature_map="features",
        dropouts=("classifier",),
    ),
    Family(
        ("googlenet",),
        head="fc",
        stages=_GOOGLENET,
        feature_map="inception5b",
        dropouts=("dropout",),
        options=(("aux_logits", False), ("init_weights", True)),
    ),
    Family(
        ("inception_v3",),
        head="fc",
        stages=_INCEPTION,
        feature_map="Mixed_7c",
        dropouts=("dropout",),
        smallest_side=75,
        options=(("aux_logits", False), ("init_weights", True)),
    ),
    Family(
        _numbered("mnasnet{}", "0_5", "0_75", "1_0", "1_3"),
        head="classifier.1",
        stages=("layers.*", "classifier.1"),
        feature_map="layers",
        dropouts=("classifier",),
    ),
    Family(
        _numbered("shufflenet_v2_x{}", "0_5", "1_0", "1_5", "2_0"),
        head="fc",
        stages=("conv1", "stage2", "stage3", "stage4", "conv5", "fc"),
        feature_map="conv5",
        blocks=("stage2.*", "stage3.*", "stage4.*"),
    ),
    Family(
        ("mobilenet_v2", *_numbered("efficientnet_b{}", *range(8)), *_numbered("efficientnet_v2_{}", "s", "m", "l")),
        head="classifier.1",
        stages=("features.*", "classifier.1"),
        feature_map="features",
        blocks=("features.*",),
        dropouts=("classifier",),
    ),
    Family(
        ("mobilenet_v3_small", "mobilenet_v3_large"),
        head="classifier.3",
        stages=("features.*", "classifier.0", "classifier.3"),
        feature_map="features",
        blocks=("features.*",),
        dropouts=("classifier",),
    ),
    Family(
        (*_numbered("regnet_x_{}", *_REGNETS), *_numbered("regnet_y_{}", *_REGNETS, "128gf")),
        head="fc",
        stages=("stem", "trunk_output.*", "fc"),
        feature_map="trunk_output",
        blocks=("trunk_output.*",),
    ),
    Family(
        _numbered("convnext_{}", "tiny", "small", "base", "large"),
        head="classifier.2",
        stages=("features.*", "classifier"),
        feature_map="features",
        blocks=("features.*",),
    ),
    Family(
        (*_numbered("swin_{}", "t", "s", "b"), *_numbered("swin_v2_{}", "t", "s", "b")),
        head="head",
        stages=("features.*", "norm head"),
        feature_map="permute",
        blocks=("features.*",),
    ),
    Family(
        ("vit_b_16", "vit_b_32", "vit_l_16", "vit_l_32", "vit_h_14"),
        head="heads.head",
        stages=("class_token encoder.pos_embedding conv_proj", "encoder.layers.*", "encoder.ln heads"),
        feature_map="encoder.layers.-1.ln_1",
        blocks=("encoder.layers.*",),
        side=224,
    ),
    Family(
        ("maxvit_t",),
        head="classifier.5",
        stages=("stem", "blocks.*", "classifier"),
        feature_map="blocks",
        blocks=("blocks.*",),
        side=224,
    ),
)

FAMILY_OF = {name: family for family in FAMILIES for name in family.networks}
