"""TensorBoard: event files that torch writes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from thorax.tracking.trackers.tracker import Start, Tell


class TensorBoardLog:
    """Event files.

    A resumed job adds to the same curves, and what a killed one wrote beyond its checkpoint is hidden.
    """

    def __init__(self, start: Start, tell: Tell) -> None:
        from torch.utils.tensorboard import SummaryWriter

        folder = start.settings["folder"]
        self.writer = SummaryWriter(folder, purge_step=start.step + 1, flush_secs=10)
        self.step = start.step
        text = "\n".join(f"    {key}: {json.dumps(value)}" for key, value in start.configuration.items())
        self.writer.add_text("configuration", text, start.step)
        tell.say(f"TensorBoard: tensorboard --logdir {folder}")

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.step = step
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def finish(
        self, outcome: str, summary: Mapping[str, float], plots: Mapping[str, Path], bundle: Path | None
    ) -> None:
        import numpy as np
        from PIL import Image

        for name, value in summary.items():
            self.writer.add_scalar(name, value, self.step)
        for name, file in plots.items():
            self.writer.add_image(name, np.asarray(Image.open(file).convert("RGB")), self.step, dataformats="HWC")
        self.writer.close()
