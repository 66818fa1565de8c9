"""Weights & Biases: a run online, or offline where that is asked for or the server cannot be reached."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any, Literal

from thorax.tracking.observers import one_line
from thorax.tracking.trackers.tracker import FinishMessage, MetricsMessage, RunLink, StartMessage

CONNECT_SECONDS = 20.0


class WandbRun:
    """One W&B run; a resumed job goes on with the same one. Its files are in output_dir/wandb."""

    def __init__(self, start: StartMessage, run: RunLink) -> None:
        import wandb

        self.wandb, self.start = wandb, start
        identity = start.remembered.get("wandb") or secrets.token_hex(4)
        run.remember("wandb", identity)
        try:  # None: online, or as WANDB_MODE says
            self.run = self._init(identity, "offline" if start.settings["mode"] == "offline" else None)
        except Exception as error:
            wandb.teardown()
            run.say(f"warning: W&B cannot be reached ({one_line(error)}); this run is tracked offline")
            self.run = self._init(identity, "offline")
        offline = getattr(self.run.settings, "_offline", False)
        folder = Path(self.run.dir).parent
        run.say(f"W&B: offline; to upload it: wandb sync {folder}" if offline else f"W&B: {self.run.url}")

    def _init(self, identity: str, mode: Literal["offline"] | None) -> Any:
        settings = self.wandb.Settings(
            init_timeout=CONNECT_SECONDS,
            console="off",
            silent=True,
            disable_git=True,
            disable_code=True,
            sagemaker_disable=True,
        )
        return self.wandb.init(
            project=self.start.settings["project"],
            name=self.start.name,
            id=identity,
            resume=None if mode == "offline" else "allow",
            mode=mode,
            config=dict(self.start.configuration),
            dir=self.start.output_dir,
            settings=settings,
            save_code=False,
        )

    def log(self, metrics: MetricsMessage) -> None:
        self.run.log(dict(metrics.values), step=metrics.step)

    def finish(self, end: FinishMessage) -> None:
        for name, value in end.summary.items():
            self.run.summary[name] = value
        if end.plots:
            self.run.log({name: self.wandb.Image(file) for name, file in end.plots.items()})
        if end.bundle is not None:
            artifact = self.wandb.Artifact(f"bundle-{self.start.name}", type="model", metadata=dict(end.summary))
            artifact.add_dir(end.bundle, policy="immutable", skip_cache=True)  # the bundle is not copied
            self.run.log_artifact(artifact)
        self.run.finish(exit_code=1 if end.outcome == "failed" else 0)
        self.wandb.teardown()  # waits until its service has written everything
