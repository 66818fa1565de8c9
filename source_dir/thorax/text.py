"""Words for people: counts with their nouns, times, sizes."""

from __future__ import annotations

from typing import Any


def counted(count: int, noun: str, plural: str = "") -> str:
    """A count with its noun: "1 image", "1,200 images", "2 processes" (plural: by default the noun and an s)."""
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def are(count: int) -> str:
    """ "is" of one, "are" of any other number."""
    return "is" if count == 1 else "are"


def has(count: int) -> str:
    """ "has" of one, "have" of any other number."""
    return "has" if count == 1 else "have"


def were(count: int) -> str:
    """ "was" of one, "were" of any other number."""
    return "was" if count == 1 else "were"


def duration(seconds: float) -> str:
    """A time as people say it: "48 s", "3 min 20 s", "2 h 05 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def size(number: float) -> str:
    """Bytes in powers of 1,000: "512 bytes", "3.4 MB"."""
    if number < 1000:
        return counted(int(number), "byte")
    for unit in ("kB", "MB", "GB", "TB"):
        number /= 1000
        if number < 1000 or unit == "TB":
            break
    return f"{number:.1f} {unit}"


def breakable(text: object) -> Any:
    """HTML of a text whose paths go on in the next line after a slash or an underscore, not within a word."""
    from markupsafe import Markup, escape  # comes with Jinja2

    return Markup(escape(text).replace("/", Markup("/<wbr>")).replace("_", Markup("_<wbr>")))
