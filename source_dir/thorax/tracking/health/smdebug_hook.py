"""SageMaker Debugger's own hook (smdebug), called step by step instead of through module hooks.

So a step is an optimizer step (also with accumulation_steps), gradients are unscaled (float16 too) and reduced over all
processes, and the network carries no hooks. It saves the collections losses, gradients, weights and biases as the job's
debughookconfig.json says; activations are not saved.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from thorax.errors import ThoraxError
from thorax.tracking.health import smdebug_shim
from thorax.tracking.health.records import HealthRecord

LOSS = "loss"


def _prepare() -> None:
    """Makes smdebug importable, and silent but for errors."""
    smdebug_shim.install()
    from smdebug.core.logger import get_logger

    get_logger().setLevel(logging.ERROR)


class SmdebugHook:
    """Saves tensors through smdebug.

    Args:
        file: the job's debughookconfig.json.
        net: the network.

    Raises:
        ThoraxError: smdebug is not installed, or gives no hook (USE_SMDEBUG=0).
        Exception: whatever else smdebug raises.
    """

    def __init__(self, file: str, net: Any) -> None:
        _prepare()
        import smdebug.pytorch as smd

        self.hook = smd.get_hook(json_config_path=file, create_if_not_exists=True)
        if self.hook is None:
            raise ThoraxError("smdebug gives no hook; is USE_SMDEBUG=0 set?")
        self.hook.set_mode(smd.modes.TRAIN)
        self.prefix = net._module_name = net._get_name()
        self.folder = str(self.hook.out_dir)

    def start(self, step: int) -> None:
        """Its steps count from 0; a resumed run goes on counting."""
        self.hook.step = self.hook.mode_steps[self.hook.mode] = step - 1

    def save(self, loss: Any, net: Any) -> None:
        """Saves what the configuration wants of this step; see Observer.gradients."""
        self.hook.forward_pre_hook(net, ())  # closes the last step's file, counts the step, saves weights and biases
        if not self.hook._get_collections_to_save_for_step():
            return
        self.hook.record_tensor_value(LOSS, loss.detach().float())
        for name, p in net.named_parameters():
            if p.grad is not None:
                self.hook.backward_hook(f"{self.prefix}_{name}")(p.grad)
        self.hook.last_saved_step = self.hook.step

    def close(self) -> None:
        self.hook.close()


def read_trial(folder: Path) -> tuple[dict[str, tuple[int, ...]], list[HealthRecord]]:
    """What smdebug saved, as (shapes, records) for our rules.

    Raises:
        ThoraxError: smdebug is not installed.
        Exception: whatever smdebug raises where the folder is not its own.
    """
    _prepare()
    import numpy as np
    from smdebug.trials import create_trial

    trial = create_trial(str(folder))
    shapes: dict[str, tuple[int, ...]] = {}
    records = []

    def norms(collection: str, step: int, prefix: str = "") -> dict[str, float]:
        found = {}
        for name in trial.tensor_names(step=step, collection=collection):
            value = trial.tensor(name).value(step)
            found[name.removeprefix(prefix)] = float(np.linalg.norm(value.astype(np.float64)))
            shapes[name.removeprefix(prefix)] = value.shape
        return found

    for step in trial.steps():
        losses = [trial.tensor(name).value(step) for name in trial.tensor_names(step=step, collection="losses")]
        weights = norms("weights", step) | norms("biases", step)
        records.append(
            HealthRecord(
                step + 1,
                float(np.mean(losses)) if losses else float("nan"),
                norms("gradients", step, "gradient/"),
                weights,
            )
        )
    return shapes, records
