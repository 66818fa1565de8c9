"""Whether a run that is to start from weights has some: what depends on the job's channels."""

from __future__ import annotations

from collections.abc import Collection

from thorax.config.schema import Fields
from thorax.errors import ThoraxError
from thorax.models.registry import STAGES


def check_weights_given(c: Fields, channels: Collection[str]) -> None:
    """Raises ThoraxError where use_pretrained_model=true has no weights: a job downloads none.

    Args:
        channels: names of the job's channels.
    """
    if not c.use_pretrained_model or c.weights or {"weights", "model"} & set(channels):
        return
    network = c.network.removesuffix(STAGES)
    file = f"{network.rpartition('/')[2]}.safetensors"
    raise ThoraxError(
        "use_pretrained_model=true but there are no weights (a job downloads none): make the file on any machine with a"
        f" network, `thorax weights make {network} --out {file}`, and give it, --weights {file}; or leave"
        " use_pretrained_model out to start from scratch"
    )
