"""Networks: built, frozen, loaded with weights, looked into."""

from thorax.models.distributed_batchnorm import sync_batchnorm
from thorax.models.freezing import freeze, train_mode
from thorax.models.networks import build, stages
from thorax.models.weights import find_weights, load_weights

__all__ = ["build", "find_weights", "freeze", "load_weights", "stages", "sync_batchnorm", "train_mode"]
