"""Images that come as numbers: pixels, or tensors that the caller has normalised already.

A tensor is taken for normalised only where the request says so: a content type with `; normalized=true`, or
normalized=true in the query or in X-Amzn-SageMaker-Custom-Attributes.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from thorax.data.images import DecodeError, Preprocessing
from thorax.serving.request import InferenceRequest, RequestError, normalized_in, too_many_images
from thorax.serving.settings import ServerSettings

HINT = "floats that are normalised already are taken with normalized=true"
_PIXELS = "(H, W), (N, H, W), (H, W, 3), (N, H, W, 3), (N, 3, H, W) or (N, 1, H, W)"
_TENSORS = "(N, 3, H, W) or (N, 1, H, W), or one image without N"
#: Channels of an image.
_DEPTHS = (1, 3)


@dataclass(frozen=True, eq=False)
class NormalizedImage:
    """An image as the network takes it, but for its size, which is not known to fit.

    Attributes:
        values: (C, H, W) float32, C 1 or 3.
    """

    values: np.ndarray

    def fitting(self, preprocessing: Preprocessing, name: str) -> np.ndarray:
        """(channels, height, width) float32; one channel is repeated where the network takes three.

        Raises:
            DecodeError: another size, three channels where the network takes one, or numbers that are not finite.
        """
        depth, height, width = self.values.shape
        wanted = (preprocessing.channels, preprocessing.height, preprocessing.width)
        if (height, width) != wanted[1:] or (depth > 1 and depth != wanted[0]):
            raise DecodeError(
                f"{name} is normalised of shape {self.values.shape}; the network takes {wanted}: prepare it so, or send"
                " the image itself"
            )
        if not np.isfinite(self.values).all():
            raise DecodeError(f"{name} holds numbers that are not finite")
        return np.ascontiguousarray(np.broadcast_to(self.values, wanted))


@dataclass(frozen=True, eq=False)
class NumberTable:
    """Numbers in lines, as CSV gives them: what they mean follows from the network's size.

    Attributes:
        values: (rows, columns) uint8 or float.
        normalized: whether they are.
        most: images that one request may have.
    """

    values: np.ndarray
    normalized: bool
    most: int

    def images(self, preprocessing: Preprocessing) -> list[np.ndarray | NormalizedImage]:
        """A line an image, channels first, of the network's size; else the rows of one grey image.

        Raises:
            RequestError: 400, of another length; 413, more images than `most`.
        """
        rows, columns = self.values.shape
        pixels = preprocessing.height * preprocessing.width
        depth = columns // pixels
        if columns == depth * pixels and depth in _DEPTHS:
            if rows > self.most:
                raise too_many_images(rows, ServerSettings(max_images=self.most))
            tensors = self.values.reshape(rows, depth, preprocessing.height, preprocessing.width)
            return [_one(tensor, self.normalized) for tensor in tensors]
        if rows > 1:
            return [_one(self.values[None], self.normalized)]
        numbers = " or ".join(str(depth * pixels) for depth in _DEPTHS)
        raise RequestError(
            400,
            f"a line of {columns} numbers is no image of {preprocessing.height}x{preprocessing.width}; send {numbers}",
        )


def unfolded(request: InferenceRequest, preprocessing: Preprocessing) -> InferenceRequest:
    """The request with the images of a CSV, for a network of that size; another one stays as it is.

    Raises:
        RequestError: see NumberTable.images.
    """
    table = request.images[0] if len(request.images) == 1 else None
    if not isinstance(table, NumberTable):
        return request
    images = table.images(preprocessing)
    return replace(request, images=[*images], several=len(images) > 1)


def _one(tensor: np.ndarray, normalized: bool) -> np.ndarray | NormalizedImage:
    """An image of (C, H, W) numbers."""
    if normalized:
        return NormalizedImage(np.asarray(tensor, np.float32))
    return tensor[0] if len(tensor) == 1 else np.ascontiguousarray(np.moveaxis(tensor, 0, 2))


def images_in(values: np.ndarray, normalized: bool, settings: ServerSettings) -> InferenceRequest:
    """The request with the images of an array: pixels in one of _PIXELS, or normalised in one of _TENSORS.

    Raises:
        RequestError: 400, no image; 413, more images than one request may have.
    """
    shape = values.shape
    if not 2 <= len(shape) <= 4 or min(shape) < 1:
        raise no_image(shape, normalized)
    first = len(shape) == 4 and shape[1] in _DEPTHS and (normalized or shape[3] != 3)
    if normalized:
        if values.dtype.kind != "f":
            raise RequestError(400, f"normalized=true with an array of {values.dtype}; send floats")
        if len(shape) > 2 and shape[-3] not in _DEPTHS:
            raise no_image(shape, normalized)
        several = len(shape) == 4
    else:
        if len(shape) == 4 and not first and shape[3] != 3:
            raise no_image(shape, normalized)
        several = len(shape) == 4 or (len(shape) == 3 and shape[2] != 3)
    if several and shape[0] > settings.max_images:
        raise too_many_images(shape[0], settings)
    if not (normalized or first):
        return InferenceRequest(list(values) if several else [values], several)
    if not normalized and values.dtype.kind == "f" and not (values.min() >= 0 and values.max() <= 1):
        low, high = float(values.min()), float(values.max())
        raise RequestError(400, f"pixels as floats must lie in 0..1, found {low:g} to {high:g}; {HINT}")
    tensors = values if several else values.reshape(1, *(1,) * (3 - len(shape)), *shape)
    return InferenceRequest([_one(tensor, normalized) for tensor in tensors], several)


def no_image(shape: tuple[int, ...], normalized: bool = False) -> RequestError:
    """400: an array of that shape holds no image."""
    told = str(shape) if len(str(shape)) <= 100 else f"{str(shape)[:100]}..."
    hint = f"; {HINT}" if len(shape) == 4 and not normalized else ""
    return RequestError(400, f"an array of shape {told} is no image; send {_TENSORS if normalized else _PIXELS}{hint}")


def from_lists(lists: list[Any], parameters: str, settings: ServerSettings) -> InferenceRequest:
    """The request of nested JSON lists of numbers: whole numbers are levels 0..255, others shares of white 0..1.

    Raises:
        RequestError: 400, lists of different lengths, or of anything but numbers in range.
    """
    try:
        values = np.array(lists)
    except (ValueError, OverflowError):
        raise RequestError(400, "the JSON's lists have different lengths, so they are no array") from None
    normalized = normalized_in(parameters)
    if normalized and values.dtype.kind in "iu":
        values = values.astype(np.float32)
    return images_in(_pixels(values, normalized, "the JSON"), normalized, settings)


def from_csv(body: bytes, parameters: str, settings: ServerSettings) -> InferenceRequest:
    """The request of lines of numbers, with commas between; see NumberTable.

    Raises:
        RequestError: 400, anything but lines of as many numbers, in range.
    """
    try:
        text = body.decode("utf-8-sig").strip()
        values = np.loadtxt(io.StringIO(text or ","), np.float64, comments=None, delimiter=",", ndmin=2)
    except (UnicodeDecodeError, ValueError, OverflowError):
        raise RequestError(400, "the CSV must be lines of as many numbers each, with commas between") from None
    normalized = normalized_in(parameters)
    if not normalized and not re.search(r"[.eEnN]", text):
        values = values.astype(np.int64)
    table = NumberTable(_pixels(values, normalized, "the CSV"), normalized, settings.max_images)
    return InferenceRequest([table])


def _pixels(values: np.ndarray, normalized: bool, what: str) -> np.ndarray:
    """Numbers as they mean pixels: whole ones as uint8, others as float32."""
    if values.dtype.kind not in "iuf":
        raise RequestError(400, f"{what} holds no array of numbers")
    if values.dtype.kind == "f":
        return values.astype(np.float32)
    if values.size and not 0 <= values.min() <= values.max() <= 255:
        low, high = int(values.min()), int(values.max())
        raise RequestError(400, f"{what} holds whole numbers from {low} to {high}; levels are 0 to 255, and {HINT}")
    return values.astype(np.uint8)
