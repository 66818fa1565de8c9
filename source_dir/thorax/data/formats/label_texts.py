"""A text of labels an image: `Mass|Nodule`, `No Finding`, `['normal', 'scoliosis']`, `Edema?`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence

import numpy as np

from thorax.data.formats.frame import Frame
from thorax.data.formats.names import BLANK, key
from thorax.data.formats.table_labels import TableLabels
from thorax.errors import ThoraxError
from thorax.labels import NEGATIVE_NAMES, is_negative
from thorax.text import are, counted, has

#: Between labels of a text; a comma too where the texts show that it is meant so, see `_is_list_of`.
_SEPARATORS, _WITH_COMMA = re.compile("[|;]"), re.compile("[|;,]")
#: Keys of names that mean that nothing is found, whatever the other labels are.
_NOTHING = frozenset({key(name) for name in NEGATIVE_NAMES} | {"nofindings"})
_JOINED = re.compile(r"[/+&,]| and ", re.IGNORECASE)
_ITEM = re.compile(r"""'([^']*)'|"([^"]*)"|([^,'"\s][^,'"]*)""")


def label_lists(texts: Sequence[str], frame: Frame | None = None, commas: bool | None = None) -> dict[str, list[str]]:
    """Text -> its labels, of which a list may be bracketed or delimited by "|" or ";".

    Args:
        texts: one per row.
        frame: the rows, for errors.
        commas: whether commas too are between labels; None: where most of the names between them are there without
            commas as well.

    Raises:
        ThoraxError: a list whose bracket is not closed, or a label that goes over two lines.
    """
    different = list(dict.fromkeys(texts))  # a few thousand combinations for a hundred thousand images
    if commas is None:
        commas = _commas_separate(different)
    found = {}
    for text in different:
        try:
            found[text] = _items(text.strip(), _WITH_COMMA if commas else _SEPARATORS)
        except ThoraxError as error:
            raise ThoraxError(f"{frame.row(texts.index(text))}: {error}" if frame else str(error)) from None
    return found


def _commas_separate(texts: Sequence[str]) -> bool:
    """Whether "Mass, Nodule" are two labels: at least half of the names between commas are a whole text elsewhere."""
    plain = [text.strip() for text in texts if not text.strip().startswith("[")]
    with_commas = [text for text in plain if "," in text]
    if not with_commas:
        return False
    names = {key(name) for text in with_commas for name in _WITH_COMMA.split(text)} - {""}
    alone = {key(name) for text in plain if "," not in text for name in _SEPARATORS.split(text)}
    return 2 * len(names & alone) >= len(names) > 0


def _items(text: str, between: re.Pattern[str]) -> list[str]:
    bracketed = text[:1] + text[-1:] in ("[]", "()", "{}")
    if text[:1] == "[" and not bracketed:
        raise ThoraxError(f"the list of labels {shortened_text(text)} has no ] at its end; correct it")
    found = between.split(text)
    if bracketed:
        found = [next((group for group in item.groups() if group), "") for item in _ITEM.finditer(text[1:-1])]
    items = list(dict.fromkeys(item.strip() for item in found if item.strip()))
    if broken := [item for item in items if "\n" in item or "\r" in item]:
        raise ThoraxError(f"the label {shortened_text(broken[0])} goes over several lines; is a quote not closed?")
    return items


def shortened_text(text: str) -> str:
    """The text as a message shows it, in quotes and on one line, no more than its beginning."""
    return repr(text if len(text) <= 60 else f"{text[:60]}...")


def from_texts(
    texts: Sequence[str],
    blank: str = "auto",
    multi_label: bool | None = None,
    absent: Collection[str] = (),
    frame: Frame | None = None,
) -> TableLabels:
    """The labels of the images' texts.

    One label an image, and no more than one beside "No Finding", makes them classes; then an image without a text is
    unknown. Where an image has several, an empty text means none of them; NA, nan and the like are unknown. Variants
    of one name ("Pleural_Thickening", "pleural thickening") are one label, under the name that most images have.

    Args:
        texts: one per image.
        blank: what an empty text means, whatever the others are: unknown or negative (none of the labels); or auto.
        multi_label: the hyperparameter; True: they are no classes.
        absent: names that are no labels: an image with such a name alone has none.
        frame: the rows, for errors.

    Raises:
        ThoraxError: as `label_lists`, or a label without letter and digit.
    """
    split = label_lists(texts, frame)
    counts = Counter(texts)
    names, merged = _spellings(split, counts)
    lists = {text: list(dict.fromkeys(_renamed(item, names) for item in items)) for text, items in split.items()}
    missing = {text for text, items in lists.items() if _is_missing(items, lists)}
    notes = [*merged, *_comma_notes(split, counts), *contradictions(lists, counts, absent)]
    lists = {text: [item for item in items if item not in absent] for text, items in lists.items()}
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
    labels = tuple(name for name in found if classes or key(name) not in _NOTHING)
    rows = _rows(lists, labels, missing, unknown)
    place = {text: n for n, text in enumerate(lists)}
    which = [place[text] for text in texts]
    unsure = rows == -1
    rows[unsure] = np.nan
    targets, uncertain = rows[which], unsure[which] if unsure.any() else None
    notes += _blank_notes(counts, missing, unknown, exclusive)
    return TableLabels(labels, targets, exclusive, uncertain, tuple(notes), of_texts=True)


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
    return len(names) <= 2 or not any(key(name) in ("nofinding", "nofindings") for name in names)


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
            label = f"the label {names[plain]!r} ({counted(ranked[0][1], 'row')})"
            notes.append(f"{label} is also written {others}; taken for one label")
    return names, notes


def _comma_notes(split: dict[str, list[str]], counts: Counter[str]) -> list[str]:
    cut = [text for text, items in split.items() if "," in text and len(items) > 1 and text.strip()[:1] not in "[({"]
    cut = [text for text in cut if not any("," in item for item in split[text])]
    whole = [text for text, items in split.items() if any("," in item for item in items)]
    notes = []
    if cut:
        rows = sum(counts[text] for text in cut)
        notes.append(f"{counted(rows, 'row')} with commas between labels, such as {shortened_text(cut[0])}: cut there")
    if whole:
        rows = sum(counts[text] for text in whole)
        notes.append(
            f"{counted(rows, 'row')} with a comma in a label, such as {shortened_text(whole[0])}: one name; write |"
            " between several"
        )
    together = [text for text in _joined_names(split) if "," not in text]
    if together:
        rows = sum(counts[text] for text in together)
        notes.append(
            f"{counted(rows, 'row')} with a label that joins others, such as {shortened_text(together[0])}: a label of"
            " its own; write | between several"
        )
    return notes


def _joined_names(split: dict[str, list[str]]) -> list[str]:
    """Texts of one label whose words between "/", "+", "&" or "and" are all labels of other texts."""
    names = {key(item) for items in split.values() for item in items}
    found = []
    for text, items in split.items():
        parts = _JOINED.split(items[0]) if len(items) == 1 else []
        if len(parts) > 1 and all(part.strip() and key(part) in names for part in parts):
            found.append(text)
    return found


def contradictions(lists: dict[str, list[str]], counts: Counter[str], absent: Collection[str] = ()) -> list[str]:
    """A line on rows that say that nothing is found, and name something."""
    nothing = _NOTHING | {key(name) for name in absent}
    both = [text for text, items in lists.items() if len(items) > 1 and any(key(item) in nothing for item in items)]
    if not both:
        return []
    rows = sum(counts[text] for text in both)
    such = f"{counted(rows, 'row')} with a name for no finding beside labels, such as {shortened_text(both[0])}"
    return [f"{such}: the labels count"]


def _blank_notes(counts: Counter[str], missing: set[str], unknown: set[str], exclusive: bool) -> list[str]:
    without = sum(counts[text] for text in unknown)
    none = sum(counts[text] for text in missing - unknown)
    notes = []
    if without and exclusive:
        notes.append(
            f"{counted(without, 'row')} {has(without)} no class (blank, NA) and {are(without)} left out;"
            f" multi_label=true or blank=negative takes {_them(without)} as having none of the labels"
        )
    elif without:
        rows = f"{counted(without, 'row')} {has(without)} no text of labels (blank, NA)"
        notes.append(f"{rows}: all labels of {_them(without)} are unknown")
    if none:
        notes.append(
            f"{counted(none, 'row')} {has(none)} an empty text of labels, which means none of them; blank=unknown"
            f" leaves {_them(none)} open"
        )
    return notes


def _them(count: int) -> str:
    return "it" if count == 1 else "them"
