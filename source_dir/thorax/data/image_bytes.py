"""Whether the images are still those of before: one digest over the bytes of all of them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from hashlib import blake2b
from operator import itemgetter
from pathlib import Path

from thorax.data.samples import SampleSet
from thorax.data.source import ByteRange, Source, read_at

#: Bytes of all images up to which every byte counts; of more, each image's size and this many at its start and end.
WHOLE, ENDS = 2**30, 4096
_THREADS = 8


def digest_of_images(parts: Iterable[SampleSet]) -> str:
    """Hexadecimal digits that are the same for images of the same ids with the same bytes, and no others.

    Of more than 1 GiB of images only sizes, first and last 4 KiB count: another image in place of one is told, a bit
    that flips in the middle of one is not. An image that cannot be read counts as empty; whoever decodes it says so.
    """
    images = [
        (f"{part.part}/{name}", source)
        for part in parts
        for name, source in zip(part.ids, part.table.sources, strict=True)
    ]
    images.sort(key=itemgetter(0))
    with ThreadPoolExecutor(_THREADS) as pool:
        sources = [source for _, source in images]
        whole = sum(pool.map(_size, sources, chunksize=256)) <= WHOLE
        digests = pool.map(partial(_digest, whole=whole), sources, chunksize=64)
        total = blake2b(digest_size=16)
        for (name, _), digest in zip(images, digests, strict=True):
            total.update(name.encode("utf-8", "surrogateescape") + b"\0" + digest)
    return total.hexdigest()


def _size(source: Source) -> int:
    if isinstance(source, ByteRange):
        return source.size
    try:
        return os.stat(source).st_size
    except OSError:
        return 0


def _digest(source: Source, whole: bool) -> bytes:
    path, start = (source.path, source.offset) if isinstance(source, ByteRange) else (Path(source), 0)
    digest = blake2b(digest_size=16)
    try:
        file = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        try:
            size = source.size if isinstance(source, ByteRange) else os.fstat(file).st_size
            digest.update(size.to_bytes(8, "little"))
            if whole or size <= 2 * ENDS:
                digest.update(read_at(file, size, start))
            else:
                digest.update(read_at(file, ENDS, start) + read_at(file, ENDS, start + size - ENDS))
        finally:
            os.close(file)
    except (OSError, OverflowError, ValueError):
        pass
    return digest.digest()
