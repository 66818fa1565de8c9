"""Turn MS-COCO boxes into a table of labels: an image has those categories that it has a box of.

examples:
    python launch/prepare.py coco coco/ --labels person,bicycle,car --out coco/labels.csv
    python launch/prepare.py coco coco/ --labels person,car --no-crowds --drop-empty --out coco/labels.parquet
"""

from __future__ import annotations

import argparse
from pathlib import Path

from thorax.dataset.reading import label_names, some, with_labels


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "images", type=Path, metavar="COCO", help="folder with annotations/instances_*.json and the images"
    )
    parser.add_argument(
        "--labels", default="", metavar="A,B,...", help="categories to keep, in this order; default: all"
    )
    parser.add_argument("--no-crowds", action="store_true", help="boxes marked iscrowd do not count")
    parser.add_argument("--drop-empty", action="store_true", help="leave out images with none of the categories")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="CSV or Parquet")


def run(args: argparse.Namespace) -> int:
    import numpy as np

    from thorax.data.formats import read_channel
    from thorax.data.formats.channel import ReadOptions
    from thorax.dataset.tables import write_listing

    listing = read_channel(str(args.images), args.images, "coco", ReadOptions(count_crowds=not args.no_crowds))
    for note in listing.notes:
        print(f"note: {note}")
    listing = with_labels(listing, label_names(args.labels))
    if args.drop_empty:
        rows = np.flatnonzero(listing.targets.any(axis=1))
        print(f"note: {len(listing.ids) - len(rows)} images have none of the categories and are left out")
        listing = some(listing, rows)
    write_listing(listing, args.images, args.out)
    return 0
