"""What a classifier tells apart: class names, the task, and the columns of a target matrix."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from thorax.errors import ThoraxError

if TYPE_CHECKING:
    import numpy as np

Task = Literal["binary", "multiclass", "multilabel"]
TASKS: tuple[Task, ...] = ("binary", "multiclass", "multilabel")

#: Names that mean "nothing found"; of two classes the one named so is the negative one.
NEGATIVE_NAMES = frozenset({"normal", "negative", "no finding", "no_finding", "healthy", "none", "0", "no", "false"})


@dataclass(frozen=True)
class LabelSpace:
    """Class names and the task.

    Attributes:
        classes: every class name in order. Binary: (negative, positive).
        task: binary (one logit), multiclass (C logits, softmax) or multilabel (L logits, sigmoid each).
    """

    classes: tuple[str, ...]
    task: Task

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise ThoraxError(f"task={self.task!r} is not one of {', '.join(TASKS)}")
        if len(set(self.classes)) != len(self.classes):
            raise ThoraxError(f"label names must differ, found {', '.join(self.classes)}")
        if self.task == "binary" and len(self.classes) != 2:
            raise ThoraxError(f"a binary task has two classes, found {len(self.classes)}: {', '.join(self.classes)}")
        if self.task == "multiclass" and len(self.classes) < 3:
            raise ThoraxError(f"a multiclass task has three or more classes, found {', '.join(self.classes)}")
        if not self.classes:
            raise ThoraxError("there are no labels; name them with labels=A,B,C")

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the network's outputs and of the columns of targets and probabilities: binary has one."""
        return self.classes[1:] if self.task == "binary" else self.classes

    @classmethod
    def of_classes(cls, found: Iterable[str], order: Sequence[str] = ()) -> LabelSpace:
        """The space of mutually exclusive classes: binary for two, multiclass for more.

        Args:
            found: the class names in the data.
            order: the user's own order, which must name the same classes; of two, the second is positive.

        Raises:
            ThoraxError: fewer than two classes, or `order` names others than were found.
        """
        names = sorted(set(found))
        if len(names) < 2:
            raise ThoraxError(
                f"a classifier needs two or more classes, found {len(names)}: {', '.join(names) or 'none'}"
            )
        if order:
            if sorted(order) != names:
                raise ThoraxError(f"labels={','.join(order)} but the data holds the classes {','.join(names)}")
            names = list(order)
        elif len(names) == 2 and names[1].lower() in NEGATIVE_NAMES and names[0].lower() not in NEGATIVE_NAMES:
            names.reverse()
        return cls(tuple(names), "binary" if len(names) == 2 else "multiclass")

    def decisions(self, probabilities: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
        """Which labels are found: the one rule of scores, tables and servers.

        Args:
            probabilities: (..., L) in 0..1.
            thresholds: (L,); unused for multiclass.

        Returns:
            (..., L) bool. Multiclass: the most probable one; else those at or above their thresholds, compared as
            float64.
        """
        import numpy as np  # late: a mistake in a hyperparameter is reported before numpy is imported

        if self.task == "multiclass":
            return np.asarray(np.arange(probabilities.shape[-1]) == probabilities.argmax(-1)[..., None])
        return np.asarray(probabilities.astype(np.float64) >= thresholds)

    def to_dict(self) -> dict[str, Any]:
        return {"classes": list(self.classes), "task": self.task}

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> LabelSpace:
        return cls(tuple(stored["classes"]), stored["task"])
