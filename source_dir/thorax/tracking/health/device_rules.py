"""Rules on what a saved step measures besides gradients and weights: the GPU's memory, and zeros after ReLUs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from thorax.tracking.health.records import HealthRecord, HealthRule


class GpuMemoryGrowth(HealthRule):
    """The memory that tensors hold on the GPU, at the same point of a step, grows in TIMES saved steps in a row, by
    MEGABYTES in all: something keeps tensors of earlier steps alive, and the run will end without memory."""

    name = "gpu_memory_growth"
    PARAMETERS: ClassVar = {"megabytes": "MEGABYTES", "times": "TIMES"}
    MEGABYTES, TIMES = 100.0, 10

    def __init__(self) -> None:
        self.start: float | None = None
        self.before, self.times = 0.0, 0

    def record(self, r: HealthRecord) -> str | None:
        if r.memory is None:
            return None
        if self.start is None or r.memory <= self.before:
            self.start, self.times = r.memory, 0
        else:
            self.times += 1
        self.before = r.memory
        if self.times < self.TIMES or r.memory - self.start < self.MEGABYTES:
            return None
        return (
            f"the GPU's memory in use grew in {self.times} saved steps in a row, from {self.start:,.0f} to"
            f" {r.memory:,.0f} MB; a tensor of each step is kept: .detach() what is stored over steps"
        )


class DeadRelu(HealthRule):
    """After a ReLU over PERCENT of the values are 0 in TIMES saved steps in a row: what is before it hardly learns."""

    name = "dead_relu"
    PARAMETERS: ClassVar = {"percent": "PERCENT", "times": "TIMES"}
    PERCENT, TIMES = 99.0, 3

    def __init__(self) -> None:
        self.times: dict[str, int] = {}

    def record(self, r: HealthRecord) -> str | None:
        for place, share in r.zeros.items():
            self.times[place] = self.times.get(place, 0) + 1 if 100 * share > self.PERCENT else 0
        dead = [place for place, times in self.times.items() if times >= self.TIMES]
        if not dead:
            return None
        more = f" and {len(dead) - 1} more" if dead[1:] else ""
        return (
            f"after {dead[0]}{more} {100 * r.zeros.get(dead[0], 1.0):.1f} % of the values are 0 in {self.TIMES} saved"
            " steps in a row; lower learning_rate, or raise warmup_epochs"
        )


class Zeros:
    """Counts the zeros after each ReLU of a network, in the forward passes of those steps that are saved.

    Args:
        wanted: whether the forward pass that runs now is of a step that is saved.
    """

    def __init__(self, net: Any, wanted: Callable[[], bool]) -> None:
        import torch

        self.shares: dict[str, Any] = {}
        kinds = (torch.nn.ReLU, torch.nn.ReLU6)
        self.handles = [
            module.register_forward_hook(self._hook(place, wanted))
            for place, module in net.named_modules()
            if isinstance(module, kinds)
        ]

    def _hook(self, place: str, wanted: Callable[[], bool]) -> Callable[[Any, Any, Any], None]:
        def count(module: Any, inputs: Any, output: Any) -> None:
            if module.training and wanted():
                share = (output.detach() == 0).float().mean()
                seen = self.shares.get(place)  # a module may be called several times in a pass
                self.shares[place] = share if seen is None else seen.minimum(share)

        return count

    def take(self) -> dict[str, float]:
        """Place -> share of zeros since the last call; on a GPU it waits for the device once."""
        import torch

        places = list(self.shares)
        values = torch.stack([self.shares[place] for place in places]).tolist() if places else []
        self.shares = {}
        return dict(zip(places, values, strict=True))

    def close(self) -> None:
        for handle in self.handles:
            handle.remove()
