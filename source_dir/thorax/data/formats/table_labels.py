"""Labels of a table's rows, with what was uncertain in them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class TableLabels:
    """What a table says of its rows.

    Attributes:
        names: of the labels.
        targets: (N, L) float32: 1, 0, NaN unknown, between 0 and 1 soft.
        exclusive: each row has exactly one of the names, or it is all NaN: then it has none.
        uncertain: (N, L) bool, which of the unknown ones are there with a question mark; None: none.
        notes: lines for the log and the bundle: what was made of cells and texts that are no plain label.
        of_texts: they are of a text of labels a row, in which blanks mean what `notes` say.
    """

    names: tuple[str, ...]
    targets: np.ndarray
    exclusive: bool = False
    uncertain: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    of_texts: bool = False

    def take(self, rows: np.ndarray) -> TableLabels:
        """Those of the rows at (n,) places."""
        uncertain = None if self.uncertain is None else self.uncertain[rows]
        return replace(self, targets=self.targets[rows], uncertain=uncertain)
