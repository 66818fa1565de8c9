"""README's and the docs' Python is executed: on tiny images, before a stand-in for SageMaker's runtime."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import images as make
import lambda_stand_ins
from conftest import TINY, write_images
from documented import PAGES
from hosting import tiny_bundle
from inside import InsideToolkit
from thorax_launch.local import deploy

FENCE = re.compile(r"^ *```python\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
#: Page -> its code; the tutorial has a test of its own.
SNIPPETS = {page.name: FENCE.findall(page.read_text(encoding="utf-8")) for page in PAGES if page.name != "tutorial.md"}
#: What is executed elsewhere -> where.
ELSEWHERE = {
    "ModelTrainer(": "tests/contract/test_sdk_v3_drivers.py runs SDK v3's ModelTrainer in its local mode",
    "sagemaker.attach(": "tests/aws/test_attach.py, before a stand-in for AWS",
    "compare_runs(": "tests/scoring/test_compare.py",
}


def test_each_snippet_is_executed_somewhere():
    found = {page for page, codes in SNIPPETS.items() for code in codes if not any(key in code for key in ELSEWHERE)}
    assert found == {"README.md", "hosting.md", "cross-validation.md"}
    assert sum(len(codes) for codes in SNIPPETS.values()) == len(found) + len(ELSEWHERE)


@pytest.mark.usefixtures("signals_as_before")
def test_the_first_page_trains_scores_and_predicts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_images(Path("IMAGES/train"), 12, seed=1)
    write_images(Path("IMAGES/test"), 6, seed=2)
    Image.open(next(Path("IMAGES/test/NORMAL").iterdir())).save("x-ray.jpeg")
    (code,) = SNIPPETS["README.md"]
    asked = 'TrainingConfig(network="resnet18", epochs=10)'
    assert asked in code
    space: dict[str, object] = {"small": TINY | {"epochs": "1"}}
    exec(code.replace(asked, "TrainingConfig.parse(small)") + "\nlast = Classifier.load(result.bundle).labels\n", space)
    assert "PNEUMONIA" in capsys.readouterr().out and space["last"] == ("PNEUMONIA",)


@pytest.mark.usefixtures("signals_as_before")
def test_a_cross_validation_leaves_the_bundles_of_its_folds_and_a_final_one(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("thorax_launch.local.jobs.Toolkit", InsideToolkit)
    write_images(Path("images/train"), 6, seed=1)
    own = {**TINY, "epochs": "1", "threshold_views": "0"}
    Path("own.yaml").write_text("hyperparameters:\n" + "".join(f"  {key}: {value}\n" for key, value in own.items()))
    (code,) = SNIPPETS["cross-validation.md"]
    for asked, tiny in (('"pneumonia-resnet18"', '"own.yaml"'), ("folds=5", "folds=2")):
        assert asked in code
        code = code.replace(asked, tiny)
    space: dict[str, Any] = {}
    exec(code, space)
    made = [*space["found"].bundles, space["found"].bundle]
    assert [bundle.relative_to(Path("runs/cv").resolve()).parts[0] for bundle in made] == ["fold-0", "fold-1", "refit"]
    assert all((bundle / "bundle.json").is_file() for bundle in made)


def test_an_endpoint_is_asked_by_boto3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    pytest.importorskip("boto3")
    monkeypatch.chdir(tmp_path)
    Path("image.jpeg").write_bytes(make.data(make.smooth(80, 90), "JPEG"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    (code,) = SNIPPETS["hosting.md"]
    with (
        deploy(tiny_bundle(tmp_path / "bundle", make.BINARY)) as app,
        lambda_stand_ins.endpoint("my-endpoint", app.address.rstrip("/")) as runtime,
    ):
        monkeypatch.setenv("AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME", runtime)
        exec(re.sub(r"^ {0,3}(?=\S)", "", code, flags=re.MULTILINE), {})
    assert capsys.readouterr().out.strip().splitlines()[-1] in ("NORMAL", "PNEUMONIA")
