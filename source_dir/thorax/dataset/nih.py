"""Turn the NIH ChestX-ray14 table (either release) into a table of 14 label columns, patient and official split.

examples:
    python launch/prepare.py nih nih14/ --out nih14/labels.csv                  # the images that are there
    python launch/prepare.py nih nih14/ --without-images --out labels.parquet    # every row of the table
"""

from __future__ import annotations

import argparse
from pathlib import Path

from thorax.errors import ThoraxError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "images", type=Path, metavar="NIH", help="folder with Data_Entry_2017*.csv, the official lists and the images"
    )
    parser.add_argument(
        "--without-images", action="store_true", help="all rows of the table, whether their images are there or not"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="CSV or Parquet")


def run(args: argparse.Namespace) -> int:
    from thorax.data.formats import nih, read_channel
    from thorax.data.formats.channel import Channel, ReadOptions
    from thorax.dataset.tables import write_listing
    from thorax.tables import read_table

    if args.without_images:
        channel = Channel(args.images, ReadOptions())
        tables = (
            [name for name in channel.ending(".csv", ".csv.gz") if "data_entry" in name.lower()]
            if args.images.is_dir()
            else []
        )
        if len(tables) != 1:
            raise ThoraxError(f"{args.images} holds {len(tables)} NIH tables (Data_Entry_2017*.csv); one is wanted")
        named = read_table(args.images / tables[0], ragged=True).one_of(("image index",)) or ()
        vars(channel)["everything"] = frozenset(named)  # the images that the table names, as if they lay beside it
        listing = nih.Nih().read(channel)
    else:
        listing = read_channel(str(args.images), args.images, "nih")
    for note in listing.notes:
        print(f"note: {note}")
    write_listing(listing, args.images, args.out)
    return 0
