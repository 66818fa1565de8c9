"""Jobs, searches and endpoints on this machine, with the toolkit and the servers of SageMaker; no account needed."""

from thorax_launch.local.endpoints import LocalEndpoint, deploy
from thorax_launch.local.folds import LocalFolds, cross_validate
from thorax_launch.local.jobs import LocalJob, train
from thorax_launch.local.searches import LocalSearch, tune

__all__ = ["LocalEndpoint", "LocalFolds", "LocalJob", "LocalSearch", "cross_validate", "deploy", "train", "tune"]
