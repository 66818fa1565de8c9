"""Speed as ratios against named peers, all in one run, ours and peer in turn: prints a table and keeps it.

    python bench/bench.py [--films224 DIR] [--native DIR] [--threads N] [--workers N] [--quick]

DIR is a folder per class. Without it, synthetic films are drawn. Times depend on the machine and on what else it does;
the ratios much less so. Nothing here passes or fails.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / name) for name in ("bench", "launch", "source_dir")]

import numpy as np  # noqa: E402
import torch  # noqa: E402
import torchvision  # noqa: E402
from PIL import Image  # noqa: E402
from reading import Row  # noqa: E402

RESULT = ROOT / "bench" / "results" / "latest.md"


def main(arguments: Sequence[str] | None = None) -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--films224", type=Path, metavar="DIR", help="films for training; any size, 224 px here and in the peer's usual case")
    p.add_argument("--native", type=Path, metavar="DIR", help="JPEGs as they come from the hospital, for reading")
    p.add_argument("--threads", type=int, default=1, help="threads for arithmetic, ours and peers' (default: 1)")
    p.add_argument("--workers", type=int, default=1, help="reading workers, ours and timm's (default: 1)")
    p.add_argument("--batch", type=int, default=32, help="films per step (default: 32)")
    p.add_argument("--size", type=int, default=224, help="pixels a side of the network's input (default: 224)")
    p.add_argument("--rounds", type=int, default=7, help="rounds of each comparison (default: 7)")
    p.add_argument("--films", type=int, default=320, help="films of the training epoch (default: 320)")
    p.add_argument("--scans", type=int, default=60, help="native films to read (default: 60)")
    p.add_argument("--quick", action="store_true", help="3 rounds, fewer films")
    p.add_argument("--out", type=Path, default=RESULT, help="where to keep the table")
    a = p.parse_args(arguments)
    if a.quick:
        a.rounds, a.films, a.scans = min(a.rounds, 3), min(a.films, 5 * a.batch), min(a.scans, 16)
    before = torch.get_num_threads()
    torch.set_num_threads(a.threads)
    try:
        with TemporaryDirectory(prefix="bench-") as scratch:
            films, native = Path(scratch) / "films", Path(scratch) / "native"
            if a.films224:
                choose(a.films224, films, a.films)
            else:
                draw(films, a.films, (a.size, a.size))
            if a.native:
                choose(a.native, native, a.scans)
            else:
                draw(native, a.scans, (1100, 1400))
            text = report(a, measure(a, films, native))
    finally:
        torch.set_num_threads(before)
    print(text)
    a.out.parent.mkdir(parents=True, exist_ok=True)
    a.out.write_text(text + "\n", encoding="utf-8")


def measure(a: argparse.Namespace, films: Path, native: Path) -> list[Row]:
    import reading
    import steps

    say("steps ...")
    rows = steps.measure_step(films, size=a.size, batch=a.batch, rounds=a.rounds, steps=1 if a.quick else 3)
    say("epochs ...")
    rows += steps.measure_loop(films, size=a.size, batch=a.batch, workers=a.workers, rounds=max(1, a.rounds // 2))
    say("reading ...")
    return [*rows, reading.measure(native, a.rounds)]


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# -- Films ---------------------------------------------------------------------------------------------------------


def choose(source: Path, target: Path, count: int) -> None:
    """Links `count` films, the same number of each class and spread over its names, so that every side sees the same."""
    classes = sorted(d for d in source.iterdir() if d.is_dir())
    for folder in classes:
        films = sorted(f for f in folder.iterdir() if f.suffix.lower() in (".jpg", ".jpeg"))
        wanted = min(len(films), count // len(classes))
        (target / folder.name).mkdir(parents=True)
        for k in range(wanted):
            film = films[k * len(films) // wanted]
            (target / folder.name / film.name).symlink_to(film.resolve())


def draw(target: Path, count: int, size: tuple[int, int]) -> None:
    """Synthetic films, enlarged to (height, width) with grain laid on: JPEGs of real ones' bytes per pixel."""
    from local.phantoms import draw_film

    rng = np.random.default_rng(0)
    for k in range(count):
        name = ("NORMAL", "PNEUMONIA")[k % 2]
        film = Image.fromarray(draw_film(rng, ["Consolidation"] * (k % 2))).resize(size[::-1], Image.Resampling.BICUBIC)
        grain = rng.standard_normal(size, dtype=np.float32) * 2.0
        picture = Image.fromarray((np.asarray(film, np.float32) + grain).clip(0, 255).astype(np.uint8))
        (target / name).mkdir(parents=True, exist_ok=True)
        picture.save(target / name / f"{k:05d}.jpeg", quality=75)


# -- The table -----------------------------------------------------------------------------------------------------


def machine(a: argparse.Namespace) -> str:
    """CPU, cores, AMX, versions, threads: what the figures belong to."""
    try:
        info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        info = ""
    names = [line.partition(":")[2].strip() for line in info.splitlines() if line.startswith("model name")]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    amx = "with AMX" if "amx_bf16" in info else ("with AVX-512 BF16, no AMX" if "avx512_bf16" in info else "no AMX")
    return (
        f"Machine: {names[0] if names else 'CPU unknown'}, {amx}, {cores} core(s), load {os.getloadavg()[0]:.1f} at the end.\n"
        f"torch {torch.__version__}, torchvision {torchvision.__version__}, Pillow {Image.__version__}; {a.threads} thread(s) for arithmetic, "
        f"{a.workers} reading worker(s), ours and peers' alike.\n"
        f"Films: {'given' if a.films224 else 'synthetic'} for training, {'given' if a.native else 'synthetic'} for reading. "
        "Medians of rounds, ours and peer in turn; in brackets the lowest and highest round."
    )  # fmt: skip


def report(a: argparse.Namespace, rows: Sequence[Row]) -> str:
    lines = [machine(a), "", "| What | Ours | Peer | Ratio | Target | Note |", "|---|---|---|---|---|---|"]
    for r in rows:
        if r.unit == "share":
            lines.append(f"| {r.what} | {r.ours:.1%} ({r.low:.1%} to {r.high:.1%}) | | | {r.target} | {r.note} |")
            continue
        lines.append(f"| {r.what} | {r.ours:.1f} {r.unit} | {r.theirs:.1f} {r.unit}: {r.peer} | "
                     f"**{r.ratio:.2f}x** ({r.low:.2f} to {r.high:.2f}) | {r.target and '>= ' + r.target} | {r.note} |")  # fmt: skip
    return "\n".join(lines)


if __name__ == "__main__":
    main()
