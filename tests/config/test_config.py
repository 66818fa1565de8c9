"""Hyperparameters from texts: every spelling, type and range."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from config_texts import FIELDS, TRANSLATED, given_texts, message, texts, values
from thorax.config import TrainingConfig
from thorax.config.fields import about, kind, plain
from thorax.config.parse import parse, spellings
from thorax.errors import ThoraxError

# -- Spellings
# ----------------------------------------------------------------------------------------------------------


def test_only_the_known_spellings_translate_their_values():
    assert {name for name, (_, translate) in spellings().items() if translate} == TRANSLATED


@settings(max_examples=400, deadline=None)
@given(given_texts(), st.booleans(), st.sampled_from(["", "--", "-"]))
def test_every_spelling_reads_every_value(one, hyphens, dashes):
    name, text, field, value = one
    key = dashes + (name.replace("_", "-") if hyphens else name)
    assert parse({key: text}).get(field, FIELDS[field].default) == value


@pytest.mark.parametrize("name", sorted(spellings()))
@pytest.mark.parametrize("text", ["", "null"])
def test_an_empty_text_and_null_leave_any_hyperparameter_at_its_default(name, text):
    assert TrainingConfig.parse({name: text}) == TrainingConfig()


@pytest.mark.parametrize("text", ["None", "none"])
def test_none_unsets_what_may_be_unset_and_nothing_else(text):
    for name, field in FIELDS.items():
        if field.default in (None, ()):
            assert parse({name: text}) == {name: field.default}
        elif text in about(field).choices:
            assert parse({name: text}) == {name: text}
        else:
            with pytest.raises(ThoraxError, match=name):
                parse({name: text})


def test_an_empty_text_beside_another_spelling_is_no_second_value():
    assert TrainingConfig.parse({"lr": "", "learning_rate": "0.5"}).learning_rate == 0.5
    assert TrainingConfig.parse({"num_layers": "18", "network": "null"}).network == "resnet18"


@settings(max_examples=200, deadline=None)
@given(
    st.data(), st.sampled_from([name for name in FIELDS if sum(f.name == name for f, _ in spellings().values()) > 1])
)
def test_two_spellings_with_two_values_are_refused_and_named_with_their_values(data, name):
    names = [s for s, (field, translate) in spellings().items() if field.name == name and not translate]
    assume(len(names) > 1)
    first, second = data.draw(st.permutations(names))[:2]
    one, other = data.draw(values(FIELDS[name])), data.draw(values(FIELDS[name]))
    assume(() not in (one, other))  # an empty list is not given
    given_ = {first: texts(one)[0], second: texts(other)[0]}
    if one == other:
        assert parse(given_) == {name: one}
        return
    with pytest.raises(ThoraxError) as caught:
        parse(given_)
    assert f"{first}={given_[first]} and {second}={given_[second]}" in str(caught.value)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("lr", "0.1"), ("learning_rate", "0.2")),
        (("batch_size", "8"), ("mini_batch_size", "16")),
        (("num_layers", "18"), ("network", "resnet50")),
        (("num_layers", "18"), ("arch", "alexnet")),
        (("amp", "false"), ("precision_dtype", "bfloat16")),
        (("workers", "2"), ("num_workers", "3")),
        (("beta1", "0.8"), ("beta_1", "0.9")),
    ],
)
def test_both_spellings_are_named_whichever_comes_first(one, other):
    for first, second in ((one, other), (other, one)):
        expected = message(dict([first, second]))
        assert f"{first[0]}={first[1]} and {second[0]}={second[1]}" in expected
        assert "give one of them" in expected


def test_two_spellings_with_one_value_are_taken():
    config = TrainingConfig.parse(
        {
            "lr": "1e-1",
            "learning_rate": "0.10",
            "batch-size": "8",
            "mini_batch_size": "8.0",
            "num_layers": "18",
            "arch": "resnet18",
        }
    )
    assert (config.learning_rate, config.batch_size, config.network) == (0.1, 8, "resnet18")


# -- Types
# --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [*((t, True) for t in ("true", "True", "1", "yes")), *((f, False) for f in ("false", "False", "0", "no"))],
)
@pytest.mark.parametrize("name", [name for name, field in FIELDS.items() if kind(field) == "bool"])
def test_a_boolean_takes_exactly_eight_texts(name, text, value):
    assert parse({name: text}) == {name: value}


@settings(deadline=None)
@given(
    st.one_of(
        st.text(max_size=6),
        st.sampled_from(["TRUE", "FALSE", "t", "f", "y", "n", "on", "off", "Yes", "No", " true", "1.0", "2", "-1"]),
    )
)
def test_a_boolean_takes_nothing_else(text):
    assume(text not in ("true", "True", "1", "yes", "false", "False", "0", "no", "", "null"))
    with pytest.raises(ThoraxError) as caught:
        parse({"use_weighted_loss": text})
    assert f"use_weighted_loss={text!r}" in str(caught.value)
    assert "true, True, 1, yes, false, False, 0, no" in str(caught.value)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(sorted(spellings())), st.one_of(st.text(max_size=20), st.floats().map(str), st.integers().map(str))
)
def test_any_text_at_all_is_a_value_or_a_users_error(name, text):
    try:
        found, expected = parse({name: text}), name
    except ThoraxError as error:
        found, expected = {}, str(error)
    assert set(found) <= set(FIELDS)
    assert name in expected
    assert len(expected) < 600


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("epochs", "5.5", "epochs='5.5' is not a whole number"),
        ("epochs", "many", "epochs='many' is not a whole number"),
        ("epochs", "inf", "epochs='inf' is not a whole number"),
        ("epochs", "None", "epochs='None' is not a whole number"),
        ("lr", "fast", "lr='fast' is not a number"),
        ("lr", "nan", "lr='nan' is not a finite number"),
        ("lr", "-inf", "lr='-inf' is not a finite number"),
        ("image_shape", "224x224", "image_shape='224x224' is not a comma list of whole numbers"),
        ("lr_scheduler_step", "10,x", "lr_scheduler_step='10,x' is not a comma list of whole numbers"),
        ("optimizer", "lion", "optimizer=lion is not one of sgd, nag, adam, adamw, rmsprop"),
        (
            "augmentation_type",
            "None",
            "augmentation_type=None is not one of none, crop, crop_color, crop_color_transform, xray",
        ),
        ("debugging", "TRUE", "debugging='TRUE' is not a boolean"),
        ("amp", "maybe", "amp='maybe' is not a boolean"),
        ("seed", "-1", "seed=-1 is out of range: it must be 0 to 2147483647"),
        ("mini_batch_size", "0", "mini_batch_size=0 is out of range: it must be 1 to 65536"),
        ("learning_rate", "0", "learning_rate=0 is out of range: it must be above 0 to 10"),
        ("eps", "-1e-20", "eps=-0.00000000000000000001 is out of range: it must be above 0 to 1"),
        ("lr", "1e300", "lr=1e+300 is out of range"),
        ("image_shape", "1,0,224", "image_shape=0 is out of range: it must be at least 1"),
    ],
)
def test_a_wrong_value_is_named_with_what_would_be_right(name, text, expected):
    assert expected in message({name: text})


@pytest.mark.parametrize("name", [name for name, field in FIELDS.items() if about(field).low is not None])
def test_the_ends_of_a_range_are_as_documented(name):
    a, whole = about(FIELDS[name]), "int" in kind(FIELDS[name])
    many = kind(FIELDS[name]).startswith("tuple")

    def reads(number):
        try:
            value = parse({name: plain(number)})[name]
        except ThoraxError as error:
            assert f"{name}={plain(number)}" in str(error)  # noqa: PT017
            return False
        assert value == ((number,) if many else number)
        return True

    assert reads(a.low) is not a.open_low
    assert not reads(a.low - 1 if whole else math.nextafter(a.low, -math.inf))
    if a.open_low:
        assert reads(math.nextafter(a.low, math.inf))
    if a.high is not None:
        assert reads(a.high)
        assert not reads(a.high + 1 if whole else math.nextafter(a.high, math.inf))


@settings(deadline=None)
@given(st.floats(-1e14, 1e14))
def test_numbers_are_written_out_exactly_and_without_exponent(number):
    text = plain(number)
    assert set(text) <= set("-0123456789.")
    assert text[-1] != "."
    assert float(text) == number


# -- Names
# --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("lerning_rate", "learning_rate"),
        ("batchsize", "batch_size"),
        ("num-class", "num_classes"),
        ("epoch", "epochs"),
        ("wandb", "wandb_tracking"),
        ("precision", "precision_dtype"),
        ("optimiser", "optimizer"),
        ("patience", "early_stopping_patience or lr_scheduler_patience"),
        ("mini-batch", "mini_batch_size"),
        ("weighted_loss", "use_weighted_loss"),
        ("multilabel", "multi_label"),
        ("imageshape", "image_shape"),
        ("beta3", "beta2"),
    ],
)
def test_an_unknown_name_is_told_the_nearest_known_one(name, nearest):
    assert message({name: "1"}) == f"unknown hyperparameter {name.replace('-', '_')}; did you mean {nearest}?"


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([name for name in sorted(spellings()) if len(name) > 5]), st.data())
def test_a_slip_of_one_letter_is_understood(name, data):
    at = data.draw(st.integers(1, len(name) - 2))
    slip = name[:at] + name[at + 1 :]
    assume(slip not in spellings() and not name[at].isdigit())
    nearest = message({slip: "1"}).split("did you mean ")[1].removesuffix("?")
    assert spellings()[nearest][0].name == spellings()[name][0].name


def test_a_name_like_nothing_known_points_to_the_list():
    assert (
        message({"zzzz": "1"})
        == "unknown hyperparameter zzzz; see `python source_dir/train_model.py --help` for the list"
    )


@pytest.mark.parametrize(
    "name",
    [
        "sagemaker_program",
        "sagemaker-submit-directory",
        "sagemaker_torch_distributed_enabled",
        "_tuning_objective_metric",
    ],
)
def test_the_platforms_own_keys_are_left_alone(name):
    assert TrainingConfig.parse({name: "anything; at all", "epochs": "3"}) == TrainingConfig(epochs=3)


@pytest.mark.parametrize(
    "name", ["sagemaker", "my_sagemaker_program", "tuning_objective_metric", "_tuning_objective_metrics"]
)
def test_names_that_only_look_like_the_platforms_are_unknown(name):
    assert "unknown hyperparameter" in message({name: "1"})
