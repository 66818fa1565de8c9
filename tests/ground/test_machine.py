"""What the machine has, and what is refused for it before torch is imported."""

import subprocess
import sys
from pathlib import Path

import pytest

from thorax.job import Job
from thorax.machine import free_cpus, may_have_gpu

SOURCE = Path(__file__).parents[2] / "source_dir"


@pytest.mark.parametrize(
    ("files", "want"),
    [
        ({"cpu.max": "max 100000"}, None),
        ({"cpu.max": "100000 100000"}, 1),
        ({"cpu.max": "50000 100000"}, 1),
        ({"cpu.max": "?"}, None),
        ({}, None),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 1),
    ],
)
def test_a_container_has_the_cpus_of_its_quota(tmp_path, files, want):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert free_cpus(tmp_path) == (want or free_cpus(tmp_path / "nothing"))


def test_a_job_has_the_cpus_that_are_free(monkeypatch):
    monkeypatch.setattr("thorax.job.free_cpus", lambda: 123)
    assert Job.from_environment({}, {}).cpus == 123


@pytest.mark.skipif(sys.platform != "linux", reason="device files are Linux's")
@pytest.mark.parametrize(
    ("file", "may"),
    [("nvidiactl", True), ("nvgpu", True), ("dxg", True), ("kfd", True), ("nvme0", False), (None, False)],
)
def test_a_gpu_is_told_by_its_device_file(tmp_path, file, may):
    if file:
        (tmp_path / file).touch()
    assert may_have_gpu(tmp_path) is may


@pytest.mark.skipif(may_have_gpu(), reason="a machine without a GPU refuses float16")
def test_float16_without_a_gpu_is_refused_before_torch_is_imported(tmp_path):
    program = (
        f"import sys; sys.path.insert(0, {str(SOURCE)!r}); sys.modules['torch'] = None; import train_model; "
        "sys.exit(train_model.main(['--train', 'x', '--model-dir', 'out', '--precision_dtype', 'float16']))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (
        1,
        "error: precision_dtype=float16 needs a GPU, but device=cpu; use precision_dtype=bfloat16, auto or float32\n",
    )
    assert (tmp_path / "out-job/output/failure").read_text() == done.stderr.removeprefix("error: ")
