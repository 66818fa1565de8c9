"""Names of tensors in files of others -> those of a network of ours: prefixes of wrappers, others' layouts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from thorax.models.registry import ModelSpec

State = Mapping[str, torch.Tensor]
#: Of parts of a file that fit equally well, the first that is named here is taken: the teacher of self-distillation and
#: the average of the weights before the network that was trained, the query encoder of MoCo before its copy.
_FIRST = ("teacher", "ema", "encoder_q", "target_encoder", "state_dict", "model", "net")
_LAST = ("student", "encoder_k", "momentum", "projector", "predictor", "queue")


@dataclass(frozen=True)
class Named:
    """A state under the network's names.

    Attributes:
        place: of the state in the file, such as "teacher".
        prefix: what was before each name, such as "module.backbone.".
        layout: whose layout was translated; "" for the network's own.
        tensors: name in the network (or in the file, where the network has none) -> tensor.
        others: names in the file without that prefix.
    """

    place: str
    prefix: str
    layout: str
    tensors: dict[str, torch.Tensor]
    others: tuple[str, ...]


def named(states: Mapping[str, State], spec: ModelSpec, own: State) -> Named:
    """The one of a file's states, and the prefix in it, that has most of the network's names."""
    found = [(place, prefix, count) for place, state in states.items() for prefix, count in _prefixes(state, spec, own)]
    if not found:  # other layers altogether: told by the names of the largest
        place, state = max(states.items(), key=lambda item: len(item[1]))
        return Named(place, "", "", dict(state), ())
    place, prefix, _ = max(
        found, key=lambda one: (one[2], _preferred(f"{one[0]}.{one[1]}"), -len(one[1]), -len(one[0]))
    )
    layout, state = _translated(states[place], own)
    tensors = {
        spec.weight_key(name.removeprefix(prefix)): value for name, value in state.items() if name.startswith(prefix)
    }
    return Named(place, prefix, layout, tensors, tuple(name for name in state if not name.startswith(prefix)))


def _prefixes(state: State, spec: ModelSpec, own: State) -> list[tuple[str, int]]:
    """(prefix, how many of the network's names follow it) of each prefix in a state."""
    counts: Counter[str] = Counter()
    for name in _translated(state, own)[1]:
        end = 0
        while end >= 0:
            if spec.weight_key(name[end:]) in own:
                counts[name[:end]] += 1
            dot = name.find(".", end)
            end = dot + 1 if dot >= 0 else -1
    return list(counts.items())


def _preferred(place: str) -> int:
    words = set(re.split(r"[._]", place)) | set(place.split("."))
    if words & set(_LAST):
        return -1
    return next((len(_FIRST) - k for k, word in enumerate(_FIRST) if word in words), 0)


# -- EfficientNets of other packages ---------------------------------------------------------------------------------


def _translated(state: State, own: State) -> tuple[str, State]:
    """(whose layout it was, the state under timm's names) of an EfficientNet in the layout of lukemelas's port."""
    stem = next((name for name in state if name.endswith("_conv_stem.weight")), None)
    own_names = [name.removeprefix("body.") for name in own]  # of a network whose head sees all stages
    blocks = list(dict.fromkeys(found[0] for name in own_names if (found := re.match(r"blocks\.\d+\.\d+\.", name))))
    if stem is None or "conv_stem.weight" not in own_names or not blocks:
        return "", state
    prefix = stem.removesuffix("_conv_stem.weight")
    expanded = {found[1] for name in state if (found := re.search(r"_blocks\.(\d+)\._expand_conv\.", name))}
    translated: dict[str, torch.Tensor] = {}
    for name, value in state.items():
        short = name.removeprefix(prefix)
        if found := re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(.+)", short):
            number, layer, rest = int(found[1]), found[2], found[3]
            names = _EXPANDED if found[1] in expanded else _SEPARABLE
            if number < len(blocks) and layer in names:
                short = f"{blocks[number]}{names[layer]}.{rest}"
        else:
            layer, _, rest = short.partition(".")
            short = f"{_OUTER[layer]}.{rest}" if layer in _OUTER else short
        translated[prefix + short] = value
    return "lukemelas's EfficientNet", translated


_SQUEEZE = {"_se_reduce": "se.conv_reduce", "_se_expand": "se.conv_expand"}
_OUTER = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_SEPARABLE = {**{"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}, **_SQUEEZE}
_EXPANDED = {
    **{"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2"},
    **{"_project_conv": "conv_pwl", "_bn2": "bn3"},
    **_SQUEEZE,
}
