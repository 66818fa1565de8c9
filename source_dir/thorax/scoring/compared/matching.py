"""The same images and labels in the predictions of several models: matched by name, never by position."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import numpy as np

from thorax.errors import ThoraxError
from thorax.evaluation.arrays import Array
from thorax.labels import LabelSpace
from thorax.scoring.compared.saved import SavedPredictions
from thorax.text import are, counted

_ENDING = re.compile(r"\.(png|jpe?g|dcm|dicom|tiff?|bmp|webp|pgm)$", re.IGNORECASE)
#: How names of images are compared: as they are, by the file alone, and without its ending.
LEVELS: Mapping[str, Callable[[str], str]] = {
    "": lambda name: name.removeprefix("./"),
    "the file's name alone": lambda name: PurePosixPath(name).name,
    "the file's name without its ending": lambda name: _ENDING.sub("", PurePosixPath(name).name),
}


@dataclass(frozen=True)
class Truth:
    """The truth about images, from a listing or from the images themselves; labels by name."""

    where: str
    ids: list[str]
    patients: Sequence[str]
    labels: Mapping[str, Array]


@dataclass(frozen=True)
class Matched:
    """N images that all runs have, and what each run says of them.

    Attributes:
        space: the labels that all runs have.
        ids, patients: of the images.
        targets: (N, L).
        probabilities, decisions: by run, (N, L) each.
        notes: what was left out, and how names were matched.
    """

    space: LabelSpace
    ids: list[str]
    patients: list[str]
    targets: Array
    probabilities: dict[str, Array]
    decisions: dict[str, Array]
    notes: list[str] = field(default_factory=list)


def match(runs: Mapping[str, SavedPredictions], truth: Truth | None) -> Matched:
    """The images and labels that all runs have.

    Args:
        runs: by name; the first one's names are kept.
        truth: counts before what the runs themselves say.

    Raises:
        ThoraxError: no image or no label is in all of them, or none has a known truth.
    """
    notes: list[str] = []
    space, columns = _common_labels(runs, notes)
    known = {"the truth": truth.ids} if truth is not None else {}
    key, places = _common_images({name: run.ids for name, run in runs.items()} | known, notes)
    first = next(iter(runs.values()))
    names = [name for name in map(key, first.ids) if all(name in place for place in places.values())]
    for name, place in places.items():
        if left := len(place) - len(names):
            notes.append(f"{name}: {counted(left, 'image')} of {len(place):,} {are(left)} not in all runs and left out")
    if not names:
        some = "; ".join(f"{name}: {len(place):,} such as {next(iter(place), '-')}" for name, place in places.items())
        raise ThoraxError(f"the runs have no image in common; their images are {some}")
    rows = {run: np.array([place[name] for name in names]) for run, place in places.items()}
    kept = {run: runs[run].take(rows[run].tolist()) for run in runs}
    chosen = {run: _columns(kept[run], columns[run], run, notes) for run in runs}
    targets = _truth({run: parts[2] for run, parts in chosen.items()}, truth, rows, space, notes)
    if np.isnan(targets).all():
        raise ThoraxError(
            "no run says what is true of its images: give --truth FILE (a table or .lst with the labels), or --data DIR"
        )
    return Matched(
        space,
        kept[next(iter(runs))].ids,
        _patients(kept, truth, rows),
        targets,
        {run: parts[0] for run, parts in chosen.items()},
        {run: parts[1] for run, parts in chosen.items()},
        notes,
    )


def plain_label(name: str) -> str:
    """A label's name without case, spaces and signs."""
    return re.sub(r"[\W_]+", "", name.casefold())


# -- Labels ------------------------------------------------------------------------------------------------------------


def _common_labels(
    runs: Mapping[str, SavedPredictions], notes: list[str]
) -> tuple[LabelSpace, dict[str, dict[str, str]]]:
    """(the space of the labels that all runs have, by run: label -> its name in that run)."""
    first, *others = runs
    spaces = {run: saved.space for run, saved in runs.items()}
    known = {run: {plain_label(name): name for name in _known(space)} for run, space in spaces.items()}
    common = [name for name in spaces[first].outputs if all(plain_label(name) in known[run] for run in others)]
    same = len({space.task for space in spaces.values()}) == 1
    if not common and spaces[first].task == "binary":  # the other class of two
        common = [name for name in spaces[first].classes if all(plain_label(name) in known[run] for run in others)][:1]
    if not common:
        described = "; ".join(f"{run}: {', '.join(space.classes)}" for run, space in spaces.items())
        raise ThoraxError(f"the runs have no label in common; their labels are {described}")
    columns = {run: {name: known[run][plain_label(name)] for name in common} for run in runs}
    for run, space in spaces.items():
        used = set(columns[run].values())
        if left := [name for name in space.outputs if name not in used and space.task != "binary"]:
            notes.append(f"{run}: {counted(len(left), 'label')} not in all runs and left out: {', '.join(left)}")
        if spelled := [f"{own} as {name}" for name, own in columns[run].items() if own != name]:
            notes.append(f"{run}: labels matched without case and signs: {', '.join(spelled)}")
        if space.task == "binary" and not used <= set(space.outputs):
            notes.append(f"{run}: its positive class is {space.outputs[0]}; one minus its probabilities is used")
    whole = same and all({*columns[run].values()} == {*spaces[run].outputs} for run in runs)
    if whole or (same and spaces[first].task == "binary"):
        if spaces[first].task == "binary" and common[0] != spaces[first].outputs[0]:
            return LabelSpace((spaces[first].outputs[0], common[0]), "binary"), columns
        return spaces[first], columns
    return LabelSpace(tuple(common), "multilabel"), columns


def _known(space: LabelSpace) -> tuple[str, ...]:
    """The labels that a run can be asked about."""
    return space.classes if space.task == "binary" else space.outputs


def _columns(
    saved: SavedPredictions, names: Mapping[str, str], run: str, notes: list[str]
) -> tuple[Array, Array, Array]:
    """(N, L) probabilities, decisions and targets of the labels, by name."""
    found = [saved.column(own) for own in names.values()]
    assert all(found)
    p, called, y = (np.stack(parts, axis=1) for parts in zip(*(part for part in found if part), strict=True))
    return p, called, y


# -- Images ------------------------------------------------------------------------------------------------------------


def _common_images(
    ids: Mapping[str, Sequence[str]], notes: list[str]
) -> tuple[Callable[[str], str], dict[str, dict[str, int]]]:
    """(what an image is called, by run: name -> place) at the strictest level that matches the most images."""
    best: tuple[int, str, dict[str, dict[str, int]]] | None = None
    for level, key in LEVELS.items():
        places = {}
        for run, names in ids.items():
            keys = [key(name) for name in names]
            counts = Counter(keys)
            places[run] = {name: k for k, name in enumerate(keys) if counts[name] == 1}
        common = set.intersection(*(set(place) for place in places.values()))
        unique = all(len(places[run]) == len(names) for run, names in ids.items())
        if (unique or not level) and (best is None or len(common) > best[0]):
            best = len(common), level, places
    assert best is not None
    if best[1]:
        notes.append(f"images are matched by {best[1]}: their whole names differ between the runs")
    return LEVELS[best[1]], best[2]


def _truth(
    said: Mapping[str, Array], truth: Truth | None, rows: Mapping[str, Array], space: LabelSpace, notes: list[str]
) -> Array:
    """(N, L): that of the listing, else of the first run that knows it; who says otherwise is counted."""
    targets = np.full(next(iter(said.values())).shape, np.nan)
    sources = dict(said)
    if truth is not None:
        known = {plain_label(name): column for name, column in truth.labels.items()}
        if space.task == "binary":
            negative, positive = map(plain_label, space.classes)
            if positive not in known and negative in known:
                known[positive] = 1 - known[negative]
        missing = [name for name in space.outputs if plain_label(name) not in known]
        if missing:
            notes.append(f"{truth.where} says nothing of {', '.join(missing)}")
        listed = [known.get(plain_label(name), np.full(len(truth.ids), np.nan)) for name in space.outputs]
        sources = {truth.where: np.stack(listed, axis=1)[rows["the truth"]], **said}
    for where, values in sources.items():
        unlike = ~np.isnan(targets) & ~np.isnan(values) & (targets != values)
        if unlike.any():
            n = int(unlike.any(axis=1).sum())
            notes.append(f"warning: {where} has another truth of {counted(n, 'image')}; what is named before it counts")
        targets = np.where(np.isnan(targets), values, targets)
    if space.task == "multiclass":
        whole = np.nansum(targets, axis=1) == 1
        targets = np.where(whole[:, None], np.nan_to_num(targets), np.nan)
    return targets


def _patients(kept: Mapping[str, SavedPredictions], truth: Truth | None, rows: Mapping[str, Array]) -> list[str]:
    """Of each image: as the listing or the first run knows them, else every image for itself."""
    if truth is not None and truth.patients:
        return [truth.patients[k] for k in rows["the truth"]]
    for saved in kept.values():
        if saved.patients:
            return list(saved.patients)
    return next(iter(kept.values())).ids
