"""Speed as ratios against named peers, in one run, ours and peer in turn: prints a table and keeps it.

    python bench/bench.py [--images224 DIR] [--native DIR] [--threads N] [--workers N] [--quick]

DIR holds a folder of JPEGs for each of two classes; without it, synthetic images are drawn. Times depend on the machine
and on what else it does, ratios much less so; stop other work all the same. Nothing here passes or fails.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import PIL
import torch
import torchvision
from PIL import Image

import fair

ROOT = Path(__file__).resolve().parents[1]
NATIVE = (1100, 1400)  #: height and width of synthetic native images
sys.path[:0] = [str(ROOT / name) for name in ("bench", "launch", "source_dir")]
if TYPE_CHECKING:
    from fair import Row


def main(arguments: Sequence[str] | None = None) -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--images224", type=Path, metavar="DIR", help="images to train on, 224 px a side or near it")
    p.add_argument("--native", type=Path, metavar="DIR", help="images to read, of their native size")
    p.add_argument("--threads", type=int, default=1, help="threads for arithmetic, ours and the peers' (default: 1)")
    p.add_argument("--workers", type=int, default=1, help="processes that read images, ours and timm's (default: 1)")
    p.add_argument("--batch", type=int, default=32, help="images per step (default: 32)")
    p.add_argument("--size", type=int, default=224, help="pixels a side that the network sees (default: 224)")
    p.add_argument("--seconds", type=float, default=200, help="for all rows together, about (default: 200)")
    p.add_argument("--epoch-images", type=int, default=256, metavar="N", help="images of an epoch (default: 256)")
    p.add_argument("--native-images", type=int, default=104, metavar="N", help="images to read (default: 104)")
    p.add_argument(
        "--nih-table", type=Path, metavar="FILE", help="NIH's Data_Entry_2017 table (default: one of its size is drawn)"
    )
    p.add_argument("--quick", action="store_true", help="a tenth of the time, at most 5 batches and 20 native images")
    p.add_argument("--out", type=Path, default=ROOT / "bench" / "results" / "latest.md", help="where to keep the table")
    a = p.parse_args(arguments)
    if not 2 <= a.batch <= a.epoch_images:
        p.error(
            f"--batch {a.batch} with --epoch-images {a.epoch_images}: an epoch needs at least one batch, and a batch"
            " two images"
        )
    if a.quick:
        a.seconds, a.epoch_images, a.native_images = (
            a.seconds / 10,
            min(a.epoch_images, 5 * a.batch),
            min(a.native_images, 20),
        )
    torch.set_num_threads(a.threads)
    a.out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="bench-") as scratch, a.out.open("w", encoding="utf-8") as kept:

        def say(text: str) -> None:  # at once: a run that is stopped has what it had measured by then
            for file in (sys.stdout, kept):
                print(text, file=file, flush=True)

        say(f"{about(a)}\n")
        images = prepare(Path(scratch) / "images", a.images224, a.epoch_images, (a.size, a.size), least=a.batch)
        native = prepare(Path(scratch) / "native", a.native, a.native_images, NATIVE)
        head = ("What", "Ours", "Peer", "Ratio", "Target", "Note"), ("---",) * 6
        for row in chain(head, measure(a, images, native)):
            say(f"| {' | '.join(row)} |")
        say(f"\nLoad at the end: {fair.load()}.")


def measure(a: argparse.Namespace, images: Path, native: Path) -> Iterator[Row]:
    import labels
    import packed
    import reading
    import steps

    yield from steps.measure_step(images, size=a.size, batch=a.batch, limit=a.seconds * 0.35)
    yield from steps.measure_epoch(images, size=a.size, batch=a.batch, workers=a.workers, limit=a.seconds * 0.35)
    yield reading.measure(native, limit=a.seconds * 0.1)
    yield from packed.measure(native, limit=a.seconds * 0.2)
    yield from labels.measure(rounds=1 if a.quick else 3, table=a.nih_table)


def about(a: argparse.Namespace) -> str:
    """What the figures belong to: the machine and how busy it is, versions, threads, images."""
    given = ("given" if folder else "synthetic" for folder in (a.images224, a.native))
    return (
        f"{fair.machine()} at the start of the run.\n"
        f"torchvision {torchvision.__version__}, Pillow {PIL.__version__}; "
        f"{a.threads} thread(s) and {a.workers} reading worker(s) on each side.\n"
        f"Images: {next(given)} for training, {next(given)} for reading. Medians over rounds, ours and peer in turn; in"
        " brackets the spread: all rounds, of 8 or more their middle half. No ratio where the spread is wider than the"
        " effect."
    )


def prepare(target: Path, source: Path | None, count: int, size: tuple[int, int], least: int = 1) -> Path:
    """A folder per class with `count` images for every side to read: links to the source's, evenly spread, or drawn
    ones.

    Drawn images are enlarged to (height, width), with grain laid on so that a JPEG takes about a real image's bytes.
    """
    found = sorted(f for f in source.glob("*/*") if f.suffix.lower() in (".jpg", ".jpeg")) if source else []
    if source and len(found) < least:
        sys.exit(f"error: {source} has {len(found)} JPEGs in folders per class; {least} or more are needed")
    for image in (found[k * len(found) // count] for k in range(count)) if len(found) > count else found:
        (target / image.parent.name).mkdir(parents=True, exist_ok=True)
        (target / image.parent.name / image.name).symlink_to(image.resolve())
    if source is None:
        from thorax_launch.synthetic.radiograph import draw_radiograph

        rng = np.random.default_rng(0)
        drawn = [Image.fromarray(draw_radiograph(rng, ["Consolidation"] * (k % 2))) for k in range(min(count, 32))]
        for k in range(count):
            large = drawn[k % len(drawn)].resize(size[::-1], Image.Resampling.BICUBIC)
            grain = rng.standard_normal(size, dtype=np.float32) * 2.0
            file = target / ("NORMAL", "PNEUMONIA")[k % 2] / f"{k:05d}.jpeg"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((np.asarray(large) + grain).clip(0, 255).astype(np.uint8)).save(file, quality=80)
    return target


if __name__ == "__main__":
    main()
