"""Make the .lst files of SageMaker's built-in algorithm: index, tab, label(s), tab, path below IMAGES.

One class index an image, or a column of 1 and 0 (-1: unknown) per label. The lines are shuffled, as im2rec does.

examples:
    python launch/prepare.py list images/ --out lists/pneumonia               # lists/pneumonia.lst
    python launch/prepare.py list images/ --out lists/pneumonia --ratio 0.85  # ..._train.lst and ..._val.lst, by
    patient
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from thorax.dataset.reading import add_source, check_seed, read_images, some, whole_set, write_text
from thorax.errors import ThoraxError

if TYPE_CHECKING:
    from thorax.data.samples import Listing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_source(parser)
    parser.add_argument(
        "--out",
        required=True,
        metavar="PREFIX",
        help="where to write: PREFIX.lst, or PREFIX_train.lst and PREFIX_val.lst",
    )
    parser.add_argument(
        "--ratio",
        type=float,
        default=1.0,
        metavar="SHARE",
        help="share of the images for training, whole patients only (default: 1, one list)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the split and of the lines' order (default: 0)")


def run(args: argparse.Namespace) -> int:
    import numpy as np

    from thorax.data.splits import cut_by_patient

    if not 0.02 <= args.ratio <= 1:
        raise ThoraxError(f"--ratio {args.ratio:g} is out of range; choose 0.02 to 1")
    check_seed("--seed", args.seed)
    if args.out.endswith(os.sep) or Path(args.out).name in ("", ".."):
        raise ThoraxError(
            f"--out {args.out} is a folder; write how the lists in it are to be named, such as"
            f" {Path(args.out) / 'NAME'}"
        )
    out = Path(args.out.removesuffix(".lst"))
    listing = read_images(args)
    if not all(isinstance(source, Path) for source in listing.sources):
        raise ThoraxError(
            f"the images of {args.images} are in larger files; a .lst names images that are files of their own"
        )
    rows = {"": np.arange(len(listing.ids))}
    if args.ratio < 1:
        place = {name: k for k, name in enumerate(listing.ids)}
        cut = cut_by_patient(whole_set(listing), 1 - args.ratio, args.seed)
        rows = {
            end: np.array([place[name] for name in part.ids]) for end, part in zip(("_train", "_val"), cut, strict=True)
        }
    rng = np.random.default_rng(args.seed)
    for end, chosen in rows.items():
        file = out.with_name(f"{out.name}{end}.lst")
        write_text(_lines(some(listing, rng.permutation(chosen)), args.images), file, "list")
        print(f"{file}: {len(chosen)} images")
    told = ", ".join(f"{k} {name}" for k, name in enumerate(listing.names))
    print(f"{'classes' if listing.exclusive else 'columns'}: {told}; train with --set labels={','.join(listing.names)}")
    return 0


def _lines(images: Listing, folder: Path) -> str:
    import numpy as np

    if images.exclusive:
        labels = [str(int(k)) for k in images.targets.argmax(axis=1)]
    else:
        labels = [
            "\t".join(f"{value:g}" for value in row) for row in np.where(np.isnan(images.targets), -1, images.targets)
        ]
    paths = [Path(os.path.relpath(str(source), folder)).as_posix() for source in images.sources]
    return "".join(f"{k}\t{label}\t{path}\n" for k, (label, path) in enumerate(zip(labels, paths, strict=True)))
