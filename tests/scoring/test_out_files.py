"""FILE.out of two exclusive classes: one number or both a file, told by their count; never guessed."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

import images
from thorax.errors import ThoraxError
from thorax.labels import LabelSpace
from thorax.scoring import read_outputs
from thorax.scoring.transform_outputs import read_out_files


def probabilities(folder: Path, labels: str = "NORMAL,PNEUMONIA", **more: bool) -> dict[str, float]:
    """By image what the table has for the last label."""
    read_outputs(folder, folder / "p.csv", labels=labels.split(","), **more)
    with (folder / "p.csv").open(encoding="utf-8") as file:
        return {row["id"]: float(row[f"probability:{labels.split(',')[-1]}"]) for row in csv.DictReader(file)}


OLD_AND_NEW = {
    "old json": "[0.93]",
    "new json": "[0.07, 0.93]",
    "old lines": '{"prediction": [0.93]}\n',
    "new lines": '{"prediction": [0.07, 0.93]}\n',
    "old csv": "0.930000\n",
    "new csv": "0.070000,0.930000\n",
    "verbose": json.dumps({"labels": ["PNEUMONIA"], "probabilities": [0.93], "label": "PNEUMONIA"}),
    "the built-in's": '{"prediction": [0.06999998539686203, 0.930000014603138]}',
    "float16": '{"prediction": [0.0699463, 0.929688]}',
}


def test_old_and_new_in_one_folder(tmp_path):
    for name, text in OLD_AND_NEW.items():
        (tmp_path / f"{name}.png.out").write_text(text)
    assert probabilities(tmp_path) == pytest.approx({f"{name}.png": 0.93 for name in OLD_AND_NEW}, abs=4e-4)


@pytest.mark.parametrize(
    "text", ["[[0.2], null, [0.9]]", "[[0.8, 0.2], null, [0.1, 0.9]]", '0.2\n""\n0.9\n', "0.8,0.2\n,\n0.1,0.9\n"]
)
def test_several_images_a_file(tmp_path, text):
    (tmp_path / "a.out").write_text(text)
    found = list(probabilities(tmp_path).values())
    assert found == [0.2, 0.9]


def test_the_order_of_the_labels_is_the_models(tmp_path):
    (tmp_path / "a.out").write_text("[0.07, 0.93]")
    assert probabilities(tmp_path, "PNEUMONIA,NORMAL") == {"a": 0.93}  # of NORMAL, as the caller orders them


@pytest.mark.parametrize("text", ["[0.8, 0.7]", '{"prediction": [0.1, 0.2]}', "0.5,0.6", "[1.0, 1.0]", "[0, 0]"])
def test_two_numbers_that_are_not_of_two_exclusive_classes(tmp_path, text):
    (tmp_path / "a.out").write_text(text)
    with pytest.raises(ThoraxError, match=r"a\.out holds .* add to .*, not 1; .*--labels A,B --multi-label"):
        probabilities(tmp_path, "Edema,Mass")
    assert len(probabilities(tmp_path, "Edema,Mass", multi_label=True)) == 1


@pytest.mark.parametrize("text", ["[0.1, 0.2, 0.7]", "[]", "[1.5]", "[-0.1, 1.1]", "[NaN, 0.5]", "PNEUMONIA"])
def test_what_fits_neither_form(tmp_path, text):
    (tmp_path / "a.out").write_text(text)
    with pytest.raises(ThoraxError, match=r"a\.out holds "):
        read_out_files(tmp_path, images.BINARY)


@pytest.mark.parametrize("text", ["[0.3, 0.7]", "[0.9, 0.8]"])
def test_several_labels_are_read_as_ever(tmp_path, text):
    (tmp_path / "a.out").write_text(text)
    _, rows, _ = read_out_files(tmp_path, LabelSpace(("Edema", "Mass"), "multilabel"))
    assert rows[0].tolist() == pytest.approx(json.loads(text))
