"""Images that are nearly the same: candidates by a perceptual hash, confirmed by their correlation.

A hash alone does not separate chest X-rays: of 5,025 different ones, 174 pairs have hashes of at most 4 different bits,
but no two correlate at 0.98 or more.
"""

from __future__ import annotations

import numpy as np

#: Bits of 63 in which candidates may differ, and the correlation of the small images from which they count as the same.
MOST_BITS, LEAST_CORRELATION = 8, 0.98
#: Pairs that are compared at once: half a gigabyte.
_PAIRS = 2**26


def hashes(images: np.ndarray) -> np.ndarray:
    """(N,) uint64 of (N, S, S) uint8: signs of the 63 lowest cosine frequencies about their median (pHash)."""
    side = images.shape[-1]
    wave = np.cos(np.pi / side * (np.arange(side) + 0.5) * np.arange(8)[:, None]).astype(np.float32)  # (8, S): DCT-II
    low = (wave @ images.astype(np.float32) @ wave.T).reshape(len(images), 64)[:, 1:]
    signs = low > np.median(low, axis=1, keepdims=True)
    codes: np.ndarray = (signs.astype(np.uint64) << np.arange(63, dtype=np.uint64)).sum(axis=1, dtype=np.uint64)
    return codes


def near_pairs(images: np.ndarray) -> list[tuple[int, int, float]]:
    """(a, b, correlation) of all images that are nearly the same, a < b, the most alike first.

    All pairs are compared: 10^9 take some seconds.
    """
    if len(images) < 2:
        return []
    codes = hashes(images)
    flat = images.reshape(len(images), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)
    found: list[tuple[int, int, float]] = []
    step = max(1, min(512, _PAIRS // len(codes)))
    for start in range(0, len(codes), step):
        rows, later = codes[start : start + step], codes[start:]
        a, b = np.nonzero(_bits(rows[:, None] ^ later[None]) <= MOST_BITS)
        a, b = a[b > a] + start, b[b > a] + start
        alike = np.einsum("ij,ij->i", flat[a], flat[b])
        keep = alike >= LEAST_CORRELATION
        found += zip(a[keep].tolist(), b[keep].tolist(), alike[keep].tolist(), strict=True)
    return sorted(found, key=lambda pair: -pair[2])


_COUNTS = np.array([bin(k).count("1") for k in range(1 << 16)], np.uint8)


def _bits(words: np.ndarray) -> np.ndarray:
    """Bits that are set in uint64s (numpy before 2 has no bitwise_count)."""
    counted: np.ndarray
    if hasattr(np, "bitwise_count"):
        counted = np.bitwise_count(words)
    else:
        counted = _COUNTS[words.view(np.uint16).reshape(*words.shape, 4)].sum(axis=-1, dtype=np.uint8)
    return counted
