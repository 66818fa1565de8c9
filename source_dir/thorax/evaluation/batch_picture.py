"""A picture of some images of a batch as the network sees them, with their labels below."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from thorax.evaluation.arrays import Array

#: Pixels of an image's longer side, of a label's line, and images in a row.
SIDE, LINE, ROW = 200, 18, 6


def batch_picture(images: Array, labels: Sequence[str]) -> bytes:
    """A PNG of them in rows.

    Args:
        images: (N, H, W) float of any range, each shown from its darkest to its brightest value; or (N, H, W, 3) uint8.
        labels: one for each.
    """
    scale = SIDE / max(images.shape[1:3])
    width, height = max(1, round(images.shape[2] * scale)), max(1, round(images.shape[1] * scale))
    rows = -(-len(images) // ROW)
    across = min(ROW, len(images))
    mode, white, black = ("RGB", "white", "black") if images.ndim == 4 else ("L", 255, 0)
    page = Image.new(mode, (across * (width + 6) - 6, rows * (height + LINE + 6) - 6), white)
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(13)
    for k, (image, label) in enumerate(zip(images, labels, strict=True)):
        left, top = k % ROW * (width + 6), k // ROW * (height + LINE + 6)
        page.paste(Image.fromarray(_levels(image)).resize((width, height), Image.Resampling.BILINEAR), (left, top))
        pen.text((left, top + height + 2), _fitting(label, width, font), fill=black, font=font)
    out = io.BytesIO()
    page.save(out, "PNG")
    return out.getvalue()


def _levels(image: Array) -> Array:
    if image.ndim == 3:
        return image
    low, high = float(image.min()), float(image.max())
    return (255 * (image - low) / max(high - low, 1e-12)).round().astype(np.uint8)


def _fitting(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    while len(text) > 1 and font.getlength(text) > width:
        text = text[:-2].rstrip(" ,") + "…"
    return text
