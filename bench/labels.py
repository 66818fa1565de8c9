"""Labels: the whole NIH table from CSV to samples, in seconds, and what a million images take in memory.

python bench/labels.py [--table Data_Entry_2017_v2020.csv.gz]
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).resolve().parents[1] / name) for name in ("bench", "source_dir")]
from fair import Row, timed
from thorax.data.formats import read_channel
from thorax.data.formats.nih import COLUMNS, LABELS, NONE
from thorax.data.samples import SampleSet, label_space, sample_set
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


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument(
        "--table", type=Path, metavar="FILE", help="NIH's Data_Entry_2017 table (default: one of its size is drawn)"
    )
    for row in measure(rounds=5, table=p.parse_args().table):
        print(f"{row.what}: {row.ours} (target {row.target}{'; ' if row.note else ''}{row.note})")


if __name__ == "__main__":
    main()
