"""What a weights file holds: tensors by name, and what is said about them; no code of the file is run.

Read are torch's files (.pt, .pth, .bin, .ckpt: a state_dict, a checkpoint around one, or a pickled network), those of
safetensors and NumPy's .npz, each told by its content and not by its ending.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from thorax.errors import ThoraxError
from thorax.labels import LabelSpace
from thorax.models.bundle_weights import DESCRIPTION, OLD_WEIGHTS, WEIGHTS
from thorax.models.safetensors_file import looks_like_safetensors, read_safetensors
from thorax.unpacking import npz_arrays

#: Endings of weights files in a folder or an archive.
ENDINGS = (".pt", ".pth", ".bin", ".ckpt", ".safetensors", ".npz")
#: Packages whose classes become shells with the attributes that the file gives them: none of their code runs.
_SHELLS = (
    *("torch.nn.", "torchvision.", "torchxrayvision.", "timm.", "argparse.", "numpy.", "pathlib.", "omegaconf."),
    *("pytorch_lightning.", "lightning.", "lightning_fabric.", "collections.", "__main__.", "models."),
)
#: Names that hold a list of labels, in checkpoints.
_LABELS = ("labels", "classes", "class_names", "label_names", "pathologies", "targets")
#: How deep a checkpoint is searched for its tensors, and how many classes one may name.
_DEPTH, _CLASSES = 4, 200


@dataclass(frozen=True)
class WeightsFile:
    """What a file holds.

    Attributes:
        kind: safetensors, torch or npz.
        states: place in the file ("" for its top, such as "state_dict" or "teacher") -> names to tensors.
        labels: of the last layer's outputs, where the file (or the bundle around it) says them; else empty.
        facts: what else it says: safetensors' metadata, and of a bundle its preprocessing.
    """

    file: Path
    kind: str
    states: Mapping[str, Mapping[str, torch.Tensor]]
    labels: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def largest(self) -> tuple[str, Mapping[str, torch.Tensor]]:
        """(place, tensors) of the largest of the states; of equal ones the first."""
        return max(self.states.items(), key=lambda item: len(item[1]))


def read_weights(file: Path) -> WeightsFile:
    """Reads a file of weights.

    Raises:
        ThoraxError: it cannot be read, or holds no tensors by name; the message says what it holds.
    """
    try:
        with file.open("rb") as stream:
            head = stream.read(9)
    except OSError as error:
        raise ThoraxError(f"weights={file} is not a state_dict that can be read: {error.strerror}") from None
    if looks_like_safetensors(head):
        found = _safetensors(file)
    elif _is_npz(file):
        found = _npz(file)
    else:
        found = _torch(file)
    return _described(found)


def _safetensors(file: Path) -> WeightsFile:
    try:
        state, facts = read_safetensors(file)
    except (OSError, ValueError) as error:
        raise ThoraxError(f"weights={file} is not a readable safetensors file: {error}") from None
    if not state:
        raise ThoraxError(f"weights={file} holds no tensors")
    return WeightsFile(file, "safetensors", {"": state}, _names(facts.get("labels", "")), facts)


def _is_npz(file: Path) -> bool:
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return False
    return bool(names) and all(name.endswith(".npy") for name in names)


def _npz(file: Path) -> WeightsFile:
    import numpy as np

    try:
        arrays = npz_arrays(file)
    except ThoraxError:
        raise
    except Exception as error:
        raise ThoraxError(f"weights={file} is not an .npz of plain arrays: {error}") from None
    labels = [str(name) for key in _LABELS if key in arrays for name in np.atleast_1d(arrays[key]).tolist()]
    state = {
        name.replace("/", "."): torch.from_numpy(np.ascontiguousarray(array))
        for name, array in arrays.items()
        if array.dtype.kind in "fiub" and name not in _LABELS
    }
    if not state:
        raise ThoraxError(f"weights={file} holds no arrays of numbers")
    return WeightsFile(file, "npz", {"": state}, _names(labels))


# -- torch's files ---------------------------------------------------------------------------------------------------


class _Shell:
    """Stands for an object of another package's class: its attributes as the file has them, and no behaviour."""

    def __init__(self, *given: object, **named: object) -> None:
        self.given = given


def _torch(file: Path) -> WeightsFile:
    stored = _unpickled(file)
    states = dict(_states(stored, "", 0))
    if not states:
        raise ThoraxError(f"weights={file} is not a state_dict (names to tensors)")
    return WeightsFile(file, "torch", states, _labels_in(stored))


def _unpickled(file: Path) -> Any:
    """torch.load(weights_only=True), with shells in place of classes of _SHELLS that it does not know."""
    shells: dict[str, type] = {}
    while True:
        try:
            with ExitStack() as stack:
                if shells:
                    known: list[Any] = [(shell, name) for name, shell in shells.items()]
                    stack.enter_context(torch.serialization.safe_globals(known))
                return torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:
            unknown = _unknown_class(error)
            if unknown and unknown.startswith(_SHELLS) and unknown not in shells and len(shells) < 500:
                shells[unknown] = type(unknown.rpartition(".")[2], (_Shell,), {})
                continue
            raise ThoraxError(
                f"weights={file} is not a state_dict that torch.load(weights_only=True) reads: {_why(file, error)}; "
                "give one that torch.save(net.state_dict(), FILE) wrote"
            ) from None


def _unknown_class(error: Exception) -> str:
    found = re.search(r"Unsupported global: GLOBAL (\S+)", str(error))
    return found[1] if found else ""


def _why(file: Path, error: Exception) -> str:
    """What the file holds instead.

    Of a file that is none of its own torch says only that weights_only=False may help, or names a byte.
    """
    if "Only persistent_load of storage" in str(error):
        return "it is a whole network in the format of torch before 1.6, which cannot be read without running its code"
    if unknown := _unknown_class(error):
        return f"it holds more than tensors, a {unknown}"
    if isinstance(error, OSError | RuntimeError):
        return str(error).splitlines()[0].partition(". In PyTorch")[0][:200]
    with file.open("rb") as stream:
        return f"its {file.stat().st_size} bytes begin with {stream.read(30)!r}"


def _states(stored: Any, place: str, depth: int) -> Iterator[tuple[str, dict[str, torch.Tensor]]]:
    """(place, names to tensors) of every state_dict in a checkpoint, outer ones first."""
    if isinstance(stored, _Shell):
        if state := _state_of_module(stored):
            yield place, state
            return
        stored = vars(stored)
    if not isinstance(stored, Mapping) or depth > _DEPTH:
        return
    tensors = {key: value for key, value in stored.items() if isinstance(key, str) and isinstance(value, torch.Tensor)}
    if tensors:
        yield place, tensors
    for key, value in stored.items():
        if isinstance(key, str) and not isinstance(value, torch.Tensor) and "optimizer" not in key:
            yield from _states(value, f"{place}.{key}".lstrip("."), depth + 1)


def _state_of_module(shell: _Shell) -> dict[str, torch.Tensor]:
    """The state_dict of a pickled network: parameters and buffers of it and of the modules in it."""
    found: dict[str, torch.Tensor] = {}
    inside = vars(shell)
    for kind in ("_parameters", "_buffers"):
        values = inside.get(kind)
        if isinstance(values, Mapping):
            found |= {str(k): v.detach() for k, v in values.items() if isinstance(v, torch.Tensor)}
    modules = inside.get("_modules")
    if isinstance(modules, Mapping):
        for name, module in modules.items():
            if isinstance(module, _Shell):
                found |= {f"{name}.{key}": value for key, value in _state_of_module(module).items()}
    return found


def _labels_in(stored: Any, depth: int = 0) -> tuple[str, ...]:
    """The list of labels that a checkpoint (or a pickled network) names, in any of the usual places."""
    inside = vars(stored) if isinstance(stored, _Shell) else stored
    if not isinstance(inside, Mapping) or depth > 2:
        return ()
    for key in _LABELS:
        if labels := _names(inside.get(key)):
            return labels
    for key, value in inside.items():
        if key in ("hyper_parameters", "hparams", "args", "meta", "config", "configuration") and (
            labels := _labels_in(value, depth + 1)
        ):
            return labels
    return ()


# -- What is said about the tensors ----------------------------------------------------------------------------------


def _described(found: WeightsFile) -> WeightsFile:
    """With what the bundle around the file says of it."""
    if found.file.name not in (WEIGHTS, OLD_WEIGHTS):
        return found
    try:
        stored = json.loads((found.file.parent / DESCRIPTION).read_text(encoding="utf-8"))
        labels = LabelSpace.from_dict(stored["labels"]).outputs
        facts = {"network": stored["network"], "preprocessing": stored["preprocessing"]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ThoraxError):
        return found
    return replace(found, labels=found.labels or labels, facts={**facts, **found.facts})


def _names(stored: Any) -> tuple[str, ...]:
    """A list of names, or JSON of one, or class -> index; empty for anything else."""
    if isinstance(stored, str):
        try:
            stored = json.loads(stored)
        except ValueError:
            return ()
    if (
        isinstance(stored, Mapping)
        and stored
        and sorted(map(str, stored.values())) == sorted(map(str, range(len(stored))))
    ):
        stored = sorted(stored, key=lambda name: int(stored[name]))
    if not isinstance(stored, list | tuple) or not 0 < len(stored) <= _CLASSES:
        return ()
    return tuple(stored) if all(isinstance(name, str) for name in stored) else ()
