"""Several bundles to one: the mean of their calibrated probabilities, calibrated and cut anew on labelled images."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from thorax.data.joint_preprocessing import JointPreprocessing
from thorax.errors import ThoraxError
from thorax.evaluation import calibration_fit, thresholds
from thorax.evaluation.metrics import score
from thorax.evaluation.predictions import Predictions, read_predictions
from thorax.scoring.evaluation import network_answers
from thorax.scoring.labelled_images import check_answers, read_labelled, warn_of_training_images
from thorax.scoring.options import EvaluationOptions
from thorax.serving.bundle import SPLIT, Bundle
from thorax.serving.bundle_contents import BundleContents
from thorax.serving.bundle_place import DESCRIPTION
from thorax.serving.ensemble import pooled_logits
from thorax.serving.ensemble_writer import member_folders, write_ensemble
from thorax.text import counted

#: Members disagree about an image where their standard deviation is above this quantile of that of the images on which
#: the ensemble is fitted.
QUANTILE = 0.95
_FOLD = re.compile(r"fold-(\d+)")


@dataclass(frozen=True)
class MemberAnswers:
    """What members answered on labelled images.

    Attributes:
        images: ids, patients and targets; `probabilities` are not the ensemble's yet.
        each: (M, N, L) calibrated probabilities; of M = 1, each image has the answer of one member alone.
        origin: where they are from, for bundle.json and the log.
    """

    images: Predictions
    each: np.ndarray
    origin: str


def make_ensemble(
    places: Sequence[str | Path],
    out: str | Path,
    data: str | Path | None = None,
    options: EvaluationOptions | None = None,
    say: Callable[[str], None] = print,
) -> Bundle:
    """Writes one bundle that answers as the mean of several.

    Args:
        places: bundles, in any form that Bundle.load takes; or one folder of a cross-validation with fold-0, fold-1 ...
        out: a new folder.
        data: labelled images that no member was trained on, which calibration, thresholds and the limit of disagreement
            are fitted on. Default: what the members' jobs saved of their validation images: the same images for all; or
            each image in the validation part of one member alone, as in a cross-validation.
        options: how `data` is read.
        say: takes lines of progress.

    Returns:
        The ensemble, loaded.

    Raises:
        ThoraxError: fewer than two members, members that do not fit each other, nothing to fit on, or `out` is taken.
    """
    folder = Path(out)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise ThoraxError(f"--out {folder} exists; name a new folder, or remove it")
    named = member_places(places)
    members = _members(named)
    first = members[0]
    say(
        f"{counted(len(members), 'member')}: "
        + ", ".join(f"{m.network} {_size(m)} ({name})" for m, name in zip(members, named, strict=True))
    )
    found = (
        _on_images(members, Path(data), options or EvaluationOptions()) if data is not None else _stored(members, say)
    )
    say(f"fitted on {found.origin}")
    space, y = first.space, found.images.targets
    check_answers(found.images, space, folder)
    z = pooled_logits(found.each, space.task)
    measured = calibration_fit.Measured(y, z, space.task, found.images.patients, np.zeros(len(space.outputs)))
    fitted = calibration_fit.choose(_common(members, "calibration", "auto"), measured)
    cuts = thresholds.choose(y, [z], space.task, fitted.calibration, _rule(members))
    p = fitted.calibration.probabilities(z, space.task)
    scores = score(y, p, space, cuts, found.images.patients, resamples=200)
    spread = np.quantile(found.each.std(axis=0), QUANTILE, axis=0) if len(found.each) > 1 else None
    about: dict[str, Any] = {
        "members": member_folders(len(members)),
        "made_of": [str(name) for name in named],
        "fitted_on": found.origin,
        "images": len(y),
    }
    if spread is not None:
        about["limits"] = dict(zip(space.outputs, map(float, spread), strict=True))
    contents = BundleContents(
        network=f"ensemble of {len(members)}: {', '.join(dict.fromkeys(m.network for m in members))}",
        space=space,
        preprocessing=JointPreprocessing.of([m.preprocessing for m in members]),
        thresholds=dict(zip(space.outputs, map(float, cuts), strict=True)),
        configuration=_shared(members),
        split={"sha256": first.split.get("sha256", ""), "counts": {}},
        metrics={"validation": scores},
        calibration=fitted.calibration.to_dict(space),
        typical_images=first.typical_images,
        training_data=first.training_data,
        ensemble=about,
    )
    write_ensemble(folder, members, contents, _splits(members))
    for name, value in scores["macro"].items():
        if name in ("auc", "balanced_accuracy") and value["value"] is not None:
            say(f"{name} there: {value['value']:.4f}")
    return Bundle.load(folder)


def member_places(places: Sequence[str | Path]) -> list[str | Path]:
    """The bundles that are named; a folder of a cross-validation stands for all of its folds, in order.

    Raises:
        ThoraxError: some folds of it have no bundle yet.
    """
    found: list[str | Path] = []
    for given in places:
        place = Path(given)
        for root in (place, Path("runs") / place):
            folds = {int(m[1]): p for p in root.glob("fold-*") if p.is_dir() and (m := _FOLD.fullmatch(p.name))}
            if folds and not (root / DESCRIPTION).is_file():
                if lacking := [p.name for _, p in sorted(folds.items()) if not (p / "model" / DESCRIPTION).is_file()]:
                    raise ThoraxError(
                        f"{root}: {', '.join(lacking)} of {counted(len(folds), 'fold')} have no bundle yet; the command"
                        " that began them goes on"
                    )
                found += [p / "model" for _, p in sorted(folds.items())]
                break
        else:
            found.append(given)
    return found


def _members(found: Sequence[str | Path]) -> list[Bundle]:
    """The bundles, which fit each other."""
    if len(found) < 2:
        raise ThoraxError(
            f"an ensemble needs two bundles or more, {counted(len(found), 'bundle')} named; name several, or a folder"
            " with fold-0, fold-1 ..."
        )
    members = [Bundle.load(place) for place in found]
    first, seen = members[0], dict[str, Bundle]()
    for member in members:
        member.check()
        if member.members:
            raise ThoraxError(f"{member.folder} is an ensemble itself; name the bundles that it is made of")
        if (other := seen.setdefault(member.version, member)) is not member:
            raise ThoraxError(f"{member.folder} has the weights of {other.folder}; name each bundle once")
        if member.space != first.space:
            raise ThoraxError(
                f"{member.folder} tells apart {_labels(member)}, and {first.folder} {_labels(first)}: members of an"
                " ensemble have the same labels in one order, all exclusive or all not"
            )
        if member.preprocessing.color != first.preprocessing.color:
            raise ThoraxError(
                f"{member.folder} sees images in {member.preprocessing.color}, and {first.folder} in"
                f" {first.preprocessing.color}: members of an ensemble agree in colour"
            )
    return members


def _labels(bundle: Bundle) -> str:
    return f"{', '.join(bundle.space.classes)} ({bundle.space.task})"


def _size(bundle: Bundle) -> str:
    return f"{bundle.preprocessing.height}x{bundle.preprocessing.width}"


# -- What to fit on ----------------------------------------------------------------------------------------------------


def _on_images(members: Sequence[Bundle], data: Path, options: EvaluationOptions) -> MemberAnswers:
    images = read_labelled(data, members[0], options)
    for member in members[1:]:
        warn_of_training_images(member, images.ids)
    parts = [network_answers(member, images, options.tta) for member in members]
    return MemberAnswers(parts[0], np.stack([part.probabilities for part in parts]), f"{data}")


def _stored(members: Sequence[Bundle], say: Callable[[str], None]) -> MemberAnswers:
    """The members' answers on their validation images, as their jobs saved them.

    Raises:
        ThoraxError: one has none; or they are neither on the same images nor each on images of its own.
    """
    parts = [_validation(member, say) for member in members]
    ids = [set(part.ids) for part in parts]
    if all(one == ids[0] for one in ids):
        order = [{name: k for k, name in enumerate(part.ids)} for part in parts]
        rows = [[place[name] for name in parts[0].ids] for place in order]
        for member, part, row in zip(members, parts, rows, strict=True):
            if not np.array_equal(part.targets[row], parts[0].targets, equal_nan=True):
                raise ThoraxError(f"{member.folder} has other labels of its validation images than {members[0].folder}")
        each = np.stack([part.probabilities[row] for part, row in zip(parts, rows, strict=True)])
        return MemberAnswers(parts[0], each, "the members' answers on the validation images that they share")
    if sum(map(len, ids)) == len(set().union(*ids)):
        whole = Predictions(
            [name for part in parts for name in part.ids],
            [name for part in parts for name in part.patients],
            np.concatenate([part.targets for part in parts]),
            np.concatenate([part.probabilities for part in parts]),
        )
        origin = "out-of-fold answers: of each image that of the one member that was not trained on it"
        return MemberAnswers(whole, whole.probabilities[None], origin)
    raise ThoraxError(
        "the members' validation images are partly the same and partly not, so that some were trained on what others"
        " are judged by: give labelled images that no member was trained on, --data DIR"
    )


def _validation(member: Bundle, say: Callable[[str], None]) -> Predictions:
    file = member.folder.parent / "output" / "data" / "predictions.csv"
    if not file.is_file():
        raise ThoraxError(
            f"{member.folder} lies without its job's answers ({file}), which an ensemble's calibration and thresholds"
            " are fitted on: give labelled images that no member was trained on, --data DIR"
        )
    cuts = np.array([member.thresholds.get(name, 0.5) for name in member.labels])
    parts = read_predictions(file, member.space, cuts, say)
    if "validation" not in parts:
        raise ThoraxError(f"{file} has no part validation, only {', '.join(parts)}: give --data DIR")
    return parts["validation"]


# -- What the members have in common -----------------------------------------------------------------------------------


def _common(members: Sequence[Bundle], name: str, default: Any) -> Any:
    values = [member.configuration.get(name, default) for member in members]
    return values[0] if all(value == values[0] for value in values) else default


def _shared(members: Sequence[Bundle]) -> dict[str, Any]:
    """The configuration's entries that all members have alike, but for the network: how images are read, among them."""
    first: Mapping[str, Any] = members[0].configuration
    return {
        name: value
        for name, value in first.items()
        if name != "network" and all(name in m.configuration and m.configuration[name] == value for m in members)
    }


def _rule(members: Sequence[Bundle]) -> thresholds.ThresholdRule:
    named = ("threshold_rule", "target_sensitivity", "cost_ratio")
    values = [tuple(member.configuration.get(name) for name in named) for member in members]
    rule, target, ratio = values[0] if all(value == values[0] for value in values) else (None, None, None)
    return thresholds.ThresholdRule(rule or "balanced", target, ratio)


def _splits(members: Sequence[Bundle]) -> str:
    """split.csv of all: an image is of train where any member was trained on it, else of validation where any was
    chosen by it."""
    rank = {"train": 0, "validation": 1, "test": 2}
    rows: dict[str, tuple[str, str]] = {}
    for member in members:
        with (member.folder / SPLIT).open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                known = rows.get(row["id"], (row["patient"], "test"))
                part = min(known[1], row["part"], key=lambda name: rank.get(name, 3))
                rows[row["id"]] = (row["patient"], part)
    lines = ["id,patient,part\n"]
    for name, (patient, part) in sorted(rows.items()):
        lines.append(",".join(f'"{v}"' if "," in v or '"' in v else v for v in (name, patient, part)) + "\n")
    return "".join(lines)
