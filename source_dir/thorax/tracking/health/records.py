"""Records of saved steps: measured from a network, written as JSON lines, a file per process, and read back."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TextIO

from thorax.errors import ThoraxError

#: Keys of a line that holds a record.
_RECORD = {"step", "loss", "gradients", "weights"}


@dataclass(frozen=True)
class HealthRecord:
    """One saved step of one process.

    Attributes:
        step: optimizer step, from 1.
        loss: mean loss of the process's images; NaN for any value that is not finite.
        gradients, weights: parameter -> Euclidean norm (of the unscaled, unclipped gradient; of the weights before the
            update); not finite: NaN. Parameters that are not trained have no gradient.
        memory: megabytes that tensors hold on the GPU; None without one.
        zeros: ReLU's place -> share of its values that are 0, 0..1; empty where no rule needs it.
    """

    step: int
    loss: float
    gradients: Mapping[str, float]
    weights: Mapping[str, float]
    memory: float | None = None
    zeros: Mapping[str, float] = field(default_factory=dict)


class HealthRule:
    """One rule on one run; each method returns a message where the rule finds its problem. See rules.py."""

    name = "rule"
    #: Parameter of debug_rules -> the attribute that it sets.
    PARAMETERS: ClassVar[Mapping[str, str]] = {}

    def record(self, r: HealthRecord) -> str | None:
        """Judges a saved step."""
        return None

    def epoch(self, row: Mapping[str, float]) -> str | None:
        """Judges a row of the history."""
        return None

    def end(self) -> str | None:
        """Judges the whole run at its end."""
        return None


def shapes(net: Any) -> dict[str, tuple[int, ...]]:
    """Parameter -> its shape."""
    return {name: tuple(p.shape) for name, p in net.named_parameters()}


def measure(step: int, loss: Any, net: Any) -> HealthRecord:
    """The record of a step; on a GPU it waits for the device once."""
    import torch

    named = dict(net.named_parameters())
    trained = {name: p.grad for name, p in named.items() if p.grad is not None}
    weights = [p.detach() for p in named.values()]
    norms = torch._foreach_norm(list(trained.values())) if trained else ()
    values = torch.stack(
        [loss.detach().float(), *(n.float() for n in norms), *(n.float() for n in torch._foreach_norm(weights))]
    ).tolist()
    values = [value if math.isfinite(value) else math.nan for value in values]
    memory = torch.cuda.memory_allocated(loss.device) / 1e6 if loss.is_cuda else None
    split = 1 + len(trained)
    return HealthRecord(
        step,
        values[0],
        dict(zip(trained, values[1:split], strict=True)),
        dict(zip(named, values[split:], strict=True)),
        memory,
    )


class Recorder:
    """Writes records to a file of JSON lines; the first gives the parameters' shapes. A resumed run appends."""

    def __init__(self, file: Path, parameters: Mapping[str, tuple[int, ...]]) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self.names = list(parameters)
        self.file: TextIO = file.open("a", encoding="utf-8")
        self._write({"parameters": parameters})

    def write(self, record: HealthRecord) -> None:
        columns = [[_cell(values.get(name)) for name in self.names] for values in (record.gradients, record.weights)]
        line = {"step": record.step, "loss": _cell(record.loss), "gradients": columns[0], "weights": columns[1]}
        more = {"memory": record.memory, "zeros": {place: _cell(share) for place, share in record.zeros.items()}}
        self._write({**line, **{key: value for key, value in more.items() if value}})

    def _write(self, line: Mapping[str, Any]) -> None:
        self.file.write(json.dumps(line) + "\n")
        self.file.flush()

    def close(self) -> None:
        self.file.close()


def read(file: Path) -> tuple[dict[str, tuple[int, ...]], list[HealthRecord]]:
    """(shapes of the parameters, records by step). Of a step that was saved twice (a resumed run) the later one counts;
    an incomplete last line is ignored.

    Raises:
        ThoraxError: it is not such a file.
    """
    parameters: dict[str, tuple[int, ...]] = {}
    records: dict[int, HealthRecord] = {}
    for line in _lines(file):
        if "parameters" in line:
            parameters = {name: tuple(shape) for name, shape in line["parameters"].items()}
            continue
        gradients, weights = (
            {n: float(v) for n, v in zip(parameters, line[key], strict=True) if v is not None}
            for key in ("gradients", "weights")
        )
        records[line["step"]] = HealthRecord(
            line["step"], float(line["loss"]), gradients, weights, line.get("memory"), line.get("zeros", {})
        )
    return parameters, [records[step] for step in sorted(records)]


def _lines(file: Path) -> Iterator[dict[str, Any]]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ThoraxError(f"{file} cannot be read: {error}") from None
    for number, text in enumerate(lines):
        try:
            line = json.loads(text)
            complete = isinstance(line, dict) and ("parameters" in line or set(line) >= _RECORD)
        except (ValueError, RecursionError):
            complete = False
        if complete:
            yield line
        elif number == 0 or number + 1 < len(lines):
            raise ThoraxError(f"{file} line {number + 1} is not a record of the debugger")


def _cell(value: float | None) -> float | str | None:
    """Seven digits; JSON knows no NaN."""
    return value if value is None else float(f"{value:.7g}") if math.isfinite(value) else "nan"
