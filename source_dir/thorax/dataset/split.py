"""Split images into train, validation and test: whole patients only, every label's share kept (also with many labels).

What the set itself says is honoured: a split column, folders of parts, the NIH lists. Then only validation is cut, from
train, where there is none. The same images and seed give the same split, written with its sha256.

examples:
    python launch/prepare.py split images/ --out split.csv                               # 70 % / 15 % / 15 %
    python launch/prepare.py split nih/ --out split.csv --test-list test_list.txt       # the official test
"""

from __future__ import annotations

import argparse
import gzip
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from thorax.dataset.reading import add_source, check_seed, read_images, table, whole_set, write_text
from thorax.errors import ThoraxError
from thorax.files import check_output

if TYPE_CHECKING:
    from thorax.data.samples import Listing, SampleSet


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_source(parser)
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="CSV",
        help="table of id, patient and part; its sha256 goes to CSV.sha256",
    )
    parser.add_argument(
        "--validation",
        type=float,
        default=0.15,
        metavar="SHARE",
        help="of all images that are to be split (default: 0.15; 0: none)",
    )
    parser.add_argument(
        "--test", type=float, default=0.15, metavar="SHARE", help="the same for test (default: 0.15; 0: none)"
    )
    parser.add_argument(
        "--test-list",
        type=Path,
        metavar="FILE",
        help="images (names or ids, one a line) that are test; all others are not",
    )
    parser.add_argument("--anew", action="store_true", help="split everything, whatever parts the set itself tells")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument(
        "--patient-scope",
        choices=("global", "channel"),
        default="global",
        help="channel: the set's own parts count patients anew (Kaggle's chest_xray); default: global",
    )


def run(args: argparse.Namespace) -> int:
    from thorax.data.splits import check_parts, split_table

    for name in ("validation", "test"):
        if not 0 <= getattr(args, name) <= 0.5:
            raise ThoraxError(f"--{name} {getattr(args, name):g} is out of range; choose 0 to 0.5")
    check_seed("--seed", args.seed)
    if args.out.suffix.lower() == ".parquet":
        raise ThoraxError(f"--out {args.out}: a split is written as CSV; name it {args.out.with_suffix('.csv')}")
    listing = read_images(args)
    check_output(args.out, "--out")
    official = _listed(listing, args.test_list) if args.test_list else None if args.anew else listing.parts
    parts = _parts(whole_set(listing), None if official is None else list(official), args)
    for warning in check_parts(parts, args.patient_scope, cut=official is None):
        print(f"warning: {warning}")
    text, digest = split_table(parts)
    write_text(text, args.out, "split")
    write_text(f"{digest}  {args.out.name}\n", args.out.with_name(f"{args.out.name}.sha256"), "checksum")
    print(table(["part", "images", "patients", *parts[0].space.classes], [_row(part) for part in parts]), end="")
    print(f"{args.out}: sha256 {digest}")
    return 0


def _listed(listing: Listing, file: Path) -> list[str]:
    """test for the images of the list, train for all others."""
    try:
        data = file.read_bytes()
        names = set((gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data).decode("utf-8-sig").split("\n"))
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise ThoraxError(f"--test-list {file} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    names = {name.strip() for name in names} - {""}
    ends = {name: name.rpartition("/")[2] for name in listing.ids}
    unknown = names - set(ends) - set(ends.values())
    if len(unknown) == len(names):
        raise ThoraxError(
            f"--test-list {file}: none of its {len(names)} images is in the set, e.g. {', '.join(sorted(names)[:3])}"
        )
    if unknown:
        print(f"note: {len(unknown)} of the {len(names)} images of {file} are not in the set")
    return ["test" if name in names or ends[name] in names else "train" for name in listing.ids]


def _parts(images: SampleSet, official: list[str] | None, args: argparse.Namespace) -> list[SampleSet]:
    from thorax.data.splits import cut_by_patient

    told = set(official or ())
    parts = {part: images.subset([k for k, p in enumerate(official or ()) if p == part], part) for part in told}
    train = parts.get("train", images)
    if official is None and args.test:
        train, test = cut_by_patient(train, args.test, args.seed)
        test.part = "test"
        parts["test"] = test
    if "validation" not in told and args.validation:
        share = args.validation if official is not None else args.validation / (1 - args.test)
        train, parts["validation"] = cut_by_patient(train, share, args.seed)
    train.part = "train"
    return [part for part in (train, parts.get("validation"), parts.get("test")) if part is not None]


def _row(part: SampleSet) -> list[object]:
    return [part.part, len(part), len(set(part.patients)), *part.class_counts().values()]
