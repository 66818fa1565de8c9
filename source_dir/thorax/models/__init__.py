"""Networks: built, frozen, loaded with weights, looked into."""

from thorax.models.networks import build, find_weights, freeze, load_weights, stages, sync_batchnorm, train_mode

__all__ = ["build", "find_weights", "freeze", "load_weights", "stages", "sync_batchnorm", "train_mode"]
