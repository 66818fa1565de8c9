"""MLflow.

Any server, SageMaker's managed ones too (their address is an ARN, which the package sagemaker-mlflow resolves).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from thorax.tracking.trackers.tracker import Start, Tell


class MLflowRun:
    """One MLflow run; a resumed job goes on with the same one."""

    def __init__(self, start: Start, tell: Tell) -> None:
        import mlflow
        from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_MAX_RETRIES, MLFLOW_HTTP_REQUEST_TIMEOUT

        MLFLOW_HTTP_REQUEST_MAX_RETRIES.set(2)  # type: ignore[no-untyped-call]
        MLFLOW_HTTP_REQUEST_TIMEOUT.set(20)  # type: ignore[no-untyped-call]
        self.mlflow = mlflow
        mlflow.set_tracking_uri(start.settings["uri"])
        mlflow.set_experiment(start.settings["experiment"])
        known = start.remembered.get("mlflow")
        run = mlflow.start_run(run_id=known, run_name=None if known else start.name, log_system_metrics=False)
        tell.remember("mlflow", run.info.run_id)
        if known is None:
            mlflow.log_params(
                {
                    key: value if isinstance(value, str) else json.dumps(value)
                    for key, value in start.configuration.items()
                }
            )
        tell.say(f"MLflow: run {run.info.run_id} of experiment {start.settings['experiment']}")

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.mlflow.log_metrics(dict(values), step=step)

    def finish(
        self, outcome: str, summary: Mapping[str, float], plots: Mapping[str, Path], bundle: Path | None
    ) -> None:
        self.mlflow.log_metrics(dict(summary))
        for file in plots.values():
            self.mlflow.log_artifact(str(file), "plots")
        if bundle is not None:
            self.mlflow.log_artifacts(str(bundle), "bundle")
        self.mlflow.end_run({"finished": "FINISHED", "stopped": "KILLED"}.get(outcome, "FAILED"))
