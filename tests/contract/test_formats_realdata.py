"""The public sets as they are published, each trained a little: folders of parts, the NIH table, COCO's annotations."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

import train_model
from conftest import ROOT, TINY, options

DATA = Path(os.environ.get("THORAX_REALDATA", ROOT.parent / "shared" / "data"))
pytestmark = [
    pytest.mark.usefixtures("signals_as_before"),
    pytest.mark.realdata,
    pytest.mark.skipif(not (DATA / "nih14").is_dir(), reason=f"no public image sets in {DATA}; set THORAX_REALDATA"),
]
QUICK = TINY | {"epochs": "1", "bootstrap_samples": "0", "threshold_views": "0", "image_shape": "1,48,48"}


def trained(out: Path, channel: Path, **settings: str) -> dict[str, Any]:
    """Images of each part, and the labels, of a job on one channel."""
    assert (
        train_model.main([*options({"train": str(channel), **QUICK, **settings}), "--model-dir", str(out / "model")])
        == 0
    )
    bundle = json.loads((out / "model" / "bundle.json").read_text())
    return {
        **bundle["split"]["counts"],
        "labels": json.loads((out / "model-job/output/data/metrics.json").read_text())["labels"]["classes"],
    }


@pytest.mark.parametrize("name", ["kermany_native", "kermany224"])
def test_kaggles_folders_in_one_channel(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = trained(tmp_path, DATA / name, patient_scope="channel")
    images = {part: sum(1 for image in (DATA / name / part).rglob("*.jpeg")) for part in ("train", "val", "test")}
    assert found["test"] == images["test"]
    assert found["train"] + found["validation"] == images["train"] + images["val"]
    assert "the validation folder has 16 images, too few" in capsys.readouterr().out


def test_kaggles_patients_are_counted_anew_in_each_part(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        train_model.main(
            [*options({"train": str(DATA / "kermany224"), **QUICK}), "--model-dir", str(tmp_path / "model")]
        )
        == 1
    )
    assert "set patient_scope=channel" in capsys.readouterr().err


def test_the_nih_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "nih"
    root.mkdir()
    (root / "images").symlink_to(DATA / "nih14" / "images64")
    for name in (
        "Data_Entry_2017_v2020.csv.gz",
        "train_val_list.txt.gz",
        "test_list.derived.txt.gz",
        "BBox_List_2017.csv.gz",
    ):
        (root / name).symlink_to(DATA / "nih14" / name)
    found = trained(tmp_path, root)
    assert found["train"] + found["validation"] == 690
    assert len(found["labels"]) == 14
    assert "111430 of the 112120 images of Data_Entry_2017_v2020.csv.gz are not there" in capsys.readouterr().out


FIVE = "person,bicycle,car,motorcycle,airplane"


def test_five_categories_of_coco(tmp_path: Path) -> None:
    found = trained(tmp_path, DATA / "coco", labels=FIVE, own_split="false", keep_unlabelled="false")
    assert found["labels"] == FIVE.split(",")
    assert found["train"] + found["validation"] == 61
    assert "test" not in found


def test_the_only_motorcycles_are_in_val2017(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        train_model.main(
            [*options({"train": str(DATA / "coco"), "labels": FIVE, **QUICK}), "--model-dir", str(tmp_path / "model")]
        )
        == 1
    )
    assert "class motorcycle has no images in train" in capsys.readouterr().err
