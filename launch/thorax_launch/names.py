"""Names of jobs, as SageMaker takes them: letters, digits and hyphens, 63 at most."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from thorax.errors import ThoraxError

LONGEST = 63


def clean(name: str, longest: int = LONGEST) -> str:
    """The name with hyphens for what AWS does not take, cut where it must be; "thorax" where nothing is left."""
    return re.sub("[^a-zA-Z0-9]", "-", name).strip("-")[:longest].strip("-") or "thorax"


def dated(name: str, longest: int = LONGEST) -> str:
    """The clean name, and the time."""
    return f"{clean(name, longest - 14)}-{datetime.now(UTC):%y%m%d-%H%M%S}"


def job_of(place: str) -> str:
    """Name of the job that made a bundle, as far as its place shows it: NAME of runs/NAME/model; "thorax" else."""
    parts = [part for part in place.split("/") if part and part not in ("model", "output", "model.tar.gz")]
    return clean(parts[-1] if len(parts) > 2 else "")


def named_bundle(text: str) -> tuple[str, str]:
    """(name, bundle) of NAME=BUNDLE; ("", text) where it has no name."""
    name, separator, where = text.partition("=")
    return (name, where) if separator and "/" not in name and not Path(text).exists() else ("", text)


def bundle_names(texts: Sequence[str]) -> dict[str, str]:
    """Name -> bundle, of several that are given as NAME=BUNDLE or BUNDLE, which then has the name of its job.

    Raises:
        ThoraxError: a name that AWS does not take, or two bundles of one name.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, where = named_bundle(text)
        name = name or job_of(where if "://" in where else str(Path(where).resolve()))
        if clean(name) != name:
            raise ThoraxError(f"{text}: a bundle's name is up to {LONGEST} letters, digits and hyphens")
        if name in found:
            raise ThoraxError(f"two bundles are called {name}, {found[name]} and {where}; write NAME={where}")
        found[name] = where
    return found
