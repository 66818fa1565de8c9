"""Where the bundle is that a person names: by its folder, its archive, its job's folder or its job's name."""

from __future__ import annotations

from pathlib import Path

from thorax.errors import ThoraxError

DESCRIPTION = "bundle.json"


def bundle_place(given: str | Path, runs: str | Path = "runs") -> Path:
    """The folder or model.tar.gz of a bundle; what is none of the following stays as it is.

    Args:
        given: a bundle's folder or its model.tar.gz; a job's folder, whose model/ is meant; or the name of a job below
            `runs`.

    Raises:
        ThoraxError: the job has not come to its end, or it is a search of several.
    """
    path = Path(given)
    named = len(path.parts) == 1 and path.name not in ("", ".", "..")
    for place in (path, Path(runs) / path) if named else (path,):
        if place.is_file() or (place / DESCRIPTION).is_file():
            return place
        if (place / "model" / DESCRIPTION).is_file():
            return place / "model"
        if (place / "study.db").is_file():
            raise ThoraxError(
                f"{place} is a search of several jobs; name one of them, such as {place}/trial-000"
                f" (`thorax leaderboard {place.name} --local` shows which is the best)"
            )
        if (place / "input" / "config").is_dir() and (place / "checkpoints").is_dir():
            raise ThoraxError(
                f"job {place} has no bundle: it did not come to its end; the command that began it goes on"
            )
    return path
