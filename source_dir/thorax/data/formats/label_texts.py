"""A text of labels an image: `Mass|Nodule`, `No Finding`, `['normal', 'scoliosis']`, `Edema?`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from thorax.data.formats.label_cells import BLANK
from thorax.data.formats.names import key
from thorax.data.formats.table_labels import TableLabels
from thorax.errors import ThoraxError
from thorax.labels import NEGATIVE_NAMES, is_negative

SEPARATORS = "|;"
_ITEM = re.compile(r"""'([^']*)'|"([^"]*)"|([^,'"\s][^,'"]*)""")


def label_lists(texts: Iterable[str]) -> dict[str, list[str]]:
    """Text -> its labels, of which a list may be bracketed or delimited by "|" or ";"."""
    different = list(dict.fromkeys(texts))  # a few thousand combinations for a hundred thousand images
    separator = next((s for s in SEPARATORS if any(s in text for text in different)), SEPARATORS[0])
    return {text: _items(text.strip(), separator) for text in different}


def _items(text: str, separator: str) -> list[str]:
    found = text.split(separator)
    if text[:1] + text[-1:] in ("[]", "()", "{}"):
        found = [next((group for group in item.groups() if group), "") for item in _ITEM.finditer(text[1:-1])]
    return list(dict.fromkeys(item.strip() for item in found if item.strip()))


def from_texts(texts: Sequence[str], blank: str = "auto", multi_label: bool | None = None) -> TableLabels:
    """The labels of the images' texts.

    One label an image, and no more than one beside "No Finding", makes them classes; then an image without a text is
    unknown. Where an image has several, an empty text means none of them; NA, nan and the like are unknown. Variants
    of one name ("Pleural_Thickening", "pleural thickening") are one label, under the name that most images have.

    Args:
        texts: one per image.
        blank: what an empty text means, whatever the others are: unknown or negative (none of the labels); or auto.
        multi_label: the hyperparameter; True: they are no classes.
    """
    split = label_lists(texts)
    counts = Counter(texts)
    names, merged = _spellings(split, counts)
    lists = {text: list(dict.fromkeys(_renamed(item, names) for item in items)) for text, items in split.items()}
    missing = {text for text, items in lists.items() if _is_missing(items, lists)}
    classes = _are_classes([items for text, items in lists.items() if text not in missing])
    exclusive = classes and not multi_label
    if exclusive and blank == "negative" and any(missing):
        exclusive = False
    unknown = {
        text
        for text in missing
        if exclusive or blank == "unknown" or (blank == "auto" and text.strip() and lists[text])
    }
    found = sorted({_plain(item) for text, items in lists.items() if text not in missing for item in items})
    labels = tuple(name for name in found if classes or name.casefold() not in NEGATIVE_NAMES)
    rows = _rows(lists, labels, missing, unknown)
    place = {text: n for n, text in enumerate(lists)}
    which = [place[text] for text in texts]
    unsure = rows == -1
    rows[unsure] = np.nan
    targets, uncertain = rows[which], unsure[which] if unsure.any() else None
    notes = [*merged, *_blank_notes(counts, missing, unknown, exclusive)]
    return TableLabels(labels, targets, exclusive, uncertain, tuple(notes))


def _rows(lists: dict[str, list[str]], labels: Sequence[str], missing: set[str], unknown: set[str]) -> np.ndarray:
    """(texts, L): 1, 0, -1 uncertain, NaN unknown."""
    column = {label: k for k, label in enumerate(labels)}
    rows = np.zeros((len(lists), len(labels)), np.float32)
    for n, (text, items) in enumerate(lists.items()):
        if text in unknown:
            rows[n] = np.nan
        for item in () if text in missing else items:
            if (k := column.get(_plain(item))) is not None:
                rows[n, k] = -1 if item.endswith("?") else 1
    return rows


def _are_classes(lists: Sequence[Sequence[str]]) -> bool:
    """One label each, and with "No Finding" no more than one other."""
    if not lists or any(len(items) != 1 or items[0].endswith("?") for items in lists):
        return False
    names = {items[0] for items in lists}
    return len(names) <= 2 or not any(name.casefold() == "no finding" for name in names)


def _is_missing(items: Sequence[str], lists: dict[str, list[str]]) -> bool:
    """No label, or only a word for a missing one. `None` is a class where nothing else means that nothing is found."""
    if not items:
        return True
    if len(items) > 1 or items[0].casefold() not in BLANK:
        return False
    if items[0].casefold() != "none":
        return True
    others = {item for row in lists.values() for item in row} - {items[0]}
    return any(is_negative(name) for name in others)


def _plain(item: str) -> str:
    return item.removesuffix("?").strip()


def _renamed(item: str, names: dict[str, str]) -> str:
    return names[key(_plain(item))] + ("?" if item.endswith("?") else "")


def _spellings(split: dict[str, list[str]], counts: Counter[str]) -> tuple[dict[str, str], list[str]]:
    """(key -> the name that most images have, a line for each that has others)."""
    written: dict[str, Counter[str]] = {}
    for text, items in split.items():
        for item in items:
            written.setdefault(key(_plain(item)), Counter())[_plain(item)] += counts[text]
    names, notes = {}, []
    for plain, spellings in written.items():
        if not plain and not all(name in BLANK for name in spellings):
            raise ThoraxError(f"the label {next(iter(spellings))!r} has no letter and no digit; rename it")
        ranked = sorted(spellings.items(), key=lambda pair: (-pair[1], pair[0]))
        names[plain] = ranked[0][0]
        if len(ranked) > 1:
            others = ", ".join(f"{name!r} ({n})" for name, n in ranked[1:])
            notes.append(
                f"the label {names[plain]!r} ({ranked[0][1]} rows) is also written {others}; taken for one label"
            )
    return names, notes


def _blank_notes(counts: Counter[str], missing: set[str], unknown: set[str], exclusive: bool) -> list[str]:
    without = sum(counts[text] for text in unknown)
    none = sum(counts[text] for text in missing - unknown)
    notes = []
    if without and exclusive:
        notes.append(
            f"{without} rows have no class (blank, NA) and are left out; multi_label=true or blank=negative takes them"
            " as having none of the labels"
        )
    elif without:
        notes.append(f"{without} rows have no text of labels (blank, NA): all their labels are unknown")
    if none:
        notes.append(
            f"{none} rows have an empty text of labels, which means none of them; blank=unknown leaves them open"
        )
    return notes
