"""Hyperparameters that do not go together: each rule names both, with both values, and lets their neighbours pass."""

from __future__ import annotations

import ast
import inspect

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thorax.config import TrainingConfig, validate
from thorax.errors import ThoraxError

#: Texts that are refused -> what the error must name.
REFUSED = [
    ({"calibration": "prior"}, ("calibration=prior", "use_weighted_loss and balanced_sampler are false")),
    ({"image_shape": "224,224"}, ["image_shape=224,224", "channels,height,width"]),
    ({"image_shape": "2,224,224"}, ["image_shape=2,224,224", "choose 1 or 3"]),
    ({"mean": "0.4,0.5"}, ["normalization_mean=0.4,0.5", "normalization=image", "normalization=fixed"]),
    (
        {"normalization_std": "0.2,0.3", "normalization": "fixed", "color": "rgb"},
        ["normalization_std=0.2,0.3 has 2 numbers", "3 channels", "one for each channel"],
    ),
    ({"image_shape": "1,31,224"}, ["image_shape=1,31,224", "network=resnet50", "at least 32"]),
    (
        {"image_shape": "1,192,224", "network": "vit_b_16"},
        ["image_shape=1,192,224", "vit_b_16", "224x224 pixels alone"],
    ),
    ({"image_shape": "3,62,63", "network": "alexnet"}, ["image_shape=3,62,63", "network=alexnet", "at least 63"]),
    ({"image_shape": "1,8193,224"}, ["image_shape=1,8193,224", "at most 8192"]),
    ({"image_shape": "1,224,256", "resize": "255"}, ["image_shape=1,224,256", "resize=255", "256 or more"]),
    ({"augmentation_type": "crop_color", "fit": "stretch"}, ["augmentation_type=crop_color", "fit=stretch"]),
    ({"streaming": "true", "balanced_sampler": "1"}, ["streaming=true", "balanced_sampler=true", "streaming=false"]),
    ({"uncertain": "soft:0.5-0.9", "balanced_sampler": "1"}, ["balanced_sampler=true", "soft:0.5-0.9"]),
    ({"use_pretrained_model": "1", "network": "cnn5"}, ["use_pretrained_model=true", "network=cnn5", "weights=FILE"]),
    ({"folds": "5"}, ["folds=5 with fold=", "one run holds one fold out"]),
    ({"swa_epochs": "1"}, ["swa_epochs=1 must be 2 to epochs"]),
    ({"swa_epochs": "3", "early_stopping": "true"}, ["swa_epochs=3 with early_stopping=true"]),
    ({"unfreeze_epochs": "5,3", "freeze": "head"}, ["unfreeze_epochs=5,3", "must rise"]),
    ({"accumulation_steps": "16", "batch_size": "8"}, ["accumulation_steps=16", "batch_size=8"]),
    ({"lr_scheduler_step": "20,10"}, ["lr_scheduler_step=20,10", "must rise"]),
    ({"lr_scheduler": "step"}, ["lr_scheduler=step", "lr_scheduler_step"]),
    ({"labels": "Mass,Mass"}, ["labels=Mass,Mass", "twice"]),
    ({"labels": "Mass,Nodule", "num_classes": "3"}, ["num_classes=3", "labels=Mass,Nodule", "names 2"]),
    ({"labels": "Mass", "multi_label": "0"}, ["labels=Mass", "multi_label=false"]),
    ({"loss": "cross_entropy", "multi_label": "1"}, ["loss=cross_entropy", "multi_label=true"]),
    ({"top_k": "2", "multi_label": "1"}, ["top_k=2", "multi_label=true"]),
    ({"threshold_rule": "sensitivity"}, ["threshold_rule=sensitivity", "target_sensitivity=0.95"]),
    ({"threshold_rule": "cost"}, ["threshold_rule=cost", "cost_ratio=5"]),
    ({"debugging": "true", "compile": "true"}, ["debugging=true", "compile=true"]),
    ({"activation_checkpointing": "true", "compile": "true"}, ["activation_checkpointing=true", "compile=true"]),
    ({"profiler_schedule": "20,2"}, ["profiler_schedule=20,2", "wait,warmup,active"]),
]

#: Texts of which a part has no effect -> the one warning.
WITHOUT_EFFECT = [
    (
        {"epochs": "1", "lr_scheduler_step": "8,10"},
        "lr_scheduler_step=8,10 beyond epochs=1 has no effect: the run ends before",
    ),
    (
        {"lr_scheduler_step": "10,20", "epochs": "20"},
        "lr_scheduler_step=20 beyond epochs=20 has no effect: the run ends before",
    ),
    (
        {"lr_scheduler_step": "10,20", "lr_scheduler": "cosine"},
        "lr_scheduler_step=10,20 with lr_scheduler=cosine has no effect: only lr_scheduler=step has steps",
    ),
    (
        {"lr_scheduler_step": "40", "lr_scheduler": "constant"},
        "lr_scheduler_step=40 with lr_scheduler=constant has no effect: only lr_scheduler=step has steps",
    ),
    (
        {"unfreeze_epochs": "2,5", "freeze": "head", "epochs": "3"},
        "unfreeze_epochs=5 beyond epochs=3 has no effect: the run ends before",
    ),
    ({"unfreeze_epochs": "3"}, "unfreeze_epochs=3 with freeze=none has no effect: nothing is frozen"),
    (
        {"early_stopping": "true", "epochs": "5"},
        "early_stopping=true with early_stopping_min_epochs=10 and epochs=5 has no effect: the run ends before",
    ),
    (
        {"warmup_epochs": "2.5", "epochs": "2"},
        "warmup_epochs=2.5 with epochs=2 is taken as 1: warm-up ends with half of the run",
    ),
    (
        {"warmup_epochs": "2", "epochs": "1"},
        "warmup_epochs=2 with epochs=1 is taken as 0.5: warm-up ends with half of the run",
    ),
    ({"resize": "256", "fit": "pad"}, "resize=256 with fit=pad has no effect: only fit=crop resizes first"),
    (
        {"threshold_rule": "cost", "cost_ratio": "5", "target_sensitivity": "0.9"},
        "target_sensitivity=0.9 with threshold_rule=cost has no effect: it is for threshold_rule=sensitivity",
    ),
    ({"cost_ratio": "2.5"}, "cost_ratio=2.5 with threshold_rule=balanced has no effect: it is for threshold_rule=cost"),
    ({"debug_save_interval": "10"}, "debug_save_interval=10 with debugging=false has no effect: nothing is saved"),
]

#: Just inside the rules.
TAKEN = [
    {"threshold_rule": "sensitivity", "target_sensitivity": "1"},
    {"threshold_rule": "cost", "cost_ratio": "0.1"},
    {"threshold_rule": "youden", "calibration": "none"},
    {"calibration": "prior", "balanced_sampler": "1"},
    {"image_shape": "1,32,32"},
    {"image_shape": "3,63,63", "network": "alexnet"},
    {"image_shape": "1,8192,8192"},
    {"image_shape": "1,224,256", "resize": "256"},
    {"resize": "256", "fit": "crop"},
    {"augmentation_type": "crop", "fit": "crop"},
    {"balanced_sampler": "1", "streaming": "false"},
    {"uncertain": "one", "balanced_sampler": "1"},
    {"use_pretrained_model": "1", "network": "cnn5", "weights": "cnn5.pt"},
    {"unfreeze_epochs": "3,5", "freeze": "head", "epochs": "6"},
    {"unfreeze_epochs": "0,1,1", "freeze": "head", "epochs": "6"},
    {"accumulation_steps": "8", "batch_size": "8"},
    {"early_stopping": "true", "epochs": "10"},
    {"early_stopping_min_epochs": "40"},
    {"lr_scheduler_step": "10,20", "lr_scheduler": "step"},
    {"lr_scheduler_step": "10,20", "epochs": "21"},
    {"warmup_epochs": "1.5", "epochs": "3"},
    {"warmup_epochs": "1", "epochs": "1"},
    {"labels": "Mass,Nodule", "num_classes": "2"},
    {"labels": "Mass", "multi_label": "1"},
    {"labels": "Mass"},
    {"loss": "focal", "multi_label": "1"},
    {"top_k": "2", "multi_label": "0"},
]


@pytest.mark.parametrize(("texts", "named"), REFUSED, ids=str)
def test_what_does_not_go_together_is_refused_with_both_values(texts, named):
    with pytest.raises(ThoraxError) as caught:
        TrainingConfig.parse(texts)
    assert [words for words in named if words not in str(caught.value)] == []


@pytest.mark.parametrize("texts", TAKEN, ids=str)
def test_its_neighbours_are_taken(texts):
    assert TrainingConfig.parse(texts).warnings == []


@pytest.mark.parametrize(("texts", "warning"), WITHOUT_EFFECT, ids=str)
def test_what_only_has_no_effect_is_one_warning(texts, warning):
    assert TrainingConfig.parse(texts).warnings == [warning]


def test_every_rule_has_a_case():
    source = ast.parse(inspect.getsource(validate))
    machine = next(node for node in source.body if isinstance(node, ast.FunctionDef) and node.name == "check_machine")
    in_machine = range(machine.lineno, (machine.end_lineno or 0) + 1)
    written = {node.lineno for node in ast.walk(source) if isinstance(node, ast.Raise)} - set(in_machine)
    hit = set()
    for texts, _ in REFUSED:
        with pytest.raises(ThoraxError) as caught:
            TrainingConfig.parse(texts)
        hit.add(caught.traceback[-1].lineno + 1)
    assert hit == written, (
        "a rule in thorax/config/validate.py has no case in REFUSED (or a case was refused elsewhere)"
    )


# -- The machine -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "machine", "named"),
    [
        (
            {"precision_dtype": "float16"},
            {"device": "cpu"},
            ["precision_dtype=float16", "device=cpu", "bfloat16, auto or float32"],
        ),
        (
            {"batch_size": "10"},
            {"processes": 8, "processes_here": 4},
            ["batch_size=10", "processes=4", "multiple of 4"],
        ),
        ({"batch_size": "2"}, {"processes": 4, "processes_here": 4}, ["batch_size=2", "processes=4"]),
        (
            {"batch_size": "8", "accumulation_steps": "4"},
            {"processes": 4, "processes_here": 4},
            ["accumulation_steps=4", "batch_size=8", "2 images", "4 proc"],
        ),
    ],
)
def test_what_the_machine_cannot_do_is_refused(texts, machine, named):
    with pytest.raises(ThoraxError) as caught:
        validate.check_machine(
            TrainingConfig.parse(texts), **{"device": "cuda", "processes": 1, "processes_here": 1, **machine}
        )
    assert [words for words in named if words not in str(caught.value)] == []


@pytest.mark.parametrize("precision", ["auto", "float32", "bfloat16"])
def test_the_cpu_takes_every_precision_but_float16(precision):
    validate.check_machine(TrainingConfig(precision_dtype=precision), device="cpu", processes=1, processes_here=1)


@settings(deadline=None)
@given(st.integers(1, 512), st.integers(1, 16), st.integers(1, 8), st.integers(1, 4))
def test_a_batch_divides_over_the_processes_of_one_machine(batch, here, accumulation, machines):
    try:
        config = TrainingConfig(batch_size=batch, accumulation_steps=accumulation)
        validate.check_machine(config, device="cuda", processes=here * machines, processes_here=here)
    except ThoraxError:
        assert batch % here != 0 or accumulation > batch // here
    else:
        assert batch % here == 0
        assert accumulation <= batch // here
