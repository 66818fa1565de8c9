"""Tiny images for tests: grey patterns from a formula, written as JPEG or PNG in any mode, and sample sets of them."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from thorax.data.samples import Sample, SampleSet
from thorax.labels import LabelSpace

BINARY = LabelSpace(("NORMAL", "PNEUMONIA"), "binary")
FINDINGS = LabelSpace(("Effusion", "Mass", "Nodule"), "multilabel")
ORIENTATION = 0x0112


def grey(height: int = 40, width: int = 48, seed: int = 0) -> np.ndarray:
    """(height, width) uint8 without symmetry: a formula in whole numbers, the same image on every machine."""
    rows, columns = np.mgrid[0:height, 0:width].astype(np.int64)
    return (
        (rows * 5 + columns * 3 + (rows * columns) // 7 + 31 * seed + 40 * ((rows // 8 + columns // 6) % 2)) % 256
    ).astype(np.uint8)


def smooth(height: int = 400, width: int = 520) -> np.ndarray:
    """(height, width) uint8 without sharp edges, as an image is: what JPEG and resizing change but little."""
    rows, columns = np.mgrid[0:height, 0:width] / max(height, width)
    value = 120 + 70 * np.sin(9 * rows + 2) * np.cos(7 * columns) + 40 * np.sin(31 * rows * columns)
    return np.rint(value).clip(0, 255).astype(np.uint8)


def data(picture: np.ndarray | Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """The bytes of the picture as a PNG or JPEG file."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def turned(picture: np.ndarray, orientation: int, kind: str = "PNG") -> bytes:
    """A file whose EXIF orientation makes a viewer show `picture`: the pixels are stored the other way round."""
    stored = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: lambda a: a.T,
        6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(a, 2).T,
        8: lambda a: np.rot90(a, -1),
    }[orientation](picture)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return data(np.ascontiguousarray(stored), kind, exif=exif)


def huge(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header claims width x height black pixels."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


def put(path: Path, content: bytes | np.ndarray | None = None, seed: int = 0) -> Path:
    """Writes an image (default: a small pattern) with the folders above it; the suffix says PNG or JPEG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not isinstance(content, bytes):
        kind = "PNG" if path.suffix.lower() == ".png" else "JPEG"
        content = data(grey(seed=seed) if content is None else content, kind)
    path.write_bytes(content)
    return path


def folders(root: Path, **classes: Sequence[str]) -> Path:
    """A channel of class folders: folders(root, NORMAL=["a.png"], PNEUMONIA=["b.jpeg"])."""
    for name, files in classes.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for k, file in enumerate(files):
            put(root / name / file, seed=k + len(name))
    return root


def table(root: Path, text: str, files: Sequence[str] = (), name: str = "images.csv") -> Path:
    """A channel with one CSV and the images it lists."""
    root.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(text.encode())
    for k, file in enumerate(files):
        put(root / file, seed=k)
    return root


def sample_set(
    targets: Any,
    patients: Sequence[str] | None = None,
    space: LabelSpace = BINARY,
    part: str = "train",
    sources: Sequence[Path] | None = None,
) -> SampleSet:
    """A set of images f0, f1, ... with the given targets (N,) or (N, L); without `sources` they cannot be read."""
    rows = np.asarray(targets, np.float32).reshape(len(targets), -1)
    names = patients or [f"p{k}" for k in range(len(rows))]
    paths = sources or [Path(f"/nowhere/f{k}.png") for k in range(len(rows))]
    return SampleSet(
        part,
        [
            Sample(f"f{k}", path, row, patient)
            for k, (row, patient, path) in enumerate(zip(rows, names, paths, strict=True))
        ],
        space,
    )


def written(root: Path, count: int, size: tuple[int, int] = (40, 48), kind: str = "png") -> list[Path]:
    """`count` different images on disk."""
    return [put(root / f"f{k}.{kind}", grey(*size, seed=k)) for k in range(count)]
