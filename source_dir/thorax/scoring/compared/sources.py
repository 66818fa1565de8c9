"""What a person names as a run: a job, a bundle, or a file of predictions; and what is known of its training."""

from __future__ import annotations

import json
import tarfile
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from thorax.errors import ThoraxError
from thorax.labels import LabelSpace
from thorax.scoring.compared.file_reading import ARRAYS, TABLES, has_outs
from thorax.serving.bundle_place import DESCRIPTION
from thorax.tracking.history import read_history, training_summary
from thorax.unpacking import open_tar

PREDICTIONS, METRICS, HISTORY = "predictions.csv", "metrics.json", "history.csv"
MODEL, OUTPUT = "model.tar.gz", "output.tar.gz"
#: Names of files that say nothing of the run: that of the folder above is taken.
_PLAIN = {"predictions", "model", "data", "output", "test", "results", "outputs", "batch"}


@dataclass(frozen=True)
class RunSource:
    """A run by what is left of it.

    Attributes:
        name: in the table.
        place: as it was given.
        bundle: a bundle's folder or model.tar.gz, to score images with; None: there is none.
        saved: predictions that it keeps: a table, an array or a folder of .out files; None: it keeps none.
        space: labels and task of the saved predictions, where they are known; else the file shows them.
        training: of the training, as far as it is known: "network", "image", "precision", "machines"; "epochs",
            "seconds", "seconds_per_image", "cost" as `training_summary` has them.
        folder: a temporary folder that goes when the source does.
    """

    name: str
    place: str
    bundle: Path | None = None
    saved: Path | None = None
    space: LabelSpace | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    folder: Any = None


def find_run(given: str, runs: Path = Path("runs")) -> RunSource | None:
    """The run that a person names: a path, the name of a job below `runs`, each perhaps as NAME=PLACE; None where there
    is no such thing on this machine.

    Raises:
        ThoraxError: the path is there, but is no run.
    """
    name, sign, place = given.partition("=")
    if not sign or Path(given).exists():
        name, place = "", given
    path = Path(place)
    if not path.exists():
        path = runs / place
        if len(Path(place).parts) != 1 or not path.exists():
            return None
    found = _file(path, place) if path.is_file() else _folder(path, place)
    return replace(found, name=name or found.name)


def source_of_outputs(name: str, place: str, outputs: Path, bundle: Path | None = None) -> RunSource:
    """The run whose output/data, or output.tar.gz, this is."""
    folder = None
    if outputs.is_file():
        folder = tempfile.TemporaryDirectory(prefix="thorax-compare-")
        outputs = _unpacked(outputs, Path(folder.name))
    saved = outputs / PREDICTIONS
    metrics = _json(outputs / METRICS)
    training = dict(training_summary(read_history(outputs / HISTORY)))
    described = _described(bundle)
    stored = metrics.get("labels") or described.get("labels")
    return RunSource(
        name,
        place,
        bundle,
        saved if saved.is_file() else None,
        LabelSpace.from_dict(stored) if stored else None,
        training | _machine(described),
        folder,
    )


def named_apart(sources: Sequence[RunSource]) -> list[RunSource]:
    """The runs with a name of its own each: of equal ones the place is taken, then a number."""
    names = [source.name for source in sources]
    result: list[RunSource] = []
    for source in sources:
        name = source.name if names.count(source.name) == 1 else source.place
        taken = {other.name for other in result}
        number = 2
        while name in taken:
            name = f"{source.place} ({number})"
            number += 1
        result.append(replace(source, name=name))
    return result


def _file(path: Path, place: str) -> RunSource:
    if path.name.endswith(".tar.gz"):
        name = _name(path)
        if path.name == OUTPUT:
            beside = path.with_name(MODEL)
            return source_of_outputs(name, place, path, beside if beside.is_file() else None)
        outputs = path.with_name(OUTPUT)
        if path.name == MODEL and outputs.is_file():
            return source_of_outputs(name, place, outputs, path)
        return RunSource(name, place, path)
    if path.suffix.lower() not in (*ARRAYS, *TABLES):
        raise ThoraxError(
            f"{place} is no run: expected a job's or a bundle's folder, a model.tar.gz, a table (.csv, .parquet), an"
            " array (.npy, .npz), or a folder of .out files"
        )
    if path.name == PREDICTIONS and (path.parent / METRICS).is_file():
        return _job(path.parent, place, _job_of(path.parent))
    return RunSource(_name(path), place, saved=path)


def _folder(path: Path, place: str) -> RunSource:
    if (path / DESCRIPTION).is_file():
        for job in (path.parent, path.with_name(f"{path.name}-job")):  # a job's model/, or OUT beside OUT-job
            if (job / "output" / "data" / METRICS).is_file():
                named = path.parent if path.name == "model" else path
                return _job(job / "output" / "data", place, named, path)
        return RunSource(_name(path), place, path, training=_machine(_described(path)))
    if (path / "output" / "data" / METRICS).is_file():
        bundle = path / "model" if (path / "model" / DESCRIPTION).is_file() else None
        return _job(path / "output" / "data", place, path, bundle)
    if (path / "model" / DESCRIPTION).is_file():
        return RunSource(_name(path), place, path / "model", training=_machine(_described(path / "model")))
    if (path / PREDICTIONS).is_file():
        return _job(path, place, _job_of(path))
    if (path / OUTPUT).is_file() or (path / MODEL).is_file():
        return _file(path / (OUTPUT if (path / OUTPUT).is_file() else MODEL), place)
    if has_outs(path):
        return RunSource(_name(path), place, saved=path)
    if (path / "study.db").is_file():
        raise ThoraxError(f"{place} is a search of several jobs; name some of them, such as {place}/trial-000")
    if (path / "input" / "config").is_dir():
        raise ThoraxError(
            f"job {place} has no predictions: it did not come to its end; the command that began it goes on"
        )
    raise ThoraxError(f"{place} is no run: it has no {DESCRIPTION}, no {PREDICTIONS} and no .out files")


def _job(data: Path, place: str, named: Path, bundle: Path | None = None) -> RunSource:
    return source_of_outputs(_name(named), place, data, bundle)


def _job_of(data: Path) -> Path:
    """The folder of the job whose output/data this is; the folder itself elsewhere."""
    return data.parent.parent if data.name == "data" and data.parent.name == "output" else data


def _name(path: Path) -> str:
    """A name for people: the file's or the folder's, without what all files of the kind are called."""
    path = path.absolute()
    name = path.name
    for ending in (".tar.gz", ".csv.gz", *ARRAYS, *TABLES):
        name = name.removesuffix(ending)
    while name in _PLAIN and path.parent != path:
        path = path.parent
        name = path.name
    return name or path.as_posix()


def _unpacked(archive: Path, folder: Path) -> Path:
    """The files that count of an output.tar.gz, in the folder."""
    try:
        with open_tar(archive) as tar:
            for entry in tar:
                name = Path(entry.name).name
                if entry.isfile() and name in (PREDICTIONS, METRICS, HISTORY):
                    content = tar.extractfile(entry)
                    assert content is not None
                    (folder / name).write_bytes(content.read())
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise ThoraxError(f"{archive} is no .tar.gz that can be read: {error}") from None
    return folder


def _described(bundle: Path | None) -> Mapping[str, Any]:
    """What a bundle's description says; {} of an archive, which is not unpacked for it."""
    return _json(bundle / DESCRIPTION) if bundle is not None and bundle.is_dir() else {}


def _machine(described: Mapping[str, Any]) -> dict[str, Any]:
    """Network, image and precision of a bundle's description, and its training where that is in it."""
    found: dict[str, Any] = {}
    try:
        prepared = described["preprocessing"]
        found["network"] = described["network"]["name"]
        found["image"] = f"{prepared['height']}x{prepared['width']}"
        found |= {"precision": p} if (p := described.get("compute", {}).get("precision")) else {}
        found |= described.get("metrics", {}).get("training", {})
    except (KeyError, TypeError, AttributeError):
        pass
    return found


def _json(file: Path) -> dict[str, Any]:
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return stored if isinstance(stored, dict) else {}
