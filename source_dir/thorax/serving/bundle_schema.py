"""What may stand in a bundle.json. It is input like any other: it may come from a bucket that others write to."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

#: Bytes that are read, at most; a description with a thousand labels has one megabyte.
LARGEST = 64 * 2**20
#: Where the members of an ensemble are.
MEMBERS_FOLDER = "members"
#: Members of an ensemble, at most, and their folders.
MEMBERS, _MEMBER = 100, re.compile(r"members/\w[\w-]*")
#: Pixels along a side, at most.
_SIDE = 16384
_MAPPINGS = ("network", "labels", "preprocessing", "thresholds", "configuration", "split", "metrics", "versions")
_MAYBE_MAPPINGS = ("calibration", "films", "training_data", "compute", "engine", "files_sha256", "ensemble")


def read(file: Path) -> dict[str, Any]:
    """The content of a bundle.json.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is no regular file, too large, no JSON, or not a mapping of the right kinds of values.
    """
    if file.exists() and not file.is_file():
        raise ValueError("it is not a regular file")
    if (size := file.stat().st_size) > LARGEST:
        raise ValueError(f"it has {size} bytes, more than the {LARGEST} that are read")
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(stored, dict):
        raise ValueError("it is not a mapping")
    return stored


def check(stored: dict[str, Any]) -> None:
    """Raises KeyError or ValueError where an entry is missing or of another kind than a bundle's."""
    for name in _MAPPINGS:
        _mapping(name, stored[name])
    for name in _MAYBE_MAPPINGS:
        if stored.get(name) is not None:
            _mapping(name, stored[name])
    network, labels = stored["network"], stored["labels"]
    _expect(isinstance(network["name"], str), "network.name", network["name"], "a text")
    _expect(_is_number(network["dropout"], 0, 1), "network.dropout", network["dropout"], "a number in 0..1")
    classes = labels["classes"]
    texts = isinstance(classes, list) and classes and all(isinstance(name, str) and name for name in classes)
    _expect(bool(texts), "labels.classes", classes, "a list of texts")
    _expect(len(set(classes)) == len(classes), "labels.classes", classes, "a list of different texts")
    for side in ("height", "width"):
        value = stored["preprocessing"][side]
        _expect(type(value) is int and 1 <= value <= _SIDE, f"preprocessing.{side}", value, f"in 1..{_SIDE}")
    for name, value in stored["thresholds"].items():
        _expect(_is_number(value, 0, 1), f"thresholds.{name}", value, "a number in 0..1")
    for name, value in (stored.get("files_sha256") or {}).items():
        _expect(isinstance(value, str), f"files_sha256.{name}", value, "a text")

    if (ensemble := stored.get("ensemble")) is not None:
        names = ensemble["members"]
        right = isinstance(names, list) and 0 < len(names) <= MEMBERS
        right = right and all(isinstance(name, str) and _MEMBER.fullmatch(name) for name in names)
        _expect(right, "ensemble.members", names, "a list of folders such as members/0")
        for name, value in ensemble.get("limits", {}).items():
            _expect(_is_number(value, 0, 1), f"ensemble.limits.{name}", value, "a number in 0..1")


def _mapping(name: str, value: Any) -> None:
    _expect(isinstance(value, dict), name, value, "a mapping")


def _is_number(value: Any, low: float, high: float) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and low <= value <= high


def _expect(right: bool, name: str, value: Any, wanted: str) -> None:
    if not right:
        shown = json.dumps(value, default=str)
        raise ValueError(f"{name} is {shown[:60]}{'...' * (len(shown) > 60)}, not {wanted}")
