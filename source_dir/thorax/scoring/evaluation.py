"""A bundle scored on this machine: films or a table of predictions in, scores and report out."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from thorax.data.formats import read_channel
from thorax.data.formats.channel import Options
from thorax.data.images import EXTENSIONS
from thorax.data.samples import sample_set
from thorax.errors import ThoraxError
from thorax.evaluation import formatting, mistakes
from thorax.evaluation.comparison import compare
from thorax.evaluation.metrics import score
from thorax.evaluation.predictions import Predictions, read_predictions
from thorax.evaluation.report import Report
from thorax.evaluation.subgroups import subgroups
from thorax.evaluation.thresholds import Rule
from thorax.files import write_whole
from thorax.labels import NEGATIVE_NAMES
from thorax.serving.bundle import DESCRIPTION, SPLIT, Bundle
from thorax.serving.classifier import Classifier
from thorax.tables import read_table
from thorax.tracking.progress import Progress, say

BATCH = 32
#: Columns that name a film in a table of subgroups.
ID_COLUMNS = ("id", "path", "file", "image", "filename")


@dataclass(frozen=True)
class Films:
    """The films of --data: N ids, patients and sources, and targets (N, L) in the bundle's order, NaN for unknown."""

    given: Path
    ids: list[str]
    patients: list[str]
    sources: list[Any]
    targets: np.ndarray


def evaluate(
    folder: Path, *, data: Path | None, data_format: str, predictions: Path | None, compare_with: Path | None, by: Sequence[str],
    table: Path | None, json_file: Path | None, html_file: Path | None, resamples: int, lists: Path | None = None, labels: tuple[str, ...] = (),
) -> None:  # fmt: skip
    """Scores, prints, writes. Arguments: see launch/evaluate.py.

    Raises:
        ThoraxError: see the errors of what it calls; nothing is written then.
    """
    _check(data, predictions, compare_with, by, table, (json_file, html_file), resamples)
    if lists is not None and not (data is not None and data.is_dir() and lists.exists()):
        raise ThoraxError(f"--data-lst {lists} must be a folder with the .lst of films in --data, which must be a folder too")
    bundle = find_bundle(folder)
    space, thresholds = bundle.space, np.array([bundle.thresholds[name] for name in bundle.space.outputs])
    films = _films(data, data_format, bundle, lists, labels)
    if predictions is not None:
        parts = read_predictions(predictions, space, thresholds, say)
        if films is not None:
            parts = {name: _labelled(each, films, predictions) for name, each in parts.items()}
    else:
        assert films is not None
        parts = {films.given.stem: _scored(bundle, films)}
    where = films.given if films is not None else predictions
    assert where is not None
    for each in parts.values():
        _check_answers(each, space.outputs, space.classes, where)
    scores = {name: score(each.targets, each.probabilities, space, thresholds, each.patients, resamples=resamples) for name, each in parts.items()}
    report = Report(
        title=f"{bundle.network} on {where.name or where}", labels=space, scores=scores, temperatures=bundle.temperatures, rule=_rule(bundle),
        curves={name: (each.targets, each.probabilities) for name, each in parts.items()}, facts=_facts(bundle, where),
    )  # fmt: skip
    shown = parts[report.headline]
    if compare_with is not None:
        assert films is not None
        report = replace(report, compared=(str(folder), str(compare_with)), comparison=_compared(shown, films, bundle, compare_with, resamples))
    if by:
        columns = _columns(by, table or _table_of(films), table, shown.ids)
        found = subgroups(shown.targets, shown.probabilities, space, thresholds, shown.patients, columns, resamples=resamples)
        report = replace(report, groups=found)
    if html_file is not None and films is not None:
        wrong = mistakes.worst(shown.targets, shown.probabilities, thresholds, space)
        source, net = dict(zip(films.ids, films.sources, strict=True)), bundle.build_network()
        drawn = [mistakes.draw(m, source[shown.ids[m.film]], net, bundle.preprocessing, torch.device("cpu")) for m in wrong]
        report = replace(report, mistakes=[(shown.ids[m.film], m) for m in drawn])
    _tell(report, json_file, html_file)


def find_bundle(folder: Path) -> Bundle:
    """The bundle in `folder`, or in `folder`/model where a job's folder was named; see Bundle.load."""
    inside = folder / "model"
    return Bundle.load(inside if not (folder / DESCRIPTION).exists() and (inside / DESCRIPTION).exists() else folder)


def _tell(report: Report, json_file: Path | None, html_file: Path | None) -> None:
    say(formatting.table(report.scores, report.labels))
    if report.comparison:
        say(f"\n{report.compared[1]} against {report.compared[0]}, difference in AUC:\n{formatting.comparison_table(report.comparison)}")
    if report.groups:
        say(f"\n{formatting.subgroup_table(report.groups)}")
    for file, text in ((json_file, report.json), (html_file, report.html)):
        if file is not None:
            write_whole(text().encode(), file, "report")
            say(f"wrote {file}")


def _check(
    data: Path | None, predictions: Path | None, other: Path | None, by: Sequence[str], table: Path | None, outputs: Sequence[Path | None], resamples: int
) -> None:
    """What can be refused before any film is read."""
    if not 0 <= resamples <= 100_000:
        raise ThoraxError(f"--resamples {resamples} is out of range: it must be 0 to 100000")
    for flag, path in (("--data", data), ("--predictions", predictions), ("--subgroups", table)):
        if path is not None and not path.exists():
            raise ThoraxError(f"{flag} {path} does not exist")
    if other is not None and data is None:
        raise ThoraxError(f"--compare {other} needs the films: give --data DIR_OR_TABLE")
    if table is not None and not by:
        raise ThoraxError(f"--subgroups {table} without --by: name its columns, such as --by sex age")
    for path in outputs:
        if path is not None and (path.is_dir() or not path.absolute().parent.is_dir()):
            raise ThoraxError(f"{path} cannot be written: {'it is a folder' if path.is_dir() else f'there is no folder {path.parent}'}; name a file")


def _films(given: Path | None, data_format: str, bundle: Bundle, lists: Path | None, labels: tuple[str, ...]) -> Films | None:
    """The films of --data, a folder or a table in one, with targets in the bundle's order, NaN where the data says nothing of a label."""
    if given is None:
        return None
    if given.is_file() and given.suffix.lower() in EXTENSIONS:
        raise ThoraxError(f"--data {given} is one film; give a folder per class, or the table that tells its labels")
    folder, table = (given.parent, given.name) if given.is_file() else (given, "")
    try:
        listing = read_channel("data", folder, data_format, Options(labels=labels), lists, table)
    except ThoraxError as error:
        raise ThoraxError(str(error).replace("channel data: ", "--data: ").replace("data_format=", "--data-format ")) from None
    space = bundle.space
    unknown = [name for name in listing.names if name not in space.classes and name.lower() not in NEGATIVE_NAMES]
    missing = [name for name in space.outputs if name not in listing.names]
    exclusive = space.task != "multilabel"
    if (unknown or not listing.exclusive) if exclusive else (unknown and len(missing) == len(space.outputs)):
        told = ", ".join(listing.names) + ("" if listing.exclusive or not exclusive else " (several on a film, or none)")
        raise ThoraxError(f"--data {given} has the labels {told}, but the bundle tells apart {', '.join(space.classes)}")
    samples = sample_set("data", listing, space)
    films = Films(given, list(samples.ids), list(samples.patients), [sample.source for sample in samples.samples], samples.targets.copy())
    if not exclusive:
        for name in missing:
            say(f"warning: {given} says nothing of {name}: it is not scored")
            films.targets[:, space.outputs.index(name)] = np.nan
        if unknown:
            say(f"note: the bundle does not know {', '.join(unknown)}, which {given} has too")
    _warn_of_training_films(bundle, films.ids)
    return films


def _warn_of_training_films(bundle: Bundle, ids: Sequence[str]) -> None:
    """Says how many of the films the bundle was trained on, as its split.csv remembers them."""
    try:
        with (bundle.folder / SPLIT).open(newline="", encoding="utf-8") as file:
            seen = {row["id"] for row in csv.DictReader(file) if row["part"] in ("train", "validation")}
    except (OSError, KeyError):
        return
    known = sum(name in seen for name in ids)
    if known:
        say(f"warning: {known} of {len(ids)} films have the ids of films that the bundle was trained on or chosen by; their scores say little of new films")


def _scored(bundle: Bundle, films: Films) -> Predictions:
    classifier = Classifier(bundle)
    progress = Progress("films", -(-len(films.ids) // BATCH), 0, True, 30.0)
    rows = []
    for start in range(0, len(films.ids), BATCH):
        rows.append(classifier.predict(films.sources[start : start + BATCH]))
        progress.step()
    progress.close()
    return Predictions(films.ids, films.patients, films.targets, np.concatenate(rows))


def _labelled(predicted: Predictions, films: Films, file: Path) -> Predictions:
    """The predictions with targets and patients of --data.

    Raises:
        ThoraxError: an id that --data has not.
    """
    place = {name: k for k, name in enumerate(films.ids)}
    unknown = [name for name in predicted.ids if name not in place]
    if unknown:
        example = next(iter(place))
        raise ThoraxError(
            f"{len(unknown)} of {len(predicted.ids)} ids of {file} are not in {films.given}: the first is {unknown[0]}, there they look like {example}"
        )
    if len(predicted.ids) < len(place):
        say(f"warning: {file} has no predictions of {len(place) - len(predicted.ids)} of the {len(place)} films of {films.given}; they are left out")
    at = [place[name] for name in predicted.ids]
    return replace(predicted, targets=films.targets[at], patients=[films.patients[k] for k in at])


def _check_answers(films: Predictions, outputs: Sequence[str], classes: Sequence[str], where: Path) -> None:
    """Raises ThoraxError where no label has both answers: nothing could be told apart."""
    known = ~np.isnan(films.targets)
    if not known.any():
        raise ThoraxError(f"{where} has no known labels of {', '.join(outputs)}; a table of predictions needs columns such as target:{outputs[0]}, or --data")
    positives, counts = np.nansum(films.targets, axis=0), known.sum(axis=0)
    if ((positives == 0) | (positives == counts)).all():
        held = [name for name, n in zip(outputs, positives, strict=True) if n] or [classes[0] if len(outputs) < len(classes) else "films without a label"]
        raise ThoraxError(f"{where} has films of one class only ({', '.join(held)}, {len(films.ids)} films); scores need both answers, add films of the other")


def _compared(shown: Predictions, films: Films, bundle: Bundle, folder: Path, resamples: int) -> dict[str, Any]:
    other = find_bundle(folder)
    if set(other.space.outputs) != set(bundle.space.outputs):
        raise ThoraxError(f"--compare {folder} has the labels {', '.join(other.space.classes)}, the first bundle {', '.join(bundle.space.classes)}")
    found = _scored(other, films)
    order = [other.space.outputs.index(name) for name in bundle.space.outputs]
    place = {name: k for k, name in enumerate(found.ids)}
    second = found.probabilities[[place[name] for name in shown.ids]][:, order]
    return compare(shown.targets, shown.probabilities, second, bundle.space, shown.patients, resamples=resamples)


def _table_of(films: Films | None) -> Path:
    """The one CSV of --data."""
    if films is not None and films.given.is_file():
        return films.given
    tables = sorted(films.given.glob("*.csv")) if films is not None else []
    if len(tables) != 1:
        raise ThoraxError("--by: --data is no table; give the table with these columns by --subgroups TABLE")
    return tables[0]


def _columns(by: Sequence[str], file: Path, given: Path | None, ids: Sequence[str]) -> dict[str, list[str]]:
    """{column: value of each film}, from a table with id or path.

    Raises:
        ThoraxError: a missing column, or a film that is not in the table.
    """
    table = read_table(file).by_name()
    found = {name.lower(): name for name in table}
    key = next((found[name] for name in ID_COLUMNS if name in found and set(ids) & set(table[found[name]])), None)
    if key is None:
        raise ThoraxError(f"{file} has no column ({', '.join(ID_COLUMNS)}) with the ids of these films, such as {ids[0]}; it has {', '.join(table)}")
    missing = [name for name in by if name.lower() not in found]
    if missing:
        raise ThoraxError(f"--by {missing[0]}: {file} has no such column; it has {', '.join(table)}")
    place = {name.strip(): k for k, name in enumerate(table[key])}
    lost = [name for name in ids if name not in place]
    if lost:
        raise ThoraxError(f"{len(lost)} of {len(ids)} films are not in {given or file}; the first is {lost[0]}")
    values = {name: table[found[name.lower()]] for name in by}
    return {name: [column[place[i]] for i in ids] for name, column in values.items()}


def _rule(bundle: Bundle) -> str:
    stored = bundle.about["configuration"]
    return str(Rule(stored.get("threshold_rule", "balanced"), stored.get("target_sensitivity"), stored.get("cost_ratio")))


def _facts(bundle: Bundle, where: Path) -> dict[str, dict[str, str]]:
    prepared = bundle.preprocessing
    return {
        "What was scored": {
            "bundle": str(bundle.folder.absolute()), "films": str(where), "network": bundle.network,
            "image": f"{prepared.height} x {prepared.width}, {prepared.fit}", "trained with torch": str(bundle.about["versions"].get("torch", "")),
            "split sha256 of its training": str(bundle.about["split"].get("sha256", ""))[:16],
        },
        "Configuration of its training": {k: v if isinstance(v, str) else json.dumps(v) for k, v in bundle.about["configuration"].items()},
    }  # fmt: skip
