"""Where the images of a published table lie: by their path in the set, or by their name anywhere below the channel."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence

from thorax.data.decoders import EXTENSIONS
from thorax.data.formats.channel import Channel
from thorax.errors import ThoraxError
from thorax.text import are, counted


def by_path(channel: Channel, paths: Sequence[str], endings: Sequence[str] = ("",)) -> list[str]:
    """The place of each path below the channel, with the first of these endings that is there; "" where none is."""
    if not channel.options.images:
        return [path + endings[0] for path in paths]
    there = channel.everything
    if len(endings) == 1:
        places = [path + endings[0] for path in paths] if endings[0] else paths
        return [place if place in there else "" for place in places]
    return [next((path + end for end in endings if path + end in there), "") for path in paths]


def by_name(channel: Channel, names: Sequence[str], *, stems: bool = False) -> tuple[list[str], list[str]]:
    """The place of each file name (`stems`: name without its ending) at any depth; "" where there is none.

    A copy of the set inside itself (sample/images/a.png, sample/sample/images/a.png) is passed over.

    Returns:
        Places, and a line where copies were passed over.

    Raises:
        ThoraxError: a name is in two folders.
    """
    if not channel.options.images:
        return list(names), []
    wanted, known = set(names), frozenset(EXTENSIONS)
    places: dict[str, str] = {}
    copies = 0
    for path in sorted(channel.everything, key=lambda path: (path.count("/"), path)):
        name = path.rpartition("/")[2]
        if stems:
            stem, ending = posixpath.splitext(name)
            name = stem if ending.lower() in known else name
        if name not in wanted:
            continue
        first = places.setdefault(name, path)
        if path in (f"{first.partition('/')[0]}/{first}", f"{channel.folder.name}/{first}"):
            copies += 1
            channel.explained.add(path)
        elif first != path:
            if posixpath.dirname(first) == posixpath.dirname(path):
                raise ThoraxError(f"{name} is there as {first} and as {path} in {channel.folder}; leave one of them")
            one, two = sorted(posixpath.dirname(place) or "." for place in (first, path))
            raise ThoraxError(f"{name} is in {one} and in {two} of {channel.folder}; leave one of them")
    there = f"{counted(copies, 'image')} {are(copies)} there a second time in a copy of the set, which is passed over"
    notes = [there] if copies else []
    return [places.get(name, "") for name in names], notes
