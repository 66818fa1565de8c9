"""The hyperparameters of the built-in Image Classification algorithm and of public projects are taken as they stand."""

from __future__ import annotations

import dataclasses

import pytest

from thorax.config import TrainingConfig
from thorax.config.parse import spellings
from thorax.errors import ThoraxError


def message(texts):
    with pytest.raises(ThoraxError) as caught:
        TrainingConfig.parse(texts)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


# -- The built-in Image Classification algorithm
# ------------------------------------------------------------------------


#: Every hyperparameter of the algorithm: its documented default (or a usual value where there is none), our field and
#: value.
BUILT_IN = [
    ("num_classes", "14", "num_classes", 14),
    ("num_training_samples", "80000", "num_training_samples", 80000),
    ("image_shape", "3,224,224", "image_shape", (3, 224, 224)),
    ("resize", "256", "resize", 256),
    ("augmentation_type", "none", "augmentation_type", "none"),
    ("num_layers", "152", "network", "resnet152"),
    ("use_pretrained_model", "0", "use_pretrained_model", False),
    ("multi_label", "0", "multi_label", False),
    ("use_weighted_loss", "0", "use_weighted_loss", False),
    ("precision_dtype", "float32", "precision_dtype", "float32"),
    ("epochs", "30", "epochs", 30),
    ("mini_batch_size", "32", "batch_size", 32),
    ("learning_rate", "0.1", "learning_rate", 0.1),
    ("lr_scheduler_factor", "0.1", "lr_scheduler_factor", 0.1),
    ("lr_scheduler_step", "10,20", "lr_scheduler_step", (10, 20)),
    ("optimizer", "sgd", "optimizer", "sgd"),
    ("momentum", "0.9", "momentum", 0.9),
    ("weight_decay", "0.0001", "weight_decay", 0.0001),
    ("beta_1", "0.9", "beta_1", 0.9),
    ("beta_2", "0.999", "beta_2", 0.999),
    ("eps", "1e-08", "eps", 1e-8),
    ("gamma", "0.9", "gamma", 0.9),
    ("early_stopping", "False", "early_stopping", False),
    ("early_stopping_min_epochs", "10", "early_stopping_min_epochs", 10),
    ("early_stopping_patience", "5", "early_stopping_patience", 5),
    ("early_stopping_tolerance", "0.0", "early_stopping_tolerance", 0.0),
    ("checkpoint_frequency", "1", "checkpoint_frequency", 1),
    ("kv_store", "dist_sync", "kv_store", "dist_sync"),
    ("top_k", "5", "top_k", 5),
]
#: Where our default is another than the algorithm's, on purpose.
OUR_OWN = {
    "network": "resnet50",
    "image_shape": (1, 224, 224),
    "augmentation_type": "xray",
    "precision_dtype": "auto",
    "learning_rate": 0.001,
    "optimizer": "adamw",
    "lr_scheduler_step": (),
    "num_classes": None,
    "num_training_samples": None,
    "resize": None,
    "multi_label": None,
    "top_k": None,
}


@pytest.mark.parametrize(("name", "text", "field", "value"), BUILT_IN)
def test_each_hyperparameter_of_the_built_in_algorithm_is_taken(name, text, field, value):
    assert getattr(TrainingConfig.parse({name: text}), field) == value
    assert getattr(TrainingConfig(), field) == OUR_OWN.get(field, value)


def test_all_hyperparameters_of_the_built_in_algorithm_are_taken_together():
    config = TrainingConfig.parse({name: text for name, text, _, _ in BUILT_IN})
    assert config == TrainingConfig(**{field: value for _, _, field, value in BUILT_IN})


@pytest.mark.parametrize(
    ("name", "text", "field", "value"),
    [
        *(("num_layers", str(n), "network", f"resnet{n}") for n in (18, 34, 50, 101, 152)),
        *(
            ("augmentation_type", t, "augmentation_type", t)
            for t in ("none", "crop", "crop_color", "crop_color_transform")
        ),
        *(("optimizer", o, "optimizer", o) for o in ("sgd", "adam", "rmsprop", "nag")),
        *(("precision_dtype", p, "precision_dtype", p) for p in ("float32", "float16")),
        *((b, "1", b, True) for b in ("use_pretrained_model", "multi_label", "use_weighted_loss")),
        ("early_stopping", "True", "early_stopping", True),
    ],
)
def test_each_choice_of_the_built_in_algorithm_is_taken(name, text, field, value):
    assert getattr(TrainingConfig.parse({name: text}), field) == value


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("mini_batch_size", 8, 512),
        ("learning_rate", 1e-6, 0.5),
        ("weight_decay", 0.0, 0.999),
        ("momentum", 0.0, 0.999),
        ("beta_1", 1e-6, 0.999),
        ("beta_2", 1e-6, 0.999),
        ("eps", 1e-8, 1.0),
        ("gamma", 1e-8, 0.999),
    ],
)
def test_the_ranges_that_the_built_in_algorithm_recommends_for_tuning_are_taken(name, low, high):
    field = spellings()[name][0].name
    assert getattr(TrainingConfig.parse({name: str(low)}), field) == low
    assert getattr(TrainingConfig.parse({name: str(high)}), field) == high


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        *(
            ("num_layers", n, f"num_layers='{n}' is not offered; choose 18, 34, 50, 101 or 152")
            for n in ("200", "20", "32", "44", "56", "110", "1", "None")
        ),
        ("kv_store", "dist_async", "kv_store=dist_async is not offered, only dist_sync"),
    ],
)
def test_what_the_built_in_algorithm_has_and_we_have_not_is_said(name, text, expected):
    assert message({name: text}) == expected


# -- Public projects ---------------------------------------------------------------------------------------------------


_XRAY14 = {
    "num_layers": "50",
    "use_pretrained_model": "1",
    "image_shape": "3,224,224",
    "num_classes": "14",
    "mini_batch_size": "256",
    "resize": "256",
    "epochs": "100",
    "learning_rate": "0.0005",
    "optimizer": "adam",
    "num_training_samples": "80000",
    "augmentation_type": "crop_color_transform",
    "precision_dtype": "float32",
    "multi_label": "1",
}
PROJECTS = {
    "chestxray14": _XRAY14,
    "chestxray14, weighted": {**_XRAY14, "use_weighted_loss": "1"},
    "chestxray14, float16": {**_XRAY14, "use_weighted_loss": "1", "precision_dtype": "float16"},
    "chestxray14, 896": {
        **{k: v for k, v in _XRAY14.items() if k != "resize"},
        "image_shape": "3,896,896",
        "mini_batch_size": "64",
        "learning_rate": "0.00025",
    },
    "pneumonia-builtin": {
        **_XRAY14,
        "num_layers": "18",
        "num_classes": "2",
        "mini_batch_size": "128",
        "epochs": "25",
        "num_training_samples": "5112",
        "multi_label": "0",
    },
    "pneumonia-cnn": {"epochs": "25", "batch-size": "1"},
    "pneumonia-resnet18": {
        "wandb_tracking": "true",
        "debugging": "false",
        "profiler": "false",
        "lr": "0.0001",
        "batch_size": "32",
        "epochs": "10",
    },
    "coco-multilabel": {
        **_XRAY14,
        "num_layers": "18",
        "num_classes": "5",
        "mini_batch_size": "128",
        "epochs": "5",
        "learning_rate": "0.001",
        "num_training_samples": "2500",
        "use_weighted_loss": "1",
    },
}
_XRAY14_MEANS = TrainingConfig(
    network="resnet50",
    use_pretrained_model=True,
    image_shape=(3, 224, 224),
    num_classes=14,
    batch_size=256,
    resize=256,
    epochs=100,
    learning_rate=0.0005,
    optimizer="adam",
    num_training_samples=80000,
    augmentation_type="crop_color_transform",
    precision_dtype="float32",
    multi_label=True,
)
PROJECTS_MEAN = {
    "chestxray14": _XRAY14_MEANS,
    "chestxray14, weighted": dataclasses.replace(_XRAY14_MEANS, use_weighted_loss=True),
    "chestxray14, float16": dataclasses.replace(_XRAY14_MEANS, use_weighted_loss=True, precision_dtype="float16"),
    "chestxray14, 896": dataclasses.replace(
        _XRAY14_MEANS, image_shape=(3, 896, 896), resize=None, batch_size=64, learning_rate=0.00025
    ),
    "pneumonia-builtin": dataclasses.replace(
        _XRAY14_MEANS,
        network="resnet18",
        num_classes=2,
        batch_size=128,
        epochs=25,
        num_training_samples=5112,
        multi_label=False,
    ),
    "pneumonia-cnn": TrainingConfig(epochs=25, batch_size=1),
    "pneumonia-resnet18": TrainingConfig(wandb_tracking="true", learning_rate=0.0001, batch_size=32, epochs=10),
    "coco-multilabel": dataclasses.replace(
        _XRAY14_MEANS,
        network="resnet18",
        num_classes=5,
        batch_size=128,
        epochs=5,
        learning_rate=0.001,
        num_training_samples=2500,
        use_weighted_loss=True,
    ),
}


@pytest.mark.parametrize("project", PROJECTS)
def test_the_hyperparameters_of_each_project_are_taken_as_they_stand(project):
    assert TrainingConfig.parse(PROJECTS[project]) == PROJECTS_MEAN[project]


@pytest.mark.parametrize(
    ("text", "precision"), [("true", "auto"), ("True", "auto"), ("0", "float32"), ("no", "float32")]
)
def test_amp_chooses_the_precision(text, precision):
    assert TrainingConfig.parse({"amp": text}).precision_dtype == precision


@pytest.mark.parametrize(
    ("text", "means"),
    [("True", "true"), ("1", "true"), ("yes", "true"), ("0", "false"), ("False", "false"), ("offline", "offline")],
)
def test_wandb_tracking_is_a_boolean_with_a_third_value(text, means):
    assert TrainingConfig.parse({"wandb_tracking": text}).wandb_tracking == means
    assert "wandb_tracking=maybe is not one of false, true, offline" in message({"wandb_tracking": "maybe"})
