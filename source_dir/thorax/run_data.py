"""The data of a run: its parts, and how their images become the network's input."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from thorax.data.color import AUTO, chosen_color, sample_colors
from thorax.data.decoders import GRAY, GREY
from thorax.data.images import Preprocessing
from thorax.data.loading import mean_std
from thorax.data.parts import Parts, preprocessing, read_parts
from thorax.data.preprocessing import Levels
from thorax.errors import ThoraxError
from thorax.run_setup import RunContext
from thorax.training import distributed
from thorax.training.checkpoints import latest_pixels
from thorax.training.inputs import TrainingData
from thorax.training.losses import capped_weights, class_weights


@dataclass(frozen=True)
class LoadedData:
    """The parts of the data and how their images are prepared, statistics of the data set included."""

    parts: Parts
    preprocessing: Preprocessing

    @property
    def training(self) -> TrainingData:
        refit = self.parts.held_out is not None
        return TrainingData(self.parts.train, self.parts.watched, self.preprocessing, keep_last=refit)


def load(run: RunContext) -> LoadedData:
    """Reads the channels into parts; looks whether they are in colour; measures mean and std where they are asked for.

    Raises:
        ThoraxError: see `read_parts`.
    """
    parts = read_parts(run.job, run.config, run.say)
    prepared = replace(preprocessing(run.config), grey=_grey(run), color=_color(run, parts))
    if prepared.normalization == "dataset":
        work = partial(mean_std, parts.train, prepared, run.hardware.workers)
        mean, std = distributed.from_main(work, run.job.process)
        run.say(f"training images: {'grey' if isinstance(mean, float) else 'RGB'} mean {_told(mean)}, std {_told(std)}")
        prepared = replace(prepared, mean=mean, std=std)
    if run.config.use_weighted_loss:
        weights = class_weights(parts.train, run.config.max_class_weight)
        run.say("class weights N/N_l: " + ", ".join(f"{name} {w:.3f}" for name, w in weights.items()))
        if cut := capped_weights(parts.train, run.config):
            run.say(f"warning: {cut}")
    return LoadedData(parts, prepared)


def _grey(run: RunContext) -> int:
    """The rules from pixels to grey levels: today's; where a run goes on, those that it began with.

    Raises:
        ThoraxError: a newer program began it.
    """
    found = latest_pixels(run.job.checkpoint_dir)
    if found is None or found[0] == GREY:
        return GREY
    stored = found[0]
    if not 1 <= stored < GREY:
        raise ThoraxError(
            f"the checkpoint in {run.job.checkpoint_dir} has the pixel rules {stored} (preprocessing.grey), this"
            f" program knows 1 to {GREY}; go on with the version that began it"
        )
    run.say(
        f"pixels: by the rules {stored} (preprocessing.grey) that the checkpoint's run began with; new ones: {GREY}"
    )
    return stored


def _color(run: RunContext, parts: Parts) -> str:
    """gray or rgb, the same in every process: as asked for, as the run began, or as a sample of the images shows."""
    asked = run.config.color
    if asked != AUTO:
        color, why = asked, "as asked for"
    elif found := latest_pixels(run.job.checkpoint_dir):
        color, why = found[1], "as in the checkpoint"
    else:
        sources, shape = parts.train.table.sources, run.config.image_shape
        color, why = distributed.from_main(lambda: chosen_color(sample_colors(sources), shape), run.job.process)
    repeated = f"; the {run.config.channels} channels repeat the grey" if run.config.channels > 1 else ""
    run.say(f"color: {color}: {why}{repeated if color == GRAY else ''}")
    return color


def _told(levels: Levels) -> str:
    return ", ".join(f"{v:.4f}" for v in (levels if isinstance(levels, tuple) else (levels,)))
