"""Lists of names and checksums: what md5sum, sha256sum and BSD's tools write, tables with such columns, names alone."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from thorax.errors import ThoraxError
from thorax.shown import cell, read_cell
from thorax.unpacking import gunzipped

#: Characters of a digest -> hashlib's name.
ALGORITHMS = {32: "md5", 40: "sha1", 56: "sha224", 64: "sha256", 96: "sha384", 128: "sha512"}
#: Names of lists that sets come with, in the order in which they are looked for.
KNOWN = ("SHA256SUMS.txt", "SHA256SUMS", "sha256sum.txt", "MD5SUMS", "md5sums.txt", "md5sum.txt", "checksums.md5")
_SUM = re.compile(r"(\\?)([0-9a-fA-F]{32,128})[ \t]+\*?(\S.*)")
_BSD = re.compile(r"(MD5|SHA1|SHA224|SHA256|SHA384|SHA512) ?\((.+)\) ?= ?([0-9a-fA-F]{32,128})")
_PATHS = ("path", "file", "filename", "file_name", "name", "image", "image_path", "file_path", "image index")
_SIZES = ("size", "bytes", "size_bytes", "file_size")
_DIGEST = re.compile(r"md5(sum)?|sha-?(1|224|256|384|512)(sum)?|hash|checksum|digest|etag")


@dataclass(frozen=True)
class Listed:
    """One file of a list.

    Attributes:
        path: as listed, with / between folders.
        algorithm: hashlib's name; "" where the list has no checksum of it.
        digest: in lower case.
        size: in bytes; None where the list does not say it.
    """

    path: str
    algorithm: str = ""
    digest: str = ""
    size: int | None = None


def read_list(file: Path) -> list[Listed]:
    """The files of a list, each once.

    Raises:
        ThoraxError: it cannot be read, is none, or says two things of one file; with the line.
    """
    lines = [line.rstrip("\r\n") for line in _text(file).splitlines()]
    rows = [(number, line) for number, line in enumerate(lines, 1) if line.strip() and not line.startswith("#")]
    if not rows:
        raise ThoraxError(f"{file} lists no file")
    found = _table(rows, file) or [(number, _one(line, number, file)) for number, line in rows]
    kinds = {bool(one.digest) or one.size is not None for _, one in found}
    if len(kinds) > 1:
        number = next(number for number, one in found if not one.digest and one.size is None)
        raise ThoraxError(f"{file}: line {number} has no checksum, others have; a list of names has none at all")
    return _once(found, file)


def _text(file: Path) -> str:
    try:
        content = file.read_bytes()
        return gunzipped(content, file).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ThoraxError(f"{file} is no list of names: it is not text in UTF-8") from None
    except (OSError, EOFError) as error:
        raise ThoraxError(f"{file} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _one(line: str, number: int, file: Path) -> Listed:
    """A line of md5sum, of BSD's md5, or a name alone."""
    if found := _BSD.fullmatch(line.strip()):
        return _listed(_slashed(found[2]), found[3], None, number, file)
    if found := _SUM.fullmatch(line.strip()):
        name = found[3]
        if found[1]:  # md5sum marks a line whose name it has changed so
            name = re.sub(r"\\([\\nr])", lambda part: {"n": "\n", "r": "\r"}.get(part[1], "\\"), name)
        else:
            name = _slashed(name)
        return _listed(name, found[2], None, number, file)
    return _listed(_slashed(line.strip()), "", None, number, file)


def _slashed(path: str) -> str:
    """A path that Windows may have written."""
    return path.replace("\\", "/")


def _listed(path: str, digest: str, size: int | None, number: int, file: Path) -> Listed:
    name = path.strip().removeprefix("./")
    if not name or name.startswith("/") or re.match("[A-Za-z]:/", name) or ".." in PurePosixPath(name).parts:
        raise ThoraxError(f"{file}: line {number}: {path!r} is no path below a folder")
    if digest and (len(digest) not in ALGORITHMS or not re.fullmatch("[0-9a-fA-F]+", digest)):
        kinds = ", ".join(ALGORITHMS.values())
        raise ThoraxError(f"{file}: line {number}: {digest!r} is no checksum of {kinds} in hexadecimal digits")
    return Listed(name, ALGORITHMS[len(digest)] if digest else "", digest.lower(), size)


def _table(rows: list[tuple[int, str]], file: Path) -> list[tuple[int, Listed]]:
    """The rows of a CSV with a header that names a path; empty where it is none."""
    for delimiter in ",\t;|":
        header = [cell.strip().lower() for cell in next(csv.reader([rows[0][1]], delimiter=delimiter))]
        path = next((header.index(name) for name in _PATHS if name in header), None)
        if path is not None and (len(header) > 1 or rows[0][1].strip().lower() in _PATHS):
            break
    else:
        return []
    digest = next((k for k, name in enumerate(header) if _DIGEST.fullmatch(name)), None)
    size = next((header.index(name) for name in _SIZES if name in header), None)
    found = []
    cells = csv.reader(io.StringIO("".join(f"{line}\n" for _, line in rows[1:])), delimiter=delimiter)
    for (number, _), row in zip(rows[1:], cells, strict=False):
        if len(row) != len(header):
            raise ThoraxError(f"{file}: line {number} has {len(row)} cells, the header has {len(header)}")
        text = row[size].strip() if size is not None else ""
        if text and not text.isdecimal():
            raise ThoraxError(f"{file}: line {number}: {text!r} is no number of bytes")
        checksum = row[digest].strip() if digest is not None else ""
        found.append(
            (number, _listed(_slashed(read_cell(row[path])), checksum, int(text) if text else None, number, file))
        )
    if not found:
        raise ThoraxError(f"{file} lists no file")
    return found


def _once(found: list[tuple[int, Listed]], file: Path) -> list[Listed]:
    known: dict[str, tuple[int, Listed]] = {}
    for number, one in found:
        line, before = known.setdefault(one.path, (number, one))
        if before != one:
            raise ThoraxError(f"{file}: lines {line} and {number} say two things of {one.path}")
    return [one for _, one in known.values()]


def list_text(entries: Iterable[Listed], table: bool) -> str:
    """What md5sum or sha256sum would write of these files; with `table` a CSV of path, size and checksum."""
    rows = list(entries)
    if table:
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["path", "size", rows[0].algorithm if rows else "sha256"])
        writer.writerows([cell(one.path), one.size, one.digest] for one in rows)
        return out.getvalue()
    lines = []
    for one in rows:
        name = one.path.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
        lines.append(f"{chr(92) if name != one.path else ''}{one.digest}  {name}\n")
    return "".join(lines)
