"""Words and names: parts, spellings of one name, the name that was meant."""

from __future__ import annotations

import difflib
import posixpath
import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence

from thorax.errors import ThoraxError
from thorax.shown import visible

#: Names that an error lists at most.
EXAMPLES = 5
#: What a split column, a folder or a file name calls a part -> the part.
PARTS = {
    **dict.fromkeys(("train", "training", "train_val", "trainval"), "train"),
    **dict.fromkeys(("val", "valid", "validate", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_SUFFIX = re.compile(r"[ _-]*(set|data|images|imgs|split|part)$")
_DRIVE = re.compile(r"^[A-Za-z]:[\\/]")
#: Names among which the most similar one is looked for; more take seconds.
_COMPARED = 20_000


def shortened(names: Sequence[str], most: int = EXAMPLES) -> str:
    """The first names with commas between them, and "..." where there are more than `most`."""
    return ", ".join(map(visible, names[:most])) + (", ..." if len(names) > most else "")


def part_of(text: str, where: str) -> str:
    """The part that a word such as "val" means.

    Raises:
        ThoraxError: it means none.
    """
    if (part := PARTS.get(text.strip().lower())) is None:
        raise ThoraxError(f"{where} is {text!r}; write train, validation or test")
    return part


def part_of_folder(name: str) -> str:
    """The part that a folder such as "Training" or "test_set" is called after; "" for none."""
    plain = name.strip().lower()
    return PARTS.get(plain) or PARTS.get(_SUFFIX.sub("", plain), "")


def plain_name(name: str) -> str:
    """What spellings of one name have in common: small letters, and one blank for blanks, "_" and "-"."""
    return " ".join(re.split(r"[\s_-]+", unicodedata.normalize("NFC", name).lower())).strip()


def nearest(name: str, known: Iterable[str]) -> str:
    """ "; did you mean NAME?", or nothing."""
    match = difflib.get_close_matches(name.lower(), (by_lower := {k.lower(): k for k in known}), n=1, cutoff=0.5)
    return f"; did you mean {by_lower[match[0]]}?" if match else ""


def nearest_file(name: str, files: Collection[str]) -> str:
    """As `nearest`, for the path of an image among those that there are: one of Windows, of another folder, case or
    ending, without its ending, or with a slip."""
    windows = "\\" in name
    path = _DRIVE.sub("", name).replace("\\", "/").strip("/")
    words = path.lower().split("/")
    slash = ' (with "/" between folders)' if windows else ""

    def score(file: str) -> tuple[int, int]:
        """Words from the end that are the same, and whether the last one is so with its ending."""
        theirs = file.lower().split("/")
        whole = theirs[-1] == words[-1]
        if not whole and posixpath.splitext(theirs[-1])[0] not in (words[-1], posixpath.splitext(words[-1])[0]):
            return 0, 0
        same = 1
        while same < min(len(theirs), len(words)) and theirs[-1 - same] == words[-1 - same]:
            same += 1
        return same, whole

    best = max(sorted(files), key=score, default="")
    if best and score(best)[0]:
        return f"; did you mean {best}{slash}?"
    if len(files) > _COMPARED:
        return ""
    match = difflib.get_close_matches(path, sorted(files), n=1, cutoff=0.8)
    return f"; did you mean {match[0]}{slash}?" if match else ""
