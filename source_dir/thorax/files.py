"""Files that are there whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from thorax.errors import ThoraxError


def write_whole(data: bytes | memoryview, file: Path, what: str) -> None:
    """Writes a file by way of a temporary one, fsync and rename, so that no reader ever sees half of it.

    Args:
        data: the whole content.
        file: where it goes; its folder exists.
        what: what to call it in errors, such as "checkpoint".

    Raises:
        ThoraxError: the disk is full or the folder cannot be written. What was there before stays.
    """
    partial = file.with_name(f".{file.name}.partial")
    try:
        with partial.open("wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        os.replace(partial, file)
        folder = os.open(file.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        try:
            partial.unlink(missing_ok=True)
        except OSError:
            pass
        reason = f"{error.strerror}; {len(data) / 2**20:.1f} MiB are needed"
        advice = "free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "make it writable"
        raise ThoraxError(f"{what} cannot be saved in {file.parent}: {reason}; {advice} and run again") from None
