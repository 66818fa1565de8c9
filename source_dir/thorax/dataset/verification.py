"""Is a packed folder what it was when it was written? Every checksum, and every film decoded once."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from thorax.dataset.encoding import encoded
from thorax.dataset.packing import SUMS, Options, check_sums
from thorax.dataset.reading import read_films
from thorax.errors import ThoraxError
from thorax.tracking.progress import Progress


def verify(args: argparse.Namespace) -> Iterator[str]:
    """Lines for the user.

    Raises:
        ThoraxError: no checksums, a file is missing, was changed or was cut short, or a film cannot be decoded.
    """
    parts = sorted(file.parent for file in args.films.glob(f"*/{SUMS}")) if args.films.is_dir() else []
    for folder in parts or [args.films]:
        files = check_sums(folder)
        listing = read_films(argparse.Namespace(**{**vars(args), "films": folder}))
        progress = Progress(f"decoding {folder}", len(listing.ids), 0, True, 30.0, "film")
        for film in encoded(((k, listing.sources[k]) for k in range(len(listing.ids))), Options("shards", "", "keep", 95, 1, None, False), args.processes):
            progress.step()
            if film.problem:
                raise ThoraxError(f"{film.problem}; pack it again")
        progress.close()
        yield f"{folder}: {files} files are as they were written, {len(listing.ids)} films can be decoded"
