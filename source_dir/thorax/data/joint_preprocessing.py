"""Several preprocessings of one image: those of an ensemble whose members want images of different kinds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from thorax.data.preprocessing import Preprocessing
from thorax.data.source import Source


@dataclass(frozen=True)
class JointPreprocessing(Preprocessing):
    """The first of several as a Preprocessing, and the others.

    A prepared image is one row of numbers, each preprocessing's pixels after one another, so that whatever reads,
    stores and stacks prepared images does so with these too; `split` takes them apart.

    Attributes:
        also: the others, each different from the first and from one another.
    """

    also: tuple[Preprocessing, ...] = ()

    @classmethod
    def of(cls, wanted: Sequence[Preprocessing]) -> Preprocessing:
        """One for all that are `wanted`: where they are equal, that one itself."""
        first, *also = dict.fromkeys(wanted)
        return cls(**_values(first), also=tuple(also)) if also else first

    @property
    def each(self) -> tuple[Preprocessing, ...]:
        """All of them, the first first."""
        values = {name: value for name, value in _values(self).items() if name != "also"}
        return Preprocessing(**values), *self.also

    @property
    def shape(self) -> tuple[int, ...]:
        """(numbers of a prepared image,)."""
        return (sum(int(np.prod(one.shape)) for one in self.each),)

    def image(self, source: Source | bytes, name: str = "") -> np.ndarray:
        """(numbers,) uint8; see `Preprocessing.image`."""
        return np.concatenate([one.image(source, name).ravel() for one in self.each])

    def split(self, images: np.ndarray) -> dict[Preprocessing, np.ndarray]:
        """(N, numbers) -> by preprocessing (N, height, width[, 3])."""
        found, start = {}, 0
        for one in self.each:
            end = start + int(np.prod(one.shape))
            found[one] = images[:, start:end].reshape(len(images), *one.shape)
            start = end
        return found

    def to_dict(self) -> dict[str, Any]:
        """As bundles store it."""
        stored = super().to_dict()
        return {**stored, "also": [one.to_dict() for one in self.also]}


def _values(one: Preprocessing) -> dict[str, Any]:
    return {field.name: getattr(one, field.name) for field in fields(one)}
