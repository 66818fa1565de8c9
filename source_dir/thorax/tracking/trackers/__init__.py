"""Trackers: Weights & Biases, TensorBoard, MLflow and any that is registered, in a process of their own.

A tracker that lacks its key, its network or its package, that crashes or hangs, costs the run one warning line.

To add one, register it in a module that the training process imports, such as train_model.py's own imports::

    TRACKERS.register("CSV", TrackerSpec(CsvTracker, enabled=lambda config, job: "CSV_FILE" in environment()))

Without `enabled` it is on in every run. Its class is imported by its module's name in the trackers' process, with the
sys.path of the training process.
"""

from thorax.registry import Registry
from thorax.tracking.trackers.mlflow_run import MLflowRun
from thorax.tracking.trackers.tensorboard_log import TensorBoardLog
from thorax.tracking.trackers.tracker import FinishMessage, MetricsMessage, RunLink, StartMessage, Tracker, TrackerSpec
from thorax.tracking.trackers.wandb_run import WandbRun

__all__ = ["TRACKERS", "FinishMessage", "MetricsMessage", "RunLink", "StartMessage", "Tracker", "TrackerSpec"]

TRACKERS: Registry[TrackerSpec] = Registry("tracker")
TRACKERS.register(
    "W&B",
    TrackerSpec(
        WandbRun,
        install="wandb",
        enabled=lambda config, job: config.wandb_tracking != "false",
        settings=lambda config, job: {"mode": config.wandb_tracking, "project": job.wandb_project},
    ),
)
TRACKERS.register(
    "TensorBoard",
    TrackerSpec(
        TensorBoardLog,
        install="tensorboard",
        enabled=lambda config, job: config.tensorboard,
        settings=lambda config, job: {"folder": str(job.tensorboard_dir.absolute())},
    ),
)
TRACKERS.register(
    "MLflow",
    TrackerSpec(
        MLflowRun,
        install="mlflow-skinny",
        enabled=lambda config, job: job.mlflow_uri is not None,
        settings=lambda config, job: {"uri": job.mlflow_uri or "", "experiment": job.mlflow_experiment},
    ),
)
