"""Which precision is meant where, and that it is what the arithmetic uses."""

from __future__ import annotations

import pytest
import torch

from thorax.errors import ThoraxError
from thorax.training import precision

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def machine(monkeypatch):
    """Says whether CPU and GPU have bfloat16."""

    def has(bfloat16: bool) -> None:
        monkeypatch.setattr(precision, "cpu_has_bfloat16", lambda: bfloat16)
        monkeypatch.setattr(
            torch.cuda, "is_bf16_supported", lambda including_emulation=True: bfloat16 or including_emulation
        )

    return has


@pytest.mark.parametrize(
    ("device", "bfloat16", "want"),
    [
        (CPU, True, ("float32", "bfloat16")),
        (CPU, False, ("float32", "bfloat16")),  # the clock decides, not a flag
        (GPU, True, ("float32", "bfloat16", "float16")),
        (GPU, False, ("float32", "float16")),
    ],
)
def test_auto_may_be_whatever_runs(machine, device, bfloat16, want):
    machine(bfloat16)
    assert precision.candidates("auto", device) == want


@pytest.mark.parametrize("device", [CPU, GPU])
@pytest.mark.parametrize("bfloat16", [True, False])
def test_what_is_asked_for_is_taken(machine, device, bfloat16):
    machine(bfloat16)
    assert precision.candidates("float32", device) == ("float32",)
    assert precision.candidates("float16", GPU) == ("float16",)
    if bfloat16:
        assert precision.candidates("bfloat16", device) == ("bfloat16",)


@pytest.mark.parametrize(("device", "advice"), [(CPU, "auto or float32"), (GPU, "auto or float16 or float32")])
def test_bfloat16_that_is_not_there_is_refused(machine, device, advice):
    machine(False)
    with pytest.raises(
        ThoraxError, match=f"precision_dtype=bfloat16 but this {device.type} has no bfloat16 arithmetic; use {advice}"
    ):
        precision.candidates("bfloat16", device)


@pytest.mark.parametrize(
    ("flags", "want"),
    [("fpu amx_bf16 amx_tile", True), ("fpu avx512_bf16", True), ("fpu avx2 avx512f", False), (None, False)],
)
def test_the_cpu_is_asked(monkeypatch, tmp_path, flags, want):
    from thorax import machine

    cpuinfo = tmp_path / "cpuinfo"
    if flags is not None:
        cpuinfo.write_text(f"flags : {flags}\n")
    monkeypatch.setattr(machine, "Path", lambda _: cpuinfo)
    assert machine.cpu_has_bfloat16() is want


@pytest.mark.parametrize(
    ("name", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16), ("float16", torch.float16)]
)
def test_autocast_computes_in_it(name, dtype):
    with precision.autocast(name, CPU):
        assert torch.nn.functional.linear(torch.ones(2, 3), torch.ones(4, 3)).dtype == dtype
    assert torch.nn.functional.linear(torch.ones(2, 3), torch.ones(4, 3)).dtype == torch.float32


@pytest.mark.parametrize(("name", "enabled"), [("float32", False), ("bfloat16", False), ("float16", True)])
def test_only_float16_is_scaled(name, enabled):
    assert precision.scaler(name, CPU).is_enabled() is enabled


def test_a_scaler_that_is_off_changes_nothing():
    scaler, w = precision.scaler("float32", CPU), torch.ones(3, requires_grad=True)
    opt = torch.optim.SGD([w], 0.5)
    scaler.scale((w * 2).sum()).backward()
    scaler.unscale_(opt)
    scaler.step(opt)
    scaler.update()
    assert w.tolist() == [0, 0, 0]
    assert scaler.state_dict() == {}


def test_float16_skips_a_step_that_overflows():
    scaler, w = precision.scaler("float16", CPU), torch.ones(3, requires_grad=True)
    opt = torch.optim.SGD([w], 0.5)
    scaler.scale((w * float("inf")).sum()).backward()
    scaler.step(opt)
    before = scaler.get_scale()
    scaler.update()
    assert w.tolist() == [1, 1, 1]
    assert scaler.get_scale() < before
