"""Packed images of 256 px, from RecordIO and from streamed shards, against decoding the native originals; and packing
itself.

    python bench/packed.py [--native DIR] [--seconds S]

Both sides end with a uint8 array of 256 x 256 px, by the product's Preprocessing, in one process of one thread. "Bytes
only" leaves the decoding out. DIR is a folder of class folders; without it, synthetic images are drawn.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).resolve().parents[1] / name) for name in ("bench", "launch", "source_dir")]
from fair import Row, compare, rounds, timed
from thorax.data.columns import ByteRangeColumn
from thorax.data.formats import read_channel
from thorax.data.preprocessing import Preprocessing
from thorax.data.samples import SampleSet, label_space, sample_set
from thorax.data.streaming import StreamedBatches
from thorax_launch.cli import prepare

SIZE = 256
TIMES = 8  #: the set is packed this often, so that streaming gets going
BATCH, BUFFER = 32, 512


def measure(native: Path, *, limit: float, size: int = SIZE) -> list[Row]:
    """Reading rows and one for packing. native: a folder per class; limit: seconds, packing included."""
    start = time.perf_counter()
    seen = Preprocessing(size, size)
    paths = sorted(path for path in native.glob("*/*") if path.is_file())
    with TemporaryDirectory(prefix="bench-") as scratch:
        root = Path(scratch)
        many = _many(native, root / "many")
        packed = {
            (to, encode): _pack(many, root / f"{to}-{encode}", to, encode, size)
            for to in ("rec", "shards")
            for encode in ("jpeg", "raw")
        }
        sides: dict[str, tuple[Callable[[], object], int]] = {}
        for (to, encode), images in packed.items():
            assert isinstance(images.table.sources, ByteRangeColumn)
            bytes_of = partial(_by_offset, images.table.sources) if to == "rec" else partial(_streamed, images)
            name = (
                f"{'RecordIO, by offset' if to == 'rec' else 'Shards, streamed'}, {encode}"
                f" {images.table.sources[0].size / 1e3:.0f} kB"
            )
            sides[f"{name}: bytes only"] = partial(_count, bytes_of), len(images)
            sides[f"{name}: decoded to {size} px"] = partial(_decode, bytes_of, seen), len(images)
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        originals = []
        for _ in rounds(limit - (time.perf_counter() - start), least=4):  # the first warms the disk cache
            originals.append(timed(lambda: [seen.image(path) for path in paths]) / len(paths))
            for name, (work, count) in sides.items():
                seconds[name].append(timed(work) / count)
        peer = f"the same decoder on {len(paths)} native originals"
        rows = [compare(name, peer, 1, took[1:], originals[1:], target=">= 20x") for name, took in seconds.items()]
        return [*rows, _packing(many, root, size)]


def _many(native: Path, folder: Path) -> Path:
    """The images TIMES times, by links."""
    for k in range(TIMES):
        for image in native.glob("*/*"):
            (folder / image.parent.name).mkdir(parents=True, exist_ok=True)
            (folder / image.parent.name / f"{image.stem}-{k}{image.suffix}").symlink_to(image.resolve())
    return folder


def _pack(images: Path, out: Path, to: str, encode: str, size: int, processes: int = 2) -> SampleSet:
    words = ["pack", images, out, "--to", to, "--size", f"{size}x{size}", "--encode", encode, "--processes", processes]
    with contextlib.redirect_stdout(io.StringIO()):
        if prepare.main([str(word) for word in words]):
            sys.exit(f"error: {images} cannot be packed")
    listing = read_channel("packed", out)
    return sample_set("packed", listing, label_space(listing, (), None))


def _by_offset(sources: ByteRangeColumn) -> Iterable[bytes]:
    return (source.read() for source in sources)


def _streamed(images: SampleSet) -> Iterable[bytes]:
    for request in StreamedBatches(images, BATCH, BUFFER, 0, 0):
        yield from request.encoded or ()


def _count(images: Callable[[], Iterable[bytes]]) -> int:
    return sum(len(data) for data in images())


def _decode(images: Callable[[], Iterable[bytes]], seen: Preprocessing) -> None:
    for data in images():
        seen.image(data)


def _packing(images: Path, root: Path, size: int) -> Row:
    """2 processes against 1, in turn."""
    count = sum(1 for _ in images.rglob("*.*"))
    seconds: tuple[list[float], list[float]] = ([], [])
    for k in range(2):
        for processes, told in zip((2, 1), seconds, strict=True):
            told.append(
                timed(partial(_pack, images, root / f"packing-{processes}-{k}", "shards", "jpeg", size, processes))
            )
    return compare(
        "Packing native images, 2 processes",
        "1 process",
        count,
        *seconds,
        target="near 2x",
        note="from the command's start to its end",
    )


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--native", type=Path, metavar="DIR", help="images of their native size, a folder per class")
    p.add_argument("--seconds", type=float, default=60, help="at most about so long (default: 60)")
    a = p.parse_args()
    from bench import NATIVE
    from bench import prepare as images_of

    with TemporaryDirectory(prefix="bench-") as scratch:
        for row in measure(images_of(Path(scratch) / "native", a.native, 104, NATIVE), limit=a.seconds):
            print(f"{row.what}: {row.ours}; {row.peer}; {row.ratio}", flush=True)


if __name__ == "__main__":
    main()
