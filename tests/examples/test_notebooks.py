"""The notebooks of examples/ run to their end, and show what they say; they are committed without outputs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from conftest import ROOT
from hosting import tiny_bundle
from images import BINARY
from warm_python import PYTHON

NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
#: The same in small: what a person runs in a minute or two.
SMALL = {
    "quickstart.ipynb": {"images=200": "images=40", "epochs=6": "epochs=2"},
    "sagemaker.ipynb": {"images=80": "images=40"},
}
PATHS = [ROOT / "source_dir", ROOT / "launch", ROOT / "tests", ROOT / "tests" / "helpers"]


def executed(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, first: str = "") -> list[dict[str, Any]]:
    """The outputs of the notebook's cells in small, in order; `first` is run in the kernel before them."""
    for variable in [key for key in os.environ if key.startswith(("SM_", "SAGEMAKER_", "AWS_"))]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, PATHS)))
    monkeypatch.setenv("IPYTHONDIR", str(folder / "ipython"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = nbformat.read(ROOT / "examples" / name, as_version=4)
    for large, small in SMALL[name].items():
        (cell,) = (cell for cell in notebook.cells if large in cell.source)
        cell.source = cell.source.replace(large, small)
    if first:
        notebook.cells.insert(0, nbformat.v4.new_code_cell(first))
    # The kernel is this interpreter, whatever a kernelspec of the machine says.
    client = NotebookClient(
        notebook, timeout=280, startup_timeout=200, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    client.create_kernel_manager()
    client.km.kernel_cmd = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    client.execute()
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def printed(outputs: list[dict[str, Any]]) -> str:
    return "".join(output["text"] for output in outputs if output["output_type"] == "stream")


def shown(outputs: list[dict[str, Any]], kind: str) -> list[str]:
    return [output["data"][kind] for output in outputs if kind in output.get("data", {})]


def test_the_quick_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = executed("quickstart.ipynb", tmp_path, monkeypatch, f"import sys\nsys.executable = {PYTHON!r}")
    text = printed(outputs)
    assert "PNEUMONIA" in text and "http://127.0.0.1:" in text
    assert (tmp_path / "work/first/model/bundle.json").is_file()
    assert len(shown(outputs, "image/jpeg") + shown(outputs, "image/png")) == 3  # two images and a heat map
    report, bundle = shown(outputs, "text/html")
    assert "<iframe" in report and "<table" in bundle
    assert "'TrainingJobName': 'first'" in shown(outputs, "text/plain")[-1]


def test_sagemaker_on_moto(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = tiny_bundle(tmp_path / "model", BINARY)
    first = f"import aws_kernel\naccount = aws_kernel.start({str(tmp_path)!r}, {str(bundle)!r})"
    outputs = executed("sagemaker.ipynb", tmp_path, monkeypatch, first)
    text = printed(outputs)
    assert "chest-1 Completed" in text and "best: chest-search-001" in text
    assert "'predicted': 'PNEUMONIA'" in text
    assert "my-bucket/thorax/chest-1/output/model.tar.gz" in "".join(shown(outputs, "text/plain"))


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_outputs_are_not_committed(file: Path) -> None:
    cells = [cell for cell in nbformat.read(file, as_version=4).cells if cell.cell_type == "code"]
    assert cells and all(not cell.outputs and cell.execution_count is None for cell in cells)
