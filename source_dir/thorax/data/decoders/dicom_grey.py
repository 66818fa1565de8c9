"""The way of a DICOM image from stored samples to grey levels: modality LUT or rescale -> VOI LUT or window -> 0..255.

With at most 16 bits a sample, the whole way from sample to grey level is one table of at most 65,536 entries.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from thorax.data.decoders.limits import (
    GRAY,
    GREY,
    RGB,
    UnsupportedImage,
    brightest,
    counts_of,
    grey_table,
    luminance,
    white_of,
)

GREYS = ("MONOCHROME1", "MONOCHROME2")
_DEPTHS = (8, 10, 12, 14, 16)


def stored_samples(dataset: Any, raw: np.ndarray) -> np.ndarray:
    """The samples of BitsStored bits up to HighBit: other bits (old overlays, noise) are cut off, the sign is spread.

    Args:
        dataset: with BitsStored, HighBit and PixelRepresentation.
        raw: integers, as they lie in the file.

    Returns:
        The same shape; of int8 to uint16 where 16 bits hold them, else int32 or uint32.
    """
    bits, width = int(dataset.BitsStored), 8 * raw.dtype.itemsize
    top = int(dataset.get("HighBit", bits - 1))
    signed = bool(dataset.get("PixelRepresentation"))
    kept: np.ndarray = raw.view(f"u{raw.dtype.itemsize}")
    if (bits, top) != (width, width - 1):
        kept = (kept << (width - 1 - top)) if top < width - 1 else kept
        kept = kept.view(f"i{raw.dtype.itemsize}") if signed else kept
        kept = kept >> (width - bits)
    kept = kept.view(f"{'i' if signed else 'u'}{raw.dtype.itemsize}")
    return np.asarray(kept.astype("i2" if signed else "u2") if width > 16 and bits <= 16 else kept)


def bits_cut_off(dataset: Any, raw: np.ndarray, samples: np.ndarray, padded: np.ndarray | None) -> bool:
    """Whether stored_samples cut off bits that are no sign and no padding: BitsStored or HighBit may be wrong."""
    bits, width = int(dataset.BitsStored), 8 * raw.dtype.itemsize
    if bits == width:
        return False
    top = int(dataset.get("HighBit", bits - 1))
    above = raw.view(f"u{raw.dtype.itemsize}") >> (top + 1) if top + 1 < width else np.zeros_like(raw)
    spread = (samples < 0) & (above == (1 << (width - 1 - top)) - 1)  # the sign, in all of the bits
    cut = (above != 0) & ~spread
    return bool((cut if padded is None else cut & ~padded).any())


def grey_levels(dataset: Any, samples: np.ndarray, padded: np.ndarray | None = None, grey: int = GREY) -> np.ndarray:
    """(h, w) uint8, black and white as a viewer shows them: MONOCHROME1 and PresentationLUTShape INVERSE are inverted.

    Args:
        dataset: as pydicom reads it.
        samples: (h, w) as stored: integers of up to 32 bits, or floats.
        padded: (h, w) bool, what is no part of the image: it is black, and the range is found without it.
        grey: the rules; by GREY 1 nothing is padded and INVERSE is passed over.

    Raises:
        UnsupportedImage: no window says what is black and white in more than 16 bits; or slope, intercept or window is
            no number.
    """
    inverse = grey > 1 and str(dataset.get("PresentationLUTShape") or "") == "INVERSE"
    inverted = dataset.PhotometricInterpretation == "MONOCHROME1" or inverse
    if samples.dtype.kind == "f" or samples.dtype.itemsize > 2:
        levels = _levels(_shares(dataset, samples, None, grey), inverted)
    else:
        kind = samples.dtype.itemsize
        codes = samples.view(f"u{kind}")
        stored = np.arange(1 << 8 * kind).astype(f"u{kind}").view(samples.dtype)
        counts = counts_of(codes if padded is None or padded.all() else codes[~padded])[: len(stored)]
        levels = _levels(_shares(dataset, stored, counts, grey), inverted)[codes]
    if padded is not None:
        levels[padded] = 0
    return np.asarray(levels)


def colour_levels(samples: np.ndarray, bits: int, color: str = GRAY) -> np.ndarray:
    """(h, w) uint8 luminance, or in colour (h, w, 3), of (h, w, 3) RGB samples of uint16, `bits` of them stored."""
    white = white_of(counts_of(samples)) if bits == 16 else (1 << bits) - 1
    return np.asarray(grey_table(white)[samples if color == RGB else luminance(samples)])


def padding(dataset: Any, raw: np.ndarray, samples: np.ndarray) -> np.ndarray | None:
    """(h, w) bool: where PixelPaddingValue lies, or what is between it and PixelPaddingRangeLimit; None: nowhere.

    The value is looked for among the samples and among the bits as they lie in the file, since it may have more bits
    than are stored (PS3.3 C.7.5.1.1.2).
    """
    ends = [dataset.get(k) for k in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    if ends[0] is None or ends[0] == "" or samples.dtype.kind == "f":
        return None
    low, high = sorted(int(v) for v in (ends[0], ends[0] if ends[1] in (None, "") else ends[1]))
    found = _between(samples, low, high)
    if samples.dtype != raw.dtype or int(dataset.BitsStored) < 8 * raw.dtype.itemsize:
        found |= _between(raw.view(f"{samples.dtype.kind}{raw.dtype.itemsize}"), low, high)
    return found if found.any() else None


def _between(samples: np.ndarray, low: int, high: int) -> np.ndarray:
    """Bool: in low..high; numbers of the other sign than the samples' are read as their bits."""
    about, whole = np.iinfo(samples.dtype), 1 << 8 * samples.dtype.itemsize
    ends = [v + whole if v < about.min else v - whole if v > about.max else v for v in (low, high)]
    if not all(about.min <= v <= about.max for v in ends):
        return np.zeros(samples.shape, bool)
    return np.asarray((samples >= min(ends)) & (samples <= max(ends)))


def _levels(share: np.ndarray, inverted: bool) -> np.ndarray:
    if not np.isfinite(share).all():
        raise UnsupportedImage("its rescale slope, intercept or window is no number")
    levels = np.rint(share * 255).clip(0, 255).astype(np.uint8)
    return np.asarray(255 - levels if inverted else levels)


def _shares(dataset: Any, stored: np.ndarray, counts: np.ndarray | None, grey: int) -> np.ndarray:
    """Shares of white, 0..1 where they are in range, of stored samples; `counts` of each, None: no known range."""
    from pydicom.pixels.processing import apply_modality_lut, apply_voi

    for item in dataset.get("ModalityLUTSequence") or ():
        entries, first, bits = item.LUTDescriptor
        if bits not in (8, 16):  # 12, say: pydicom knows the two of the standard
            item.LUTDescriptor = [entries, first, 16]
    values = np.asarray(apply_modality_lut(stored, dataset), np.float64)
    if dataset.get("VOILUTSequence"):
        looked_up = np.asarray(apply_voi(np.rint(values).astype(np.int64), dataset), np.float64)
        return looked_up / next(white for white in (255, 1023, 4095, 16383, 65535) if looked_up.max() <= white)
    if (window := _window(dataset)) is not None:
        return _windowed(values, *window, str(dataset.get("VOILUTFunction") or "LINEAR"))
    if counts is None:
        raise UnsupportedImage(
            f"it has {'floating-point' if stored.dtype.kind == 'f' else '32-bit'} samples and no window, so no known"
            " black and white; write WindowCenter and WindowWidth, or 16 bits"
        )
    low, high = _range(int(dataset.BitsStored), stored, counts, grey)
    held = values[(stored >= low) & (stored <= high)]
    return np.asarray((values - held.min()) / max(held.max() - held.min(), np.finfo(float).tiny))


def _window(dataset: Any) -> tuple[float, float] | None:
    """Centre and width, the first where there are several; None without a usable one."""
    centre, width = (dataset.get(keyword) for keyword in ("WindowCenter", "WindowWidth"))
    centre, width = (
        v[0] if not isinstance(v, float | int | str) and v is not None and len(v) else v for v in (centre, width)
    )
    if centre in (None, "", []) or width in (None, "", []) or not float(width) > 0:
        return None
    return float(centre), float(width)


def _windowed(values: np.ndarray, centre: float, width: float, function: str) -> np.ndarray:
    """Shares of white, 0..1: the functions of DICOM PS3.3 C.11.2.1.2 and C.11.2.1.3."""
    if function == "SIGMOID":
        share: np.ndarray = 1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -700, 700)))
        return share
    if function == "LINEAR_EXACT":
        return ((values - centre) / width + 0.5).clip(0, 1)
    if function != "LINEAR":
        raise UnsupportedImage(f"its VOI LUT function {function} is not read; LINEAR, LINEAR_EXACT and SIGMOID are")
    return ((values - (centre - 0.5)) / max(width - 1, 1e-9) + 0.5).clip(0, 1)


def _range(bits: int, stored: np.ndarray, counts: np.ndarray, grey: int) -> tuple[int, int]:
    """The lowest and highest sample of an image without window and LUT: of the stored bits, or, where 16 are stored,
    of the smallest of 8, 10, 12, 14 or 16 bits that holds the image.

    Signed samples of which none is negative have the range of unsigned ones of the same depth.
    """
    if stored.dtype.kind == "u":
        return 0, white_of(counts, grey) if bits == 16 else (1 << bits) - 1
    order = np.argsort(stored, kind="stable")
    stored, counts = stored[order], counts[order]
    seen = stored[counts > 0].astype(int)
    if grey > 1 and seen[0] >= 0:
        return 0, white_of(counts[stored >= 0]) if bits == 16 else (1 << bits - 1) - 1
    if bits == 16:
        low, high = int(seen[0]), int(seen[-1])
        if grey > 1:
            low, high = int(stored[len(stored) - 1 - brightest(counts[::-1])]), int(stored[brightest(counts)])
        bits = next(b for b in _DEPTHS if -(1 << b - 1) <= low and high < 1 << b - 1)
    return -(1 << bits - 1), (1 << bits - 1) - 1
