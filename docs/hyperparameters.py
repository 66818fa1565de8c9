"""Writes docs/hyperparameters.md, the table of all hyperparameters, from the code that reads them: `make docs`."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PAGE = HERE / "hyperparameters.md"
sys.path.insert(0, str(HERE.parent / "source_dir"))

from thorax.config.fields import FALSE, TRUE  # noqa: E402
from thorax.config.reference import markdown  # noqa: E402


def _code(texts: tuple[str, ...]) -> str:
    return ", ".join(f"`{text}`" for text in texts)


INTRODUCTION = f"""\
<!-- Written by docs/hyperparameters.py from source_dir/thorax/config. Do not edit; run `make docs`. -->

# Hyperparameters

Everything that `train_model.py` takes beside its paths. The same names work on the command line
(`--epochs 20` or `--epochs=20`), in a recipe, in `launch/train.py --set epochs=20`, and in the hyperparameters of a
SageMaker job. All of them are checked before any data is read; an error is one line that names the hyperparameters,
their values and what to do.

**Spellings.** A hyperparameter may have several names: ours, that of SageMaker's built-in Image Classification
algorithm (*built-in*), that of SageMaker's script-mode examples (*script-mode*), or that of timm or torchvision. They
mean the same; `-` and `_` are the same too. Two names of one hyperparameter with two values are an error. An unknown
name is an error that names the nearest known one. Keys that the platform adds (`sagemaker_...`,
`_tuning_objective_metric`) are passed over.

**Booleans** take {_code(TRUE)} and {_code(FALSE)}, and nothing else.

**Numbers.** Integers may be written as `8` or `8.0`, numbers also as `1e-4`.

**Lists** are commas without spaces: `10,20`. What SageMaker makes of a Python list (`['a', 'b']`, `["a", "b"]`, or the
same split into words) is read as well.

**Not set.** An empty text and `null` leave a hyperparameter at its default: that is how SageMaker passes on None.
Where the default is "not set", `none` does the same. A name without any value (`--epochs --lr 0.01`) is an error on a
command line of yours; in a container, whose older toolkit writes empty texts so, it is a warning.

**`batch_size` is per machine**, as `mini_batch_size` is in the built-in algorithm: it is split over the processes
(GPUs) of a machine, and with M machines a step sees M times as many images. It must divide by the processes of one
machine.

**Combinations.** What would be wrong is an error; what only has no effect, such as `lr_scheduler_step=8,10` with
`epochs=1`, is one warning line, so that a recipe can be tried quickly.

**Entries of your own.** `optimizer`, `loss` and `lr_scheduler` also take names that Python code has registered in
`thorax.training.optimizers.OPTIMIZERS`, `thorax.training.losses.LOSSES` and `thorax.training.schedules.SCHEDULES`.

**Class weights.** `use_weighted_loss` weighs the positive term of label *l* by N/N_l, as the built-in algorithm does:
of N images with a known label, N_l have it. In torch's terms that is `pos_weight` = N/N_l. It is not the `pos_weight`
that makes positives and negatives weigh the same, which is (N - N_l)/N_l = N/N_l - 1: for a label on 5 % of the
images, 20 against 19; for one on half of them, 2 against 1. Exclusive classes are weighed image by image, each by
N/N_c of its class, so that every class weighs the same; of two classes the negative one is weighed too, by N/(N -
N_l). `max_class_weight` caps all of them, and the log prints them.

"""


def page() -> str:
    """The whole page."""
    return INTRODUCTION + markdown()


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE}")
