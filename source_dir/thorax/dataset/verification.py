"""Is a packed folder what it was when it was written? Every checksum, and every image decoded once."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from thorax.dataset.encoding import encoded
from thorax.dataset.packing import SUMS, PackOptions, check_sums
from thorax.dataset.reading import read_images
from thorax.errors import ThoraxError
from thorax.tracking.progress import Progress


def verify(args: argparse.Namespace) -> Iterator[str]:
    """Lines for the user.

    Raises:
        ThoraxError: no checksums, a file is missing, was changed or was cut short, or an image cannot be decoded.
    """
    parts = sorted(file.parent for file in args.images.glob(f"*/{SUMS}")) if args.images.is_dir() else []
    for folder in parts or [args.images]:
        files = check_sums(folder)
        listing = read_images(argparse.Namespace(**{**vars(args), "images": folder}))
        progress = Progress(f"decoding {folder}", len(listing.ids), 0, True, 30.0, "image")
        for image in encoded(
            ((k, listing.sources[k]) for k in range(len(listing.ids))),
            PackOptions("shards", "", "keep", 95, 1, None, False),
            args.processes,
        ):
            progress.step()
            if image.problem:
                raise ThoraxError(f"{image.problem}; pack it again")
        progress.close()
        yield f"{folder}: {files} files are as they were written, {len(listing.ids)} images can be decoded"
