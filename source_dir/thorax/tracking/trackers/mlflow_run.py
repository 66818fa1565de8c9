"""MLflow: any server, also SageMaker's managed ones (sagemaker-mlflow resolves the ARN that is their address)."""

from __future__ import annotations

import json

from thorax.tracking.trackers.tracker import FinishMessage, MetricsMessage, RunLink, StartMessage


class MLflowRun:
    """One MLflow run; a resumed job goes on with the same one."""

    def __init__(self, start: StartMessage, run: RunLink) -> None:
        import mlflow
        from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_MAX_RETRIES, MLFLOW_HTTP_REQUEST_TIMEOUT

        MLFLOW_HTTP_REQUEST_MAX_RETRIES.set(2)  # type: ignore[no-untyped-call]
        MLFLOW_HTTP_REQUEST_TIMEOUT.set(20)  # type: ignore[no-untyped-call]
        self.mlflow = mlflow
        mlflow.set_tracking_uri(start.settings["uri"])
        mlflow.set_experiment(start.settings["experiment"])
        known = start.remembered.get("mlflow")
        active = mlflow.start_run(run_id=known, run_name=None if known else start.name, log_system_metrics=False)
        run.remember("mlflow", active.info.run_id)
        if known is None:
            texts = {key: v if isinstance(v, str) else json.dumps(v) for key, v in start.configuration.items()}
            mlflow.log_params(texts)
        run.say(f"MLflow: run {active.info.run_id} of experiment {start.settings['experiment']}")

    def log(self, metrics: MetricsMessage) -> None:
        self.mlflow.log_metrics(dict(metrics.values), step=metrics.step)

    def finish(self, end: FinishMessage) -> None:
        self.mlflow.log_metrics(dict(end.summary))
        for file in end.plots.values():
            self.mlflow.log_artifact(file, "plots")
        if end.bundle is not None:
            self.mlflow.log_artifacts(end.bundle, "bundle")
        self.mlflow.end_run({"finished": "FINISHED", "stopped": "KILLED"}.get(end.outcome, "FAILED"))
