"""Peak memory of one ResNet-50 training step at 896 pixels: plain, with accumulation, with activation checkpointing.

usage: python bench/memory.py [--batch 8] [--size 896]

Each variant runs in a process of its own; the figure is that process's largest resident size (on a GPU: the most that
torch allocated), less what it held before the step.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "source_dir"))

VARIANTS = {
    "plain": (1, False),
    "activation_checkpointing=true": (1, True),
    "accumulation_steps=8": (8, False),
    "accumulation_steps=8, activation_checkpointing=true": (8, True),
}


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--batch", type=int, default=8)
    p.add_argument("--size", type=int, default=896)
    p.add_argument("--variant", choices=list(VARIANTS), help="run this one only, in this process")
    args = p.parse_args()
    if args.variant:
        print(f"{peak(args.batch, args.size, *VARIANTS[args.variant]):.2f}")
        return 0
    print(f"| ResNet-50, {args.size} px, batch {args.batch} | GiB of a step | of plain |\n|---|---|---|")
    plain = 0.0
    for name in VARIANTS:
        words = [sys.executable, __file__, "--batch", str(args.batch), "--size", str(args.size), "--variant", name]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        gib = float(done.stdout.splitlines()[-1])
        plain = plain or gib
        print(f"| {name} | {gib:.2f} | {gib / plain:.2f} |", flush=True)
    return 0


def peak(batch: int, size: int, accumulation: int, checkpointing: bool) -> float:
    """GiB that one step takes on top of network, optimiser and images."""
    import torch

    from thorax import models
    from thorax.training.precision import autocast

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    precision = "bfloat16"
    net = models.build("resnet50", 1, 14, activation_checkpointing=checkpointing).to(
        device, memory_format=torch.channels_last
    )  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(net.parameters(), fused=True)
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()  # its state is part of the ground, not of the step
    images = torch.randn(batch, 1, size, size, device=device).contiguous(memory_format=torch.channels_last)
    before = _held()
    for part in images.chunk(accumulation):
        with autocast(precision, device):
            loss = net(part).float().square().mean() / accumulation
        loss.backward()
    optimizer.step()
    return (_held() - before) / 2**30


def _held() -> int:
    """Bytes at the peak so far."""
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    sys.exit(main())
