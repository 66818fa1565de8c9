"""Where the bundle is that a person names: by its folder, archive or s3:// address, its job's folder or name."""

from __future__ import annotations

from pathlib import Path

from thorax.errors import ThoraxError
from thorax.models.bundle_weights import DESCRIPTION
from thorax.serving.s3_bundle import fetched, is_address

__all__ = ["DESCRIPTION", "bundle_place"]


def bundle_place(given: str | Path, runs: str | Path = "runs") -> Path:
    """The folder or model.tar.gz of a bundle; what is none of the following stays as it is.

    Args:
        given: a bundle's folder or its model.tar.gz, also its s3:// address, which is fetched; a job's folder, whose
            model/ is meant; or the name of a job below `runs`.

    Raises:
        ThoraxError: the job has not come to its end, it is a search of several, or S3 does not give the archive.
    """
    if is_address(given):
        return fetched(str(given))
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
