"""Answers out: probabilities in the form that the caller accepts."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from thorax.data.images import DecodeError
from thorax.serving.classifier import Classifier
from thorax.serving.readers import InferenceRequest, RequestError

JSON, VERBOSE, LINES, CSV, NPY, PNG = (
    "application/json",
    "application/json;verbose",
    "application/jsonlines",
    "text/csv",
    "application/x-npy",
    "image/png",
)
OUTPUTS = (JSON, VERBOSE, LINES, CSV, NPY, PNG)


@dataclass(frozen=True)
class Reply:
    """One HTTP answer."""

    status: int
    content_type: str
    body: bytes


@dataclass(frozen=True)
class Prediction:
    """A request with what the classifier said.

    Attributes:
        images: (height, width) uint8 as the network saw them, or why one could not be read.
        rows: (L,) float32 probabilities, or the same reason.
    """

    classifier: Classifier
    request: InferenceRequest
    images: list[np.ndarray | DecodeError]
    rows: list[np.ndarray | DecodeError]


def chosen(accept: str | None) -> str:
    """The form of the answer: the one of OUTPUTS that an Accept header likes best (RFC 9110: q-values, then the more
    specific).

    Raises:
        RequestError: 406, none of them.
    """
    wanted = [_range(word) for word in (accept or "*/*").split(",") if word.strip()] or [_range("*/*")]
    best: tuple[float, int, int] | None = None
    form = ""
    for k, output in enumerate(OUTPUTS):
        fits = [(specific, q) for name, verbose, q in wanted if (specific := _fits(output, name, verbose))]
        if fits and (q := max(fits)[1]) > 0 and (best is None or (q, max(fits)[0], -k) > best):
            best, form = (q, max(fits)[0], -k), output
    if not form:
        raise RequestError(406, f"Accept {(accept or '')[:100]} cannot be given; ask for one of {', '.join(OUTPUTS)}")
    return form


def _range(word: str) -> tuple[str, bool, float]:
    """image/*;q=0.5 -> (image/*, not verbose, 0.5)."""
    name, *parameters = (part.strip().lower() for part in word.split(";"))
    q = 1.0
    verbose = False
    for parameter in parameters:
        key, _, text = parameter.partition("=")
        if key == "q":
            try:
                q = min(max(float(text), 0.0), 1.0)
            except ValueError:
                q = 0.0
        verbose |= key == "verbose" and text in ("", "true", "1")
    return name, verbose, q if q == q else 0.0


def _fits(output: str, name: str, verbose: bool) -> int:
    """0: the range does not name the output; else the larger the more specific."""
    kind = output.partition(";")[0]
    if name == kind:
        return 3 if verbose == (output == VERBOSE) else 0
    if verbose or (output in (VERBOSE, PNG) and name != "image/*"):
        return 0
    return 2 if name == kind.split("/")[0] + "/*" else 1 if name == "*/*" else 0


def write(prediction: Prediction, form: str) -> Reply:
    """The answer in one of OUTPUTS.

    Raises:
        RequestError: 400, no image could be read, or the form has no room for what was asked.
    """
    problems = [row for row in prediction.rows if isinstance(row, DecodeError)]
    if len(problems) == len(prediction.rows):
        raise RequestError(400, str(problems[0]))
    if prediction.request.options.explain and form in (CSV, NPY):
        raise RequestError(406, f"{form} has no room for heat maps; with explain=true ask for {JSON}, {LINES} or {PNG}")
    if prediction.request.options.explain and form == JSON:
        form = VERBOSE
    return Reply(200, form.partition(";")[0], _WRITERS[form](prediction))


def _plain(prediction: Prediction) -> bytes:
    """[0.1, 0.9]; for a list of images a list of such, with null for an image that cannot be read."""
    rows = [None if isinstance(row, DecodeError) else numbers(row) for row in prediction.rows]
    return _dumped(rows if prediction.request.several else rows[0])


def _verbose(prediction: Prediction) -> bytes:
    images = [_described(prediction, k) for k in range(len(prediction.rows))]
    common = {
        "labels": list(prediction.classifier.labels),
        "thresholds": prediction.classifier.thresholds,
        "model_version": prediction.classifier.version,
    }
    return _dumped({**common, "predictions": images} if prediction.request.several else {**common, **images[0]})


def _described(prediction: Prediction, k: int) -> dict[str, Any]:
    classifier, row, image = prediction.classifier, prediction.rows[k], prediction.images[k]
    if isinstance(row, DecodeError) or isinstance(image, DecodeError):
        return {"error": str(row)}
    found = {
        "probabilities": numbers(row),
        "decisions": classifier.decisions(row).tolist(),
        "predicted": classifier.predicted(row),
        "warnings": classifier.warnings(image),
    }
    return {**found, **_explained(prediction, image)}


def _lines(prediction: Prediction) -> bytes:
    lines = []
    for row, image in zip(prediction.rows, prediction.images, strict=True):
        if isinstance(row, DecodeError) or isinstance(image, DecodeError):
            lines.append(_dumped({"error": str(row)}))
        else:
            lines.append(_dumped({"prediction": numbers(row), **_explained(prediction, image)}))
    return b"".join(line + b"\n" for line in lines)


def _explained(prediction: Prediction, image: np.ndarray) -> dict[str, Any]:
    """The heat maps that were asked for: {label: PNG in base64}."""
    options = prediction.request.options
    if not options.explain:
        return {}
    labels = [options.label] if options.label else prediction.classifier.labels
    return {"heat_maps": {label: base64.b64encode(_heat_map(prediction, image, label)).decode() for label in labels}}


def _heat_map(prediction: Prediction, image: np.ndarray, label: str) -> bytes:
    if label not in prediction.classifier.labels:
        raise RequestError(400, f"label {label[:100]} is not one of {', '.join(prediction.classifier.labels)}")
    return prediction.classifier.heat_map(image, label).png


def _csv(prediction: Prediction) -> bytes:
    """A line of probabilities per image, in the labels' order; an empty one for an image that cannot be read."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in prediction.rows:
        writer.writerow(
            [""] * len(prediction.classifier.labels)
            if isinstance(row, DecodeError)
            else [f"{float(p):.6f}" for p in row]
        )
    return text.getvalue().encode()


def _npy(prediction: Prediction) -> bytes:
    """(L,) float32, for a list of images (N, L); NaN for an image that cannot be read."""
    unknown = np.full(len(prediction.classifier.labels), np.nan, np.float32)
    rows = np.stack([unknown if isinstance(row, DecodeError) else np.round(row, 6) for row in prediction.rows])
    out = io.BytesIO()
    np.save(out, rows if prediction.request.several else rows[0], allow_pickle=False)
    return out.getvalue()


def _png(prediction: Prediction) -> bytes:
    """One image's heat map over it: of the label asked for, else of the most probable one."""
    row, image = prediction.rows[0], prediction.images[0]
    if len(prediction.rows) > 1 or isinstance(row, DecodeError) or isinstance(image, DecodeError):
        raise RequestError(
            400,
            f"{PNG} is the heat map of one image, the request has {len(prediction.rows)}; ask for {JSON} with"
            " explain=true",
        )
    return _heat_map(
        prediction, image, prediction.request.options.label or prediction.classifier.labels[int(row.argmax())]
    )


def numbers(row: np.ndarray) -> list[float]:
    """Probabilities with six decimals."""
    return [round(float(p), 6) for p in row]


def _dumped(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


_WRITERS: dict[str, Callable[[Prediction], bytes]] = {
    JSON: _plain,
    VERBOSE: _verbose,
    LINES: _lines,
    CSV: _csv,
    NPY: _npy,
    PNG: _png,
}
