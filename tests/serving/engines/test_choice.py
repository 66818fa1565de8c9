"""Which engine serves: what is asked for, what the bundle holds, what is safe, and what was remembered."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

import images
from conftest import clean_environment
from hosting import ROOT, tiny_bundle
from thorax.errors import ThoraxError
from thorax.files import read_sealed
from thorax.serving.bundle import Bundle
from thorax.serving.classifier import Classifier
from thorax.serving.engines import choice
from thorax.serving.engines.engine import ENGINES, EngineSpec
from written_bundles import described

PNGS = [images.data(images.grey(seed=k)) for k in range(5)]


class Constant:
    """An engine whose answers are float32's, moved by `off`; it takes `seconds` for a pass."""

    name, device, batch, waits = "constant", "cpu", 16, True

    def __init__(self, precision, off, seconds):
        self.precision, self.off, self.seconds = precision, off, seconds

    def logits(self, pixels):
        import time

        time.sleep(self.seconds)
        return np.full((len(pixels), 3), self.off, np.float32)


@pytest.fixture
def constant(monkeypatch, tmp_path):
    """Registers an engine of these (precision, off, seconds); an empty cache folder."""
    monkeypatch.setenv("THORAX_CACHE", str(tmp_path / "cache"))

    def register(*candidates):
        made = {precision: lambda args=(precision, *more): Constant(*args) for precision, *more in candidates}
        ENGINES.register("constant", EngineSpec(lambda bundle: False, lambda bundle, request: made, "for a test"))

    yield register
    ENGINES.remove("constant")


def test_the_fastest_safe_one_is_taken_and_remembered(bundle, constant, tmp_path):
    constant(("float32", 0.0, 0.02), ("bfloat16", 0.001, 0.0), ("int8", 3.0, 0.0))
    classifier = Classifier.load(bundle, engine="constant")
    assert (classifier.engine, classifier.precision) == ("constant", "bfloat16")
    assert "not constant int8: a probability moves by 0.45" in str(classifier.choice)
    (file,) = (tmp_path / "cache").iterdir()
    rates = read_sealed(file)
    assert rates is not None and set(rates) == {"constant float32", "constant bfloat16"}
    file.write_text(json.dumps({"constant float32": 9.0, "constant bfloat16": 1.0}))
    assert Classifier.load(bundle, engine="constant").precision == "float32"
    file.write_text("{")
    assert Classifier.load(bundle, engine="constant").precision == "bfloat16"


def test_a_precision_that_is_fast_but_not_a_number_is_not_served(bundle, constant):
    constant(("float32", 0.0, 0.01), ("bfloat16", float("nan"), 0.0))
    assert Classifier.load(bundle, engine="constant").precision == "float32"


@pytest.mark.parametrize(("precision", "within"), [("float32", 2e-6), ("bfloat16", 0.02), ("auto", 0.02)])
def test_torch_gives_the_networks_answers_in_every_precision(bundle, precision, within):
    classifier = Classifier.load(bundle, engine="torch", precision=precision)
    loaded = Bundle.load(bundle)
    pixels = np.stack([loaded.preprocessing.image(png) for png in PNGS])
    with torch.no_grad():
        want = loaded.build_network()(loaded.preprocessing.tensor(torch.from_numpy(pixels))).sigmoid().numpy()
    np.testing.assert_allclose(classifier.predict(PNGS), want, atol=within)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"engine": "tensorrt"}, "engine=tensorrt is not one of auto, torch, openvino"),
        ({"precision": "float16"}, "precision=float16 is not one of auto, float32, bfloat16, int8"),
        ({"engine": "torch", "precision": "int8"}, "engine=torch has no precision=int8"),
        ({"threads": 0}, "must be 1 or more"),
    ],
)
def test_what_cannot_be_had_is_one_line(bundle, asked, message):
    with pytest.raises(ThoraxError, match=message):
        Classifier.load(bundle, **asked)


def test_numpy_prepares_as_torch_does():
    from thorax.data.images import Preprocessing

    pixels = np.random.default_rng(0).integers(0, 256, (3, 9, 7), dtype=np.uint8)
    pixels[2] = 5  # without contrast
    for prepared in (
        Preprocessing(9, 7),
        Preprocessing(9, 7, channels=3),
        Preprocessing(9, 7, normalization="fixed", mean=0.4, std=0.2),
    ):
        want = prepared.tensor(torch.from_numpy(pixels)).numpy()
        np.testing.assert_allclose(prepared.array(pixels), want, atol=2e-6)


def test_without_openvino_a_bundle_is_served_by_torch_and_the_name_says_what_to_install(tmp_path):
    """In a process in which OpenVINO cannot be imported."""
    bundle = tiny_bundle(tmp_path / "model")
    made = {"name": "openvino", "precision": "int8", "files": {}, "weights": "", "expected": [], "figures": {}}
    described(bundle, engine=made | {"float_layers": []})
    program = f"""
import sys
sys.modules["openvino"] = None
sys.path[:0] = [{str(ROOT / "source_dir")!r}]
from thorax import Classifier
print(Classifier.load({str(bundle)!r}, precision="float32").choice)
try:
    Classifier.load({str(bundle)!r}, engine="openvino")
except Exception as error:
    print(error)
"""
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=clean_environment())
    assert told.stdout.splitlines() == [
        "engine: torch float32 on cpu",
        "engine=openvino needs OpenVINO: pip install 'thorax-sagemaker[openvino]'",
    ], told.stderr


def test_the_probe_measures_each_engine():
    rates = choice.images_per_second({"a": Constant("float32", 0, 0.02), "b": Constant("float32", 0, 0.0)}, np.ones(4))
    assert rates["a"] < rates["b"]
    assert rates["a"] <= 4 / 0.02
