"""Labelled images, prepared, in two parts without a common patient: to calibrate an int8 network, and to accept it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from thorax.data.images import DecodeError, Preprocessing
from thorax.errors import ThoraxError

#: Images of each part, at most; a third of the images calibrates where there are fewer.
CALIBRATION, ACCEPTANCE = 300, 1000
#: Images of both parts together, at least.
LEAST = 24


@dataclass(frozen=True)
class Examples:
    """The two parts.

    Attributes:
        calibration: (M, height, width) uint8.
        images: (N, height, width) uint8, to compare answers on.
        targets: (N, L) of these, NaN for unknown.
    """

    calibration: np.ndarray
    images: np.ndarray
    targets: np.ndarray

    @classmethod
    def read(
        cls, preprocessing: Preprocessing, sources: Sequence[Any], targets: np.ndarray, patients: Sequence[str]
    ) -> Examples:
        """Reads them; images that cannot be read are left out.

        Raises:
            ThoraxError: fewer than LEAST, or the images to compare on have one answer only of every label.
        """
        rng = np.random.default_rng(0)
        owners = [patient or f"image {k}" for k, patient in enumerate(patients)]
        names = sorted(set(owners))
        order = rng.permutation(len(names))
        place = {names[k]: int(rank) for rank, k in enumerate(order)}
        shuffled = sorted(rng.permutation(len(owners)), key=lambda k: place[owners[k]])
        wanted = min(CALIBRATION, len(owners) // 3)
        # The patient in whom the wanted number is reached belongs to the first part as a whole.
        cut = next((n for n in range(wanted, len(shuffled)) if owners[shuffled[n]] != owners[shuffled[n - 1]]), 0)
        first, kept_first = _prepared(preprocessing, sources, shuffled[:cut][:CALIBRATION])
        second, kept = _prepared(preprocessing, sources, shuffled[cut:][:ACCEPTANCE])
        if not kept_first or not kept or len(first) + len(second) < LEAST:
            raise ThoraxError(
                f"{len(first) + len(second)} images of {len(names)} patients are too few to quantise and to compare on"
                f" others; give {LEAST} or more"
            )
        found = targets[kept]
        positives, known = np.nansum(found, axis=0), (~np.isnan(found)).sum(axis=0)
        if not ((positives > 0) & (positives < known)).any():
            raise ThoraxError("no label has both answers among the images to compare on; give more images")
        return cls(first, second, found)


def _prepared(preprocessing: Preprocessing, sources: Sequence[Any], places: Sequence[int]) -> Any:
    images, kept = [], []
    for k in places:
        try:
            images.append(preprocessing.image(sources[k]))
        except DecodeError:
            continue
        kept.append(int(k))
    return np.array(images), kept
