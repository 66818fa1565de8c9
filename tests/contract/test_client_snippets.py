"""Clients of the original projects against our endpoint: on the app over HTTP, and (slow) on Ray and TorchServe.

| project | its lines (tests/helpers/original_clients.py has them anew) | they get |
|---|---|---|
| 1 | invoke_endpoint application/x-image, json.loads, np.argmax | 14 probabilities, the name of the greatest |
| 2 | classifier.predict, result[1] > result[0] | Normal or Pneumonia |
| 2 | json.load(FILE.out)["prediction"] of a batch transform | its table of TP, FP, TN, FN |
| 2 | Lambda: the form's file to the endpoint | Normal or Pneumonia as the body |
| 2 | page: data === "Pneumonia" | tests/web/test_original_page.py |
| 3 | predictor.predict(tensor), np.argmax, summed over folders | 0 for each normal, 1 for each pneumonia |
| 3 | Lambda: json.loads, argmax, object_categories[...] | normal or pneumonia as JSON |
| 4 | default functions: arrays in and out, argmax(axis=1) | a class a row |
| 4 | IdentitySerializer("image/jpeg"), NumpyDeserializer() | (2,) float32 |
| 4 | batch transform to a confusion matrix | its counts |
| 5 | prob[idx] of each of five classes | five probabilities |

What they cannot have as it was: the third project's Lambda fetched any address that it was given, so here the image is
in the event; tensors are greys in 0..1, as they are before the projects' own normalisation, which the bundle does.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
import requests
import uvicorn

import images
import lambda_stand_ins
import original_clients as clients
from hosting import form, free_port, server, tiny_bundle
from original_clients import CHESTXRAY14, COCO, Endpoint
from thorax.labels import LabelSpace
from thorax.scoring import read_outputs
from thorax.serving.app import create_app
from thorax.serving.classifier import Classifier
from thorax.serving.service import Service
from thorax.serving.settings import ServerSettings

SPACES = {
    "chestxray14": LabelSpace(CHESTXRAY14, "multilabel"),
    "pneumonia": LabelSpace(("normal", "pneumonia"), "binary"),
    "coco": LabelSpace(COCO, "multilabel"),
}
#: Of the tiny network's making: it takes flat greys for normal, patterns for pneumonia.
NORMAL = [images.data(np.full((40, 48), level, np.uint8)) for level in (60, 130, 200)]
PNEUMONIA = [images.data(images.grey(seed=k)) for k in range(2)]
FORM, FORM_TYPE = form(("file", "person1.png", PNEUMONIA[0]))
EVENT = {"headers": {"Content-Type": FORM_TYPE}, "body": base64.b64encode(FORM).decode()}

#: Bundle -> what a client does -> how it is asked.
SNIPPETS: dict[str, dict[str, Callable[[Endpoint], Any]]] = {
    "chestxray14": {"1 argmax": lambda at: clients.top_result(at, PNEUMONIA[0])},
    "pneumonia": {
        "2 normal": lambda at: clients.predicted_by_the_sdk(at, NORMAL[0]),
        "2 pneumonia": lambda at: clients.predicted_by_the_sdk(at, PNEUMONIA[0]),
        "2 Lambda": lambda at: clients.lambda_of_a_form(at, EVENT)["body"],
        "3 sums": lambda at: clients.sums_over_folders(at, NORMAL, PNEUMONIA),
        "3 Lambda": lambda at: [
            clients.lambda_of_a_body(at, {"body": base64.b64encode(image).decode()})["body"]
            for image in (NORMAL[0], PNEUMONIA[0])
        ],
        "4 default": lambda at: clients.rows_of_default_functions(at, [NORMAL[0], PNEUMONIA[0], PNEUMONIA[1]]),
        "4 own": lambda at: [clients.image_predictor(at, image) for image in (NORMAL[1], PNEUMONIA[1])],
        "4 transform": lambda at: clients.confusion_of_a_transform(at, NORMAL, PNEUMONIA),
    },
    "coco": {"5 each": lambda at: clients.printed_probabilities(at, PNEUMONIA[1])},
}
#: What "pneumonia" must give: its answers are words and counts.
EXPECTED = {
    "2 normal": "Normal",
    "2 pneumonia": "Pneumonia",
    "2 Lambda": "Pneumonia",
    "3 sums": (0, 2),
    "3 Lambda": ['"normal"', '"pneumonia"'],
    "4 default": [0, 1, 1],
    "4 own": [0, 1],
    "4 transform": [[3, 0], [0, 2]],
}


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("snippets")
    return {name: tiny_bundle(root / name / "model", space) for name, space in SPACES.items()}


@contextmanager
def app(bundle: Path, **variables: str) -> Iterator[str]:
    """The address of the app under uvicorn, in a thread."""
    settings = ServerSettings.from_environment({"THORAX_PRECISION": "float32", "THORAX_WORKERS": "1", **variables})
    port = free_port()
    running = uvicorn.Server(
        uvicorn.Config(create_app(lambda: Service.start(bundle, settings)), port=port, log_level="error")
    )
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    try:
        for _ in range(600):
            if running.started or not thread.is_alive():
                break
            thread.join(0.05)
        assert running.started
        yield f"http://127.0.0.1:{port}"
    finally:
        running.should_exit = True
        thread.join(30)


@contextmanager
def served(kind: str, bundle: Path, **variables: str) -> Iterator[Endpoint]:
    """A SageMaker runtime with one endpoint before a server of that kind."""
    if kind != "app":
        pytest.importorskip("ray" if kind == "ray" else "sagemaker_pytorch_serving_container")
    one = {"THORAX_PRECISION": "float32", "THORAX_WORKERS": "1"} | ({"THORAX_REPLICAS": "1"} if kind == "ray" else {})
    started = app(bundle, **variables) if kind == "app" else server(bundle, kind, ready=400, **one, **variables)
    with started as found:
        address = found if isinstance(found, str) else found[0]
        with lambda_stand_ins.endpoint("chest", address) as runtime:
            keys = {"aws_access_key_id": "x", "aws_secret_access_key": "x", "region_name": "eu-west-1"}
            yield Endpoint(
                "chest",
                boto3.client("sagemaker-runtime", endpoint_url=runtime, **keys),
                lambda named, accept: transformed(address, named, accept),
            )


def transformed(address: str, named: Mapping[str, bytes], accept: str | None) -> dict[str, str]:
    """A batch transform: a request an image, its answer as NAME.out."""
    session = requests.Session()
    session.headers.clear()
    headers = {"Content-Type": "application/x-image", **({"Accept": accept} if accept else {})}
    found = {}
    for name, body in named.items():
        answered = session.post(f"{address}/invocations", body, headers=headers, timeout=30)
        assert answered.status_code == 200, answered.text
        found[f"{name}.out"] = answered.text
    return found


slow = (pytest.mark.slow, pytest.mark.timeout(900))
SERVERS = ["app", pytest.param("ray", marks=slow), pytest.param("torchserve", marks=slow)]


@pytest.mark.parametrize("kind", SERVERS)
@pytest.mark.parametrize("name", SNIPPETS)
def test_the_originals_own_clients_get_the_right_answer(bundles, kind, name):
    with served(kind, bundles[name]) as endpoint:
        got = {what: ask(endpoint) for what, ask in SNIPPETS[name].items()}
    classifier = Classifier.load(bundles[name], precision="float32")
    if name == "pneumonia":
        assert got == EXPECTED
        p = classifier.predict([*NORMAL, *PNEUMONIA])[:, 0]
        assert (p[:3] < 0.5).all() and (p[3:] > 0.5).all()  # the words above are what the network says
    elif name == "chestxray14":
        p = classifier.predict(PNEUMONIA[:1])[0]
        label, probability, each = got["1 argmax"]
        assert label == CHESTXRAY14[int(p.argmax())]
        assert probability == pytest.approx(float(p.max()), abs=2e-6)
        assert each == pytest.approx(dict(zip(CHESTXRAY14, p.tolist(), strict=True)), abs=2e-6)
    else:
        p = classifier.predict(PNEUMONIA[1:])[0]
        assert got["5 each"] == "".join(f"{label}:{value:f} " for label, value in zip(COCO, p.round(6), strict=True))


@pytest.mark.parametrize("accept", [None, "application/jsonlines"])
@pytest.mark.parametrize("kind", SERVERS)
def test_the_second_projects_reader_of_a_batch_transform(bundles, kind, accept, tmp_path):
    """Its request names no Accept. TorchServe's toolkit puts application/json in its place, unless it is told."""
    told = {"SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": "application/jsonlines"} if kind == "torchserve" else {}
    named = {f"normal/{k}.png": body for k, body in enumerate(NORMAL)}
    named |= {f"pneumonia/{k}.png": body for k, body in enumerate(PNEUMONIA)} | {"normal/9.png": PNEUMONIA[0]}
    with served(kind, bundles["pneumonia"], SAGEMAKER_BATCH="true", **told) as endpoint:
        outputs = endpoint.transform(named, accept)
    for name, text in outputs.items():
        (tmp_path / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / name).write_text(text)
    expected = {"TP": 2, "FP": 1, "TN": 3, "FN": 0, "accuracy": 5 / 6}
    assert clients.scores_of_out_files(tmp_path / "out") == expected
    table = read_outputs(tmp_path / "out", tmp_path / "p.csv", bundle=bundles["pneumonia"])  # and our own
    assert np.nansum((table.probabilities > 0.5) * table.targets) == 2
    assert ((table.probabilities > 0.5) * (1 - table.targets)).sum() == 1
