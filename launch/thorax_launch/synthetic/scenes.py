"""Synthetic images in the built-in algorithm's own channels: RecordIO, and four channels with .lst."""

from __future__ import annotations

import colorsys
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from thorax.data.patients import patient_of
from thorax.data.recordio import Writer, pack
from thorax.tracking.progress import Progress
from thorax_launch.synthetic.radiographs import drawing, write_folders

#: What a scene may show, in the order of the .lst's columns.
OBJECTS = ("person", "bicycle", "car", "motorcycle", "airplane")


def write_records(root: Path) -> None:
    """Binary images as train, validation and test .rec, each in a channel of its own with its .lst.

    The images are those of `write_folders`, beside `root`; a sixth of the training patients is validation.
    """
    images = root.with_name("folders")
    write_folders(images)
    _once(root, lambda partial: _pack(images, partial))


def write_scenes(root: Path, *, scenes: int = 240, seed: int = 0) -> None:
    """Scenes of simple objects (OBJECTS, 0 to 3 each) in the channels train, validation and their _lst."""
    _once(root, lambda partial: _draw(partial, scenes, seed))


def _once(root: Path, write: Callable[[Path], None]) -> None:
    """Writes a folder beside `root` and renames it; a folder that is there is taken as it is."""
    with drawing(root):
        if root.is_dir():
            return
        partial = root.with_name(f"{root.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        write(partial)
        os.replace(partial, root)


def _pack(images: Path, root: Path) -> None:
    members: dict[str, list[Path]] = {"train": [], "validation": [], "test": sorted((images / "test").glob("*/*"))}
    for image in sorted((images / "train").glob("*/*")):
        number = int("".join(filter(str.isdigit, patient_of(image.name))))
        members["validation" if number % 6 == 0 else "train"].append(image)
    for part, paths in members.items():
        (root / part).mkdir()
        with Writer(root / part / f"{part}.rec") as records, (root / part / f"{part}.lst").open("w") as rows:
            for index, path in enumerate(paths):
                label = ("NORMAL", "PNEUMONIA").index(path.parent.name)
                records.write(pack(path.read_bytes(), label, index), index)
                rows.write(f"{index}\t{label:.6f}\t{path.parent.name}/{path.name}\n")


def _draw(root: Path, scenes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for part, count in (("train", scenes - scenes // 4), ("validation", scenes // 4)):
        for folder in (part, f"{part}_lst"):
            (root / folder).mkdir()
        rows = []
        for index in Progress(f"drawing synthetic scenes ({part})", count, "scene", every=10.0).each(range(count)):
            shown = rng.random(len(OBJECTS)) < 0.3
            shown[index % len(OBJECTS)] |= not shown.any()
            name = f"{part}{index:05d}.jpg"
            _scene(rng, shown).save(root / part / name, quality=85)
            rows.append("\t".join([str(index), *(str(int(s)) for s in shown), name]) + "\n")
        (root / f"{part}_lst" / f"{part}.lst").write_text("".join(rows))


def _scene(rng: np.random.Generator, shown: np.ndarray) -> Image.Image:
    """200 x 200 pixels, each object at its own place in a random order of places, dark on a light, noisy ground; in
    colours that tell nothing."""
    picture = Image.new("RGB", (200, 200), _color(int(rng.integers(150, 200))))
    pen = ImageDraw.Draw(picture)
    for place, kind in zip(rng.permutation(6), np.flatnonzero(shown), strict=False):
        x, y = 12 + 60 * (place % 3) + rng.integers(0, 6), 30 + 80 * (place // 3) + rng.integers(0, 12)
        color = _color(int(rng.integers(10, 90)))

        def box(left: float, top: float, right: float, bottom: float, x: float = x, y: float = y) -> list[float]:
            return [x + left, y + top, x + right, y + bottom]

        if kind == 0:
            pen.ellipse(box(18, 0, 30, 12), fill=color)
            pen.rectangle(box(16, 13, 32, 56), fill=color)
        elif kind in (1, 3):  # two wheels, open ones for the bicycle
            for left in (0, 30):
                pen.ellipse(box(left, 28, left + 20, 48), fill=color if kind == 3 else None, outline=color, width=3)
            pen.line(box(10, 38, 40, 22), fill=color, width=8 if kind == 3 else 2)
        elif kind == 2:
            pen.rectangle(box(0, 26, 50, 44), fill=color)
            pen.rectangle(box(10, 14, 38, 26), fill=color)
        else:
            pen.polygon([x, y + 26, x + 50, y + 22, x + 50, y + 30], fill=color)
            pen.polygon([x + 20, y + 2, x + 34, y + 26, x + 20, y + 50], fill=color)
    noise = rng.normal(0, 6, (200, 200, 1))
    noisy = np.asarray(picture.filter(ImageFilter.GaussianBlur(0.8)), np.float32) + noise
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def _color(lightness: int) -> tuple[int, int, int]:
    """RGB of that lightness, 0..255, in one of 80 hues."""
    red, green, blue = colorsys.hls_to_rgb(lightness * 37 % 80 / 80, lightness / 255, 0.5)
    return round(255 * red), round(255 * green), round(255 * blue)
