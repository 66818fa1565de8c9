"""What a weights file is from: its labels, the statistics of the images that it was trained on, its network."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from thorax.data.label_names import alike
from thorax.models.building import hollow
from thorax.models.families import FAMILIES, Family
from thorax.models.registry import MODELS, STAGES, TIMM
from thorax.models.weights_file import WeightsFile

State = Mapping[str, torch.Tensor]
#: Outputs of torchxrayvision's classifiers, in their order (Cohen et al., "TorchXRayVision", 2022).
XRAY_VISION = (
    *("Atelectasis", "Consolidation", "Infiltration", "Pneumothorax", "Edema", "Emphysema", "Fibrosis", "Effusion"),
    *("Pneumonia", "Pleural_Thickening", "Cardiomegaly", "Nodule", "Mass", "Hernia", "Lung Lesion", "Fracture"),
    *("Lung Opacity", "Enlarged Cardiomediastinum"),
)
#: Outputs of a network that was trained on ImageNet-1k.
IMAGENET = 1000
#: Names of a network's last layer, in the layouts that we read.
_HEADS = ("fc", "classifier", "head", "heads.head", "head.fc", "last_linear", "linear", "_fc")


@dataclass(frozen=True)
class InputStatistics:
    """How the images were normalized that weights were trained on: (grey or channel / 255 - mean) / std.

    Attributes:
        mean, std: one number for grey, or three for red, green and blue.
        origin: whose they are, for messages.
        normalization: the hyperparameter's own word for them, where it has one.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    origin: str
    normalization: str = ""

    def __str__(self) -> str:
        if self.normalization == "image":
            return f"{self.origin}: each image to mean 0, std 1"
        numbers = [",".join(f"{x:.6g}" for x in values) for values in (self.mean, self.std)]
        return f"{self.origin}: mean {numbers[0]}, std {numbers[1]}"


def match_labels(theirs: Sequence[str], ours: Sequence[str]) -> dict[int, int]:
    """Output here -> output in the file, where both have one name but for case, separators and known synonyms."""
    found = {}
    for k, name in enumerate(ours):
        same = [i for i, other in enumerate(theirs) if other == name] or [
            i for i, other in enumerate(theirs) if other and alike(other, name)
        ]
        if same:
            found[k] = same[0]
    return found


def labels_of(found: WeightsFile, tensors: State) -> tuple[str, ...]:
    """The labels of the file's last layer; "" for an output that was never trained; empty where nobody says them."""
    outputs = head_outputs(tensors)
    labels = found.labels if len(found.labels) == outputs else ()
    if not labels and is_xray_vision(tensors):
        labels = XRAY_VISION
    if (thresholds := tensors.get("op_threshs")) is not None and thresholds.shape == (len(labels),):
        labels = tuple("" if math.isnan(t) else name for name, t in zip(labels, thresholds.tolist(), strict=True))
    return labels


def is_xray_vision(tensors: State) -> bool:
    """Whether these are torchxrayvision's: its thresholds, or a DenseNet of one channel and its 18 outputs."""
    first = tensors.get("features.conv0.weight")
    return (
        first is not None
        and first.ndim == 4
        and head_outputs(tensors) == len(XRAY_VISION)
        and ("op_threshs" in tensors or first.shape[1] == 1)
    )


def head_outputs(tensors: State) -> int:
    """Outputs of the last layer; 0 where no layer is known as one."""
    for name in (f"{head}{more}.weight" for head in _HEADS for more in ("", ".6", ".3", ".2", ".1")):
        if name in tensors and tensors[name].ndim >= 2:
            return int(tensors[name].shape[0])
    return 0


def input_statistics(found: WeightsFile, tensors: State, network: str = "") -> InputStatistics | None:
    """The statistics that weights want of their images; None where nobody says them.

    Args:
        tensors: of the file, without prefixes.
        network: that they are for, such as timm/NAME: timm knows the statistics of each of its networks.
    """
    facts = found.facts
    if "mean" in facts and "std" in facts:
        try:
            mean, std = (tuple(map(float, json.loads(facts[key]))) for key in ("mean", "std"))
            return InputStatistics(mean, std, str(facts.get("source", found.file.name)))
        except (ValueError, TypeError):
            return None
    if isinstance(prepared := facts.get("preprocessing"), Mapping):
        kind = {"film": "image"}.get(str(prepared.get("normalization")), str(prepared.get("normalization")))
        values = [prepared.get(key, default) for key, default in (("mean", 0.5), ("std", 0.25))]
        mean, std = (tuple(v) if isinstance(v, list | tuple) else (float(v),) for v in values)
        return InputStatistics(mean, std, "the bundle's own images", kind)
    if is_xray_vision(tensors):  # -1024..1024 over 0..255
        return InputStatistics((0.5,), (1 / 2048,), "torchxrayvision (-1024 to 1024)")
    if head_outputs(tensors) != IMAGENET:
        return None
    if network.startswith(TIMM):
        return _of_timm(network)
    return InputStatistics((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "ImageNet", "imagenet")


def _of_timm(network: str) -> InputStatistics | None:
    try:
        from timm.models import get_pretrained_cfg

        cfg = get_pretrained_cfg(network.removeprefix(TIMM).removesuffix(STAGES))
    except ImportError:
        return None
    if cfg is None:
        return None
    mean, std = tuple(cfg.mean), tuple(cfg.std)
    imagenet = mean == (0.485, 0.456, 0.406)
    return InputStatistics(
        mean, std, "ImageNet" if imagenet else f"{network.removesuffix(STAGES)}'s", "imagenet" if imagenet else ""
    )


def statistics_warning(wanted: InputStatistics | None, chosen: Any, offered: Collection[str]) -> str:
    """A line where images are normalized otherwise than the weights' own were; "" where they are not, or nobody knows.

    Args:
        chosen: the run's Preprocessing: its normalization, mean and std.
        offered: choices of the hyperparameter normalization.
    """
    if wanted is None or (wanted.normalization and chosen.normalization == wanted.normalization):
        return ""
    measured = "image" not in (wanted.normalization, chosen.normalization)
    if measured and _near(chosen.mean, wanted.mean) and _near(chosen.std, wanted.std):
        return ""
    advice = f": set normalization={wanted.normalization}" if wanted.normalization in offered else ""
    return (
        f"the weights are of images normalized otherwise ({wanted}) than normalization={chosen.normalization} does;"
        f" training makes up for it in part{advice}"
    )


def _near(chosen: Any, wanted: tuple[float, ...]) -> bool:
    values = tuple(chosen) if isinstance(chosen, list | tuple) else (float(chosen),)
    pairs = zip(values * max(1, len(wanted) // len(values)), wanted * max(1, len(values) // len(wanted)), strict=True)
    return all(math.isclose(one, other, rel_tol=0.02) for one, other in pairs)


# -- Which network it is -----------------------------------------------------------------------------------------------


#: Output channels of the last block of EfficientNets 0 (16 blocks) and 1, then 2 to 7.
_LAST_BLOCKS = {352: 2, 384: 3, 448: 4, 512: 5, 576: 6, 640: 7}
#: What tells layouts of timm apart from all others.
_MARKS = {
    "blocks.0.attn.qkv.weight": "a vision transformer in timm's layout",
    "conv_stem.weight": "an EfficientNet or MobileNet in timm's layout",
    "stages.0.blocks.0.conv_dw.weight": "a ConvNeXt in timm's layout",
    "layers.0.blocks.0.attn.qkv.weight": "a Swin transformer in timm's layout",
}


def guess_network(tensors: State) -> str:
    """The network whose tensors these are, head apart: its name, or the family in words; "" where none is like it.

    Networks are compared without memory for their weights; those of timm by the marks of their layout alone.
    """
    if any(name.endswith("_conv_stem.weight") for name in tensors):
        return _lukemelas(tensors)
    families = [family for family in FAMILIES if _has_places(family, tensors)]
    each = {name: _likeness(name, tensors) for family in families for name in family.networks}
    if each and max(each.values()) > 0.3:
        best = max(each, key=lambda name: each[name])
        return best if each[best] > 0.97 else f"a relative of {best} ({each[best]:.0%} of its tensors)"
    if _likeness("cnn5", tensors) > 0.9:
        return "cnn5"
    return next((words for mark, words in _MARKS.items() if mark in tensors), "")


def _lukemelas(tensors: State) -> str:
    """The EfficientNet of lukemelas's layout, by the width of its last block and the number of blocks."""
    numbers = {int(found[1]) for name in tensors if (found := re.search(r"_blocks\.(\d+)\.", name))}
    last = f"_blocks.{max(numbers, default=0)}._project_conv.weight"
    width = next((len(value) for name, value in tensors.items() if name.endswith(last)), 0)
    size = _LAST_BLOCKS.get(width, 0 if len(numbers) == 16 else 1)
    lite = not any("_se_reduce" in name for name in tensors)
    return f"timm/tf_efficientnet_{'lite' if lite else 'b'}{size}"


def _has_places(family: Family, tensors: State) -> bool:
    """Whether every part of a family's layout, head apart, has a tensor in the file."""
    places = {place.removesuffix(".*") for stage in family.stages for place in stage.split()} - {family.head}
    there = {".".join(name.split(".")[:end]) for name in tensors for end in (1, 2, 3)}
    return places <= there


def _likeness(name: str, tensors: State) -> float:
    """Share of tensors, head and the first layer's channels apart, that a network and a file have in the same shape."""
    spec, net = MODELS[name], hollow(name, 3, 2)
    wanted = {key: value.shape for key, value in net.state_dict().items() if not _apart(key, spec.head)}
    there = {spec.weight_key(key): value.shape for key, value in tensors.items()}
    first = next((key for key, shape in wanted.items() if len(shape) == 4), "")
    same = float(sum(key in there and (there[key] == shape or key == first) for key, shape in wanted.items()))
    return same / max(len(wanted), sum(not _apart(key, spec.head) for key in there), 1)


def _apart(key: str, head: str) -> bool:
    return key.startswith(head) or key.endswith(("num_batches_tracked", "op_threshs"))
