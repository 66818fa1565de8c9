"""Weights & Biases: a run online, or offline where it is asked for or cannot be reached."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from thorax.tracking.observers import one_line
from thorax.tracking.trackers.tracker import Start, Tell

CONNECT_SECONDS = 20.0


class WandbRun:
    """One W&B run; a resumed job goes on with the same one. Its files lie in output_dir/wandb."""

    def __init__(self, start: Start, tell: Tell) -> None:
        import wandb

        self.wandb, self.start, self.tell = wandb, start, tell
        identity = start.remembered.get("wandb") or secrets.token_hex(4)
        tell.remember("wandb", identity)
        mode: Literal["offline"] | None = (
            "offline" if start.settings["mode"] == "offline" else None
        )  # None: online, or as WANDB_MODE says
        try:
            self.run = self._init(identity, mode)
        except Exception as error:
            wandb.teardown()
            tell.say(f"warning: W&B cannot be reached ({one_line(error)}); this run is tracked offline")
            self.run = self._init(identity, "offline")
        self.offline = bool(getattr(self.run.settings, "_offline", False))
        tell.say(f"W&B: {self._sync_command()}" if self.offline else f"W&B: {self.run.url}")

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
            dir=str(self.start.output_dir),
            settings=settings,
            save_code=False,
        )

    def _sync_command(self) -> str:
        return f"offline; to upload it: wandb sync {Path(self.run.dir).parent}"

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.run.log(dict(values), step=step)

    def finish(
        self, outcome: str, summary: Mapping[str, float], plots: Mapping[str, Path], bundle: Path | None
    ) -> None:
        for name, value in summary.items():
            self.run.summary[name] = value
        if plots:
            self.run.log({name: self.wandb.Image(str(file)) for name, file in plots.items()})
        if bundle is not None:
            artifact = self.wandb.Artifact(f"bundle-{self.start.name}", type="model", metadata=dict(summary))
            artifact.add_dir(
                str(bundle), policy="immutable", skip_cache=True
            )  # no copies: the bundle stays where it is
            self.run.log_artifact(artifact)
        self.run.finish(exit_code=1 if outcome == "failed" else 0)
        self.wandb.teardown()  # waits until its service has written everything
