"""The summary of the timed steps: shares of the stages, the bottleneck and one piece of advice, on one page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from thorax.config import TrainingConfig

#: A share from which a stage that could be avoided is worth advice, though another takes longer.
AVOIDABLE = 0.15
COMPUTE = ("forward", "backward")
MEANING = {
    "data": "waiting for images to be read",
    "copy": "images to the device",
    "augmentation": "augmentation and normalisation",
    "forward": "network and loss",
    "backward": "gradients",
    "optimizer": "clipping, update, moving average of the weights",
    "logging": "losses, progress, trackers, health monitor",
    "other": "the rest of the loop",
}


@dataclass(frozen=True)
class Timing:
    """Timed steps.

    Attributes:
        steps: how many.
        total: seconds of all of them together.
        seconds: of each stage, together.
        workers: processes that read images.
        device: cpu or cuda.
    """

    steps: int
    total: float
    seconds: Mapping[str, float]
    workers: int
    device: str

    @property
    def seconds_with_other(self) -> dict[str, float]:
        return {**self.seconds, "other": max(0.0, self.total - sum(self.seconds.values()))}

    @property
    def shares(self) -> dict[str, float]:
        """Stage -> its share, 0..1, the largest first; "other" is what no stage took."""
        seconds = self.seconds_with_other
        total = max(sum(seconds.values()), 1e-12)
        return {stage: s / total for stage, s in sorted(seconds.items(), key=lambda pair: -pair[1])}

    @property
    def bottleneck(self) -> str:
        """The stage with the largest share."""
        return next(iter(self.shares))

    @property
    def sentence(self) -> str:
        shares = ", ".join(f"{stage} {share:.0%}" for stage, share in list(self.shares.items())[:3])
        return f"{self.total / self.steps * 1000:.0f} ms a step, most of it {self.bottleneck} ({shares})"

    def advice(self, config: TrainingConfig) -> str:
        """For the largest stage, or the largest avoidable one where that takes at least AVOIDABLE."""
        shares = self.shares
        avoidable = max((stage for stage in shares if stage not in COMPUTE), key=shares.__getitem__)
        stage = avoidable if shares[avoidable] >= AVOIDABLE else self.bottleneck
        advice = {
            "data": f"raise num_workers (now {self.workers}), or store the images near their training size",
            "copy": "check the machine's other work, or use smaller images (image_shape)",
            "augmentation": f"choose something lighter than augmentation_type={config.augmentation_type}",
            "optimizer": "make fewer, larger steps with a larger batch_size (and learning_rate)",
            "logging": "raise debug_save_interval, or turn off the trackers that are not needed",
            "other": "see the trace for what runs between the stages",
        }
        if stage in advice:
            return f"{stage} takes {shares[stage]:.0%}: {advice[stage]}"
        if config.precision_dtype == "float32":
            return (
                "the network itself is the limit: try precision_dtype=auto (bfloat16 or float16 where the hardware"
                " has it)"
            )
        if config.activation_checkpointing:
            return (
                "the network itself is the limit: activation_checkpointing=true computes it a third longer, turn it off"
                " if memory allows"
            )
        if self.device == "cuda" and not config.compile and not config.debugging:
            return "the network itself is the limit, as it should be: try compile=true, or a larger batch_size"
        return "the network itself is the limit, as it should be: a smaller image_shape or network, or a faster machine"


def summary_page(timing: Timing | None, config: TrainingConfig, operators: str, waits: Sequence[float]) -> str:
    """The summary as Markdown.

    Args:
        timing: None where no step was timed.
        config: the hyperparameters, for the advice.
        operators: torch.profiler's table of the traced steps.
        waits: share of each finished epoch that was spent waiting for images.
    """
    lines = ["# Profile", ""]
    if timing is not None:
        lines += [
            f"**Bottleneck: {timing.bottleneck}.** {timing.sentence[0].upper()}{timing.sentence[1:]}.",
            "",
            f"**Advice:** {timing.advice(config)}.",
            "",
        ]
        lines += ["| stage | what | ms a step | share |", "|---|---|---:|---:|"]
        for stage, share in timing.shares.items():
            milliseconds = timing.seconds_with_other[stage] / timing.steps * 1000
            lines.append(f"| {stage} | {MEANING.get(stage, '')} | {milliseconds:.2f} | {share:.1%} |")
        waited = ", synchronised with the device after each stage" if timing.device == "cuda" else ""
        lines += ["", f"Means of {timing.steps} steps, without torch.profiler{waited}.", ""]
    if waits:
        lines += [f"Whole epochs waited for images {fmean(waits):.1%} of their time.", ""]
    if operators:
        lines += [
            "Operators of the traced steps (open `steps.pt.trace.json.gz` in https://ui.perfetto.dev):",
            "",
            "```",
            operators.strip("\n"),
            "```",
            "",
        ]
    return "\n".join(lines)
