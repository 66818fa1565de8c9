"""One job's folder, laid out as a training container's /opt/ml."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from thorax.errors import ThoraxError
from thorax.files import write_whole
from thorax_launch.local.processes import of_job

#: SageMaker's pattern for the names of training jobs.
NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")
HOST = "algo-1"
#: Folder beside the jobs' that holds synthetic images; no job may have its name.
SYNTHETIC = "synthetic"


@dataclass(frozen=True)
class JobDirectory:
    """Folders and files of one local job.

    Attributes:
        base: absolute; stands for /opt/ml.
    """

    base: Path

    @classmethod
    def named(cls, runs: Path, name: str) -> JobDirectory:
        """The folder of job `name` below `runs`; it need not exist yet.

        Raises:
            ThoraxError: SageMaker would refuse the name, or the folder holds something that is not a job.
        """
        place = Path(name)
        if len(place.parts) > 1 and place.parent.absolute() == runs.absolute():  # runs/NAME
            name = place.name
        if not NAME.fullmatch(name):
            raise ThoraxError(
                f"--job-name {name} must be 1 to 63 letters, digits and hyphens, no hyphen first or last, as SageMaker"
                " asks"
            )
        if name == SYNTHETIC:
            raise ThoraxError(f"--job-name {name} is taken: the synthetic images are there; choose another name")
        job = cls(runs.absolute() / name)
        if job.base.exists() and not job.exists and (not job.base.is_dir() or any(job.base.iterdir())):
            raise ThoraxError(f"--job-name {name}: {job.base} exists and is not a job's folder; choose another name")
        return job

    @property
    def exists(self) -> bool:
        """Whether a job was laid out here before."""
        return (self.config / "hyperparameters.json").is_file()

    @property
    def config(self) -> Path:
        return self.base / "input" / "config"

    @property
    def bundle(self) -> Path:
        return self.base / "model"

    @property
    def data(self) -> Path:
        """Report, metrics and history."""
        return self.base / "output" / "data"

    @property
    def checkpoints(self) -> Path:
        return self.base / "checkpoints"

    @property
    def log(self) -> Path:
        return self.base / "output" / "train.log"

    @property
    def failure(self) -> Path:
        return self.base / "output" / "failure"

    @property
    def progress(self) -> Path:
        """How far the run is, for a bar; only while it runs under a terminal."""
        return self.base / "output" / ".progress.json"

    @property
    def recipe(self) -> Path:
        """The recipe's name."""
        return self.base / "input" / "recipe"

    @property
    def finished(self) -> bool:
        """Whether a run came to its end here."""
        return (self.bundle / "bundle.json").is_file() and (self.data / "metrics.json").is_file()

    @property
    def hyperparameters(self) -> dict[str, str]:
        """Those that the job was last laid out with, the platform's own left out; empty where they cannot be read."""
        try:
            stored = json.loads((self.config / "hyperparameters.json").read_text(encoding="utf-8"))
            values = {name: json.loads(text) for name, text in stored.items() if not name.startswith("sagemaker_")}
        except (OSError, ValueError, RecursionError, TypeError, AttributeError):
            return {}
        return {name: str(value) for name, value in values.items()}

    def keep(self) -> Callable[[], None]:
        """Remembers what `lay_out` changes; calling the result puts it back."""
        success = self.failure.with_name("success")
        files = [*self.config.glob("*.json"), *([success] if success.is_file() else [])]
        texts = {path: path.read_bytes() for path in files}
        data = self.base / "input" / "data"
        links = {path: path.readlink() for path in sorted(data.rglob("*")) if path.is_symlink()}

        def put_back() -> None:
            for path, text in texts.items():
                path.write_bytes(text)
            for old in data.iterdir():
                shutil.rmtree(old) if old.is_dir() and not old.is_symlink() else old.unlink()
            for path, target in links.items():
                path.parent.mkdir(exist_ok=True)
                path.symlink_to(target)
            self.failure.unlink(missing_ok=True)

        return put_back

    def lay_out(
        self,
        hyperparameters: Mapping[str, str],
        channels: Mapping[str, Path],
        *,
        source_dir: Path,
        program: str,
        processes: int = 1,
    ) -> None:
        """Makes the folders and the three files that SageMaker puts into input/config.

        What an earlier run of the job left in model, output and checkpoints stays, except output/failure and
        output/success.

        Args:
            hyperparameters: name -> text; each arrives at the program as just that text.
            channels: name -> folder, or a file, which becomes a channel of one file.
            source_dir: code to copy to code/ and run there.
            program: file in source_dir to run.
            processes: more than 1 starts that many under torchrun.

        Raises:
            ThoraxError: the job is running already, or the folder cannot be written.
        """
        if running := of_job(str(self.base)):
            raise ThoraxError(
                f"job {self.base.name} is still running (process {running[0].pid}); wait for it or choose another"
                " --job-name"
            )
        try:
            for folder in (self.config, self.base / "input" / "data", self.bundle, self.data, self.checkpoints):
                folder.mkdir(parents=True, exist_ok=True)
            for stale in (self.failure, self.failure.with_name("success"), self.progress):
                stale.unlink(missing_ok=True)
            # The toolkit copies source_dir only where there is no code yet.
            shutil.rmtree(self.base / "code", ignore_errors=True)
            self._link_channels(channels)
            self._write("inputdataconfig", {name: dict(_CHANNEL) for name in channels})
            self._write("resourceconfig", _RESOURCES)
            started = _start(self.base.name, source_dir, program, processes)
            self._write(
                "hyperparameters", {name: json.dumps(value) for name, value in {**hyperparameters, **started}.items()}
            )
        except OSError as error:
            raise ThoraxError(f"--runs: {error.filename or self.base} cannot be written: {error.strerror}") from None

    def _link_channels(self, channels: Mapping[str, Path]) -> None:
        data = self.base / "input" / "data"
        for old in data.iterdir():
            shutil.rmtree(old) if old.is_dir() and not old.is_symlink() else old.unlink()
        for name, path in channels.items():
            link = data / name
            if path.is_file():
                link.mkdir()
                link /= path.name
            link.symlink_to(path.resolve())

    def _write(self, name: str, content: object) -> None:
        write_whole(f"{json.dumps(content, indent=1)}\n".encode(), self.config / f"{name}.json", "job's description")


_CHANNEL = {"TrainingInputMode": "File", "S3DistributionType": "FullyReplicated", "RecordWrapperType": "None"}
_RESOURCES = {
    "current_host": HOST,
    "hosts": [HOST],
    "current_instance_type": "local",
    "current_group_name": "homogeneousCluster",
    "instance_groups": [{"instance_group_name": "homogeneousCluster", "instance_type": "local", "hosts": [HOST]}],
    "network_interface_name": "lo0" if sys.platform == "darwin" else "lo",
}


def _start(job_name: str, source_dir: Path, program: str, processes: int) -> dict[str, object]:
    """The platform's own hyperparameters: what to run and how."""
    start: dict[str, object] = {
        "sagemaker_program": program,
        "sagemaker_submit_directory": str(source_dir.resolve()),
        "sagemaker_container_log_level": 30,  # warnings: else 200 lines of environment come first
        "sagemaker_job_name": job_name,
    }
    if processes > 1:
        start |= {"sagemaker_torch_distributed_enabled": True, "sagemaker_mpi_num_of_processes_per_host": processes}
    return start
