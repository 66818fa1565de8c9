"""Every recipe tried small: a dry run takes it, or says in one line what to change, as the job itself would."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from thorax.errors import ThoraxError
from thorax_launch import Recipe
from thorax_launch.cli import train
from thorax_launch.recipe import names
from thorax_launch.sagemaker.jobs import describe_job
from thorax_launch.sagemaker.preflight import notes
from thorax_launch.sagemaker.training_jobs import check, check_processes
from thorax_launch.settings import AwsSettings

Capture = pytest.CaptureFixture[str]
SETTINGS = AwsSettings(region="eu-central-1", role="arn:aws:iam::123456789012:role/x", bucket="films")
PLACE = ["--region", "eu-central-1", "--bucket", "films", "--role", "arn:aws:iam::123456789012:role/x", "--dry-run"]
SMALL: list[dict[str, Any]] = [
    {"epochs": 1},
    {"epochs": 2},
    {"batch_size": 1},
    {"image_shape": "1,64,64"},
    {"image_shape": "3,64,64", "epochs": 1, "batch_size": 2},
]


def planned(name: str, hyperparameters: dict[str, Any], **options: Any) -> list[str]:
    """The notes on a job, after every check but those of its files."""
    channels = {"train": "s3://films/train"}
    if Recipe.load(name).hyperparameters.get("use_pretrained_model") == "true":
        channels["weights"] = "s3://films/w/weights.safetensors"
    recipe, task = describe_job(name, channels, hyperparameters, options)
    check(recipe, SETTINGS, task)
    check_processes(recipe, task)
    return notes(recipe, task.channels, task.hyperparameters, task.processes)


@pytest.mark.parametrize("changes", SMALL, ids=str)
@pytest.mark.parametrize("name", names())
def test_every_recipe_on_one_small_machine(name: str, changes: dict[str, Any]) -> None:
    """Without a test channel too: `planned` gives none."""
    found = planned(name, changes, instance_type="ml.g5.xlarge", instance_count=1)
    assert all(note.startswith("note:     ") and "\n" not in note for note in found)


@pytest.mark.parametrize("name", ["chestxray14-weighted", "chestxray14-fp16", "chestxray14-896"])
def test_what_follows_from_a_short_run_is_a_line(name: str) -> None:
    found = planned(name, {"epochs": 2})
    assert [note for note in found if "early_stopping_min_epochs=10 and epochs=2 has no effect" in note]


def test_a_batch_that_does_not_divide_is_refused_with_the_number() -> None:
    with pytest.raises(
        ThoraxError, match="batch_size=1 does not divide by processes=8 on this machine; choose a multiple"
    ):
        planned("chestxray14-weighted", {"batch_size": 1})


# -- A value taken away ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", names())
def test_every_value_of_a_recipe_can_be_taken_away(name: str) -> None:
    recipe = Recipe.load(name)
    for key in recipe.hyperparameters:
        # the default image of 224 pixels is no crop of a recipe's 128
        also = {"resize": ""} if key == "image_shape" else {}
        assert key not in recipe.merged({key: "", **also}) and key not in recipe.merged({key: None, **also})


def test_a_value_is_taken_away_in_any_spelling() -> None:
    assert "mini_batch_size" not in Recipe.load("pneumonia-builtin").merged({"batch_size": ""})
    with pytest.raises(ThoraxError, match="unknown hyperparameter rezise; did you mean resize"):
        Recipe.load("coco-multilabel").merged({"rezise": ""})


def test_set_with_nothing_after_the_sign(offline: Path, capsys: Capture) -> None:
    words = ["chestxray14-fp16", "--train", "s3://films/train", "--instance-type", "ml.g5.xlarge", *PLACE]
    assert train.main([*words, "--set", "resize=", "--set", "batch_size=8"]) == 0
    sent = json.loads(capsys.readouterr().out)["HyperParameters"]
    assert "resize" not in sent and "mini_batch_size" not in sent and sent["batch_size"] == '"8"'


# -- Weights -----------------------------------------------------------------------------------------------------------


def dry(words: list[str], capsys: Capture) -> tuple[int, str]:
    code = train.main([*words, *PLACE])
    return code, capsys.readouterr().err


def test_pretrained_without_weights_is_refused_with_the_command(offline: Path, capsys: Capture) -> None:
    words = ["demo", "--train", "s3://films/train", "--set", "use_pretrained_model=1"]
    code, error = dry(words, capsys)
    assert code == 1
    assert (
        "`thorax weights make resnet18 --out resnet18.safetensors`, and give it, --weights resnet18.safetensors"
        in error
    )
    for weights in (
        "s3://mine/w/resnet18.safetensors",
        "s3://jumpstart-cache-prod-eu-central-1/pytorch-training/train-pytorch-ic-resnet18.tar.gz",
    ):
        assert train.main([*words, "--weights", weights, *PLACE]) == 0
        channels = {one["ChannelName"]: one for one in json.loads(capsys.readouterr().out)["InputDataConfig"]}
        assert channels["weights"]["DataSource"]["S3DataSource"]["S3Uri"] == weights


def test_the_recipe_of_fine_tuning_asks_for_its_weights(offline: Path, capsys: Capture) -> None:
    code, error = dry(["pneumonia-finetune", "--train", "s3://films/train"], capsys)
    assert code == 1
    assert "`thorax weights make timm/tf_efficientnet_lite0 --out tf_efficientnet_lite0.safetensors`" in error


def test_weights_that_do_not_fit_are_refused_before_they_are_uploaded(
    offline: Path, tmp_path: Path, capsys: Capture
) -> None:
    torch.save({"conv.weight": torch.zeros(3, 3)}, tmp_path / "w.pt")
    words = ["demo", "--train", "s3://films/train", "--weights", str(tmp_path / "w.pt")]
    code, error = dry(words, capsys)
    assert code == 1 and "does not fit the network: 0 of 100 tensors fit" in error
    code, error = dry(["demo", "--train", "s3://films/t", "--set", f"weights={tmp_path / 'w.pt'}"], capsys)
    assert code == 1 and "would be looked for in the container; give it as a channel: --weights" in error


# -- What the listing shows --------------------------------------------------------------------------------------------


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for kind, count in (("A", 12), ("B", 12)):
        (tmp_path / "train" / kind).mkdir(parents=True)
        for k in range(count):
            Image.new("L", (8, 8)).save(tmp_path / "train" / kind / f"{kind}{k}.png")
    return tmp_path / "train"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["num_classes=3"], "num_classes=3 but the train channel has 2: A, B"),
        (["labels=A,C"], "labels=A,C but the data holds the classes A,B"),
        (["streaming=true"], "streaming=true but the images of train are files of their own"),
        (["data_format=coco"], "data_format=coco but"),
        (["uncertain=Edema:one"], "uncertain=Edema:one: the images have no label Edema"),
        (["multi_label=1", "loss=cross_entropy"], "loss=cross_entropy with multi_label=true"),
    ],
)
def test_the_job_would_refuse_it_and_so_does_the_dry_run(
    settings: list[str], message: str, images: Path, offline: Path, capsys: Capture
) -> None:
    more = [word for text in settings for word in ("--set", text)]
    code, error = dry(["demo", "--train", str(images), *more], capsys)
    assert code == 1 and message in error


def test_top_k_of_too_few_classes_is_a_line(images: Path, offline: Path, capsys: Capture) -> None:
    code, error = dry(["demo", "--train", str(images), "--set", "top_k=2"], capsys)
    assert code == 0
    assert "note:     top_k=2 has no effect: it needs more than 2 exclusive classes, found 2 exclusive classes" in error
    code, error = dry(["pneumonia-builtin", "--train", "s3://films/train", "--set", "top_k=2"], capsys)
    assert code == 0 and "top_k=2 with 2 classes has no effect" in error


def test_the_cap_of_class_weights_is_said_where_it_bites(tmp_path: Path, offline: Path, capsys: Capture) -> None:
    for kind, count in (("A", 70), ("B", 2)):
        (tmp_path / "t" / kind).mkdir(parents=True)
        for k in range(count):
            (tmp_path / "t" / kind / f"{kind}{k}.png").write_bytes(b"x")
    words = ["demo", "--train", str(tmp_path / "t"), "--set", "validation_fraction=0.5"]
    code, error = dry([*words, "--set", "max_class_weight=20"], capsys)
    assert code == 0
    assert "max_class_weight=20 cuts off the weight N/N_l of B (" in error and "max_class_weight=" in error
    assert "cuts off" not in dry([*words, "--set", "max_class_weight=100"], capsys)[1]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("train=application/x-recordio", "but the files in"),
        ("train=text/csv", "are application/x-image; leave it out"),
        ("train=nonsense", "is no content type"),
    ],
)
def test_a_content_type_that_the_files_are_not(
    given: str, message: str, images: Path, offline: Path, capsys: Capture
) -> None:
    code, error = dry(["demo", "--train", str(images), "--content-type", given], capsys)
    assert code == 1 and message in error
    assert dry(["demo", "--train", str(images), "--content-type", "train=image/png"], capsys)[0] == 0
