"""Tables of predictions: what is written is read back to the digit, and every wrong table is refused in one line."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from thorax.errors import ThoraxError
from thorax.evaluation.predictions import Predictions, columns, read_predictions
from thorax.labels import LabelSpace
from thorax.tables import to_csv

TWO = LabelSpace(("Mass", "Nodule"), "multilabel")
THRESHOLDS = np.array([0.5, 0.25])


def some(images=7, seed=0):
    random = np.random.default_rng(seed)
    p = random.random((images, 2)).astype(np.float32) ** 8
    p[0] = 1e-9, 1 - 1e-7
    targets = random.choice([0.0, 1.0, np.nan], (images, 2))
    return Predictions([f"a, {k}.png" for k in range(images)], [f"P{k // 2}" for k in range(images)], targets, p)


def read(file, **more):
    lines = []
    return read_predictions(file, TWO, THRESHOLDS, lines.append, **more), lines


def test_what_is_written_is_what_is_read(tmp_path):
    parts = {"validation": some(), "test": some(4, seed=1)}
    (tmp_path / "p.csv").write_text(to_csv(columns(parts, TWO, THRESHOLDS)))
    found, lines = read(tmp_path / "p.csv")
    assert [*found] == [*parts] and not lines
    for part, images in found.items():
        assert (images.ids, images.patients) == (parts[part].ids, parts[part].patients)
        np.testing.assert_array_equal(images.targets, parts[part].targets)
        np.testing.assert_array_equal(images.probabilities, parts[part].probabilities)
    assert "e-" not in (tmp_path / "p.csv").read_text()


def test_parquet_is_read_as_csv_is(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    (tmp_path / "p.csv").write_text(to_csv(columns({"test": some()}, TWO, THRESHOLDS)))
    rows = [*csv.DictReader((tmp_path / "p.csv").open(newline=""))]
    numbers = {name: [float(row[name]) if row[name] else None for row in rows] for name in rows[0] if ":" in name}
    parquet.write_table(
        pyarrow.table({"id": [row["id"] for row in rows], "patient": [row["patient"] for row in rows], **numbers}),
        tmp_path / "p.parquet",
    )
    found = read(tmp_path / "p.parquet")[0]["predictions"]
    np.testing.assert_array_equal(found.probabilities, some().probabilities)
    np.testing.assert_array_equal(found.targets, some().targets)


def test_images_that_failed_are_left_out_and_other_decisions_are_named(tmp_path):
    (tmp_path / "b.csv").write_text(
        "id,status,probability:Nodule,probability:Mass,decision:Mass\nx,ok,0.1,0.9,1\ny,failed,,,\nz,ok,0.2,0.4,true\n"
    )
    found, lines = read(tmp_path / "b.csv")
    assert found["predictions"].ids == found["predictions"].patients == ["x", "z"]
    assert found["predictions"].probabilities.tolist() == np.float32([[0.9, 0.1], [0.4, 0.2]]).tolist()
    assert np.isnan(found["predictions"].targets).all()
    assert (
        "1 of 3 images have no probabilities" in lines[0]
        and "1 of 2 decisions on Mass are not those of the bundle's threshold 0.5000" in lines[1]
    )


def test_the_decision_on_exclusive_classes_is_the_most_probable_one(tmp_path):
    three, cut = LabelSpace(("bacterial", "normal", "viral"), "multiclass"), np.full(3, 0.5)
    images = Predictions(["a", "b"], ["a", "b"], np.eye(3)[:2], np.float32([[0.4, 0.3, 0.3], [0.1, 0.6, 0.3]]))
    (tmp_path / "p.csv").write_text(text := to_csv(columns({"test": images}, three, cut)))
    assert [line.split(",")[5:8] for line in text.splitlines()[1:]] == [["1", "0", "0"], ["0", "1", "0"]]
    lines = []
    read_predictions(tmp_path / "p.csv", three, cut, lines.append)
    (tmp_path / "p.csv").write_text(text.replace(",1,0,0,", ",0,0,1,", 1))
    assert lines == []
    read_predictions(tmp_path / "p.csv", three, cut, lines.append)
    assert len(lines) == 2 and "1 of 2 decisions on bacterial are not those of the most probable class" in lines[0]


HEAD = "id,probability:Mass,probability:Nodule"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        (HEAD + "\n", "has no rows"),
        (
            "name,probability:Mass,probability:Nodule\na,0,0\n",
            "has no id column; it has name, probability:Mass, probability:Nodule",
        ),
        (
            "id,probability:Mass,probability:Edema\na,0,0\n",
            "no column probability:Nodule: it has probability:Mass, probability:Edema, but the labels .* Mass, Nodule",
        ),
        ("id,Mass,Nodule\na,0,0\n", "no column probability:Mass: it has no probability columns"),
        (HEAD + "\na,0,0.5\nb,1.01,0\n", "line 3: probability:Mass=1.01 is not a number in 0..1"),
        (HEAD + "\na,0,-0.1\n", "line 2: probability:Nodule=-0.1 is not"),
        (HEAD + "\na,nan,0.1\n", "line 2: probability:Mass=nan is not"),
        (HEAD + "\na,high,0.1\n", "line 2: probability:Mass=high is not"),
        (HEAD + "\na,0,0\na,0,0\n", "line 3: id a is there a second time"),
        (HEAD + "\n,0,0\n", "line 2: the id is blank"),
        (HEAD + "\na,0\n", "line 2 has 2 values, the header has 3"),
        (HEAD + ",target:Mass\na,0,0,2\n", "line 2: target:Mass=2 is not 1, 0 or blank"),
        (HEAD + "\na,,\n", "no image with probabilities"),
        ("\udcff", "is not a CSV in UTF-8"),
    ],
)
def test_a_wrong_table_is_refused_in_one_line(tmp_path, text, message):
    (tmp_path / "p.csv").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ThoraxError, match=message) as raised:
        read(tmp_path / "p.csv")
    assert "\n" not in str(raised.value) and "p.csv" in str(raised.value)


def test_no_file_and_no_parquet(tmp_path):
    with pytest.raises(ThoraxError, match="is not a file"):
        read(tmp_path / "gone.csv")
    pytest.importorskip("pyarrow")
    (tmp_path / "p.parquet").write_bytes(b"PAR0")
    with pytest.raises(ThoraxError, match="is not a readable Parquet file"):
        read(tmp_path / "p.parquet")
