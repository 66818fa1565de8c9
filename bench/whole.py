"""All benchmarks of the CPU in 10 minutes: training and reading, scoring, serving, and what observers cost.

    python bench/whole.py [--images224 DIR] [--native DIR] [--minutes 9.8] [more options of bench.py]

Each part is a process of its own with a share of the time; one that is stopped has printed the rows that were
complete by then, and is named at the end. Exit code 0: all parts ran to their end; 1: one did not.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / name) for name in ("bench", "source_dir", "launch")]
import fair  # noqa: E402
from parts import Part, limited, share  # noqa: E402

#: Name, command and seconds, which together fill the default of --minutes; seconds are as on two cores without AMX.
PARTS = (
    Part("training, reading, labels", "bench.py --seconds 80 --epoch-images 160", 256),
    Part("scoring", "scoring.py --seconds 15 --count 128", 75),
    Part("serving, ResNet-18", "serving.py --network resnet18 --single 20 --many 64 --seconds 20", 85),
    Part("serving, ResNet-50", "serving.py --network resnet50 --single 12 --many 32 --seconds 20", 115),
    Part("observers", "watching.py --batch 8 --steps 12", 57),
)


def main(arguments: Sequence[str] | None = None) -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--images224", type=Path, metavar="DIR", help="images to train on and to ask about, near 224 px")
    p.add_argument("--native", type=Path, metavar="DIR", help="images to read, of their native size")
    p.add_argument("--minutes", type=float, default=9.8, help="for all parts together, at most (default: 9.8)")
    p.add_argument("--parts", type=int, nargs="+", metavar="N", help=f"some of them: {names()} (default: all)")
    a, more = p.parse_known_args(arguments)
    numbers = a.parts or range(1, len(PARTS) + 1)
    if wrong := [n for n in numbers if not 1 <= n <= len(PARTS)]:
        p.error(f"--parts {wrong[0]}: there are {names()}")
    parts = [PARTS[n - 1] for n in numbers]
    print(fair.machine(), flush=True)
    ends, unfinished = time.monotonic() + a.minutes * 60, []
    for k, part in enumerate(parts):
        seconds, began = share(parts[k:], ends - time.monotonic()), time.monotonic()
        print(f"\n== {part.name}: {part.what}, at most {seconds:.0f} s, load {fair.load()}", flush=True)
        code = limited([sys.executable, *words(part, a, more)], seconds)
        print(f"== {part.name}: {time.monotonic() - began:.0f} s, load {fair.load()}", flush=True)
        if code != 0:
            unfinished.append(f"{part.name}: {'no time' if code is None else f'exit code {code}'}")
    print(f"\n{a.minutes * 60 - (ends - time.monotonic()):.0f} s in all")
    for line in unfinished:
        print(f"not finished: {line}")
    return int(bool(unfinished))


def names() -> str:
    return ", ".join(f"{n} {part.name}" for n, part in enumerate(PARTS, 1))


def words(part: Part, a: argparse.Namespace, more: Sequence[str]) -> list[str]:
    """The part's command line; `more` is bench.py's, which trains and reads."""
    file, *options = part.what.split()
    found = [str(ROOT / "bench" / file), *options]
    if file == "bench.py":
        found += [*(["--images224", str(a.images224)] if a.images224 else []), *more]
        return found + (["--native", str(a.native)] if a.native else [])
    return found + (["--images", str(a.images224)] if a.images224 and file != "watching.py" else [])


if __name__ == "__main__":
    sys.exit(main())
