"""Weights into a network: which file, and how its state_dict is fitted to the network."""

from __future__ import annotations

import re
import tarfile
import tempfile
import zlib
from collections import OrderedDict
from pathlib import Path

import torch
from torch import nn

from thorax.errors import ThoraxError
from thorax.models.registry import ModelSpec, spec_of


def find_weights(given: Path) -> Path:
    """The one .pt, .pth or .bin file that `given` is or holds; of an earlier job's model.tar.gz its model.pt.

    Raises:
        ThoraxError: it does not exist, or holds none or several.
    """
    if given.is_file():
        return _unpacked(given) if given.name.endswith(".tar.gz") else given
    if not given.is_dir():
        raise ThoraxError(f"weights={given} does not exist")
    if (packed := given / "model.tar.gz").is_file():
        return _unpacked(packed)
    files = sorted(p for p in given.iterdir() if p.suffix in (".pt", ".pth", ".bin"))
    if len(files) != 1:
        raise ThoraxError(f"weights={given} holds {len(files)} weight files (.pt, .pth, .bin); it must hold one")
    return files[0]


def _unpacked(archive: Path) -> Path:
    """A temporary file with the model.pt at the top of a model.tar.gz, which SageMaker brings as it is."""
    try:
        with tarfile.open(archive, "r:gz") as tar:
            member = next((m for m in tar if m.isfile() and m.name.removeprefix("./") == "model.pt"), None)
            if member is None:
                raise ThoraxError(
                    f"weights={archive} holds no model.pt at its top; give the model.tar.gz that a job of this package"
                    " left"
                )
            folder = Path(tempfile.mkdtemp(prefix="weights-"))
            tar.extract(member, folder, filter="data")
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise ThoraxError(f"weights={archive} is not a readable .tar.gz: {error}") from None
    return folder / member.name


def load_weights(net: nn.Module, file: Path) -> list[str]:
    """Loads a plain state_dict in torchvision's layout into the network.

    A first layer of three channels is adapted to one by summing its filters over the channels (grey in all three gives
    the same response); one channel to three by a third of it each. A head of another size is left as initialised.

    Returns:
        What was adapted, one line each, for the log.

    Raises:
        ThoraxError: not a readable state_dict of tensors, or other layers than the network's (which ones).
    """
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ThoraxError(
            f"weights={file} is not a state_dict that torch.load(weights_only=True) reads: {_why(file, error)}; "
            "give one that torch.save(net.state_dict(), FILE) wrote"
        ) from None
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not state or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise ThoraxError(f"weights={file} is not a state_dict (names to tensors)")
    state = {key.removeprefix("module."): value for key, value in state.items()}
    own = net.state_dict()
    head, state = _own_keys(spec_of(net), state, own)
    notes = _adapt(state, own, head)
    missing = [k for k in own if k not in state and not k.endswith("num_batches_tracked")]
    extra = [k for k in state if k not in own]
    other = [
        f"{k} {tuple(state[k].shape)} for {tuple(own[k].shape)}"
        for k in own
        if k in state and state[k].shape != own[k].shape
    ]
    if missing or extra or other:
        parts = [(missing, "missing"), (extra, "not in this network"), (other, "of another shape")]
        differences = "; ".join(
            f"{len(keys)} {what}: {', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''}"
            for keys, what in parts
            if keys
        )
        raise ThoraxError(
            f"weights={file} does not fit the network: {differences}; choose the network that the file was saved from"
        )
    fitted = OrderedDict(state)
    fitted._metadata = getattr(own, "_metadata", {})  # type: ignore[attr-defined]  # versions, which MNASNet reads
    net.load_state_dict(fitted, strict=False)
    return notes


def _own_keys(
    spec: ModelSpec, state: dict[str, torch.Tensor], own: dict[str, torch.Tensor]
) -> tuple[list[str], dict[str, torch.Tensor]]:
    """The keys of the network's head, and `state` under the network's keys, whether either has dropout or not."""
    plain, dropped = spec.head, spec.head_with_dropout
    here = dropped if dropped and any(key.startswith(dropped) for key in own) else plain

    def renamed(key: str) -> str:
        key = spec.weight_key(key)
        prefix = dropped if dropped and key.startswith(dropped) else plain
        moved = here + key.removeprefix(prefix)
        return moved if key.startswith(prefix) and moved in own else key

    return [key for key in own if key.startswith(here)], {renamed(key): value for key, value in state.items()}


def _adapt(state: dict[str, torch.Tensor], own: dict[str, torch.Tensor], head: list[str]) -> list[str]:
    notes = []
    first = next(k for k, v in own.items() if v.ndim == 4)
    if first in state and state[first].ndim == 4 and state[first].shape[1] != own[first].shape[1]:
        channels = state[first].shape[1], own[first].shape[1]
        if channels == (3, 1):
            state[first] = state[first].sum(dim=1, keepdim=True)
        elif channels == (1, 3):
            state[first] = state[first].expand(-1, 3, -1, -1) / 3
        notes.append(f"first layer {first} adapted from {channels[0]} input channels to {channels[1]}")
    replaced = [k for k in head if k not in state or state[k].shape != own[k].shape]
    if replaced:
        state.update({k: own[k] for k in head})
        notes.append(f"head {', '.join(head)} is new")
    return notes


def _why(file: Path, error: Exception) -> str:
    """What the file holds instead.

    Of a file that is none of its own torch says only that weights_only=False may help, or names a byte.
    """
    if found := re.search(r"Unsupported global: GLOBAL (\S+)", str(error)):
        return f"it holds more than tensors, a {found[1]}"
    if isinstance(error, OSError | RuntimeError):
        return str(error).splitlines()[0].partition(". In PyTorch")[0][:200]
    with file.open("rb") as stream:
        return f"its {file.stat().st_size} bytes begin with {stream.read(30)!r}"
