"""What a classifier tells apart: class names, the task, and the columns of a target matrix."""

from __future__ import annotations

import re
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
#: Words that say the same at the beginning of a name ("No Pneumonia", "non-COVID", "not_tb") or at its end.
_FIRST_WORDS = frozenset({"no", "non", "not", "without", "absence", "absent", "negative", "normal", "healthy"})
_LAST_WORDS = frozenset({"negative", "normal", "healthy", "absent", "free"})
#: Beginnings that say it where the rest is the other class: "uninfected" of "infected", "nonpneumonia" of "pneumonia".
_PREFIXES = ("un", "non", "not", "no")


def is_negative(name: str, other: str = "") -> bool:
    """Whether the name of a class means that nothing is found, by itself or beside the other class's name.

    "Not Normal" is negative by its first word, but not beside "Normal", which is so as a whole.
    """
    plain = name.strip().casefold()
    if plain in NEGATIVE_NAMES:
        return True
    if other.strip().casefold() in NEGATIVE_NAMES:
        return False
    words, rest = re.findall(r"[^\W_]+", plain), "".join(re.findall(r"[^\W_]+", other.casefold()))
    if not words:
        return False
    if rest and any("".join(words) == prefix + rest for prefix in _PREFIXES):
        return True
    return len(words) > 1 and (words[0] in _FIRST_WORDS or words[-1] in _LAST_WORDS)


def positive_of(first: str, second: str) -> int:
    """Which of two classes is the positive one, 0 or 1: not the negative one, else the second."""
    return int(not is_negative(second, first) or is_negative(first, second))


def decide(probabilities: np.ndarray, thresholds: np.ndarray | float, task: Task) -> np.ndarray:
    """Which labels are found: the one rule of epochs, scores, tables and servers.

    Args:
        probabilities: (..., L) in 0..1.
        thresholds: (L,), or one for all; unused for multiclass.
        task: see LabelSpace.

    Returns:
        (..., L) bool. Multiclass: the most probable one; else those at or above their thresholds, compared as float64.
    """
    import numpy as np  # late: a mistake in a hyperparameter is reported before numpy is imported

    if task == "multiclass":
        return np.asarray(np.arange(probabilities.shape[-1]) == probabilities.argmax(-1)[..., None])
    return np.asarray(probabilities.astype(np.float64) >= thresholds)


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
        elif len(names) == 2 and not positive_of(*names):
            names.reverse()
        return cls(tuple(names), "binary" if len(names) == 2 else "multiclass")

    def described(self) -> str:
        """Task and labels in a line for the log: which class is the positive one, what an image may have."""
        if self.task == "binary":
            return f"binary, {self.classes[1]} (positive) against {self.classes[0]} (negative)"
        if self.task == "multiclass":
            return f"multiclass, each image has one of {', '.join(self.classes)}"
        return f"multilabel, an image may have any of {', '.join(self.classes)}"

    def decisions(self, probabilities: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
        """Which labels are found, see `decide`."""
        return decide(probabilities, thresholds, self.task)

    def to_dict(self) -> dict[str, Any]:
        return {"classes": list(self.classes), "task": self.task}

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> LabelSpace:
        return cls(tuple(stored["classes"]), stored["task"])
