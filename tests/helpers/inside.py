"""In the place of SageMaker's toolkit: the job's training in this process, which saves the start of another."""

from __future__ import annotations

import json
from typing import ClassVar

import thorax
from thorax.errors import ThoraxError
from thorax_launch.local.job_directory import JobDirectory


class InsideToolkit:
    """Trains at its start; a job whose name is in `interrupted` is stopped before."""

    ran: ClassVar[list[str]] = []
    interrupted: ClassVar[set[str]] = set()

    def __init__(self, job: JobDirectory, program: str) -> None:
        self.job, self.stopped, self.running, self.began, self.code = job, False, False, 0.0, 0

    def start(self) -> None:
        name = self.job.base.name
        if name in self.interrupted:
            self.stop()
            return
        self.ran.append(name)
        stored = json.loads((self.job.config / "hyperparameters.json").read_text())
        values = {key: json.loads(text) for key, text in stored.items() if not key.startswith("sagemaker_")}
        channels = {path.name: path for path in (self.job.base / "input/data").iterdir()}
        try:
            thorax.train(values, train=channels.pop("train"), channels=channels, output=self.job.base)
        except ThoraxError as error:
            self.job.failure.write_text(str(error))
            self.code = 1

    def stop(self) -> None:
        self.stopped, self.code = True, 130

    kill = stop

    def lines(self):
        return iter(())

    def wait(self) -> int:
        return self.code
