"""A configuration as a whole: it is frozen, survives JSON, and says what differs."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from config_texts import FIELDS, PLAIN, given_texts, message
from thorax.config import TrainingConfig, config_differences
from thorax.errors import ThoraxError


def test_it_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        TrainingConfig().epochs = 3


@settings(max_examples=200, deadline=None)
@given(st.lists(given_texts([name for name in PLAIN if name != "image_shape"]), max_size=4))
def test_a_configuration_survives_json(some):
    try:
        config = TrainingConfig(**{field: value for _, _, field, value in some})
    except ThoraxError:
        assume(False)
    stored = json.loads(json.dumps(config.to_dict()))
    assert list(stored) == list(FIELDS)
    assert TrainingConfig.from_dict(stored) == config


def test_what_was_given_in_python_is_checked_as_texts_are():
    with pytest.raises(ThoraxError, match="optimizer=lion is not one of"):
        TrainingConfig(optimizer="lion")
    with pytest.raises(ThoraxError, match="epochs=0 is out of range"):
        TrainingConfig.from_dict({**TrainingConfig().to_dict(), "epochs": 0})


@pytest.mark.parametrize(
    ("settings_", "scheduler", "fit"),
    [
        ({}, "cosine", "stretch"),
        ({"lr_scheduler_step": "10,20"}, "step", "stretch"),
        ({"lr_scheduler": "constant", "resize": "256"}, "constant", "crop"),
        ({"augmentation_type": "crop_color"}, "cosine", "crop"),
        ({"fit": "pad"}, "cosine", "pad"),
    ],
)
def test_what_auto_stands_for(settings_, scheduler, fit):
    config = TrainingConfig.parse(settings_)
    assert (config.resolved_scheduler, config.resolved_fit) == (scheduler, fit)


@pytest.mark.parametrize(
    ("texts_", "hint"),
    [
        ({"optimizer": "adanw"}, "did you mean adamw?"),
        ({"loss": "cross-entropy"}, "did you mean cross_entropy?"),
        ({"lr_scheduler": "cosin"}, "did you mean cosine?"),
    ],
)
def test_an_unknown_choice_is_answered_with_the_nearest_one(texts_, hint):
    assert message(texts_).endswith(hint)


def test_python_values_are_taken_in_any_spelling():
    config = TrainingConfig.of(
        {"lr": 1e-5, "image_shape": [3, 96, 96], "use_weighted_loss": True, "labels": ("A", "B"), "top_k": None}
    )
    assert config == TrainingConfig(
        learning_rate=1e-5, image_shape=(3, 96, 96), use_weighted_loss=True, labels=("A", "B")
    )


def test_the_differences_from_the_defaults_are_named_in_order():
    assert config_differences(TrainingConfig()) == []
    config = TrainingConfig(epochs=3, network="cnn5", lr_scheduler_step=(1,))
    assert config_differences(config) == [
        ("network", "cnn5", "resnet50"),
        ("epochs", 3, 30),
        ("lr_scheduler_step", (1,), ()),
    ]


def test_what_tells_two_runs_apart_leaves_out_what_changes_no_result():
    usual, other = TrainingConfig(), TrainingConfig(num_workers=2, tensorboard=True, log_seconds=1.0)
    assert usual.identity() == other.identity()
    assert usual.identity() != TrainingConfig(seed=1).identity()
    assert usual.identity()["normalization"] == "film", "stored in the words of bundle format 1"


def test_image_shape_is_channels_height_width():
    config = TrainingConfig.parse({"image_shape": "3,112,160", "network": "cnn5"})
    assert (config.channels, config.image_size) == (3, (112, 160))
