"""Content types that a reply may have: one entry of WRITERS each, in order of preference.

To add one, register it under its name:

    WRITERS.register("text/html", ResponseWriter(write_table, "a table, a row an image"))
"""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from thorax.data.images import DecodeError
from thorax.registry import Registry
from thorax.serving.request import RequestError
from thorax.serving.response import Prediction, bare, dump_json
from thorax.shown import visible

JSON, VERBOSE, LINES = "application/json", "application/json;verbose", "application/jsonlines"
CSV, NPY, PNG, TEXT = "text/csv", "application/x-npy", "image/png", "text/plain"
#: Stands between the labels of one image, as in ChestX-ray14's "Cardiomegaly|Emphysema".
BETWEEN = "|"


@dataclass(frozen=True)
class ResponseWriter:
    """One content type of replies.

    Attributes:
        write: prediction -> the body; at least one of its images could be read. It raises RequestError for a prediction
            that the type cannot hold.
        help: what the body holds, in a few words.
        heat_maps: whether it holds the heat maps that a request may ask for.
        for_any: whether it is given to a caller who accepts */*; else only by its name or as type/*.
    """

    write: Callable[[Prediction], bytes]
    help: str
    heat_maps: bool = False
    for_any: bool = True


WRITERS: Registry[ResponseWriter] = Registry("content type")


def write_json(prediction: Prediction) -> bytes:
    """[0.1, 0.9]; for a list of images a list of such, with null for an image that cannot be read."""
    rows = prediction.numbers
    return dump_json(rows if prediction.request.several else rows[0])


def write_verbose(prediction: Prediction) -> bytes:
    """An object with labels, thresholds, model_version, and of the image probabilities, decisions, predicted (a class,
    or the list of labels found), label (the same as a text), warnings and heat_maps; of an ensemble also
    disagreement, the standard deviation of its members' probabilities.

    For a list of images what is of the image is in a list "predictions": {"error"} for one that cannot be read.
    """
    classifier = prediction.classifier
    images = [_described(prediction, k) for k in range(len(prediction.rows))]
    common = {
        "labels": list(classifier.labels),
        "thresholds": classifier.thresholds,
        "model_version": classifier.version,
    }
    return dump_json({**common, "predictions": images} if prediction.request.several else {**common, **images[0]})


def _described(prediction: Prediction, k: int) -> dict[str, Any]:
    classifier, row, image = prediction.classifier, prediction.rows[k], prediction.images[k]
    if isinstance(row, DecodeError) or isinstance(image, DecodeError):
        return {"error": str(row)}
    predicted = classifier.predicted(row)
    spread = prediction.spreads[k] if prediction.spreads else None
    return {
        "probabilities": bare(row, both=False),
        "decisions": classifier.decisions(row).tolist(),
        "predicted": predicted,
        "label": predicted if isinstance(predicted, str) else BETWEEN.join(predicted),
        **({} if spread is None else {"disagreement": bare(spread, both=False)}),
        "warnings": classifier.warnings(image, prediction.source(k)) + classifier.disputed(spread),
        **_heat_maps(prediction, image),
    }


def write_lines(prediction: Prediction) -> bytes:
    """A line of JSON an image: {"prediction": [0.1, 0.9]} or {"error": why it cannot be read}."""
    lines = []
    for row, image, numbers in zip(prediction.rows, prediction.images, prediction.numbers, strict=True):
        if isinstance(image, DecodeError) or numbers is None:
            lines.append(dump_json({"error": str(row)}))
        else:
            lines.append(dump_json({"prediction": numbers, **_heat_maps(prediction, image)}))
    return b"".join(line + b"\n" for line in lines)


def write_csv(prediction: Prediction) -> bytes:
    """A line of probabilities an image, in the labels' order; one of empty fields for an image that cannot be read."""
    text, empty = io.StringIO(), [""] * len(prediction.columns)
    writer = csv.writer(text, lineterminator="\n")
    for numbers in prediction.numbers:
        writer.writerow(empty if numbers is None else [f"{p:.6f}" for p in numbers])
    return text.getvalue().encode()


def write_text(prediction: Prediction) -> bytes:
    """Names alone. One image: the predicted class, without a line break, so that a caller can compare it; of labels of
    which any may hold a line each, an empty line for none. A list of images: a line each, several labels with |
    between, as tables of this field write them; "error: ..." for one that cannot be read.
    """
    names = [_names(prediction, row) for row in prediction.rows]
    if prediction.request.several:
        return "".join(f"{BETWEEN.join(found)}\n" for found in names).encode(errors="replace")
    return ("\n".join(names[0]) or "\n").encode(errors="replace")


def _names(prediction: Prediction, row: np.ndarray | DecodeError) -> list[str]:
    """What is predicted for an image, each name on one line."""
    if isinstance(row, DecodeError):
        return [visible(f"error: {' '.join(str(row).split())}")]
    predicted = prediction.classifier.predicted(row)
    return [visible(" ".join(name.split())) for name in ([predicted] if isinstance(predicted, str) else predicted)]


def write_npy(prediction: Prediction) -> bytes:
    """(L,) float32, for a list of images (N, L); NaN for an image that cannot be read."""
    unknown = [np.nan] * len(prediction.columns)
    rows = np.array([unknown if numbers is None else numbers for numbers in prediction.numbers], np.float32)
    out = io.BytesIO()
    np.save(out, rows if prediction.request.several else rows[0], allow_pickle=False)
    return out.getvalue()


def write_png(prediction: Prediction) -> bytes:
    """One image with its heat map over it: of the label asked for, else of the most probable one."""
    row, image = prediction.rows[0], prediction.images[0]
    if len(prediction.rows) > 1 or isinstance(row, DecodeError) or isinstance(image, DecodeError):
        count = len(prediction.rows)
        raise RequestError(
            400, f"{PNG} is the heat map of one image, the request has {count}; ask for {JSON} with explain=true"
        )
    label = prediction.request.options.label or prediction.classifier.labels[int(row.argmax())]
    return _drawn(prediction, image, label)[0]


def _heat_maps(prediction: Prediction, image: np.ndarray) -> dict[str, Any]:
    """{"heat_maps": {label: PNG in base64}} where heat maps are asked for, else nothing; with "empty_heat_maps", the
    labels for which no region speaks, where there are any."""
    options = prediction.request.options
    if not options.explain:
        return {}
    labels = [options.label] if options.label else prediction.classifier.labels
    maps = {label: _drawn(prediction, image, label) for label in labels}
    empty = [label for label, (_, is_empty) in maps.items() if is_empty]
    pictures = {label: base64.b64encode(png).decode() for label, (png, _) in maps.items()}
    return {"heat_maps": pictures} | ({"empty_heat_maps": empty} if empty else {})


def _drawn(prediction: Prediction, image: np.ndarray, label: str) -> tuple[bytes, bool]:
    """The PNG of a heat map, and whether it is empty."""
    if label not in prediction.classifier.labels:
        raise RequestError(400, f"label {label[:100]} is not one of {', '.join(prediction.classifier.labels)}")

    def draw() -> tuple[bytes, bool]:
        heat_map = prediction.classifier.heat_map(image, label)
        return heat_map.png(), heat_map.empty

    return cast("tuple[bytes, bool]", prediction.draw(draw))


WRITERS.register(
    JSON,
    ResponseWriter(
        write_json, "probabilities in the labels' order, of two exclusive classes both; with heat maps the verbose form"
    ),
)
WRITERS.register(
    VERBOSE,
    ResponseWriter(
        write_verbose, "labels, thresholds, probabilities, decisions, warnings", heat_maps=True, for_any=False
    ),
)
WRITERS.register(LINES, ResponseWriter(write_lines, 'a line {"prediction": probabilities} an image', heat_maps=True))
WRITERS.register(CSV, ResponseWriter(write_csv, "a line of probabilities an image"))
WRITERS.register(
    NPY, ResponseWriter(write_npy, "numpy's .npy: float32 probabilities (L,), for a list of images (N, L)")
)
WRITERS.register(PNG, ResponseWriter(write_png, "one image with its heat map over it", heat_maps=True, for_any=False))
WRITERS.register(TEXT, ResponseWriter(write_text, "names of what is predicted"))
