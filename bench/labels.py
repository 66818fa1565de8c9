"""Labels: whole published tables from CSV to samples, in seconds of CPU, and what a million images take in memory.

python bench/labels.py [--table Data_Entry_2017_v2020.csv.gz] [--published FOLDER]

FOLDER holds the tables of CheXpert (chexpert_train.csv.gz) and PadChest (PADCHEST_*.csv.gz), as in the folder data/ of
the package torchxrayvision: their rows are read as if all images were there, and then with a file of one byte for each.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).resolve().parents[1] / name) for name in ("bench", "source_dir")]
from fair import Row, timed
from thorax.data.formats import read_channel
from thorax.data.formats.label_table import label_table
from thorax.data.formats.nih import COLUMNS, LABELS, NONE
from thorax.data.samples import Listing, SampleSet, label_space, sample_set
from thorax.tables import read_table

IMAGES, PATIENTS = 112_120, 30_805  #: as in NIH ChestX-ray14


def write_channel(root: Path, table: Path | None = None) -> None:
    """A channel with the table, given or drawn, and an empty file for each of its images in images_001/images/ ...

    Images_012/images/.
    """
    root.mkdir()
    if table is None:
        rng = np.random.default_rng(0)
        people = np.sort(rng.integers(1, PATIENTS + 1, IMAGES))
        nth = np.arange(IMAGES) - np.searchsorted(people, people)
        found = rng.random((IMAGES, len(LABELS))) < 0.05
        each = ["|".join(np.array(LABELS)[row]) or NONE for row in found]
        rows = (
            f"{p:08d}_{n:03d}.png,{text},{n},{p},58,M,PA,2682,2749,0.143,0.143\n"
            for p, n, text in zip(people, nth, each, strict=True)
        )
        table = root / "Data_Entry_2017.csv"
        table.write_text(
            "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,W,H,X,Y\n"
            + "".join(rows)
        )
    else:
        (root / table.name).symlink_to(table.resolve())
    read = read_table(table, ragged=True)
    for k, name in enumerate(read.columns[read.header.index(COLUMNS[0])]):
        folder = root / f"images_{k // 10_000 + 1:03d}" / "images"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def images_of(root: Path) -> SampleSet:
    listing = read_channel("train", root)
    return sample_set("train", listing, label_space(listing, (), None))


def measure(*, rounds: int, table: Path | None = None) -> list[Row]:
    """Both rows of the table; the images of the given NIH table, or of a drawn one of its size."""
    with TemporaryDirectory(prefix="bench-") as scratch:
        write_channel(Path(scratch) / "nih", table)
        images = images_of(Path(scratch) / "nih")
        seconds, began = [], time.process_time()
        for _ in range(rounds):
            seconds.append(timed(lambda: images_of(Path(scratch) / "nih")))
        busy = (time.process_time() - began) / rounds
    megabytes = images.table.nbytes / len(images)  # bytes an image = MB a million images
    source = "as published" if table else "drawn"
    return [
        Row(
            f"{len(images):,} NIH label rows ({source}) to samples",
            f"{median(seconds):.2f} s",
            "",
            "",
            "< 3 s",
            f"{min(seconds):.2f} to {max(seconds):.2f} s, {busy:.2f} s of it on the CPU",
        ),
        Row("Sample table, 14 labels", f"{megabytes:.0f} MB for 1 million images", "", "", "< 100 MB"),
    ]


#: Table of torchxrayvision -> (its name in the set, the column that names an image, what lies before the name).
PUBLISHED = {
    "chexpert_train.csv.gz": ("CheXpert-v1.0-small/train.csv.gz", "Path", ""),
    "PADCHEST*.csv.gz": ("PADCHEST.csv.gz", "ImageID", "ImageDir"),
}


def measure_published(folder: Path, rounds: int) -> list[Row]:
    """CPU seconds from a set's tables to samples, without its images and with a file of one byte for each."""
    rows = []
    for pattern, (name, column, parent) in PUBLISHED.items():
        with TemporaryDirectory(prefix="bench-") as scratch:
            table = Path(scratch) / name
            table.parent.mkdir(exist_ok=True)
            table.symlink_to(next(folder.resolve().glob(pattern)))
            places = _touched(Path(scratch), table, column, parent)
            alone = [_cpu(lambda: _samples(label_table(Path(scratch)))) for _ in range(rounds)]
            there = [_cpu(lambda: _samples(read_channel("train", Path(scratch)))) for _ in range(rounds)]
        rows += [_row(f"{places:,} rows of {pattern}", alone), _row(f"{places:,} rows with their files", there)]
    return rows


def _touched(root: Path, table: Path, column: str, parent: str) -> int:
    """Makes a file of one byte for each row; returns how many rows there are."""
    read = read_table(table, only=lambda name: name in (column, parent)).by_name()
    folders = read.get(parent, [""] * len(read[column]))
    made: set[Path] = set()
    for folder, name in zip(folders, read[column], strict=True):
        file = root / folder.strip().removesuffix(".0") / name.strip()
        if file.parent not in made:
            file.parent.mkdir(parents=True, exist_ok=True)
            made.add(file.parent)
        handle = os.open(file, os.O_CREAT | os.O_WRONLY)
        os.write(handle, b".")
        os.close(handle)
    return len(read[column])


def _samples(listing: Listing) -> SampleSet:
    return sample_set("train", listing, label_space(listing, (), None))


def _cpu(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def _row(what: str, seconds: list[float]) -> Row:
    return Row(what, f"{median(seconds):.2f} s of CPU", "", "", "< 5 s", f"{min(seconds):.2f} to {max(seconds):.2f} s")


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument(
        "--table", type=Path, metavar="FILE", help="NIH's Data_Entry_2017 table (default: one of its size is drawn)"
    )
    p.add_argument("--published", type=Path, metavar="FOLDER", help="with the tables of CheXpert and PadChest")
    args = p.parse_args()
    rows = measure_published(args.published, rounds=3) if args.published else measure(rounds=5, table=args.table)
    for row in rows:
        print(f"{row.what}: {row.ours} (target {row.target}{'; ' if row.note else ''}{row.note})")


if __name__ == "__main__":
    main()
