"""pipeline.py reads images in both places, AWS and here, as the recipe has training read them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from thorax_launch.cli import pipeline

BUCKET, ROLE = "films", "arn:aws:iam::123456789012:role/thorax-execution"
PLACE = ["--region", "eu-central-1", "--bucket", BUCKET, "--role", ROLE]
Capture = pytest.CaptureFixture[str]


def many(folder: Path, names: list[str], seed: int) -> None:
    """Images that differ from each other, by their names."""
    import images as make

    for k, name in enumerate(names):
        make.put(folder / name, seed=seed + k)


def kaggle(root: Path) -> list[str]:
    """Patients counted anew in each part."""
    for k, part in enumerate(("train", "test")):
        many(
            root / part,
            [f"NORMAL/IM-{i:04}-0001.png" for i in range(8)]
            + [f"PNEUMONIA/person{i}_bacteria_1.png" for i in range(8)],
            50 * k,
        )
    return ["pneumonia-resnet18", "--train", str(root / "train"), "--test", str(root / "test")]


def coco(root: Path) -> list[str]:
    """A table beside the annotations, and a category that no image of training has."""
    names = ("person", "bicycle", "car", "motorcycle", "airplane", "zebra")
    for k, (part, year) in enumerate((("train", "train2017"), ("test", "val2017"))):
        many(root / part / year, [f"{part}{i}.png" for i in range(10)], 50 * k)
        stored = {
            "images": [{"id": i, "file_name": f"{part}{i}.png"} for i in range(10)],
            "categories": [{"id": i, "name": n} for i, n in enumerate(names)],
            "annotations": [{"image_id": i, "category_id": i % 5, "iscrowd": 0} for i in range(10)],
        }
        (root / part / "annotations").mkdir()
        (root / part / "annotations" / f"instances_{year}.json").write_text(json.dumps(stored))
        (root / part / "labels.csv").write_text(
            "path,labels\n" + "".join(f"{year}/{part}{i}.png,{names[i % 5]}\n" for i in range(10))
        )
    return [
        "coco-multilabel",
        "--train",
        str(root / "train"),
        "--test",
        str(root / "test"),
        "--set",
        "data_format=coco",
    ]


def lists(root: Path) -> list[str]:
    """One folder of images, and a list for each part."""
    many(root / "all", [f"{i}.png" for i in range(36)], 0)
    for k, part in enumerate(("train", "validation", "test")):
        (root / part).mkdir()
        (root / part / "a.lst").write_text("".join(f"{i}\t{i % 2}\t{i}.png\n" for i in range(12 * k, 12 * k + 12)))
    channels = [
        word
        for part in ("train", "validation", "test")
        for word in (f"--{part}", str(root / "all"), "--channel", f"{part}_lst={root / part}")
    ]
    return ["pneumonia-builtin", *channels]


@pytest.mark.parametrize("make", [kaggle, coco, lists])
def test_images_are_checked_as_the_recipe_reads_them(
    make: Any, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("thorax_launch.cli.local_pipeline.train", lambda *_, **__: 130)
    words = make(tmp_path)
    assert pipeline.main([*words, "--local", "--group", "chest", "--runs", str(tmp_path / "runs")]) == 130, (
        capsys.readouterr().out
    )
    shown = capsys.readouterr()
    assert shown.err == ""
    assert "zebra" not in shown.out


def test_images_are_scored_as_the_recipe_reads_them(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a bundle that was never trained: the images of the list alone, and its numbers by the recipe's labels."""
    from scoring.test_evaluate import write

    def train(*_: Any, runs: Path, job_name: str, **given: Any) -> int:
        assert given["processes"] == 3
        (runs / job_name / "output").mkdir(parents=True)
        write(runs / job_name / "model")
        return 0

    monkeypatch.setattr("thorax_launch.cli.local_pipeline.train", train)
    assert (
        pipeline.main(
            [
                *lists(tmp_path),
                "--local",
                "--group",
                "chest",
                "--runs",
                str(tmp_path),
                "--job-name",
                "it",
                "--processes",
                "3",
            ]
        )
        == 0
    )
    assert "12 images" in capsys.readouterr().out
    assert json.loads((tmp_path / "it" / "output" / "scores.json").read_text())["headline"] == "all"


def test_the_steps_on_aws_read_images_as_the_recipe_does(aws: Any, tmp_path: Path, capsys: Capture) -> None:
    assert (
        pipeline.main([*lists(tmp_path / "images"), "--set", "data_format=lst", "--group", "chest", *PLACE, "--yes"])
        == 0
    )
    definition = json.loads(aws.sent("CreatePipeline")[0]["PipelineDefinition"])
    inputs = [[one["InputName"] for one in definition["Steps"][k]["Arguments"]["ProcessingInputs"]] for k in (0, 2)]
    assert inputs == [
        ["tools", "train", "validation", "test", "train_lst", "validation_lst", "test_lst"],
        ["tools", "test", "test_lst", "bundle"],
    ]
    tools = definition["Steps"][0]["Arguments"]["ProcessingInputs"][0]["S3Input"]["S3Uri"].removeprefix(
        f"s3://{BUCKET}/"
    )
    scripts = [
        aws.client("s3").get_object(Bucket=BUCKET, Key=f"{tools}{name}.sh")["Body"].read().decode()
        for name in ("prepare", "evaluate")
    ]
    base, reading = "/opt/ml/processing", "--data-format lst --labels=NORMAL,PNEUMONIA"
    places = " ".join(
        f"--{name} {base}/{name.replace('-', '_')}"
        for name in ("train", "validation", "test", "train-lst", "validation-lst", "test-lst")
    )
    assert (
        f"python -m thorax.dataset check {places} {reading} --patient-scope channel --json {base}/out/check.json\n"
        in scripts[0]
    )
    data = f"--data {base}/test --data-lst {base}/test_lst {reading}"
    assert f"python -m thorax.scoring model {data} --json {base}/out/scores.json\n" in scripts[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "epochs=x"], "epochs"),
        (["--group", "../evil"], "--group ../evil must be 1 to 63 letters"),
        (["--group", "a" * 64], "must be 1 to 63 letters"),
        (["--job-name", "a_b"], "--job-name a_b must be"),
        (["--processes", "-3"], "--processes -3 must be 1 or more"),
        (["--start"], "--start is for AWS"),
    ],
)
def test_here_a_wrong_flag_is_told_before_any_image_is_read(
    words: list[str], message: str, images: Path, tmp_path: Path, capsys: Capture
) -> None:
    given = [
        "demo",
        "--local",
        "--train",
        str(images / "train"),
        "--test",
        str(images / "test"),
        "--group",
        "chest",
        "--runs",
        str(tmp_path / "runs"),
    ]
    assert pipeline.main([*given, *words]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: ")
    assert message in shown.err
    assert not (tmp_path / "runs").exists()


def test_images_with_errors_are_not_trained_on(tmp_path: Path, images: Path, capsys: Capture) -> None:
    import shutil

    shutil.copytree(images / "train", tmp_path / "train")
    (tmp_path / "train" / "NORMAL" / "bad_1.png").write_bytes(b"no image")
    words = [
        "demo",
        "--local",
        "--train",
        str(tmp_path / "train"),
        "--test",
        str(images / "test"),
        "--group",
        "chest",
        "--runs",
        str(tmp_path / "runs"),
    ]
    assert pipeline.main(words) == 1
    assert capsys.readouterr().err.splitlines()[-1] == "error: the images have errors, see above; nothing was trained"
    assert not (tmp_path / "runs").exists()
    assert pipeline.main([*words[:4], "--group", "chest"]) == 1
    assert "--test is missing" in capsys.readouterr().err
