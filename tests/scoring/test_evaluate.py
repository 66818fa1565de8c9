"""thorax evaluate as a user starts it, and evaluate() as a notebook calls it: the scores of a run again, tables of
predictions, comparison, subgroups, and errors of one line."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import images as make
from conftest import command, run
from thorax.errors import ThoraxError
from thorax.labels import LabelSpace
from thorax.scoring import EvaluationOptions, run_evaluation
from thorax.scoring import evaluate as evaluate_bundle
from thorax.serving.bundle import Bundle
from thorax_launch.cli import evaluate
from untrained import untrained
from warm_python import PYTHON

ROOT = Path(__file__).resolve().parents[2]


def write(folder, space=make.BINARY, seed=0):
    return untrained(folder, space, seed, "id,patient,part\nNORMAL/none.png,p,train\n")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A bundle that was never trained; tests must not change it."""
    return write(tmp_path_factory.mktemp("untrained") / "model")


@pytest.fixture(scope="module")
def findings(tmp_path_factory):
    """A multi-label bundle, never trained."""
    return write(tmp_path_factory.mktemp("findings") / "model", make.FINDINGS)


@pytest.fixture(scope="module")
def trained(images, tmp_path_factory):
    """The bundle of a run with thresholds that find nine of ten; its other results lie in out-job."""
    out = tmp_path_factory.mktemp("run") / "out"
    done = run(command(images, out, threshold_rule="sensitivity", target_sensitivity="0.9", calibration="temperature"))
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def scored_json(tmp_path, *words):
    """What `evaluate` writes as JSON for a command line."""
    assert evaluate.main([*map(str, words), "--json", str(tmp_path / "scores.json"), "--resamples", "30"]) == 0
    return json.loads((tmp_path / "scores.json").read_text())


def values(score):
    """The numbers of a score without intervals: their seeds differ."""
    return {
        name: {m: v["value"] for m, v in score["labels"][name].items() if isinstance(v, dict) and "value" in v}
        for name in score["labels"]
    }


def test_the_scores_of_a_run_are_found_again_from_images_and_from_its_predictions(trained, images, tmp_path, capsys):
    results = Path(f"{trained}-job") / "output" / "data"
    stored = json.loads((results / "metrics.json").read_text())
    assert stored["validation"]["labels"]["PNEUMONIA"]["sensitivity"]["value"] >= 0.9
    calibration = Bundle.load(trained).calibration["PNEUMONIA"]
    page = json.loads((results / "report.json").read_text())["calibration"]["PNEUMONIA"]
    assert calibration["method"] == page["method"] and calibration["temperature"] == page["temperature"]
    assert Bundle.load(trained).calibrator.changes and page["validation"] == stored["calibration"]["PNEUMONIA"]

    kept = Bundle.load(trained).training_data
    counts = json.loads((results / "report.json").read_text())["data"]["train"]
    assert (kept["images"], kept["patients"]) == (counts["images"], counts["patients"])
    assert kept["labels"]["PNEUMONIA"]["prevalence"] == counts["PNEUMONIA"] / counts["images"]

    scored = scored_json(tmp_path, trained, "--data", images / "test", "--html", tmp_path / "page.html")
    again = values(scored["scores"]["test"])["PNEUMONIA"]
    # Served in bfloat16 where the machine has it: a probability moves by 0.01 at most (checked when the bundle is
    # loaded).
    assert again == pytest.approx(values(stored["test"])["PNEUMONIA"], abs=0.01)
    page = (tmp_path / "page.html").read_text()
    assert "a sensitivity of at least 0.9" in page and 'src="data:image/png' in page
    assert "test: 16 images of 16 patients" in capsys.readouterr().out

    table = scored_json(tmp_path, trained, "--predictions", results / "predictions.csv")
    assert [*table["scores"]] == ["validation", "test"] and table["headline"] == "test"
    for part in table["scores"]:
        assert values(table["scores"][part]) == values(stored[part])


def test_a_jobs_folder_will_do_and_images_of_its_training_are_named(trained, images, tmp_path, capsys):
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "model").symlink_to(trained)
    scored_json(tmp_path, tmp_path / "job", "--data", images / "train")
    assert (
        "warning: 48 of 48 images have the ids of images that the bundle was trained on or chosen by"
        in capsys.readouterr().out
    )


def test_batch_output_is_scored_by_the_labels_of_the_images(bundle, images, tmp_path, capsys):
    ids = sorted(str(p.relative_to(images / "test")) for p in (images / "test").rglob("*.png"))
    right = {name: 0.9 if name.startswith("PNEUMONIA") else 0.1 for name in ids}
    right[ids[0]] = 0.7
    batch = tmp_path / "batch.csv"
    batch.write_text("id,probability:PNEUMONIA\n" + "".join(f"{name},{right[name]}\n" for name in ids[:-1]))
    got = scored_json(tmp_path, bundle, "--predictions", batch, "--data", images / "test")["scores"]["predictions"][
        "labels"
    ]["PNEUMONIA"]
    assert (got["n"], got["positives"], got["confusion"]) == (15, 7, {"tp": 7, "fp": 1, "tn": 7, "fn": 0})
    assert "has no predictions of 1 of the 16 images" in capsys.readouterr().out


def test_two_bundles_on_the_same_images(bundle, images, tmp_path, capsys):
    other = write(tmp_path / "other", seed=1)
    got = scored_json(tmp_path, bundle, "--data", images / "test", "--compare", other)
    alone = [
        scored_json(tmp_path, each, "--data", images / "test")["scores"]["test"]["macro"]["auc"]["value"]
        for each in (bundle, other)
    ]
    assert [got["comparison"]["macro"][which] for which in ("first", "second")] == pytest.approx(alone, abs=1e-9)
    assert got["comparison"]["first"] == str(bundle) and "B minus A" in capsys.readouterr().out


@pytest.fixture
def table(tmp_path):
    """Images with two labels of three, one of them partly unknown, and what is known of the patients."""
    text = "path,patient,sex,age,Mass,Edema,Effusion\n"
    rows = [(f"{k}.png", k // 2, "FM"[k % 2], 20 + 5 * k, k % 3 == 0, 1, "" if k < 3 else k % 2) for k in range(12)]
    text += "".join(f"{p},{w},{s},{a},{int(m)},{e},{f}\n" for p, w, s, a, m, e, f in rows)
    make.table(tmp_path / "channel", text, [row[0] for row in rows])
    make.table(tmp_path / "channel", "path\n", name="another.csv")
    return tmp_path / "channel" / "images.csv"


def test_subgroups_of_one_table_among_others_and_labels_it_does_not_name(findings, table, tmp_path, capsys):
    got = scored_json(tmp_path, findings, "--data", table, "--by", "sex", "AGE")
    assert [(row["column"], row["group"], row["n"]) for row in got["subgroups"]] == [
        ("sex", "F", 6),
        ("sex", "M", 6),
        ("AGE", "18 to 39", 4),
        ("AGE", "40 to 59", 4),
        ("AGE", "60 to 79", 4),
    ]
    scored = got["scores"]["images"]["labels"]
    assert {name: entry["n"] for name, entry in scored.items()} == {"Effusion": 9, "Mass": 12, "Nodule": 0}
    out = capsys.readouterr().out
    assert "says nothing of Nodule: it is not scored" in out and "does not know Edema" in out


def test_a_table_may_name_its_images_by_absolute_paths(bundle, tmp_path, capsys):
    rows = "".join(
        f"{tmp_path / 'images' / name},{label}\n" for name, label in (("a.png", "NORMAL"), ("b.png", "PNEUMONIA"))
    )
    make.table(tmp_path / "images", "path,labels\n" + rows, ["a.png", "b.png"], name="mine.csv")
    make.table(tmp_path / "images", "path\n", name="another.csv")
    make.folders(tmp_path / "images", NORMAL=["c.png"], PNEUMONIA=["d.png"])
    assert (
        scored_json(tmp_path, bundle, "--data", tmp_path / "images" / "mine.csv")["scores"]["mine"]["labels"][
            "PNEUMONIA"
        ]["n"]
        == 2
    )
    assert "a.png is one image; give a folder per class, or the table" in one_line(
        capsys, bundle, "--data", tmp_path / "images" / "a.png"
    )
    make.table(tmp_path / "images", "no image", name="notes.txt")
    assert "images/notes.txt is no list of images that is known" in one_line(
        capsys, bundle, "--data", tmp_path / "images" / "notes.txt"
    )
    assert "choose one by --data-format folder|table" in one_line(capsys, bundle, "--data", tmp_path / "images")
    (tmp_path / "images" / "mine.csv").write_text("path,labels\n/etc/x.png,NORMAL\n")
    assert f"{tmp_path}/images/mine.csv line 2: /etc/x.png leads out" in one_line(
        capsys, bundle, "--data", tmp_path / "images" / "mine.csv"
    )


def test_subgroups_of_another_table(bundle, images, tmp_path):
    ids = sorted(str(p.relative_to(images / "test")) for p in (images / "test").rglob("*.png"))
    with (tmp_path / "who.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("id", "view"), *((name, "PA" if k % 2 else "") for k, name in enumerate(ids))])
    got = scored_json(tmp_path, bundle, "--data", images / "test", "--by", "view", "--subgroups", tmp_path / "who.csv")
    assert [(row["group"], row["n"]) for row in got["subgroups"]] == [("PA", 8), ("unknown", 8)]


def one_line(capsys, *words):
    """The error of a command line that must fail, with nothing written."""
    assert evaluate.main([*map(str, words)]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), lines
    return lines[0]


def test_one_class_only(bundle, images, tmp_path, capsys):
    make.table(tmp_path / "one", "path,labels\na.png,NORMAL\nb.png,NORMAL\n", ["a.png", "b.png"])
    assert "has images of one class only (NORMAL, 2 images)" in one_line(
        capsys, bundle, "--data", tmp_path / "one", "--json", tmp_path / "x.json"
    )
    assert not (tmp_path / "x.json").exists()
    make.folders(tmp_path / "folders", PNEUMONIA=["a.png"])
    assert "--data: " in one_line(capsys, bundle, "--data", tmp_path / "folders")


def test_no_labels_at_all(bundle, tmp_path, capsys):
    (tmp_path / "p.csv").write_text("id,probability:PNEUMONIA\na,0.1\nb,0.9\n")
    assert (
        "has no known labels of PNEUMONIA; a table of predictions needs columns such as target:PNEUMONIA, or --data"
        in one_line(capsys, bundle, "--predictions", tmp_path / "p.csv")
    )


def test_labels_that_are_not_the_bundles(bundle, findings, images, tmp_path, capsys):
    make.folders(tmp_path / "three", NORMAL=["a.png"], bacterial=["b.png"], viral=["c.png"])
    assert "has the labels NORMAL, bacterial, viral, but the bundle tells apart NORMAL, PNEUMONIA" in one_line(
        capsys, bundle, "--data", tmp_path / "three"
    )
    make.table(tmp_path / "several", "path,labels\na.png,NORMAL|PNEUMONIA\nb.png,NORMAL\n", ["a.png", "b.png"])
    assert "(several on an image, or none), but the bundle tells apart NORMAL, PNEUMONIA" in one_line(
        capsys, bundle, "--data", tmp_path / "several"
    )
    assert "has the labels NORMAL, PNEUMONIA, but the bundle tells apart Effusion, Mass, Nodule" in one_line(
        capsys, findings, "--data", images / "test"
    )
    assert "has the labels Effusion, Mass, Nodule, the first bundle NORMAL, PNEUMONIA" in one_line(
        capsys, bundle, "--data", images / "test", "--compare", findings
    )


def test_nothing_there(bundle, images, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert f"--data: {tmp_path / 'empty'} is empty" in one_line(capsys, bundle, "--data", tmp_path / "empty")
    make.table(tmp_path / "header", "path,labels\n")
    assert "has no rows" in one_line(capsys, bundle, "--data", tmp_path / "header")
    for flag in ("--data", "--predictions"):
        assert f"{flag} {tmp_path / 'gone'} does not exist" in one_line(capsys, bundle, flag, tmp_path / "gone")
    assert "is not a bundle" in one_line(capsys, tmp_path / "empty", "--data", images / "test")
    assert "gone.png" in one_line(
        capsys, bundle, "--data", make.table(tmp_path / "g", "path,labels\ngone.png,NORMAL\n")
    )


def test_predictions_of_images_that_the_data_has_not(bundle, images, tmp_path, capsys):
    (tmp_path / "p.csv").write_text("id,probability:PNEUMONIA\nNORMAL/2NORMAL0_0.png,0.1\nunknown.png,0.2\n")
    line = one_line(capsys, bundle, "--predictions", tmp_path / "p.csv", "--data", images / "test")
    assert "1 of 2 ids of" in line and "the first is unknown.png, there they look like NORMAL/2NORMAL0_0.png" in line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--by", "sex"], "--by: --data is no table; give the table with these columns by --subgroups TABLE"),
        (["--subgroups", "WHO"], "without --by: name its columns"),
        (["--by", "sex", "--subgroups", "WHO"], "--by sex: .* has no such column; it has id, view"),
        (["--by", "view", "--subgroups", "SOME"], "15 of 16 images are not in .*; the first is NORMAL/2NORMAL1_1.png"),
        (
            ["--by", "view", "--subgroups", "OTHERS"],
            r"no column \(id, path, .*\) with the ids of these images, such as NORMAL/2NORMAL0_0.png; it has id, view",
        ),
        (["--resamples", "-1"], "--resamples -1 is out of range"),
        (["--html", "gone/x.html"], "gone/x.html cannot be written: there is no folder gone; name a file"),
        (["--json", "."], ". cannot be written: it is a folder"),
        (["--data-format", "csv"], "--data-format csv"),
    ],
)
def test_wrong_options(bundle, images, tmp_path, capsys, words, message):
    ids = sorted(str(p.relative_to(images / "test")) for p in (images / "test").rglob("*.png"))
    for name, listed in (("WHO", ids), ("SOME", ids[:1]), ("OTHERS", ["a.png"])):
        (tmp_path / name).write_text("id,view\n" + "".join(f"{i},PA\n" for i in listed))
    line = one_line(
        capsys, bundle, "--data", images / "test", *(tmp_path / word if word.isupper() else word for word in words)
    )
    assert re.search(message, line), line


def test_compare_needs_images(bundle, tmp_path, capsys):
    (tmp_path / "p.csv").write_text("id,probability:PNEUMONIA,target:PNEUMONIA\na,0.1,0\nb,0.9,1\n")
    assert "needs the images: give --data" in one_line(
        capsys, bundle, "--predictions", tmp_path / "p.csv", "--compare", bundle
    )


def test_neither_images_nor_predictions(bundle, capsys):
    with pytest.raises(SystemExit) as ended:
        evaluate.main([str(bundle)])
    assert ended.value.code == 2 and "give --data DIR_OR_TABLE, --predictions FILE, or both" in capsys.readouterr().err


def test_the_function_gives_what_the_command_writes(bundle, images, tmp_path):
    other = write(tmp_path / "other", seed=1)
    table = tmp_path / "views.csv"
    ids = sorted(str(p.relative_to(images / "test")) for p in (images / "test").rglob("*.png"))
    table.write_text("id,view\n" + "".join(f"{name},{'PA' if k % 2 else 'AP'}\n" for k, name in enumerate(ids)))
    words = ["--compare", other, "--by", "view", "--subgroups", table]
    written = scored_json(tmp_path, bundle, "--data", images / "test", *words, "--html", tmp_path / "command.html")

    options = EvaluationOptions(compare_with=str(other), by=("view",), subgroup_table=table, resamples=30)
    found = run_evaluation(bundle, str(images / "test"), options)
    found.write_json(tmp_path / "function.json")
    assert json.loads((tmp_path / "function.json").read_text()) == written
    found.write_report(str(tmp_path / "function.html"))
    assert (tmp_path / "function.html").read_text() == (tmp_path / "command.html").read_text()
    assert found.scores == written["scores"] and list(found.subgroups) == written["subgroups"]
    assert found.comparison["macro"] == written["comparison"]["macro"]
    assert sorted(found.predictions.ids) == ids
    assert found.predictions.probabilities.shape == found.predictions.targets.shape == (16, 1)
    first, comparison, groups = found.table().split("\n\n")
    assert (
        first.startswith("test: 16 images")
        and comparison.startswith("A is ")
        and "B minus A" in comparison
        and "view: PA" in groups
    )


def test_the_function_takes_a_loaded_bundle_and_a_notebook_shows_the_report(bundle, images, tmp_path):
    found = evaluate_bundle(Bundle.load(bundle), images / "test", resamples=0)
    assert found.scores["test"]["macro"]["auc"]["low"] is None
    assert found.comparison is None and found.subgroups == []
    shown = found._repr_html_()
    assert shown.startswith('<iframe srcdoc="') and "&lt;h1&gt;cnn5 on test&lt;/h1&gt;" in shown and "<h1>" not in shown
    (tmp_path / "p.csv").write_text("id,probability:PNEUMONIA,target:PNEUMONIA\na,0.1,0\nb,0.9,1\n")
    table = run_evaluation(bundle, None, EvaluationOptions(predictions=str(tmp_path / "p.csv"), resamples=0))
    assert table.scores["predictions"]["macro"]["auc"]["value"] == 1.0 and table.images is None
    with pytest.raises(ThoraxError, match="there is nothing to score"):
        run_evaluation(bundle, None)


def test_without_the_launcher_the_same_command_runs_as_a_module(bundle, images, tmp_path):
    words = [str(bundle), "--data", str(images / "test"), "--resamples", "30", "--json", str(tmp_path / "module.json")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "source_dir")}
    start = [
        PYTHON,
        "-c",
        "import sys; sys.modules['thorax_launch'] = None; import runpy; "
        "runpy.run_module('thorax.scoring', run_name='__main__', alter_sys=True)",
    ]
    done = subprocess.run([*start, *words], capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    assert f"wrote {tmp_path / 'module.json'}" in done.stdout
    assert json.loads((tmp_path / "module.json").read_text()) == scored_json(
        tmp_path, bundle, "--data", images / "test"
    )
    wrong = subprocess.run([*start, str(bundle), "--data", "gone"], capture_output=True, text=True, env=environment)
    assert (wrong.returncode, wrong.stderr) == (1, "error: --data gone does not exist\n")
    usage = subprocess.run([*start, str(bundle)], capture_output=True, text=True, env=environment)
    assert usage.returncode == 2 and usage.stderr.startswith("usage: python -m thorax.scoring ")


def test_help_imports_nothing_heavy():
    program = (
        "import sys, runpy\nsys.argv = ['evaluate.py', '--help']\ntry:\n   "
        f" runpy.run_path({str(ROOT / 'launch' / 'evaluate.py')!r}, run_name='__main__')\n"
    )
    program += (
        "except SystemExit as ended:\n    sys.exit(ended.code or ', '.join({'torch', 'numpy'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, cwd=ROOT / "launch"
    )
    assert done.returncode == 0 and "--predictions FILE" in done.stdout, done.stderr


@pytest.mark.realdata
def test_fourteen_labels_of_real_images_by_sex_age_and_view(tmp_path):
    data = Path(os.environ.get("THORAX_REALDATA", ROOT.parent / "shared" / "data")) / "nih14"
    if not data.is_dir():
        pytest.skip(f"{data} is not there: set THORAX_REALDATA")
    (tmp_path / "channel").mkdir()
    (tmp_path / "channel" / "images").symlink_to(data / "images1024")
    (tmp_path / "channel" / "images.csv").write_text((data / "images1024_labels.csv").read_text())
    names = (data / "images1024_labels.csv").read_text().splitlines()[0].split(",")[7:]
    bundle = write(tmp_path / "model", LabelSpace(tuple(names), "multilabel"))
    got = scored_json(
        tmp_path, bundle, "--data", tmp_path / "channel", "--by", "sex", "age", "view", "--html", tmp_path / "page.html"
    )
    assert got["scores"]["channel"]["n"] == 17 and len(got["scores"]["channel"]["labels"]) == 14
    for column in ("sex", "age", "view"):
        assert sum(row["n"] for row in got["subgroups"] if row["column"] == column) == 17
    assert (tmp_path / "page.html").stat().st_size > 100_000
