"""`thorax optimize`: a network in int8 that answers as the float32 one, or none; with the real OpenVINO and NNCF."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import thorax
from conftest import TINY, clean_environment, write_images
from hosting import ROOT, Client
from thorax.data.images import Preprocessing
from thorax.errors import ThoraxError
from thorax.labels import LabelSpace
from thorax.models import build
from thorax.optimize import acceptance, bundles, command_line, optimize_bundle
from thorax.serving import bundle_verify
from thorax.serving.app import create_app
from thorax.serving.bundle import Bundle
from thorax.serving.bundle_contents import BundleContents
from thorax.serving.bundle_writer import write_bundle
from thorax.serving.classifier import Classifier
from thorax.serving.service import Service
from thorax.serving.settings import ServerSettings
from written_bundles import described

pytest.importorskip("nncf", reason="nncf is in the extra optimize")
SPACE = LabelSpace(("NORMAL", "PNEUMONIA"), "binary")


def made(folder: Path, network: str = "cnn5", side: int = 32, channels: int = 1, sharpness: float = 1.0) -> Path:
    """A bundle with random weights; the larger the sharpness, the more a rounding moves its probabilities."""
    torch.manual_seed(3)
    net = build(network, channels, 1).eval()
    with torch.no_grad():
        next(m for m in reversed(list(net.modules())) if isinstance(m, torch.nn.Linear)).weight.mul_(sharpness)
    contents = BundleContents(
        network=network,
        space=SPACE,
        preprocessing=Preprocessing(side, side, channels=channels),
        thresholds={"PNEUMONIA": 0.01},
    )
    write_bundle(folder, net, contents, "id,patient,part\n", ROOT / "source_dir")
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("optimize") / "images"
    write_images(folder, 16, seed=4)
    return folder


@pytest.fixture
def lenient(monkeypatch):
    """The AUC of a random network says nothing."""
    monkeypatch.setitem(acceptance.LIMITS, "auc", 1.0)


@pytest.fixture(scope="module")
def int8(data, tmp_path_factory):
    folder = made(tmp_path_factory.mktemp("int8") / "model")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(acceptance.LIMITS, "auc", 1.0)
        optimize_bundle(folder, data, say=lambda text: None)
    return folder


def test_int8_answers_as_float32_does_and_says_how_well(int8, data):
    files = sorted(data.glob("*/*.png"))
    exact = Classifier.load(int8, engine="torch", precision="float32")
    served = Classifier.load(int8)
    assert (served.engine, served.precision, served.device) == ("openvino", "int8", "cpu")
    difference = np.abs(served.predict(files) - exact.predict(files))
    assert 0 < difference.max() <= 0.03
    stored = Bundle.load(int8).engine
    assert stored is not None
    assert stored.figures["images"] + 10 == len(files)
    assert stored.figures["changed"] == 0
    assert 0 < stored.figures["largest"] <= 0.03
    np.testing.assert_allclose(served.predict(files[:1]), served.predict(files)[:1], atol=1e-5)  # in any batch


def test_a_server_shows_the_figures(int8):
    settings = ServerSettings(workers=1, threads=1)
    with Client(create_app(lambda: Service.start(int8, settings))).running() as client:
        told = client.ask("GET", "/metadata").json
    assert (told["engine"], told["precision"]) == ("openvino", "int8")
    assert told["optimized"]["figures"] == Bundle.load(int8).engine.figures


def test_it_is_served_without_torch_and_heat_maps_load_it(int8, data):
    image = next(data.glob("*/*.png"))
    program = f"""
import sys
sys.path[:0] = [{str(int8 / "code")!r}]
from thorax.serving.classifier import Classifier
classifier = Classifier.load({str(int8)!r})
p = classifier.predict([{str(image)!r}])
before = "torch" in sys.modules
print(p.shape, before, classifier.explain({str(image)!r}).map.shape, "torch" in sys.modules)
"""
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=clean_environment())
    assert told.stdout == "(1, 1) False (32, 32) True\n", told.stderr
    assert "openvino" in (int8 / "code" / "requirements.txt").read_text()


@pytest.mark.parametrize("harm", ["damaged", "stale", "another answer"])
def test_files_that_do_not_fit_are_not_served(int8, data, tmp_path, harm):
    folder = tmp_path / "model"
    shutil.copytree(int8, folder)
    if harm == "damaged":
        with next(folder.glob("engine/*.bin")).open("r+b") as file:
            file.write(b"\0\1\2\3")
    else:
        stored = json.loads((folder / "bundle.json").read_text())
        changes = {"weights": "0" * 12} if harm == "stale" else {"expected": [[0.9]] * 4}
        described(folder, engine=stored["engine"] | changes)
    classifier = Classifier.load(folder)
    assert classifier.engine == "torch"
    assert "not openvino: " in str(classifier.choice)
    with pytest.raises(ThoraxError):
        Classifier.load(folder, engine="openvino", precision="int8")


@pytest.mark.parametrize(
    ("network", "side", "channels"),
    [
        pytest.param("resnet18", 40, 3, marks=pytest.mark.slow),
        pytest.param("alexnet", 64, 1, marks=pytest.mark.slow),
        pytest.param("densenet121", 33, 1, marks=pytest.mark.slow),
        pytest.param("resnet50", 64, 1, marks=pytest.mark.slow),
    ],
)
def test_every_family_of_networks(network, side, channels, data, tmp_path, lenient):
    folder = made(tmp_path / "model", network, side, channels)
    optimized = optimize_bundle(folder, data, say=lambda text: None)
    files = sorted(data.glob("*/*.png"))
    exact, served = Classifier.load(folder, engine="torch", precision="float32"), Classifier.load(folder)
    assert (served.engine, served.precision) == ("openvino", optimized.files.precision)
    np.testing.assert_allclose(served.predict(files), exact.predict(files), atol=0.03)


def test_a_layer_that_does_harm_stays_in_float32(data, tmp_path, lenient):
    """Some channels are a thousand times as large as the others, which int8 of the whole tensor then cannot hold."""
    folder = made(tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    weights["features.3.1.weight"][::8] *= 1000
    weights["features.3.1.bias"][::8] *= 1000
    weights["features.4.0.weight"][:, ::8] /= 1000
    weights["fc.weight"] *= 40
    save_file(weights, folder / "model.safetensors")
    bundle_verify.seal(folder)
    told: list[str] = []
    files = optimize_bundle(folder, data, say=told.append).files
    assert "int8: AUC" in told[1] and "not accepted: " in told[1]
    assert told[-1].endswith("accepted")
    assert files.precision == "int8"
    assert "features.4.0" in files.float_layers[0]
    assert len(files.float_layers) == 1
    images = sorted(data.glob("*/*.png"))
    exact, served = Classifier.load(folder, engine="torch", precision="float32"), Classifier.load(folder)
    assert served.precision == "int8"
    np.testing.assert_allclose(served.predict(images), exact.predict(images), atol=0.04)


def test_where_nothing_is_accepted_float32_serves_and_the_figures_are_kept(data, tmp_path, monkeypatch):
    monkeypatch.setitem(acceptance.LIMITS, "largest", 0.0)
    monkeypatch.setattr(bundles, "FLOAT_LAYERS", (0, 1))
    folder = made(tmp_path / "model")
    files = optimize_bundle(folder, data, say=lambda text: None).files
    assert (files.precision, files.float_layers) == ("float32", ())
    assert any("largest difference" in problem for problem in files.figures["not_accepted"])
    images = sorted(data.glob("*/*.png"))
    exact, served = Classifier.load(folder, engine="torch", precision="float32"), Classifier.load(folder)
    assert served.engine == "openvino"
    np.testing.assert_allclose(served.predict(images), exact.predict(images), atol=0.01)


def test_without_images_it_stays_in_float32(data, tmp_path, capsys):
    folder = made(tmp_path / "model")
    assert command_line.main([str(folder)]) == 0
    assert "precision              float32" in capsys.readouterr().out
    files = sorted(data.glob("*/*.png"))
    exact = Classifier.load(folder, engine="torch", precision="float32").predict(files)
    np.testing.assert_allclose(Classifier.load(folder, precision="float32").predict(files), exact, atol=1e-5)
    with pytest.raises(ThoraxError, match="thorax optimize"):
        Classifier.load(folder, engine="openvino", precision="int8")


def test_a_bundle_that_is_not_optimized_is_converted_when_it_is_asked_for(data, tmp_path):
    folder = made(tmp_path / "model", channels=3)
    files = sorted(data.glob("*/*.png"))
    served = Classifier.load(folder, engine="openvino", precision="float32")
    assert (served.engine, served.precision) == ("openvino", "float32")
    exact = Classifier.load(folder, engine="torch", precision="float32").predict(files)
    np.testing.assert_allclose(served.predict(files), exact, atol=1e-5)


def test_mistakes_are_one_line_and_leave_the_bundle_as_it_was(data, tmp_path, capsys):
    folder = made(tmp_path / "model")
    before = (folder / "bundle.json").read_bytes()
    write_images(tmp_path / "few", 4, seed=1)
    (tmp_path / "wheels").mkdir()
    for words, message in (
        (["--data", str(tmp_path / "few")], "too few to quantise"),
        (["--data", str(tmp_path / "none")], "none"),
        (["--wheels", str(tmp_path / "wheels")], "holds no .whl files"),
    ):
        assert command_line.main([str(folder), *words]) == 1
        error = capsys.readouterr().err.splitlines()
        assert message in error[-1]
        assert error[-1].startswith("error: ")
    assert (folder / "bundle.json").read_bytes() == before
    assert not (folder / "engine").exists()


def test_wheels_travel_for_an_endpoint_without_a_network(tmp_path):
    folder, wheels = made(tmp_path / "model"), tmp_path / "wheels"
    wheels.mkdir()
    (wheels / "openvino-1-py3-none-any.whl").write_bytes(b"wheel")
    optimize_bundle(folder, wheels=wheels, say=lambda text: None)
    assert (folder / "code" / "wheels" / "openvino-1-py3-none-any.whl").read_bytes() == b"wheel"
    assert (folder / "code" / "requirements.txt").read_text().startswith("--no-index\n--find-links wheels\n")


@pytest.mark.parametrize(
    ("other", "problems"),
    [
        ([0.1, 0.2, 0.8, 0.9], []),
        ([0.1, 0.2, 0.79, 0.9], []),
        ([0.1, 0.24, 0.8, 0.9], ["mean", "largest"]),
        ([0.1, 0.85, 0.8, 0.9], ["AUC", "mean", "largest", "1 of 4 decisions"]),
        ([0.1, float("nan"), 0.8, 0.9], ["mean", "largest"]),
    ],
)
def test_what_is_accepted(other, problems):
    targets, exact = np.array([[0], [0], [1], [1.0]]), np.array([[0.1], [0.2], [0.8], [0.9]], np.float32)
    answers = np.array(other, np.float32)[:, None]
    found = acceptance.Figures.of(targets, exact, answers, SPACE, np.array([0.5])).problems()
    assert len(found) == len(problems)
    assert all(text in line for text, line in zip(problems, found, strict=True))


def test_optimize_true_quantises_at_the_end_of_a_training(images, data, tmp_path, monkeypatch, capsys):
    for name in acceptance.LIMITS:  # after one epoch of a few images
        monkeypatch.setitem(acceptance.LIMITS, name, 1.0)
    settings = {**TINY, "epochs": "1", "optimize": "true"}
    result = thorax.train(settings, train=images / "train", validation=data, output=tmp_path)
    told = capsys.readouterr().out
    assert "optimized: precision              int8" in told
    stored = Bundle.load(result.bundle).engine
    assert stored is not None
    assert stored.figures["images"] + 10 == len(list(data.glob("*/*.png")))  # of validation, but for a third
    classifier = Classifier.load(result.bundle)
    assert (classifier.engine, classifier.precision) == ("openvino", "int8")
    files = sorted(data.glob("*/*.png"))
    exact = Classifier.load(result.bundle, engine="torch", precision="float32").predict(files)
    assert np.abs(classifier.predict(files) - exact).mean() < 0.05


def test_help_needs_no_torch():
    program = "import sys; from thorax.optimize import command_line as c; c.parser(); print('torch' in sys.modules)"
    environment = clean_environment(PYTHONPATH=str(ROOT / "source_dir"))
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert told.stdout == "False\n"
