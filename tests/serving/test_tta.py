"""Test-time augmentation wherever a bundle answers: the classifier, its engines, the commands, a server's limits."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import images as make
from hosting import Client, npy, tiny_bundle
from thorax.data.views import Views
from thorax.errors import ThoraxError
from thorax.serving.app import create_app
from thorax.serving.bundle import Bundle
from thorax.serving.classifier import Classifier
from thorax.serving.service import Service
from thorax.serving.settings import ServerSettings
from thorax_launch.cli import main as thorax
from written_bundles import described

CONFIGURATION = {"network": "cnn5", "tta": 4, "augmentation_type": "xray"}


@pytest.fixture(scope="module")
def looked_at(tmp_path_factory):
    """A bundle whose thresholds were chosen on four views."""
    return tiny_bundle(tmp_path_factory.mktemp("tta") / "model", configuration=CONFIGURATION)


@pytest.fixture(scope="module")
def pictures():
    return np.random.default_rng(3).integers(0, 255, (5, 32, 32)).astype(np.uint8)


def by_hand(bundle, pictures, count):
    """The sigmoid of the mean of the network's logits of each view."""
    net, prepare = Bundle.load(bundle).build_network(), Bundle.load(bundle).preprocessing.tensor
    with torch.no_grad():
        logits = [net(prepare(torch.from_numpy(Views(count).view(pictures, k)))) for k in range(count)]
    return torch.stack(logits).mean(0).sigmoid().numpy()


@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_the_mean_of_the_views_with_every_engine(looked_at, pictures, engine):
    how = {"engine": engine, "precision": "float32"}
    p = Classifier.load(looked_at, **how).predict(list(pictures))
    np.testing.assert_allclose(p, by_hand(looked_at, pictures, 4), atol=1e-4)
    alone = Classifier.load(looked_at, tta=1, **how).predict(list(pictures))
    np.testing.assert_allclose(alone, by_hand(looked_at, pictures, 1), atol=1e-4)
    assert np.abs(p - alone).max() > 0.01


def test_small_batches_and_single_images_have_the_same_answers(looked_at, pictures):
    want = Classifier.load(looked_at, precision="float32").predict(list(pictures))
    few = Classifier.load(looked_at, precision="float32", batch=3)
    np.testing.assert_allclose(few.predict(list(pictures)), want, atol=1e-5)
    np.testing.assert_allclose(few.predict([pictures[2]]), want[2:3], atol=1e-5)
    assert (few.largest_pass, Classifier.load(looked_at, batch=16, engine="torch").largest_pass) == (1, 4)


def test_what_is_normalised_already_is_looked_at_too(looked_at, pictures):
    from thorax.serving.arrays import NormalizedImage

    classifier = Classifier.load(looked_at, precision="float32")
    x = classifier.bundle.preprocessing.array(pictures)
    p = classifier.score(np.stack([classifier.prepare(NormalizedImage(one)) for one in x]))
    assert np.abs(p - classifier.predict(list(pictures))).max() < 0.2  # black outside is another level here
    assert np.abs(p - Classifier.load(looked_at, precision="float32", tta=1).score(x)).max() > 1e-3


@pytest.mark.parametrize("value", [0, 99, 2.5, "4", None, [4]])
def test_a_bundle_with_another_number_is_damaged(tmp_path, value):
    folder = tiny_bundle(tmp_path / "model", make.BINARY)
    described(folder, configuration={"network": "cnn5", "tta": value})
    with pytest.raises(ThoraxError, match=r"tta=.* must be a whole number of views"):
        Bundle.load(folder)


def test_a_server_counts_views_and_says_so(looked_at, pictures):
    settings = ServerSettings(workers=1, threads=1, max_batch=4, max_images=8)
    headers = {"Content-Type": "application/x-npy"}
    service = Service(Classifier.load(looked_at), settings)
    with Client(create_app(lambda: service)).running() as client:
        told = json.loads(client.ask("GET", "/metadata").body)
        assert (told["tta"], told["limits"]["max_images"]) == (4, 2)
        reply = client.ask(body=npy(pictures[:3]), headers=headers)
        assert (reply.status, b"3 images" in reply.body) == (413, True)
        rows = json.loads(client.ask(body=npy(pictures[:2]), headers=headers).body)
    np.testing.assert_allclose(rows, by_hand(looked_at, pictures[:2], 4), atol=2e-2)


def test_a_server_is_told_by_its_environment(looked_at):
    assert ServerSettings.from_environment({"THORAX_TTA": "2"}).tta == 2
    with pytest.raises(ThoraxError, match="THORAX_TTA=99 must be"):
        ServerSettings.from_environment({"THORAX_TTA": "99"})
    service = Service.start(looked_at, ServerSettings(workers=1, threads=1, tta=2))
    assert service.metadata()["tta"] == 2
    service.close()


def test_the_commands_take_it(looked_at, tmp_path, capsys):
    from PIL import Image

    for k, name in enumerate(("Mass", "Effusion")):
        (tmp_path / name).mkdir()
        Image.fromarray(np.random.default_rng(k).integers(0, 255, (40, 40)).astype(np.uint8)).save(
            tmp_path / name / "a.png"
        )
    file = tmp_path / "Mass" / "a.png"
    found = {}
    for words in ([], ["--tta", "1"], ["--tta", "4"]):
        assert thorax(["predict", str(looked_at), str(file), "--json", *words]) == 0
        found[" ".join(words)] = json.loads(capsys.readouterr().out)["probabilities"]
    assert found[""] == found["--tta 4"] != found["--tta 1"]
    out = tmp_path / "out.csv"
    assert thorax(["batch", "--local", str(looked_at), "--data", str(tmp_path / "Mass"), "--out", str(out)]) == 0
    assert "note: each image is scored in 4 views (tta=4)" in capsys.readouterr().out
    assert thorax(["predict", "http://127.0.0.1:1", str(file), "--tta", "2"]) == 1
    assert "--tta 2 is for a bundle: a server is told once" in capsys.readouterr().err
    assert thorax(["predict", str(looked_at), str(file), "--tta", "0"]) == 1
    assert "tta=0 must be a whole number of views" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        thorax(["batch", str(looked_at), "--data", str(tmp_path / "Mass"), "--out", str(out), "--tta", "2"])
