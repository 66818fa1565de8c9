"""Our reader of .safetensors against the package of that name, which wrote the files; and files made to hurt."""

from __future__ import annotations

import json
import random

import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save, save_file

from thorax.errors import ThoraxError
from thorax.models.safetensors_file import DTYPES, read_safetensors
from thorax.models.weights_file import read_weights

STATE = {
    "conv.weight": torch.arange(24.0).reshape(2, 3, 4),
    "half": torch.tensor([1.5, -2]).half(),
    "brain": torch.tensor([[1.5], [-2]]).bfloat16(),
    "count": torch.tensor(7),
    "flags": torch.tensor([True, False, True]),
    "byte": torch.tensor([255, 0, 3], dtype=torch.uint8),
    "none": torch.empty(0, 5),
    "näme": torch.tensor([1.0], dtype=torch.float64),
}


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
def test_every_type(dtype, tmp_path):
    value = torch.arange(3).to(torch.float32 if dtype.itemsize == 1 and dtype.is_floating_point else dtype).to(dtype)
    save_file({"x": value}, tmp_path / "w.safetensors")
    found = read_safetensors(tmp_path / "w.safetensors")[0]["x"]
    assert (
        found.dtype == dtype and found.tolist() == value.tolist() == load_file(tmp_path / "w.safetensors")["x"].tolist()
    )


def test_as_the_package_reads_it(tmp_path):
    save_file(STATE, tmp_path / "w.safetensors", metadata={"labels": '["a", "b"]', "x": "ü"})
    state, facts = read_safetensors(tmp_path / "w.safetensors")
    theirs = load_file(tmp_path / "w.safetensors")
    assert state.keys() == theirs.keys() == STATE.keys()
    for name, value in theirs.items():
        assert (state[name].dtype, state[name].shape) == (value.dtype, value.shape)
        assert torch.equal(state[name], value)
        state[name].view(-1)[:1] = 0  # writable
    assert facts == {"labels": '["a", "b"]', "x": "ü"}


def file_of(header: object, content: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    "content",
    [
        file_of({"a": ENTRY}, bytes(4)),
        file_of({"a": ENTRY}, bytes(12)),
        file_of({"a": {**ENTRY, "dtype": "F31"}}, bytes(8)),
        file_of({"a": {**ENTRY, "shape": [-2]}}, bytes(8)),
        file_of({"a": {**ENTRY, "shape": [2**62, 2**62]}}, bytes(8)),
        file_of({"a": {**ENTRY, "shape": "2"}}, bytes(8)),
        file_of({"a": {**ENTRY, "data_offsets": [8, 0]}}, bytes(8)),
        file_of({"a": {**ENTRY, "data_offsets": [-8, 0]}}, bytes(8)),
        file_of({"a": ENTRY, "b": ENTRY}, bytes(8)),  # both the same bytes
        file_of({"a": ENTRY, "b": {**ENTRY, "data_offsets": [16, 24]}}, bytes(24)),  # a hole
        file_of({"a": 7}, b""),
        file_of(b"{" * 100_000, b""),
        file_of(b'{"a": ', b""),
        (2**40).to_bytes(8, "little") + b"{}",
        (90_000_000).to_bytes(8, "little") + b"{}",
    ],
)
def test_what_is_damaged_is_refused_in_one_line(content, tmp_path):
    (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(ThoraxError) as caught:
        read_weights(tmp_path / "w.safetensors")
    assert "w.safetensors" in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 500
    with pytest.raises(SafetensorError):  # the package refuses it too
        safe_open(tmp_path / "w.safetensors", "pt")


def test_flipped_bytes_give_an_error_or_tensors_of_the_same_size(tmp_path):
    content = save(STATE)
    for seed in range(300):
        rng = random.Random(seed)
        flipped = bytearray(content)
        flipped[rng.randrange(int(len(content) * 0.9))] = rng.randrange(256)
        (tmp_path / "w.safetensors").write_bytes(flipped)
        try:
            state, _ = read_safetensors(tmp_path / "w.safetensors")
        except ValueError:
            continue
        assert sum(v.nbytes for v in state.values()) == sum(v.nbytes for v in STATE.values())
