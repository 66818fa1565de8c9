"""Networks side by side: parameters, arithmetic, a training step and an answer, one network of each family.

python bench/backbones.py [NAME ...] [--seconds 2] [--json F.json]

Every network in turn has 224 px, one channel and 14 labels, float32 and channels last. The times are the shortest of
several; the ratios are to ResNet-18 in the same run.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).resolve().parents[1] / name) for name in ("bench", "source_dir")]
from fair import cores, machine
from thorax import models
from thorax.models.timing import best_times

BASE = "resnet18"
NAMES = (
    *(BASE, "resnet50", "resnext50_32x4d", "wide_resnet50_2", "densenet121", "alexnet", "vgg11_bn", "squeezenet1_1"),
    *("googlenet", "inception_v3", "mnasnet1_0", "shufflenet_v2_x0_5", "shufflenet_v2_x1_0", "mobilenet_v2"),
    *("mobilenet_v3_small", "mobilenet_v3_large", "efficientnet_b0", "efficientnet_v2_s", "regnet_y_400mf"),
    *("regnet_y_1_6gf", "convnext_tiny", "swin_t", "swin_v2_t", "vit_b_32", "vit_b_16", "maxvit_t", "cnn5"),
    *("timm/tf_efficientnet_lite0", "timm/convnext_atto", "timm/vit_tiny_patch16_224", "timm/fastvit_t8"),
)
SIZE, LABELS, BATCH = 224, 14, 8


@dataclass(frozen=True)
class Measured:
    """One network.

    Attributes:
        parameters: in millions.
        gflops: of one image's forward pass, in 1e9 multiplications and additions, each counted.
        step: milliseconds of a training step for an image, in a batch of 8.
        answer: milliseconds of one image alone.
        throughput: images/s in a batch of 8.
    """

    name: str
    parameters: float
    gflops: float
    step: float
    answer: float
    throughput: float


def measure(name: str, seconds: float) -> Measured:
    """The network's numbers on this machine."""
    torch.manual_seed(0)
    net = models.build(name, 1, LABELS).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = torch.randn(BATCH, 1, SIZE, SIZE).contiguous(memory_format=torch.channels_last)
    count = FlopCounterMode(display=False)
    net.eval()
    with torch.no_grad(), count:
        net(images[:1])
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-4)
    targets = torch.zeros(BATCH, LABELS)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        nn.functional.binary_cross_entropy_with_logits(net(images), targets).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    def answer(number: int) -> None:
        with torch.inference_mode():
            net(images[:number])

    net.train()
    step()
    trained = best_times({"step": step}, seconds)["step"]
    net.eval()
    answer(1)
    answered = best_times({"one": lambda: answer(1), "batch": lambda: answer(BATCH)}, seconds)
    parameters = sum(p.numel() for p in net.parameters()) / 1e6
    return Measured(
        name,
        parameters,
        count.get_total_flops() / 1e9,
        1e3 * trained / BATCH,
        1e3 * answered["one"],
        BATCH / answered["batch"],
    )


def table(found: list[Measured]) -> str:
    """Markdown; in brackets the times of ResNet-18's."""
    base = next((one for one in found if one.name == BASE), None)

    def against(value: float, theirs: float | None) -> str:
        return f" ({value / theirs:.2g}x)" if theirs else ""

    lines = [
        "| network | parameters, M | GFLOP | training step, ms an image | one image, ms | images/s, batches of 8 |",
        "|---|---|---|---|---|---|",
    ]
    for one in found:
        step = f"{one.step:.0f}{against(one.step, base.step if base else None)}"
        answer = f"{one.answer:.0f}{against(one.answer, base.answer if base else None)}"
        lines.append(
            f"| `{one.name}` | {one.parameters:.1f} | {one.gflops:.2f} | {step} | {answer} | {one.throughput:.0f} |"
        )
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("names", nargs="*", metavar="NAME", help=f"networks beside {BASE} (default: one of each family)")
    p.add_argument("--seconds", type=float, default=2.0, help="of each time's rounds (default: 2)")
    p.add_argument("--json", type=Path, help="also the numbers")
    args = p.parse_args(arguments)
    torch.set_num_threads(cores())
    print(f"{machine()}\n")
    found = []
    for name in dict.fromkeys((BASE, *(args.names or NAMES))):
        print(name, file=sys.stderr, flush=True)
        found.append(measure(name, args.seconds))
        gc.collect()
    print(table(found))
    if args.json:
        args.json.write_text(json.dumps([asdict(one) for one in found], indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
