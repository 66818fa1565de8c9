"""Is a packed folder what it was when it was written? Every checksum, and every film decoded once."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterator
from pathlib import Path

from dataset.encoding import encoded
from dataset.packing import SUMS, Options
from dataset.reading import read_films
from thorax.errors import ThoraxError
from thorax.tracking.progress import Progress


def verify(args: argparse.Namespace) -> Iterator[str]:
    """Lines for the user.

    Raises:
        ThoraxError: no checksums, a file is missing, was changed or was cut short, or a film cannot be decoded.
    """
    parts = sorted(file.parent for file in args.films.glob(f"*/{SUMS}")) if args.films.is_dir() else []
    for folder in parts or [args.films]:
        files = _checksums(folder)
        listing = read_films(argparse.Namespace(**{**vars(args), "films": folder}))
        progress = Progress(f"decoding {folder}", len(listing.ids), 0, True, 30.0, "film")
        for film in encoded(((k, listing.sources[k]) for k in range(len(listing.ids))), Options("shards", "", "keep", 95, 1, None, False), args.processes):
            progress.step()
            if film.problem:
                raise ThoraxError(f"{film.problem}; pack it again")
        progress.close()
        yield f"{folder}: {files} files are as they were written, {len(listing.ids)} films can be decoded"


def _checksums(folder: Path) -> int:
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ThoraxError(f"{folder / SUMS} cannot be read ({error.strerror}); --verify is for a folder that prepare.py pack has finished") from None
    for line in lines:
        digest, _, name = line.partition("  ")
        file = folder / name
        if not file.is_file():
            raise ThoraxError(f"{file} is missing; copy or pack the folder again")
        with file.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != digest:
            raise ThoraxError(f"{file} is not as it was written: sha256 {found[:16]}..., {digest[:16]}... in {SUMS}; copy or pack the folder again")
    return len(lines)
