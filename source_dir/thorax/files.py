"""Files that are written whole or not at all, and the files below a folder."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path
from typing import Any, BinaryIO

from thorax.errors import ThoraxError

#: Folders and files that systems, storages and tools leave anywhere, in lower case.
_FOREIGN = "__macosx __pycache__ @eadir @recycle @recently-snapshot @tmp #recycle #snapshot $recycle.bin recycler"
_FILES = "lost+found thumbs.db ehthumbs.db desktop.ini"
FOREIGN = frozenset(f"{_FOREIGN} {_FILES}".split()) | {
    "system volume information",
    "network trash folder",
    "temporary items",
    "icon\r",
}


def is_hidden(name: str) -> bool:
    """Whether a file or folder is hidden: its name begins with a dot."""
    return name.startswith(".")


def is_foreign(name: str) -> bool:
    """Whether a file or folder is hidden or left by a system (@eaDir, __MACOSX ...): never an image, never a class."""
    return is_hidden(name) or name.lower() in FOREIGN


#: How a temporary file is opened: it is a new one, and no link is followed.
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
#: Bytes that the name of a file may have on the usual file systems.
_LONGEST_NAME = 255

#: Key of the checksum in a file of state.
_SEAL = "crc32"

_ADVICE = {
    errno.EEXIST: "wait for it",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f)",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EISDIR: "name a file",
    errno.ENOENT: "make its folder",
    errno.ENOTDIR: "name a file in a folder",
}


def check_output(file: Path, flag: str) -> None:
    """Refuses a file that could not be written, before hours are spent; makes its folder.

    Raises:
        ThoraxError: it is a folder, or its folder cannot be made or written.
    """
    if file.is_dir():
        raise ThoraxError(f"{flag} {file} is a folder; name a file, such as {file / 'NAME'}")
    folder = file.absolute().parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ThoraxError(f"{flag} {file}: its folder cannot be made: {error.strerror}") from None
    if not os.access(folder, os.W_OK):
        raise ThoraxError(f"{flag} {file}: its folder cannot be written; make it writable, or choose another one")


def write_whole(data: bytes | memoryview, file: Path, what: str, private: bool = False) -> None:
    """Writes a file by way of a temporary one, fsync and rename, so that no reader ever sees half of it.

    Args:
        data: the whole content.
        file: where it goes; its folder exists.
        what: what to call it in errors, such as "checkpoint".
        private: as open_whole.

    Raises:
        ThoraxError: the disk is full or the folder cannot be written. What was there before stays.
    """
    with open_whole(file, what, needed=len(data), private=private) as out:
        out.write(data)


@contextmanager
def open_whole(file: Path, what: str, needed: int | None = None, private: bool = False) -> Iterator[BinaryIO]:
    """A file to write piece by piece; it appears whole when the block ends well, and not at all when it ends by an
    error.

    The temporary file is a new one: a link that lies in its place is removed and not followed.

    Args:
        file: where it goes; its folder exists.
        what: what to call it in errors.
        needed: bytes that it will have, where that is known.
        private: it is of patients or secret: nobody but its owner may read it (0600), whatever the umask allows.

    Raises:
        ThoraxError: the disk is full, the folder cannot be written, or another program writes the same file now. What
            was there before stays.
    """
    partial = partial_of(file)
    try:
        partial.unlink(missing_ok=True)  # of a run that was killed, or planted
        descriptor = os.open(partial, _NEW, 0o600 if private else 0o666)
        with os.fdopen(descriptor, "wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
            ours = os.fstat(out.fileno())
        if not os.path.samestat(ours, os.lstat(partial)):
            raise FileExistsError(errno.EEXIST, "another program writes it too")
        os.replace(partial, file)
        folder = os.open(file.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        _remove(partial)
        size = f"; {needed / 2**20:.1f} MiB are needed" if needed and needed >= 2**20 else ""
        advice = _ADVICE.get(error.errno or 0, "make its folder writable")
        raise ThoraxError(f"{what} cannot be saved in {file}: {error.strerror}{size}; {advice} and run again") from None
    except BaseException:
        _remove(partial)
        raise


def partial_of(file: Path) -> Path:
    """The temporary file beside `file` while that is written; its name fits where the file's own does."""
    name = f".{file.name}.partial"
    if len(os.fsencode(name)) > _LONGEST_NAME:
        name = f".{hashlib.sha256(os.fsencode(file.name)).hexdigest()[:32]}.partial"
    return file.with_name(name)


def write_sealed(content: Mapping[str, Any], file: Path, what: str) -> None:
    """Writes JSON with a checksum of its own, for `read_sealed`; raises as write_whole."""
    text = json.dumps({**content, _SEAL: _seal(content)}, indent=1)
    write_whole(text.encode(), file, what)


def read_sealed(file: Path) -> dict[str, Any] | None:
    """What `write_sealed` wrote, or an earlier version without a checksum; None where there is no such file, or its
    bytes are not those that were written: torn, zeroed or flipped."""
    try:
        stored = json.loads(file.read_bytes())
        found = stored.pop(_SEAL, None)
    except (OSError, ValueError, RecursionError, AttributeError, TypeError):
        return None
    return stored if found in (None, _seal(stored)) else None


def _seal(content: Mapping[str, Any]) -> str:
    return f"{zlib.crc32(json.dumps(content, sort_keys=True).encode()):08x}"


def digest_of(file: Path) -> str:
    """SHA-256 of a file, as hexadecimal digits; "" where it cannot be read."""
    if not file.is_file():  # a pipe would wait, and a device never end
        return ""
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return ""


def check_beside(file: Path) -> None:
    """Compares a file with NAME.sha256 beside it, where that is there and names it, as `prepare split` writes it.

    Raises:
        ThoraxError: its bytes are others.
    """
    beside = file.with_name(f"{file.name}.sha256")
    try:
        wanted, _, name = beside.read_text(encoding="utf-8", errors="surrogateescape").strip().partition("  ")
    except OSError:
        return
    if name == file.name and (found := digest_of(file)) != wanted:
        raise ThoraxError(
            f"{file} is not as it was written: sha256 {found[:16]}..., {wanted[:16]}... in {beside.name}; write it"
            f" again, or remove {beside.name} if you have changed it yourself"
        )


def damaged_part(file: Path, suffix: str = "") -> str:
    """The first part of a zip archive, such as torch.save writes, whose bytes do not give its CRC-32; "" where all do.

    Args:
        file: the archive; torch itself does not compare them.
        suffix: looks only at parts whose name ends so.

    Raises:
        zipfile.BadZipFile: it is no such archive, or its directory is damaged.
        OSError: it cannot be read.
    """
    with zipfile.ZipFile(file) as archive:
        for part in archive.infolist():
            if part.filename.endswith(suffix):
                try:
                    with archive.open(part) as stream:
                        while stream.read(1 << 20):
                            pass
                except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, zlib.error):
                    return part.filename
    return ""


def source_file(name: str) -> Path:
    """A file or folder of source_dir: beside this package, else among the copies that an installed package holds.

    Args:
        name: such as inference.py.

    Raises:
        ThoraxError: it is in neither place.
    """
    package = Path(__file__).resolve().parent
    for folder in (package.parent, package / "_source"):
        if (folder / name).exists():
            return folder / name
    raise ThoraxError(
        f"{name} is neither beside {package} nor in {package / '_source'}; install the package again, or work in a"
        " checkout"
    )


def _remove(file: Path) -> None:
    try:
        file.unlink(missing_ok=True)
    except OSError:
        pass


def files_below(folder: Path, skip: Callable[[str], bool] = is_hidden, passed: list[str] | None = None) -> list[str]:
    """Every file at any depth by its path below the folder, with "/"; nothing is opened, and a link that leads nowhere
    counts as a file.

    Links to folders are followed, after all that lies there itself; a link back, or a second one to the same folder, is
    passed over.

    Args:
        folder: where to look.
        skip: whether a folder of this name is left out; of files it is always those that begin with a dot.
        passed: takes the paths of the folders that are left out.

    Raises:
        ThoraxError: a folder cannot be read, so that what it holds would be left out in silence.
    """
    found: list[str] = []
    passed = [] if passed is None else passed
    seen: set[str] = set()  # folders, without links in their paths
    links = [("", os.path.realpath(folder))]
    for name, real in links:
        if real in seen:
            passed.append(name.removesuffix("/"))
            continue
        places = [(name, real)]  # of a folder: what its files' names begin with, and where it is
        while places:
            prefix, place = places.pop()
            if place in seen:
                passed.append(prefix.removesuffix("/"))
                continue
            seen.add(place)
            folders = []
            for entry in _entries(place):
                if _is_folder(entry):
                    folders.append(entry)
                elif entry.name[0] != ".":
                    found.append(prefix + entry.name)
            if len(folders) > 1:
                folders.sort(key=attrgetter("name"), reverse=True)
            for entry in folders:
                below = prefix + entry.name
                if skip(entry.name):
                    passed.append(below)
                elif entry.is_symlink():
                    links.append((f"{below}/", os.path.realpath(entry.path)))
                else:
                    places.append((f"{below}/", f"{place}/{entry.name}"))
    return found


def _entries(folder: str) -> Iterator[os.DirEntry[str]]:
    try:
        return os.scandir(folder)
    except OSError as error:
        why = f"cannot be read: {error.strerror}; make it readable, or move it"
        raise ThoraxError(f"the folder {folder} {why}") from None


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads round and round
        return False
