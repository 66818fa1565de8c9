"""Pack images into a few large files: tar shards for streaming, or RecordIO as SageMaker's built-in algorithm takes it.

Every image is decoded once on the way, so that damaged ones are found now. A run that was killed goes on where it was:
start the same command again. The same images and options give the same bytes.

examples:
    python launch/prepare.py pack images/ packed/ --size 256                     # packed/shard-000000.tar ... + index
    python launch/prepare.py pack images/ packed/ --to rec --size 256            # packed/images.rec + .idx + .lst
    python launch/prepare.py pack images/ packed/ --size 256x256 --encode raw    # just what image_shape=1,256,256 sees
    python launch/prepare.py pack images/ packed/ --split split.csv --size 256   # packed/train, packed/validation ...
    python launch/prepare.py pack packed/ --verify                              # checksums, and every image decoded
"""

from __future__ import annotations

import argparse
import csv
import os
from pathlib import Path
from typing import TYPE_CHECKING

from thorax.dataset.reading import add_source, check_seed, read_images, some
from thorax.errors import ThoraxError

if TYPE_CHECKING:
    from thorax.data.samples import Listing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_source(parser)
    parser.add_argument(
        "out", type=Path, nargs="?", metavar="OUT", help="folder to write to, empty or of an unfinished run"
    )
    parser.add_argument(
        "--to", choices=("shards", "rec"), default="shards", help="tar shards (default) or one RecordIO file"
    )
    parser.add_argument(
        "--size",
        default="",
        metavar="N or WxH",
        help="N: short side, aspect kept; WxH: stretched as fit=stretch does; default: as they are",
    )
    parser.add_argument(
        "--encode",
        choices=("keep", "jpeg", "png", "raw"),
        help=(
            "how images are stored: as they are (default), or grey in 8 bits "
            "(with --size: jpeg); raw (PGM) is the largest and by far the fastest to read"
        ),
    )
    parser.add_argument(
        "--quality", type=int, default=95, metavar="1..100", help="of JPEGs that are written (default: 95)"
    )
    parser.add_argument("--shard-images", type=int, default=1000, metavar="N", help="images in a shard (default: 1000)")
    parser.add_argument(
        "--shuffle",
        type=int,
        metavar="SEED",
        help="shuffle the images first, by this seed; default: the order in which they are found",
    )
    parser.add_argument(
        "--split",
        type=Path,
        metavar="CSV",
        help="from prepare.py split: a folder for each part; default: parts that the set itself tells",
    )
    parser.add_argument(
        "--skip-corrupt", action="store_true", help="leave images out that cannot be read, instead of stopping"
    )
    parser.add_argument(
        "--processes",
        type=int,
        default=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1,
        metavar="N",
        help="processes that read and encode (default: the CPUs)",
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help="pack nothing: check IMAGES, a packed folder, against its checksums and decode every image",
    )


def run(args: argparse.Namespace) -> int:
    """Packs, or verifies."""
    from thorax.dataset import packing, verification

    if args.verify:
        if args.out is not None:
            raise ThoraxError(f"--verify checks one packed folder and writes nothing; leave {args.out} out")
        for told in verification.verify(args):
            print(told)
        return 0
    if args.out is None:
        raise ThoraxError("OUT is missing: the folder to write to")
    for name, low, high in (("quality", 1, 100), ("shard_images", 1, 10**9), ("processes", 1, 1024)):
        value = getattr(args, name)
        if not low <= value <= high:
            raise ThoraxError(f"--{name.replace('_', '-')} {value} is out of range; choose {low} to {high}")
    check_seed("--shuffle", args.shuffle)
    if args.size and not all(side.isdecimal() and 8 <= int(side) <= 8192 for side in args.size.split("x", 1)):
        raise ThoraxError(
            f"--size {args.size} is out of range; write the short side, such as 256, or WIDTHxHEIGHT, such as 256x256"
            " (8 to 8192)"
        )
    if args.out.resolve() == args.images.resolve() or args.images.resolve() in args.out.resolve().parents:
        raise ThoraxError(f"{args.out} lies in the folder that is packed; choose one outside of {args.images}")
    listing = read_images(args)
    encode = args.encode or ("jpeg" if args.size else "keep")
    if args.size and encode == "keep":
        raise ThoraxError(
            f"--size {args.size} with --encode keep: a scaled image must be encoded anew; choose jpeg or png"
        )
    options = packing.PackOptions(
        args.to, args.size, encode, args.quality, args.shard_images, args.shuffle, args.skip_corrupt
    )
    for part, images in _parts(listing, args.split).items():
        for told in packing.pack(images, args.out / part, part or args.images.resolve().name, options, args.processes):
            print(f"{part}: {told}" if part else told, flush=True)
    return 0


def _parts(listing: Listing, split: Path | None) -> dict[str, Listing]:
    """Images by part; "" where there are no parts."""
    import numpy as np

    parts = listing.parts if split is None else _read_split(split, list(listing.ids))
    if parts is None:
        return {"": listing}
    told = np.array(parts)
    return {
        part: some(listing, np.flatnonzero(told == part)) for part in ("train", "validation", "test") if part in told
    }


def _read_split(file: Path, ids: list[str]) -> list[str]:
    """The part of every image.

    Raises:
        ThoraxError: not a table of prepare.py split, or an image is not in it.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig") as text:
            rows = list(csv.DictReader(text))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ThoraxError(f"--split {file} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not rows or not {"id", "part"} <= set(rows[0]):
        raise ThoraxError(f"--split {file} is not a table with the columns id and part, as prepare.py split writes it")
    part = {row["id"]: row["part"] for row in rows}
    lacking = [name for name in ids if part.get(name) not in ("train", "validation", "test")]
    if lacking:
        raise ThoraxError(
            f"--split {file} says no part (train, validation or test) of {len(lacking)} images, e.g."
            f" {', '.join(lacking[:3])}; split again"
        )
    return [part[name] for name in ids]
