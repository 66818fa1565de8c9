"""What the timed steps mean: shares of the stages, the bottleneck, one piece of advice, on one page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

#: A share from which a stage that could be avoided is worth advice, though another takes longer.
AVOIDABLE = 0.15
COMPUTE = ("forward", "backward")
MEANING = {
    "data": "waiting for images to be read",
    "copy": "images to the device",
    "augmentation": "augmentation and normalisation",
    "forward": "network and loss",
    "backward": "gradients",
    "optimizer": "clipping, update, average of weights",
    "logging": "losses, progress, trackers, debugger",
    "other": "the rest of the loop",
}


@dataclass(frozen=True)
class Timing:
    """Timed steps.

    Attributes:
        steps: how many.
        whole: seconds of all of them together.
        seconds: of each stage, together.
        workers: processes that read images.
        device: cpu or cuda.
    """

    steps: int
    whole: float
    seconds: Mapping[str, float]
    workers: int
    device: str

    @property
    def shares(self) -> dict[str, float]:
        """Stage -> its share, 0..1, the largest first; "other" is what no stage took."""
        other = max(0.0, self.whole - sum(self.seconds.values()))
        total = sum(self.seconds.values()) + other
        return dict(
            sorted(
                ((stage, s / max(total, 1e-12)) for stage, s in {**self.seconds, "other": other}.items()),
                key=lambda pair: -pair[1],
            )
        )

    @property
    def bottleneck(self) -> str:
        """The stage with the largest share."""
        return next(iter(self.shares))

    @property
    def sentence(self) -> str:
        shares = ", ".join(f"{stage} {share:.0%}" for stage, share in list(self.shares.items())[:3])
        return f"{self.whole / self.steps * 1000:.0f} ms a step, most of it {self.bottleneck} ({shares})"

    def advice(self, c: Mapping[str, Any]) -> str:
        """One piece, for the largest stage, or the largest avoidable one where that takes a good part.

        Args:
            c: the hyperparameters.
        """
        shares = self.shares
        avoidable = max((stage for stage in shares if stage not in COMPUTE), key=shares.__getitem__)
        stage = avoidable if shares[avoidable] >= AVOIDABLE else self.bottleneck
        cures = {
            "data": f"raise num_workers (now {self.workers}), or store the images near their training size",
            "copy": "look at the machine's other work, or send smaller images (image_shape)",
            "augmentation": f"choose something lighter than augmentation_type={c['augmentation_type']}",
            "optimizer": "make fewer, larger steps with a larger batch_size (and learning_rate)",
            "logging": "raise debug_save_interval, or turn off what nobody looks at",
            "other": "look at the trace for what happens between the stages",
        }
        if stage in cures:
            return f"{stage} takes {shares[stage]:.0%}: {cures[stage]}"
        if c["precision_dtype"] == "float32":
            return (
                "the network itself is the limit: try precision_dtype=auto (bfloat16 or float16 where the hardware"
                " has it)"
            )
        if c["activation_checkpointing"]:
            return (
                "the network itself is the limit: activation_checkpointing=true computes it a third longer, turn it off"
                " if memory allows"
            )
        if self.device == "cuda" and not c["compile"] and not c["debugging"]:
            return "the network itself is the limit, as it should be: try compile=true, or a larger batch_size"
        return "the network itself is the limit, as it should be: a smaller image_shape or network, or a faster machine"


def page(timing: Timing | None, c: Mapping[str, Any], operators: str, waits: Sequence[float]) -> str:
    """The summary as Markdown.

    Args:
        timing: None where no step was timed.
        c: the hyperparameters.
        operators: torch.profiler's table of the traced steps.
        waits: share of each finished epoch that was spent waiting for images.
    """
    lines = ["# Profile", ""]
    if timing is not None:
        lines += [
            f"**Bottleneck: {timing.bottleneck}.** {timing.sentence[0].upper()}{timing.sentence[1:]}.",
            "",
            f"**Advice:** {timing.advice(c)}.",
            "",
        ]
        lines += ["| stage | what | ms a step | share |", "|---|---|---:|---:|"]
        seconds = {**timing.seconds, "other": max(0.0, timing.whole - sum(timing.seconds.values()))}
        for stage, share in timing.shares.items():
            lines.append(
                f"| {stage} | {MEANING.get(stage, '')} | {seconds[stage] / timing.steps * 1000:.2f} | {share:.1%} |"
            )
        waited = ", the device waited for after each stage" if timing.device == "cuda" else ""
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
