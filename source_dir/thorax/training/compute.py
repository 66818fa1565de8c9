"""Precision, memory layout and threads of a run: as asked for, as its checkpoint has them, or as measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from thorax.config import TrainingConfig
from thorax.errors import ThoraxError
from thorax.files import read_sealed, write_sealed
from thorax.machine import cpu_model
from thorax.training import distributed
from thorax.training.inputs import Hardware, TrainingData
from thorax.training.losses import Loss
from thorax.training.precision import candidates
from thorax.training.probe import Compute, Probe, Ways

#: A run that sees fewer pixels ends before a measurement would pay: 80 images of 224 px.
WORTH_MEASURING = 2**22
#: Seconds that the measured steps may take, beside each way's first step.
SECONDS = 1.0
CACHE = "compute.json"


@dataclass(frozen=True)
class Memory:
    """Where an earlier choice is found.

    Attributes:
        checkpoint: the newest checkpoint's choice, if there is a checkpoint; only read in the main process.
        folder: of the cache file; None: nothing is remembered.
    """

    checkpoint: Callable[[], dict[str, Any] | None]
    folder: Path | None = None


@dataclass(frozen=True)
class Chosen:
    """A choice, and a line that says why."""

    compute: Compute
    reason: str


def choose(
    config: TrainingConfig, net: nn.Module, data: TrainingData, hardware: Hardware, memory: Memory
) -> tuple[Hardware, str]:
    """The hardware with its precision, layout and threads settled, the same in every process; and why, for the log.

    What the configuration names stays. The rest is as in the run's checkpoint, so that a resumed run gives the same
    bits; else as remembered for this network, size, batch, torch and machine; else as measured.

    Args:
        net: with its starting weights, on the CPU; it stays as it is, as do torch's random numbers and threads.

    Raises:
        ThoraxError: the checkpoint's precision needs a GPU.
    """
    ways = _ways(config, hardware)
    chosen = distributed.from_main(lambda: _choose(config, net, data, hardware, memory, ways), hardware.process)
    threads = min(chosen.compute.threads, hardware.threads) if config.threads is None else hardware.threads
    c = chosen.compute
    return replace(hardware, precision=c.precision, channels_last=c.channels_last, threads=threads), chosen.reason


def _ways(config: TrainingConfig, hardware: Hardware) -> Ways:
    """What may be chosen, the usual way first."""
    threads = (
        (hardware.threads,) if config.threads else tuple(dict.fromkeys((hardware.threads, -(-hardware.threads // 2))))
    )
    on_gpu, precisions = hardware.device.type == "cuda", candidates(config.precision_dtype, hardware.device)
    return Ways(
        precisions=precisions,
        layouts=(True, False) if config.channels_last is None else (config.channels_last,),
        threads=(hardware.threads,) if on_gpu else threads,
        short="bfloat16" if on_gpu and "bfloat16" in precisions else "",
    )


def _choose(
    config: TrainingConfig, net: nn.Module, data: TrainingData, hardware: Hardware, memory: Memory, ways: Ways
) -> Chosen:
    saved = memory.checkpoint()
    if ways.single and saved is None:
        return Chosen(ways.usual, "as asked for")
    kept = None if saved is None else _of_checkpoint(saved, ways, hardware.device)
    pixels = _pixels(config, data)
    if pixels < WORTH_MEASURING or ways.single:
        why = (
            "as asked for" if ways.single else f"not measured: a run of {pixels / 1e6:.1f} million pixels is too short"
        )
        return Chosen(ways.usual, why) if kept is None else Chosen(kept, "as in the checkpoint")
    found = _remembered(config, net, data, hardware, memory, ways)
    if kept is None:
        return found
    if kept == found.compute:
        return Chosen(kept, "as in the checkpoint")
    return Chosen(
        kept, f"as in the checkpoint, for the same bits; here {found.compute} would be chosen: {found.reason}"
    )


def _pixels(config: TrainingConfig, data: TrainingData) -> int:
    """Of all images that the run will see, each as often as it sees it."""
    return config.epochs * len(data.train) * config.image_shape[1] * config.image_shape[2]


def _of_checkpoint(saved: dict[str, Any], ways: Ways, device: torch.device) -> Compute:
    """The checkpoint's choice where the configuration leaves one. Checkpoints before 0.3 hold the precision alone."""
    precision = saved.get("precision", "float32") if len(ways.precisions) > 1 else ways.precisions[0]
    if precision == "float16" and device.type == "cpu":
        raise ThoraxError(
            "the checkpoint was made in float16 (chosen by precision_dtype=auto on a GPU), but device=cpu; go on on a"
            " GPU, or choose another job name or --checkpoint-dir"
        )
    layout = saved.get("channels_last", True) if len(ways.layouts) > 1 else ways.layouts[0]
    threads = saved.get("threads", ways.threads[0]) if len(ways.threads) > 1 else ways.threads[0]
    return Compute(precision, layout, threads)


def _remembered(
    config: TrainingConfig, net: nn.Module, data: TrainingData, hardware: Hardware, memory: Memory, ways: Ways
) -> Chosen:
    """From the cache file, else measured and written to it."""
    share = max(1, config.batch_size // hardware.process.local_world_size // config.accumulation_steps)
    rows = min(share, len(data.train))
    key = _key(config, net, hardware, ways, rows)
    file = None if memory.folder is None else memory.folder / CACHE
    if file is not None and (known := _read(file, key)) is not None:
        return Chosen(known, f"remembered in {file}")
    loss = Loss.build(config, data.train.space, data.train, hardware.device)
    targets = torch.from_numpy(data.train.targets[:rows])
    device = hardware.device
    pixels = _pixels(config, data)
    probe = Probe(
        net, loss, (config.channels, *config.image_size), targets, device, pixels, whole=device.type == "cuda"
    )
    measured = probe.measure(ways, SECONDS)
    if file is not None and measured.worth:
        _write(file, key, measured.compute)
    return Chosen(measured.compute, measured.figures)


# -- The cache file ----------------------------------------------------------------------------------------------------


def _key(config: TrainingConfig, net: nn.Module, hardware: Hardware, ways: Ways, rows: int) -> str:
    """All that the choice follows from."""
    on_gpu = hardware.device.type == "cuda"
    device = torch.cuda.get_device_name(hardware.device) if on_gpu else cpu_model()
    capability = torch.backends.cpu.get_cpu_capability()
    weights = sum(p.numel() for p in net.parameters())
    size = "x".join(map(str, (config.channels, *config.image_size)))
    recompute = ", activation_checkpointing" if config.activation_checkpointing else ""
    asked = f"{'/'.join(ways.precisions)} {'/'.join(map(str, ways.layouts))} {'/'.join(map(str, ways.threads))}"
    return (
        f"{config.network} of {weights} weights{recompute}, {size}, {rows} images, torch {torch.__version__}, {device}"
        f" {capability}, {asked}"
    )


def _read(file: Path, key: str) -> Compute | None:
    """A remembered choice; None where there is none, or the file is damaged."""
    try:
        known = (read_sealed(file) or {})[key]
        compute = Compute(known["precision"], known["channels_last"], known["threads"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    types = (str, bool, int)
    return compute if all(isinstance(v, t) for v, t in zip(asdict(compute).values(), types, strict=True)) else None


def _write(file: Path, key: str, compute: Compute) -> None:
    """Adds a choice; a folder that cannot be written is no reason to end a run."""
    known = read_sealed(file) or {}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_sealed(known | {key: asdict(compute)}, file, "cache file")
    except (OSError, ThoraxError):
        pass
