"""Synthetic grey JPEGs, drawn by all CPUs, and packed into shards of raw images."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from gpukit.common import Figure, Figures, Kit

CLASSES = ("NORMAL", "PNEUMONIA")
TABLE = "Images"


def small(kit: Kit) -> Path:
    return kit.folder / "small"


def native(kit: Kit) -> Path:
    return kit.folder / "native"


def packed(kit: Kit) -> Path:
    return kit.folder / "packed"


def run(kit: Kit) -> Figures:
    """Draws both sets and packs the small one; says how large they are and how fast one core decodes them."""
    from thorax.data.images import Preprocessing

    s = kit.sizes
    for folder, count, size, links in (
        (small(kit), s.different[0], (s.stored, s.stored), s.links[0]),
        (native(kit), s.different[1], s.native, s.links[1]),
    ):
        draw(folder, count, size, links)
        files = sorted(folder.glob("*/*"))[: min(200, count)]
        data = [file.read_bytes() for file in files]
        prepared, began = Preprocessing(s.side, s.side), time.perf_counter()
        for one in data:
            prepared.image(one)
        rate = len(data) / (time.perf_counter() - began)
        what = f"JPEGs of {size[1]}x{size[0]} px to {s.side} px"
        note = f"{np.mean([len(one) for one in data]) / 1e3:.0f} kB each, {count} different ones, each {links} times"
        yield Figure(TABLE, what, "our decoder, one core", rate, note=note)
    began = time.perf_counter()
    pack(small(kit), packed(kit), s.side)
    seconds = time.perf_counter() - began
    yield Figure(
        TABLE,
        f"thorax prepare pack to raw shards of {s.side} px",
        "ours, all cores",
        s.different[0] * s.links[0] / seconds,
        note=f"{seconds:.1f} s",
    )


def draw(folder: Path, count: int, size: tuple[int, int], links: int) -> None:
    """`count` different JPEGs in a folder per class, each under `links` names."""
    for name in CLASSES:
        (folder / name).mkdir(parents=True, exist_ok=True)
    processes = min(len(os.sched_getaffinity(0)), max(1, count // 8))
    work = partial(_draw_some, folder, size, links)
    parts = [range(k, count, processes) for k in range(processes)]
    if processes == 1:
        work(parts[0])
        return
    with ProcessPoolExecutor(processes) as pool:
        list(pool.map(work, parts))


def _draw_some(folder: Path, size: tuple[int, int], links: int, numbers: range) -> None:
    height, width = size
    base = np.random.default_rng(7)
    coarse = [
        np.asarray(
            Image.fromarray(base.uniform(20, 235, (9, 11)).astype(np.uint8)).resize(
                (width, height), Image.Resampling.BICUBIC
            ),
            np.float32,
        )
        for _ in range(8)
    ]
    grain = [base.standard_normal(size, dtype=np.float32) * 3 for _ in range(4)]  # a JPEG's bytes are a real image's
    for k in numbers:
        rng = np.random.default_rng(k)
        first, second = rng.integers(8, size=2)
        share = float(rng.random())
        pixels = coarse[first] * share + coarse[second] * (1 - share) + grain[int(rng.integers(4))]
        if k % 2:
            top, left = int(rng.integers(height // 2)), int(rng.integers(width // 2))
            pixels[top : top + height // 6, left : left + width // 6] += 40
        out = io.BytesIO()
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(out, "JPEG", quality=85)
        file = folder / CLASSES[k % 2] / f"{k:06d}_0.jpeg"
        file.write_bytes(out.getvalue())
        for n in range(1, links):
            os.link(file, file.with_name(f"{k:06d}_{n}.jpeg"))


def pack(images: Path, out: Path, side: int) -> None:
    from thorax.dataset.__main__ import main as prepare

    words = ["pack", images, out, "--to", "shards", "--size", f"{side}x{side}", "--encode", "raw"]
    told = io.StringIO()
    with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
        code = prepare([str(word) for word in words])
    if code:
        sys.exit(f"error: {images} cannot be packed: {told.getvalue()[-500:]}")
