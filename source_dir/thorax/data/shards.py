"""Tar shards: shard-000000.tar, shard-000001.tar ... and shards.npz, an index of every image in them.

An image is two members one after the other, named as webdataset names them: 000000012.json (id, patient, and `label` or
`labels`) and 000000012.jpg. The index is for speed alone: without it the tars' headers are read instead. The CRC-32 of
each member stands in its header, where tar has the owner's name, and that of each image also in the index.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import numpy as np

from thorax.errors import ThoraxError
from thorax.files import open_whole, write_whole
from thorax.unpacking import PlainMember, npz_arrays

INDEX = "shards.npz"
VERSION = 1
HEADER = tarfile.BLOCKSIZE
_CRC32 = "crc32="


@dataclass(frozen=True)
class ShardIndex:
    """All images of all shards, in the shards' order.

    Attributes:
        shards: file names; lengths: (S,) bytes of each.
        names: label names; exclusive: each image has exactly one of them.
        ids, patients: one per image.
        which: (N,) index into `shards`; offsets, sizes: (N,) bytes of the image's file in it.
        targets: (N, L) float32: 1, 0, or NaN for unknown.
        crcs: (N,) CRC-32 of each image's file; None in an index of an earlier version.
    """

    shards: list[str]
    lengths: np.ndarray
    names: tuple[str, ...]
    exclusive: bool
    ids: list[str]
    patients: list[str]
    which: np.ndarray
    offsets: np.ndarray
    sizes: np.ndarray
    targets: np.ndarray
    crcs: np.ndarray | None = None


@dataclass(frozen=True, slots=True)
class Member:
    """A file in a tar: its name, where its bytes are, and their CRC-32, if that was written."""

    name: str
    offset: int
    size: int
    crc32: int | None = None


class Hashed:
    """A file that is written forward only; `sha256` is that of all bytes so far, `offset` their number."""

    def __init__(self, out: BinaryIO) -> None:
        self.out, self.sha256, self.offset = out, hashlib.sha256(), 0

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        self.offset += len(data)
        return self.out.write(data)

    def tell(self) -> int:
        return self.offset


def write_shard(
    file: Path, images: Iterable[tuple[str, dict[str, Any], str, bytes]]
) -> tuple[list[int], list[int], str]:
    """Writes one shard, whole or not at all; the same images give the same bytes.

    Args:
        file: the tar.
        images: key (no dots), content of the .json, suffix such as ".jpg", bytes of the image's file.

    Returns:
        Offset and size of each image in the tar, and the tar's sha256.

    Raises:
        ThoraxError: it cannot be written.
    """
    offsets, sizes = [], []
    with open_whole(file, "shard") as out:
        hashed = Hashed(out)
        with tarfile.open(fileobj=hashed, mode="w", format=tarfile.USTAR_FORMAT) as tar:  # type: ignore[call-overload]
            for key, about, suffix, data in images:
                _add(tar, f"{key}.json", json.dumps(about, ensure_ascii=False).encode())
                offsets.append(hashed.offset + HEADER)
                sizes.append(len(data))
                _add(tar, key + suffix, data)
    return offsets, sizes, hashed.sha256.hexdigest()


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)  # time 0, owner 0: nothing of the machine gets in
    entry.size, entry.uname = len(data), f"{_CRC32}{zlib.crc32(data):08x}"
    tar.addfile(entry, io.BytesIO(data))


def members(file: Path) -> Iterator[Member]:
    """The files in a tar, by its headers alone.

    Raises:
        ThoraxError: not an uncompressed tar, cut short, damaged, or with a member that is a link or a device, or that
            has an absolute path or one with "..".
    """
    try:
        with tarfile.open(file, "r:", tarinfo=PlainMember) as tar:
            while (entry := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined]  # it would keep millions of them
                path = PurePosixPath(entry.name)
                if path.is_absolute() or ".." in path.parts:
                    raise ThoraxError(
                        f"{file}: the member {entry.name} has a path that leaves the shard; write the shard again with"
                        " plain names"
                    )
                if entry.isdir():
                    continue
                if not entry.isreg() or entry.issparse():
                    what = "a link or a device" if not entry.isreg() else "a file with holes"
                    what += "; shards hold plain files only"
                    raise ThoraxError(f"{file}: the member {entry.name} is {what}")
                yield Member(entry.name, entry.offset_data, entry.size, _crc32_of(entry))
            _check_end(file, tar.offset)  # type: ignore[attr-defined]
    except tarfile.TarError as error:
        raise ThoraxError(f"{file} is cut short or not an uncompressed tar: {error}") from None
    except OSError as error:
        raise ThoraxError(f"{file} cannot be read: {error.strerror or error}") from None


def _crc32_of(entry: tarfile.TarInfo) -> int | None:
    try:
        return int(entry.uname.removeprefix(_CRC32), 16) if entry.uname.startswith(_CRC32) else None
    except ValueError:
        return None


def _check_end(file: Path, offset: int) -> None:
    """Raises ThoraxError where no mark ends the archive: tarfile takes the file's end or a damaged header for it."""
    with file.open("rb") as raw:
        raw.seek(offset)
        if raw.read(HEADER) != bytes(HEADER):
            raise ThoraxError(f"{file} is cut short or damaged at byte {offset}: the mark of a tar's end is missing")


def write_index(index: ShardIndex, folder: Path) -> None:
    """Writes shards.npz, whole or not at all; the same index gives the same bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, column in _columns(index).items():
            content = io.BytesIO()
            np.save(content, column, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), content.getvalue())  # ZipInfo: 1980, not now
    write_whole(out.getbuffer(), folder / INDEX, "index of the shards")


def _columns(index: ShardIndex) -> dict[str, np.ndarray]:
    texts = {"shards": index.shards, "names": list(index.names), "ids": index.ids, "patients": index.patients}
    return {
        "version": np.array(VERSION),
        "exclusive": np.array(index.exclusive),
        "lengths": index.lengths.astype(np.int64),
        "which": index.which.astype(np.int32),
        "offsets": index.offsets.astype(np.int64),
        "sizes": index.sizes.astype(np.int64),
        "targets": np.where(np.isnan(index.targets), -1, index.targets).astype(np.int8),
        **({} if index.crcs is None else {"crcs": index.crcs.astype(np.uint32)}),
        **{name: np.frombuffer(json.dumps(c, ensure_ascii=False).encode(), np.uint8) for name, c in texts.items()},
    }


def read_index(folder: Path) -> ShardIndex:
    """Reads shards.npz and compares it with the shards beside it.

    Raises:
        ThoraxError: not an index, of another version, or the shards are not those that it was written for.
    """
    file = folder / INDEX
    advice = f"copy the folder again, or remove {INDEX} to read the shards without it"
    try:
        stored = npz_arrays(file)
        if int(stored["version"]) != VERSION:
            version = int(stored["version"])
            raise ThoraxError(f"{file} has version {version}, this program reads {VERSION}; {advice}")
        texts = {name: json.loads(stored[name].tobytes()) for name in ("shards", "names", "ids", "patients")}
        arrays: dict[str, Any] = {name: stored[name] for name in ("lengths", "which", "offsets", "sizes")}
        targets = stored["targets"].astype(np.float32)
        exclusive = bool(stored["exclusive"])
        crcs = stored.get("crcs")
        _check_types(texts, [*arrays.values(), *([] if crcs is None else [crcs])], targets)
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile, RecursionError) as error:
        raise ThoraxError(f"{file} is damaged or not an index of shards ({error}); {advice}") from None
    targets[targets < 0] = np.nan
    texts["names"] = tuple(texts["names"])
    index = ShardIndex(**texts, **arrays, exclusive=exclusive, targets=targets, crcs=crcs)
    tars = (p for p in folder.iterdir() if p.suffix.lower() == ".tar" and not p.name.startswith("."))
    sizes = {path.name: path.stat().st_size for path in tars}
    for name, length in zip(index.shards, index.lengths.tolist(), strict=True):
        if name not in sizes:
            raise ThoraxError(f"{folder / name} is in {INDEX} but not in the folder; {advice}")
        if sizes[name] != length:
            raise ThoraxError(
                f"{folder / name} has {sizes[name]} bytes, {length} in {INDEX}: it was cut short or changed; {advice}"
            )
    if others := sorted(set(sizes) - set(index.shards)):
        raise ThoraxError(f"{folder / others[0]} is not in {INDEX}; remove it, or remove {INDEX} to read all shards")
    _check_index(file, index, advice)
    return index


def _check_types(texts: dict[str, Any], arrays: list[np.ndarray], targets: np.ndarray) -> None:
    """Raises ValueError for an index whose lists and arrays are of other kinds than ours."""
    lists = all(isinstance(column, list) and all(isinstance(text, str) for text in column) for column in texts.values())
    whole = all(array.ndim == 1 and array.dtype.kind in "iu" for array in arrays)
    if not lists or not whole or targets.ndim != 2 or len(arrays[0]) != len(texts["shards"]):
        raise ValueError("its lists and arrays are not those of an index")


def _check_index(file: Path, index: ShardIndex, advice: str) -> None:
    count = len(index.ids)
    columns: list[Any] = [index.patients, index.which, index.offsets, index.sizes, index.targets]
    columns += [] if index.crcs is None else [index.crcs]
    fits = all(len(column) == count for column in columns) and index.targets.shape == (count, len(index.names))
    known = (index.which >= 0) & (index.which < len(index.shards)) & (index.offsets >= 0) & (index.sizes >= 0)
    if not fits or not known.all() or bool((index.offsets + index.sizes > index.lengths[index.which]).any()):
        raise ThoraxError(f"{file} names images outside of the shards; {advice}")
