"""SageMaker Debugger's own hook (smdebug), called step by step instead of through module hooks.

So a step is an optimizer step (also with accumulation_steps), gradients are unscaled (float16 too) and reduced over all
processes. It saves the collections losses, gradients, weights and biases as the job's debughookconfig.json says. Where
that names another collection, such as relu_input, what goes into and comes out of each ReLU is saved too; else the
network carries no hooks.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from thorax.errors import ThoraxError
from thorax.tracking.health import smdebug_shim
from thorax.tracking.health.records import HealthRecord

LOSS = "loss"
#: Collections that are saved without hooks on the network.
SAVED = {"losses", "gradients", "weights", "biases", "all", "metrics"}


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
        self.activations: dict[str, tuple[Any, Any]] = {}
        self.intervals = _intervals_of_activations(Path(file))
        self.handles = self._watch_relus(net) if self.intervals else []

    def _watch_relus(self, net: Any) -> list[Any]:
        """Hooks that keep input and output of each ReLU in the passes of those steps that are saved."""
        import torch

        def wanted(module: Any) -> bool:
            return module.training and any((self.hook.step + 1) % interval == 0 for interval in self.intervals)

        handles = []
        for place, module in net.named_modules():
            if not isinstance(module, torch.nn.ReLU | torch.nn.ReLU6):
                continue
            name = f"{self.prefix}_{place}" + ("" if place.endswith("relu") else ".relu")

            def before(module: Any, inputs: Any, name: str = name) -> None:
                if wanted(module):  # a copy: most ReLUs overwrite it
                    self.activations[name] = (inputs[0].detach().clone(), None)

            def after(module: Any, inputs: Any, output: Any, name: str = name) -> None:
                if wanted(module) and name in self.activations:
                    self.activations[name] = (self.activations[name][0], output.detach())

            handles += [module.register_forward_pre_hook(before), module.register_forward_hook(after)]
        return handles

    def start(self, step: int) -> None:
        """Its steps count from 0; a resumed run goes on counting."""
        self.hook.step = self.hook.mode_steps[self.hook.mode] = step - 1

    def save(self, loss: Any, net: Any) -> None:
        """Saves what the configuration wants of this step; see Observer.gradients."""
        self.hook.forward_pre_hook(net, ())  # closes the last step's file, counts the step, saves weights and biases
        kept, self.activations = self.activations, {}
        if not self.hook._get_collections_to_save_for_step():
            return
        for name, (given, output) in kept.items():
            self.hook._write_inputs(name, (given.float(),))
            if output is not None:
                self.hook._write_outputs(name, output.float())
        self.hook.record_tensor_value(LOSS, loss.detach().float())
        for name, p in net.named_parameters():
            if p.grad is not None:
                self.hook.backward_hook(f"{self.prefix}_{name}")(p.grad)
        self.hook.last_saved_step = self.hook.step

    def close(self) -> None:
        for handle in self.handles:
            handle.remove()
        self.hook.close()


def _intervals_of_activations(file: Path) -> set[int]:
    """Steps from one saved step to the next, of each collection of activations that the configuration names."""
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
        usual = (stored.get("HookParameters") or {}).get("save_interval", 500)
        found = {
            one["CollectionName"]: int((one.get("CollectionParameters") or {}).get("save_interval", usual))
            for one in stored.get("CollectionConfigurations") or ()
        }
    except (OSError, ValueError, KeyError, TypeError):
        return set()
    return {max(1, interval) for name, interval in found.items() if name not in SAVED}


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
