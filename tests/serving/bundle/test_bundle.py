"""The bundle: what is written is what is loaded, half a bundle is none, and its own code is enough to serve it."""

from __future__ import annotations

import gc
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import images
from thorax.data.images import DecodeError, Preprocessing
from thorax.errors import ThoraxError
from thorax.labels import LabelSpace
from thorax.serving.bundle import Bundle
from thorax.serving.classifier import Classifier
from written_bundles import FACTS, PREPARED, SPLIT, THREE, network, refused, write

# --- what is written


def test_what_a_bundle_holds(bundle, net):
    assert sorted(p.name for p in bundle.iterdir()) == [
        "bundle.json",
        "code",
        "config.yaml",
        "model.safetensors",
        "split.csv",
    ]
    assert (bundle / "split.csv").read_text() == SPLIT
    state = load_file(bundle / "model.safetensors")
    assert state.keys() == net.state_dict().keys()
    assert all(torch.equal(state[k], v) for k, v in net.state_dict().items())
    stored = json.loads((bundle / "bundle.json").read_text())
    assert stored["labels"] == {"classes": ["NORMAL", "PNEUMONIA"], "task": "binary"}
    assert stored["thresholds"] == {"PNEUMONIA": 0.4}
    assert stored["preprocessing"] == PREPARED.to_dict()
    assert stored["preprocessing_fingerprint"] == PREPARED.fingerprint()
    assert stored["versions"]["torch"] == torch.__version__
    assert {k: stored[k] for k in FACTS} == FACTS


def test_what_is_written_is_what_is_loaded(bundle):
    loaded = Bundle.load(bundle)
    assert (loaded.network, loaded.dropout, loaded.space, loaded.preprocessing) == (
        "cnn5",
        0.0,
        images.BINARY,
        PREPARED,
    )
    assert loaded.thresholds == {"PNEUMONIA": 0.4}
    assert loaded.configuration == FACTS["configuration"]
    assert loaded.split == FACTS["split"]


def test_only_serving_code_travels(bundle):
    names = {p.relative_to(bundle / "code").as_posix() for p in (bundle / "code").rglob("*")}
    assert {
        "inference.py",
        "deployment.py",
        "thorax/serving/page/index.html",
        "thorax/models/cnn5.py",
        "thorax/data/images.py",
        "thorax/serving/classifier.py",
    } <= names
    assert not any(
        n.startswith("thorax/training") or "__pycache__" in n or n.endswith(".pyc") or n == "train_model.py"
        for n in names
    )


# --- the classifier answers as the network did


@pytest.mark.parametrize(
    ("space", "prepared", "name", "dropout"),
    [
        (images.BINARY, PREPARED, "cnn5", 0.0),
        (images.FINDINGS, Preprocessing(32, 40, fit="pad", normalization="dataset", mean=0.4, std=0.2), "cnn5", 0.5),
        (THREE, Preprocessing(32, 32, channels=3, fit="crop", resize=36, normalization="fixed"), "resnet18", 0.5),
    ],
    ids=["binary", "multilabel", "multiclass"],
)
def test_the_same_probabilities_as_the_network(tmp_path, space, prepared, name, dropout):
    trained = network(len(space.outputs), dropout, name, prepared.channels)
    write(tmp_path / "model", trained, space, prepared, network=name, dropout=dropout)
    paths = images.written(tmp_path, 3, (50, 60))
    classifier = Classifier.load(tmp_path / "model", precision="float32")
    got = classifier.predict([paths[0], paths[1].read_bytes(), paths[2]])
    with torch.no_grad():
        logits = trained(prepared.tensor(torch.from_numpy(np.stack([prepared.image(p) for p in paths]))))
    want = logits.softmax(1) if space.task == "multiclass" else logits.sigmoid()
    assert (got.dtype, got.shape) == (np.float32, (3, len(space.outputs)))
    np.testing.assert_allclose(got, want.numpy(), atol=2e-5)
    assert np.ptp(got, axis=0).max() > 1e-4  # the images differ
    alone = np.concatenate([classifier.predict([p]) for p in paths])
    np.testing.assert_allclose(alone, got, atol=2e-5)


def test_no_images_no_rows(bundle):
    assert Classifier.load(bundle).predict([]).shape == (0, 1)


def test_an_unreadable_image_is_named(bundle, tmp_path):
    with pytest.raises(DecodeError, match=r"gone\.png does not exist"):
        Classifier.load(bundle).predict([images.put(tmp_path / "a.png"), tmp_path / "gone.png"])


def test_the_classifier_is_in_evaluation_mode(bundle):
    assert not any(module.training for module in Classifier.load(bundle, engine="torch").choice.engine.net.modules())


# --- a model.tar.gz, and what a notebook shows


def archived(file: Path, *folders: Path) -> Path:
    with tarfile.open(file, "w:gz") as tar:
        for folder in folders:
            tar.add(folder, ".")
    return file


def test_a_model_tar_gz_is_a_bundle_as_its_folder_is(bundle, tmp_path):
    paths = images.written(tmp_path, 2)
    loaded = Bundle.load(str(archived(tmp_path / "model.tar.gz", bundle)))
    assert replace(loaded, folder=bundle) == Bundle.load(bundle)
    folder = loaded.folder
    np.testing.assert_array_equal(
        Classifier(loaded, precision="float32").predict(paths),
        Classifier.load(bundle, precision="float32").predict(paths),
    )
    assert (folder / "code" / "inference.py").exists()
    del loaded
    gc.collect()
    assert not folder.exists()


def unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The empty folder in which archives are unpacked from now on."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.mark.parametrize("kind", ["path", "link"])
def test_an_archive_never_writes_outside_of_its_folder(tmp_path, monkeypatch, kind):
    temporary = unpacked(tmp_path, monkeypatch)
    entry = tarfile.TarInfo("../escaped" if kind == "path" else "link")
    if kind == "link":
        entry.type, entry.linkname = tarfile.SYMTYPE, "../../etc"
    with tarfile.open(tmp_path / "model.tar.gz", "w:gz") as tar:
        tar.addfile(entry)
    with pytest.raises(ThoraxError, match=r"model\.tar\.gz cannot be unpacked: .*outside"):
        Bundle.load(tmp_path / "model.tar.gz")
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"no archive", b"\x1f\x8b torn"])
def test_a_file_that_is_no_archive(tmp_path, monkeypatch, content):
    temporary = unpacked(tmp_path, monkeypatch)
    (tmp_path / "model.tar.gz").write_bytes(content)
    with pytest.raises(ThoraxError, match=r"model\.tar\.gz cannot be unpacked: .*; name a bundle's folder"):
        Bundle.load(tmp_path / "model.tar.gz")
    assert list(temporary.iterdir()) == []


def test_an_archive_without_a_bundle_is_named_and_leaves_nothing(tmp_path, monkeypatch):
    temporary = unpacked(tmp_path, monkeypatch)
    (tmp_path / "other").mkdir()
    file = archived(tmp_path / "model.tar.gz", tmp_path / "other")
    assert refused(file).startswith(f"{file} is not a bundle: it has no bundle.json")
    assert list(temporary.iterdir()) == []


def test_what_a_bundle_looks_like(tmp_path, small):
    auc, mean = {"value": 0.91, "low": 0.88, "high": 0.94}, {"value": 0.8, "low": None, "high": None}
    labels = {"<b>": {"auc": auc, "f1": {"value": None}}, "Mass": {}}
    metrics = {"test": {"n": 120, "labels": labels, "macro": {"auc": mean}}}
    space = LabelSpace(("<b>", "Mass"), "multilabel")
    write(tmp_path, small, space, metrics=metrics, thresholds={"<b>": 0.25, "Mass": 0.5})
    bundle = Bundle.load(tmp_path)
    assert (bundle.labels, bundle.metrics, bundle.configuration) == (("<b>", "Mass"), metrics, FACTS["configuration"])
    assert repr(bundle) == f"Bundle(cnn5, 32x40, multilabel: <b>, Mass, {tmp_path})"
    html = bundle._repr_html_()
    rows = [re.findall("<td[^>]*>(.*?)</td>", row) for row in re.findall("<tr>(.*?)</tr>", html)]
    assert rows[0] == ["Network", "cnn5"] and ["Folder", str(tmp_path)] in rows
    assert rows[-4:] == [
        ["Label", "Threshold", "AUC", "Sensitivity", "Specificity", "F1"],
        ["&lt;b&gt;", "0.250", "0.910 [0.880, 0.940]", "-", "-", "-"],
        ["Mass", "0.500", "-", "-", "-", "-"],
        ["Mean", "", "0.800", "-", "-", "-"],
    ]
    assert "<b>" not in html and "Test, 120 images" in html and "Validation" not in html
    write(tmp_path, small)  # metrics of another form, as in FACTS
    assert "cnn5" in Bundle.load(tmp_path)._repr_html_()


# --- the bundle's own code is enough

SERVE = """
import json, sys
code, model, image = sys.argv[1:]
sys.path = [code] + [p for p in sys.path if not p.endswith("source_dir")]
import inference, thorax
assert inference.__file__.startswith(code), inference.__file__
assert thorax.__file__.startswith(code), thorax.__file__
classifier = inference.model_fn(model)
data = inference.input_fn(open(image, "rb").read(), "image/png")
body, kind = inference.output_fn(inference.predict_fn(data, classifier), "application/json")
slow = ("sklearn", "matplotlib", "thorax.training", "thorax.config", "yaml", "starlette", "ray")
heavy = [m for m in slow if m in sys.modules]
print(json.dumps({"body": json.loads(body), "kind": kind, "heavy": heavy}))
"""


def test_the_code_folder_alone_serves(bundle, net, tmp_path):
    image = images.put(tmp_path / "image.png")
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    words = [sys.executable, "-I", "-c", SERVE, str(bundle / "code"), str(bundle), str(image)]
    done = subprocess.run(
        words, capture_output=True, text=True, timeout=120, cwd=tmp_path, env={**clean, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    with torch.no_grad():
        logit = net(PREPARED.tensor(torch.from_numpy(PREPARED.image(image).copy())[None]))
        want = torch.cat([torch.zeros_like(logit), logit], 1).softmax(1)  # of the two classes
    assert answer["body"] == pytest.approx(want.flatten().tolist(), abs=2e-5)
    assert answer["kind"] == "application/json"
    assert answer["heavy"] == []
