"""What a channel holds and training would not use: counted and named by kind, one line each."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from thorax.data.decoders import EXTENSIONS
from thorax.data.formats.channel import Channel
from thorax.data.formats.words import shortened
from thorax.errors import ThoraxError
from thorax.files import files_below, is_foreign
from thorax.text import counted

#: Kinds of files that a line names.
_KINDS = 6


def by_kind(names: Iterable[str]) -> str:
    """Files by their endings, the most frequent first: ".bmp 2, .webp 1, no ending 4"."""
    endings = Counter(posixpath.splitext(name)[1].lower() or "no ending" for name in names)
    return shortened([f"{ending} {count}" for ending, count in endings.most_common()], _KINDS)


def left_out(names: list[str]) -> str:
    """One line on files that are no images; "" for none."""
    return f"{counted(len(names), 'file')} left out ({by_kind(names)}): no images" if names else ""


def notes_of(channel: Channel, all_images: bool = False) -> tuple[str, ...]:
    """Lines on what lies in the channel and is in none of its samples.

    Args:
        channel: after it was read; nothing is listed anew.
        all_images: every image of it is used or has a note already; else only those that a file of the channel lists.
    """
    if "everything" not in vars(channel):  # shards, records: nothing below was looked at
        return ()
    notes = [_folders(channel)]
    rest = sorted(channel.everything - channel.used - channel.explained)
    if all_images:
        notes.append(left_out(rest))
    elif channel.used:
        images = [name for name in rest if posixpath.splitext(name)[1].lower() in EXTENSIONS]
        if images:
            some = shortened(images, 3)
            notes.append(f"{counted(len(images), 'image')} below {channel.folder} not listed, left out: {some}")
    return tuple(note for note in notes if note)


def _folders(channel: Channel) -> str:
    """Folders that were not entered and hold images: hidden ones, those of systems, and links to what is there."""
    found: Counter[str] = Counter()
    links: list[str] = []
    for place in channel.passed:
        name = posixpath.basename(place)
        if is_foreign(name):
            found[name] += _images_in(channel.folder / place)
        else:
            links.append(f"{place} (a link to a folder that is read already)")
    texts = [f"{name} ({counted(n, 'image')})" for name, n in found.items() if n] + links
    return f"folders passed over: {shortened(texts)}" if texts else ""


def _images_in(folder: Path) -> int:
    try:
        names = files_below(folder, lambda name: False)
    except ThoraxError:  # many folders of systems are locked
        return 0
    return sum(posixpath.splitext(name)[1].lower() in EXTENSIONS for name in names)
