"""TensorBoard: event files that torch writes."""

from __future__ import annotations

import json

from thorax.tracking.trackers.tracker import FinishMessage, MetricsMessage, RunLink, StartMessage


class TensorBoardLog:
    """Event files. A resumed job adds to the same curves; what a killed one wrote after its checkpoint is hidden."""

    def __init__(self, start: StartMessage, run: RunLink) -> None:
        from torch.utils.tensorboard import SummaryWriter

        folder = start.settings["folder"]
        self.writer = SummaryWriter(folder, purge_step=start.step + 1, flush_secs=10)
        self.step = start.step
        text = "\n".join(f"    {key}: {json.dumps(value)}" for key, value in start.configuration.items())
        self.writer.add_text("configuration", text, start.step)
        run.say(f"TensorBoard: tensorboard --logdir {folder}")

    def log(self, metrics: MetricsMessage) -> None:
        self.step = metrics.step
        for name, value in metrics.values.items():
            self.writer.add_scalar(name, value, metrics.step)

    def finish(self, end: FinishMessage) -> None:
        import numpy as np
        from PIL import Image

        for name, value in end.summary.items():
            self.writer.add_scalar(name, value, self.step)
        for name, file in end.plots.items():
            self.writer.add_image(name, np.asarray(Image.open(file).convert("RGB")), self.step, dataformats="HWC")
        self.writer.close()
