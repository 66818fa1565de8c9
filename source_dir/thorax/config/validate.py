"""Hyperparameters that do not go together.

What would be wrong is an error that names both, with their values, and what to do. What only has no effect is a line of
`without_effect`: a recipe can be tried with one epoch and keeps the rest of its values.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from thorax.config.debug_rules import chosen_rules
from thorax.config.fields import about, check, plain
from thorax.config.schema import Fields
from thorax.data.formats.table_options import choices, conditions
from thorax.errors import ThoraxError
from thorax.models.registry import MODELS


def check_fields(c: Fields) -> None:
    """Ranges and choices of every field, also where the value came from Python and not from a text."""
    for field in dataclasses.fields(c):
        value = getattr(c, field.name)
        if value is not None and not (about(field).choices == () and isinstance(value, str | bool)):
            check(field, field.name, value)


def check_rules(c: Fields) -> None:
    """Combinations that are wrong whatever the data and the machine."""
    if len(c.image_shape) != 3:
        raise ThoraxError(f"image_shape={_list(c.image_shape)} must be channels,height,width such as 1,224,224")
    if c.image_shape[0] not in (1, 3):
        raise ThoraxError(f"image_shape={_list(c.image_shape)} has {c.image_shape[0]} channels; choose 1 or 3")
    _check_normalization(c)
    smallest, side = MODELS[c.network].smallest_side, MODELS[c.network].side
    if side and c.image_size != (side, side):
        raise ThoraxError(
            f"image_shape={_list(c.image_shape)} does not fit network={c.network}: it takes {side}x{side} pixels alone"
        )
    if min(c.image_size) < smallest:
        raise ThoraxError(
            f"image_shape={_list(c.image_shape)} is too small for network={c.network}: at least {smallest} pixels a"
            " side"
        )
    if max(c.image_size) > 8192:
        raise ThoraxError(f"image_shape={_list(c.image_shape)} is too large: at most 8192 pixels a side")
    if c.resize and c.resolved_fit == "crop" and c.resize < max(c.image_size):
        raise ThoraxError(
            f"image_shape={_list(c.image_shape)} does not fit into resize={c.resize}: a crop cannot be larger than the"
            f" short side; set resize to {max(c.image_size)} or more, or leave it out to use the whole image"
        )
    if c.augmentation_type.startswith("crop") and c.resolved_fit != "crop":
        raise ThoraxError(f"augmentation_type={c.augmentation_type} with fit={c.fit}: a random crop needs fit=crop")
    if c.streaming and c.balanced_sampler:
        raise ThoraxError(
            "streaming=true with balanced_sampler=true: images read in order cannot be drawn by class; use"
            " use_weighted_loss=true, or streaming=false"
        )
    if (c.folds is None) != (c.fold is None) or (c.folds is not None and c.fold is not None and c.fold >= c.folds):
        raise ThoraxError(
            f"folds={c.folds} with fold={c.fold}: one run holds one fold out, from 0 to folds - 1; give"
            " both, or --folds to the launcher, which runs them all"
        )
    _check_schedule(c)
    _check_labels(c)
    _check_thresholds(c)
    _check_tables(c)
    if c.use_pretrained_model and not MODELS[c.network].published and not c.weights:
        raise ThoraxError(
            f"use_pretrained_model=true with network={c.network}: there are no pretrained weights for it; give your own"
            " by weights=FILE"
        )
    if sorted(c.unfreeze_epochs) != list(c.unfreeze_epochs):
        raise ThoraxError(
            f"unfreeze_epochs={_list(c.unfreeze_epochs)} must rise from epoch to epoch, or stay where several stages"
            " are unfrozen together"
        )
    if c.accumulation_steps > c.batch_size:
        raise ThoraxError(
            f"accumulation_steps={c.accumulation_steps} is more than batch_size={c.batch_size}: a part would be empty"
        )
    _check_watching(c)


def without_effect(c: Fields) -> list[str]:
    """A line for each combination of which a part has no effect: which fields, and what has none."""
    found = []
    if c.color == "rgb" and c.image_shape[0] == 1:
        taken = _list((c.channels, *c.image_size))
        found.append(
            f"image_shape={_list(c.image_shape)} with color=rgb is taken as {taken}: colour has three channels"
        )
    if c.resize and c.resolved_fit != "crop":
        found.append(f"resize={c.resize} with fit={c.fit} has no effect: only fit=crop resizes first")
    if c.unfreeze_epochs and c.freeze != "head":
        found.append(
            f"unfreeze_epochs={_list(c.unfreeze_epochs)} with freeze={c.freeze} has no effect: nothing is frozen"
        )
    elif late := [epoch for epoch in c.unfreeze_epochs if epoch >= c.epochs]:
        found.append(f"unfreeze_epochs={_list(late)} beyond epochs={c.epochs} has no effect: the run ends before")
    if c.lr_scheduler_step and c.resolved_scheduler != "step":
        found.append(
            f"lr_scheduler_step={_list(c.lr_scheduler_step)} with lr_scheduler={c.lr_scheduler} has no effect: only"
            " lr_scheduler=step has steps"
        )
    elif late := [epoch for epoch in c.lr_scheduler_step if epoch >= c.epochs]:
        found.append(f"lr_scheduler_step={_list(late)} beyond epochs={c.epochs} has no effect: the run ends before")
    if c.warmup_epochs > max(c.epochs / 2, 1):
        found.append(
            f"warmup_epochs={plain(c.warmup_epochs)} with epochs={c.epochs} is taken as {plain(c.epochs / 2)}: warm-up"
            " ends with half of the run"
        )
    if c.early_stopping and c.early_stopping_min_epochs > c.epochs:
        found.append(
            f"early_stopping=true with early_stopping_min_epochs={c.early_stopping_min_epochs} and epochs={c.epochs}"
            " has no effect: the run ends before"
        )
    classes = len(c.labels) or c.num_classes
    if c.top_k and classes and c.top_k >= classes:
        found.append(
            f"top_k={c.top_k} with {classes} classes has no effect: it needs more than {c.top_k} exclusive classes"
        )
    for rule, name in (("sensitivity", "target_sensitivity"), ("cost", "cost_ratio")):
        value = getattr(c, name)
        if value is not None and c.threshold_rule != rule:
            found.append(
                f"{name}={plain(value)} with threshold_rule={c.threshold_rule} has no effect: it is for"
                f" threshold_rule={rule}"
            )
    if c.debug_rules and not c.debugging:
        found.append(f"debug_rules={','.join(c.debug_rules)} with debugging=false has no effect: nothing is judged")
    if c.debug_save_interval and not c.debugging:
        found.append(
            f"debug_save_interval={c.debug_save_interval} with debugging=false has no effect: nothing is saved"
        )
    return found


def check_machine(c: Fields, *, device: str, processes: int, processes_here: int) -> None:
    """What depends on the machine: precision against device, batch size against processes."""
    if c.precision_dtype == "float16" and device == "cpu":
        raise ThoraxError(
            "precision_dtype=float16 needs a GPU, but device=cpu; use precision_dtype=bfloat16, auto or float32"
        )
    if c.batch_size % processes_here:
        raise ThoraxError(
            f"batch_size={c.batch_size} does not divide by processes={processes_here} on this machine; "
            f"choose a multiple of {processes_here}"
        )
    share = c.batch_size // processes_here
    if share < c.accumulation_steps:
        raise ThoraxError(
            f"accumulation_steps={c.accumulation_steps} is more than the {share} images that each of {processes_here}"
            f" processes has of batch_size={c.batch_size}"
        )


def _check_normalization(c: Fields) -> None:
    for name in ("normalization_mean", "normalization_std"):
        given = getattr(c, name)
        if given and c.normalization != "fixed":
            raise ThoraxError(
                f"{name}={','.join(map(plain, given))} with normalization={c.normalization}: it is for"
                " normalization=fixed; set that, or leave it out"
            )
        if given and len(given) not in (1, c.channels):
            raise ThoraxError(
                f"{name}={','.join(map(plain, given))} has {len(given)} numbers, image_shape={_list(c.image_shape)} has"
                f" {c.channels} channels; give one number, or one for each channel"
            )


def _check_schedule(c: Fields) -> None:
    if c.swa_epochs and not 2 <= c.swa_epochs <= c.epochs:
        raise ThoraxError(f"swa_epochs={c.swa_epochs} must be 2 to epochs={c.epochs}, or 0: off")
    if c.swa_epochs and c.early_stopping:
        raise ThoraxError(
            f"swa_epochs={c.swa_epochs} with early_stopping=true: which epochs are the last ones would not be known;"
            " leave one of them out"
        )
    steps = c.lr_scheduler_step
    if sorted(set(steps)) != list(steps):
        raise ThoraxError(f"lr_scheduler_step={_list(steps)} must rise from epoch to epoch")
    if c.lr_scheduler == "step" and not steps:
        raise ThoraxError(
            "lr_scheduler=step needs lr_scheduler_step, the epochs after which the rate falls, such as 10,20"
        )


def _check_labels(c: Fields) -> None:
    if c.labels and len(set(c.labels)) != len(c.labels):
        raise ThoraxError(f"labels={','.join(c.labels)} names a label twice")
    if c.labels and c.num_classes and len(c.labels) != c.num_classes:
        raise ThoraxError(f"num_classes={c.num_classes} but labels={','.join(c.labels)} names {len(c.labels)}")
    if c.multi_label is False and len(c.labels) == 1:
        raise ThoraxError(f"labels={c.labels[0]} with multi_label=false: exclusive classes need two or more labels")
    if c.multi_label and c.loss == "cross_entropy":
        raise ThoraxError("loss=cross_entropy with multi_label=true: several labels at once need loss=bce or focal")
    if c.multi_label and c.top_k:
        raise ThoraxError(f"top_k={c.top_k} with multi_label=true: top-k accuracy is for exclusive classes")


def _check_tables(c: Fields) -> None:
    conditions(c.where)
    soft = [str(choice) for choice in choices(c.uncertain).values() if choice.kind == "soft"]
    soft += ["readers=mean"] if c.readers == "mean" else []
    if soft and c.balanced_sampler:
        raise ThoraxError(
            f"balanced_sampler=true with soft labels ({soft[0]}): images are drawn by class, and soft labels have"
            " none; leave one of them out"
        )


def _check_thresholds(c: Fields) -> None:
    for rule, name, example in (("sensitivity", "target_sensitivity", "0.95"), ("cost", "cost_ratio", "5")):
        value = getattr(c, name)
        if c.threshold_rule == rule and value is None:
            raise ThoraxError(f"threshold_rule={rule} needs {name}, such as {name}={example}")
    if c.calibration == "prior" and not (c.use_weighted_loss or c.balanced_sampler):
        raise ThoraxError(
            "calibration=prior takes class weights and balanced drawing back out, and use_weighted_loss and"
            " balanced_sampler are false: there is nothing to take out; set one of them, or calibration=auto"
        )


def _check_watching(c: Fields) -> None:
    if c.compile and c.activation_checkpointing:
        raise ThoraxError(
            "compile=true with activation_checkpointing=true: torch.compile cannot compile what is computed twice;"
            " leave one of them out"
        )
    chosen_rules(c.debug_rules)
    if c.debugging and c.compile:
        raise ThoraxError(
            "debugging=true with compile=true: looking at gradients and weights forces a compiled network to be"
            " compiled again and again; leave one of them out"
        )
    if len(c.profiler_schedule) != 3 or not c.profiler_schedule[2]:
        raise ThoraxError(
            f"profiler_schedule={_list(c.profiler_schedule)} must be wait,warmup,active in steps such as 20,2,3, with"
            " one active step or more"
        )


def _list(values: Sequence[int]) -> str:
    return ",".join(map(str, values))
