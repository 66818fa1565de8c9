"""batch.py: every image once, in one table, whatever is done to the run; and the outputs of a batch transform."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import images
from conftest import ROOT, clean_environment
from thorax.errors import ThoraxError
from thorax.labels import LabelSpace
from thorax.scoring import BatchOptions, predict_folder, transform_outputs
from thorax.scoring.resumable import Partial
from thorax.serving.classifier import Classifier
from thorax_launch.cli import batch


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as text:
        return list(csv.DictReader(text))


#: One precision on every machine, whatever is the fastest there.
HOW = ("--workers", "0", "--batch", "4", "--precision", "float32")


def score(bundle: Path, data: Path, out: Path, *more: str) -> int:
    return batch.main(["--local", str(bundle), "--data", str(data), "--out", str(out), *HOW, *more])


@pytest.fixture
def classes(tmp_path) -> Path:
    names = {
        "NORMAL": [f"IM-000{k}-0001.jpeg" for k in range(5)],
        "PNEUMONIA": [f"person{k}_virus_{k}.png" for k in range(6)],
    }
    return images.folders(tmp_path / "classes", **names)


def test_the_table_and_the_scores(bundle, classes, tmp_path, capsys):
    out = tmp_path / "out" / "p.csv"
    assert score(bundle, classes, out) == 0
    table = rows(out)
    classifier = Classifier.load(bundle, threads=1, precision="float32")
    assert list(table[0]) == ["id", "patient", "probability:PNEUMONIA", "decision:PNEUMONIA", "target:PNEUMONIA"]
    assert [row["id"] for row in table] == [
        path.relative_to(classes).as_posix() for path in sorted(classes.glob("*/*"))
    ]
    assert table[0]["patient"] == "IM-0000"
    expected = classifier.predict(sorted(classes.glob("*/*")))
    assert np.allclose([float(row["probability:PNEUMONIA"]) for row in table], expected[:, 0], atol=1e-4)
    assert [row["decision:PNEUMONIA"] for row in table] == [
        str(int(p >= classifier.thresholds["PNEUMONIA"])) for p in expected[:, 0]
    ]
    assert [row["target:PNEUMONIA"] for row in table] == ["0"] * 5 + ["1"] * 6
    printed = capsys.readouterr().out
    assert "images: 11 images of 11 patients" in printed
    assert [path.name for path in out.parent.iterdir()] == ["p.csv"]  # nothing is left beside it


def test_the_function_returns_what_it_writes(bundle, classes, tmp_path):
    options = BatchOptions(batch=4, workers=0)
    found = predict_folder(str(bundle), classes, tmp_path / "p.csv", options=options)
    table = rows(tmp_path / "p.csv")
    assert found.ids == [row["id"] for row in table] and found.patients == [row["patient"] for row in table]
    assert np.array_equal(found.probabilities[:, 0], np.float32([row["probability:PNEUMONIA"] for row in table]))
    assert found.targets[:, 0].tolist() == [0] * 5 + [1] * 6
    with pytest.raises(ThoraxError, match="--batch 0 and --threads None must be 1 or more"):
        BatchOptions(batch=0)


def test_linked_folders_are_scored_too(bundle, classes, tmp_path, capsys):
    shutil.copytree(classes / "NORMAL", tmp_path / "links" / "NORMAL")
    (tmp_path / "links" / "PNEUMONIA").symlink_to(classes / "PNEUMONIA")
    assert score(bundle, classes, tmp_path / "p.csv") == score(bundle, tmp_path / "links", tmp_path / "q.csv") == 0
    assert rows(tmp_path / "q.csv") == rows(tmp_path / "p.csv")


def test_a_reader_that_has_seen_enough_leaves_a_whole_table(bundle, classes, tmp_path):
    """As `| head`: nobody reads from the first line on."""
    out = tmp_path / "out" / "p.csv"
    words = [ROOT / "launch" / "batch.py", "--local", bundle, "--data", classes, "--out", out, "--workers", "0"]
    process = subprocess.Popen(
        [sys.executable, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=clean_environment()
    )
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 0
    assert len(rows(out)) == 11
    assert [path.name for path in out.parent.iterdir()] == ["p.csv"]


def test_parquet_holds_the_same(bundle, classes, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    assert score(bundle, classes, tmp_path / "p.csv") == score(bundle, classes, tmp_path / "p.parquet") == 0
    table = parquet.read_table(tmp_path / "p.parquet").to_pylist()
    assert [row["id"] for row in table] == [row["id"] for row in rows(tmp_path / "p.csv")]
    assert np.allclose(
        [row["probability:PNEUMONIA"] for row in table],
        [float(row["probability:PNEUMONIA"]) for row in rows(tmp_path / "p.csv")],
        atol=1e-6,
    )
    assert {type(row["decision:PNEUMONIA"]) for row in table} == {int}


def test_a_table_of_labels_with_unknown_ones(findings, tmp_path, capsys):
    text = "path,patient,Effusion,Mass,Nodule\n" + "".join(
        f"f{k}.png,p{k // 2},{k % 2},{(k // 2) % 2},{'' if k < 3 else k % 2}\n" for k in range(8)
    )
    data = images.table(tmp_path / "data", text, [f"f{k}.png" for k in range(8)])
    assert score(findings, data, tmp_path / "p.csv") == 0
    table = rows(tmp_path / "p.csv")
    assert [row["patient"] for row in table] == [f"p{k // 2}" for k in range(8)]
    assert [row["target:Nodule"] for row in table] == ["", "", "", "1", "0", "1", "0", "1"]
    assert "macro" in capsys.readouterr().out


@pytest.mark.parametrize("names", [["a.png", "b.jpeg"], ["x/a.png", "y/z/b.png"], ["NORMAL/a.png", "other/b.png"]])
def test_images_without_labels(bundle, tmp_path, names, capsys):
    for k, name in enumerate(names):
        images.put(tmp_path / "data" / name, seed=k)
    assert score(bundle, tmp_path / "data", tmp_path / "p.csv") == 0
    assert list(rows(tmp_path / "p.csv")[0]) == ["id", "probability:PNEUMONIA", "decision:PNEUMONIA"]
    assert "AUC" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["test/PNEUMONIA/a.png", "pneumonia/a.png", "NORMAL/PNEUMONIA/x/a.png"])
def test_one_class_alone_has_labels(bundle, tmp_path, name):
    images.put(tmp_path / "data" / name)
    assert score(bundle, tmp_path / "data", tmp_path / "p.csv") == 0
    assert [row["target:PNEUMONIA"] for row in rows(tmp_path / "p.csv")] == ["1"]


def test_corrupt_images_are_listed_and_left_out(bundle, classes, tmp_path, capsys):
    images.put(classes / "NORMAL" / "IM-0002-0001.jpeg", b"")
    images.put(classes / "PNEUMONIA" / "person3_virus_3.png", b"\x89PNG no more")
    assert score(bundle, classes, tmp_path / "p.csv") == 0
    assert len(rows(tmp_path / "p.csv")) == 9
    listed = rows(tmp_path / "p.unreadable.csv")
    assert [row["id"] for row in listed] == ["NORMAL/IM-0002-0001.jpeg", "PNEUMONIA/person3_virus_3.png"]
    assert "the file is empty" in listed[0]["reason"]
    assert "warning: 2 images could not be read and are left out" in capsys.readouterr().out


def test_no_image_can_be_read(bundle, tmp_path, capsys):
    images.put(tmp_path / "data" / "a.png", b"")
    assert score(bundle, tmp_path / "data", tmp_path / "p.csv") == 1
    assert capsys.readouterr().err == "error: none of 1 image could be read\n"
    assert not (tmp_path / "p.csv").exists()


def test_a_killed_run_goes_on_where_it_was(bundle, tmp_path, capsys):
    """kill -9 in the middle, and half a line at the end of what it left.

    The table is that of a run that was never killed.
    """
    data = tmp_path / "data"
    images.written(data, 300)
    assert score(bundle, data, tmp_path / "whole.csv") == 0
    partial = tmp_path / "p.csv.partial"
    slow = f"""import sys, time; sys.path[:0] = [{str(ROOT / "launch")!r}, {str(ROOT / "source_dir")!r}]
from thorax_launch.cli import batch
from thorax.serving.classifier import Classifier
from thorax import machine
machine.free_cpus = lambda: 1
quick = Classifier.score
Classifier.score = lambda self, images: (time.sleep(0.02), quick(self, images))[1]
batch.main(sys.argv[1:])"""
    words = ["--local", str(bundle), "--data", str(data), "--out", str(tmp_path / "p.csv"), *HOW]
    process = subprocess.Popen(
        [sys.executable, "-c", slow, *words],
        env=clean_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    end = time.monotonic() + 300
    while (
        process.poll() is None
        and time.monotonic() < end
        and not (partial.exists() and partial.read_bytes().count(b"\n") > 5)
    ):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = partial.read_bytes().count(b"\n") - 1
    assert 5 <= done < 75
    with partial.open("ab") as file:
        file.write(b'{"places": [20, 24], "rows": [[0.')
    scored: list[int] = []
    quick, load = Classifier.score, Classifier.load
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Classifier, "score", lambda self, some: (scored.append(len(some)), quick(self, some))[1])
        # Loading scores a few images, too: only those after it count.
        patch.setattr(Classifier, "load", lambda *args, **settings: (load(*args, **settings), scored.clear())[0])
        assert score(bundle, data, tmp_path / "p.csv") == 0
    assert sum(scored) == 300 - 4 * done
    assert (tmp_path / "p.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert not partial.exists()


def test_a_run_may_be_killed_twice(tmp_path):
    """What a kill cut short is gone from the file before more is written behind it."""
    file = tmp_path / "partial"
    for start in (0, 4):
        with Partial(file, {"a": 1}) as partial:
            assert [int(places[0]) for places, _, _ in partial.batches] == list(range(0, start, 4))
            partial.add(np.arange(start, start + 4), np.full((4, 1), 0.25, np.float32), {start: "no image"})
        with file.open("ab") as out:
            out.write(b'{"places": [')
    with Partial(file, {"a": 1}) as partial:
        assert [(places.tolist(), rows.ravel().tolist(), why) for places, rows, why in partial.batches] == [
            ([0, 1, 2, 3], [0.25] * 4, {0: "no image"}),
            ([4, 5, 6, 7], [0.25] * 4, {4: "no image"}),
        ]


def test_what_another_run_left_is_not_taken_up(bundle, classes, tmp_path, capsys):
    (tmp_path / "p.csv.partial").write_text(
        '{"images": "others"}\n{"places": [0, 4], "rows": [[0.5], [0.5], [0.5], [0.5]], "unreadable": {}}\n'
    )
    assert score(bundle, classes, tmp_path / "p.csv") == 0
    assert "starting anew" in capsys.readouterr().out
    assert {row["probability:PNEUMONIA"] for row in rows(tmp_path / "p.csv")} != {"0.5"}


def test_two_runs_do_not_write_one_table(bundle, classes, tmp_path, capsys):
    with Partial(tmp_path / "p.csv.partial", {}):
        assert score(bundle, classes, tmp_path / "p.csv") == 1
    assert "another run is writing to" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--out", "p.xlsx"], "--out p.xlsx must end in .csv or .parquet"),
        (["--out", "d.csv"], "--out d.csv is a folder; name a file"),
        (["--data", "nosuch"], "--data nosuch is not a folder"),
        (["--local", "nosuch"], "nosuch is not a bundle"),
        (["--batch", "0"], "--batch 0 and --threads None must be 1 or more"),
        (["--data-format", "csv"], "data_format=csv but"),
        (["--data", "empty"], "holds no images"),
    ],
)
def test_errors_are_one_line(bundle, classes, tmp_path, monkeypatch, more, message, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("empty", "d.csv"):
        (tmp_path / name).mkdir()
    assert score(bundle, classes, Path("p.csv"), *more) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.glob("p.*")) + list(tmp_path.glob("d.csv?*"))


@pytest.mark.parametrize(
    "words",
    [
        ["--out", "p.csv"],
        ["--data", "d", "--out", "p.csv"],
        ["--outputs", "d", "--out", "p.csv"],
        ["--local", "b", "--data", "d"],
    ],
)
def test_a_wrong_command_line(words, capsys):
    with pytest.raises(SystemExit, match="2"):
        batch.main(words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--local", "b", "--data", "d", "--labels", "A,B"], "--labels is for --outputs without a bundle"),
        (["--local", "b", "--data", "d", "--multi-label"], "--multi-label is for --outputs without a bundle"),
        (["b", "--data", "d", "--labels", "A,B"], "--labels is for --outputs without a bundle"),
        (["--local", "b", "--outputs", "o", "--multi-label"], "--multi-label is for --labels A,B"),
        (["--local", "b", "--data", "d", "--job-name", "x"], "--job-name is for a batch transform on AWS"),
        (["--labels", "A,B", "--outputs", "o", "--data-format", "table"], "--data-format is for --data DIR"),
    ],
)
def test_a_flag_that_would_say_nothing_is_refused(words, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        batch.main([*words, "--out", "p.csv"])
    assert message in capsys.readouterr().err


def test_the_format_of_the_images_of_an_answer_is_heeded(bundle, classes, tmp_path, capsys):
    words = [
        "--local",
        str(bundle),
        "--outputs",
        str(out_files(tmp_path / "out", NORMAL__a="[0.5]")),
        "--data",
        str(classes),
    ]
    assert batch.main([*words, "--data-format", "table", "--out", str(tmp_path / "p.csv")]) == 1
    assert "data_format=table but" in capsys.readouterr().err


# -- What a batch transform leaves
# --------------------------------------------------------------------------------------


def out_files(root: Path, **contents: str) -> Path:
    """root/normal/A.jpeg.out ...: the key is FOLDER__NAME."""
    for name, text in contents.items():
        file = root / f"{name.replace('__', '/')}.jpeg.out"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


def test_the_outputs_of_the_built_in_algorithm(tmp_path, capsys):
    """As SageMaker's built-in Image Classification writes them: [normal, pneumonia] in a folder per class."""
    root = out_files(
        tmp_path / "out",
        normal__a='{"prediction": [0.999991774559021, 8.17106592876371e-06]}',
        normal__b='{"prediction": [0.3, 0.7]}',
        pneumonia__c='{"prediction": [0.1, 0.9]}',
    )
    assert batch.main(["--outputs", str(root), "--labels", "NORMAL,PNEUMONIA", "--out", str(tmp_path / "p.csv")]) == 0
    table = rows(tmp_path / "p.csv")
    assert [tuple(row.values()) for row in table] == [
        ("normal/a.jpeg", "0.000008171066", "0", "0"),
        ("normal/b.jpeg", "0.7", "1", "0"),
        ("pneumonia/c.jpeg", "0.9", "1", "1"),
    ]
    assert "accuracy 0.667" in capsys.readouterr().out


def test_our_own_outputs_are_those_of_scoring(bundle, classes, tmp_path, capsys):
    """Every form that the model answers in gives the same table as scoring the images here."""
    from thorax.serving.pipeline import answer
    from thorax.serving.request import RawRequest

    assert score(bundle, classes, tmp_path / "here.csv", "--precision", "float32") == 0
    forms = ["application/json", "application/json;verbose", "application/jsonlines", "text/csv"]
    classifier = Classifier.load(bundle, threads=1, precision="float32")
    for k, image in enumerate(sorted(classes.glob("*/*"))):
        file = tmp_path / "out" / f"{image.relative_to(classes)}.out"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(answer(classifier, RawRequest(image.read_bytes(), "image/jpeg", forms[k % 4])).body)
    words = [
        "--local",
        str(bundle),
        "--outputs",
        str(tmp_path / "out"),
        "--data",
        str(classes),
        "--out",
        str(tmp_path / "there.csv"),
    ]
    assert batch.main(words) == 0
    here, there = rows(tmp_path / "here.csv"), rows(tmp_path / "there.csv")
    for one, other in zip(here, there, strict=True):
        assert float(one.pop("probability:PNEUMONIA")) == pytest.approx(
            float(other.pop("probability:PNEUMONIA")), abs=2e-6
        )
        assert one == other


THREE = LabelSpace(("A", "B", "C"), "multilabel")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"prediction": [0.1, 0.2, 0.3]}', [[0.1, 0.2, 0.3]]),
        ("[0.1, 0.2, 0.3]", [[0.1, 0.2, 0.3]]),
        ("[[0.1, 0.2, 0.3], null]", [[0.1, 0.2, 0.3], "the image could not be read"]),
        ('{"predictions": [{"prediction": [0.1, 0.2, 0.3]}, {"error": "no image"}]}', [[0.1, 0.2, 0.3], "no image"]),
        ("0.1,0.2,0.3\n,,\n", [[0.1, 0.2, 0.3], "the image could not be read"]),
        ('""\n0.930000\n', ["the image could not be read", [0.93]]),
        ('""', ["the image could not be read"]),
        ('{"prediction": [0.1, 0.2, 0.3]}\n{"error": "no image"}\n', [[0.1, 0.2, 0.3], "no image"]),
        ('{"error": "no image"}', ["no image"]),
    ],
)
def test_forms_of_an_output(tmp_path, text, found):
    (tmp_path / "a.out").write_text(text)
    assert transform_outputs.parse(tmp_path / "a.out") == found


@pytest.mark.parametrize(
    "text", ["", "hello", "{}", "[]", '{"prediction": []}', '{"prediction": "high"}', "null", "[[]]"]
)
def test_what_is_no_output(tmp_path, text):
    (tmp_path / "a.out").write_text(text)
    with pytest.raises(ThoraxError, match=r"a\.out holds no predictions"):
        transform_outputs.parse(tmp_path / "a.out")


@settings(max_examples=40)
@given(text=st.text(max_size=60))
def test_any_text_is_read_or_refused(text, tmp_path_factory):
    file = tmp_path_factory.getbasetemp() / "any.out"
    file.write_text(text, encoding="utf-8")
    with suppress(ThoraxError):  # and nothing else
        assert transform_outputs.parse(file)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[0.1, 0.2]", "holds 2 numbers for 3 labels: A, B, C"),
        ("[0.1, 0.2, 7]", "which are no probabilities"),
        ("[0.1, 0.2, NaN]", "which are no probabilities"),
    ],
)
def test_numbers_that_do_not_fit(tmp_path, text, message):
    (tmp_path / "a.out").write_text(text)
    with pytest.raises(ThoraxError, match=message):
        transform_outputs.read_out_files(tmp_path, THREE)


def test_answers_without_an_image(tmp_path, bundle, classes, capsys):
    root = out_files(tmp_path / "out", NORMAL__zzz=json.dumps([0.5]))
    assert (
        batch.main(
            ["--local", str(bundle), "--outputs", str(root), "--data", str(classes), "--out", str(tmp_path / "p.csv")]
        )
        == 1
    )
    assert "1 answers belong to no image in" in capsys.readouterr().err
    assert batch.main(["--local", str(bundle), "--outputs", str(classes), "--out", str(tmp_path / "p.csv")]) == 1
    assert "holds no FILE.out files" in capsys.readouterr().err
