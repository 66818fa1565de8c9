"""A model.tar.gz, as SageMaker stores a bundle, unpacked into a folder."""

from __future__ import annotations

import shutil
import tarfile
import tempfile
import zlib
from pathlib import Path

from thorax.errors import ThoraxError
from thorax.unpacking import open_tar


def unpack(archive: Path) -> Path:
    """A new temporary folder with the contents of a model.tar.gz; whoever calls this removes it.

    Nothing is written outside of the folder, and no link that leads outside is made.

    Raises:
        ThoraxError: it is no such archive, it is cut off, it holds a path or link that leads outside, or the disk is
            full.
    """
    folder = Path(tempfile.mkdtemp(prefix="thorax-bundle-"))
    try:
        with open_tar(archive) as tar:
            tar.extractall(folder, filter="data")
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise ThoraxError(
            f"{archive} cannot be unpacked: {error}; name a bundle's folder or its model.tar.gz"
        ) from None
    return folder
