"""What `prepare pack` leaves beside its files: SHA256SUMS, of which the small files are compared at every load.

Large ones (shards, .rec) have a checksum of each image, which is compared when that is read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from thorax.errors import ThoraxError

SUMS = "SHA256SUMS"
WITHOUT = "packed by an earlier version, without checksums of its images: damaged bytes would not be noticed"


def check_small_files(folder: Path, names: Iterable[str]) -> None:
    """Compares files with SHA256SUMS beside them, where that is there and names them.

    Raises:
        ThoraxError: one is not as it was written.
    """
    try:
        lines = (folder / SUMS).read_bytes().decode("utf-8", "surrogateescape").splitlines()
    except OSError:
        return
    sums = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    for name in names:
        if name in sums and (folder / name).is_file():
            found = hashlib.sha256((folder / name).read_bytes()).hexdigest()
            if found != sums[name]:
                raise ThoraxError(
                    f"{folder / name} is not as it was written: sha256 {found[:16]}..., {sums[name][:16]}... in {SUMS};"
                    f" copy or pack the folder again, or remove {SUMS} if you have changed it yourself"
                )
