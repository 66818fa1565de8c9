"""train_model.py under SDK v3's ModelTrainer: its own channels, drivers and entry command, its own local mode.

The one thing that is ours is the container: instead of `docker compose up`, a private mount namespace in which the
volumes of the SDK's compose file lie where a container has them.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from contract.tiny import SETTINGS, SOURCE_DIR, assert_same_training, result, run_plain, write_images

pytest.importorskip(
    "sagemaker.train.model_trainer", reason="needs SDK v3: pip install -e '.[aws]'", exc_type=ImportError
)

UNSHARE = ["unshare", *([] if os.geteuid() == 0 else ["-r"]), "-m", "--pid", "--fork", "--kill-child", "--mount-proc"]
IMAGE = "thorax-test:latest"


def may_unshare() -> bool:
    """Whether this machine lets us mount in a namespace of our own."""
    try:
        return (
            subprocess.run(
                [*UNSHARE, "mount", "-t", "tmpfs", "tmpfs", "/opt"], capture_output=True, check=False
            ).returncode
            == 0
        )
    except FileNotFoundError:
        return False


pytestmark = pytest.mark.skipif(not may_unshare(), reason="unshare -m is not allowed here")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def plain(images: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run_plain(images, tmp_path_factory.mktemp("plain"), SETTINGS)


def container(compose_file: Path) -> str:
    """A shell script that does for the one service of a compose file what docker would."""
    (service,) = yaml.safe_load(compose_file.read_text())["services"].values()
    volumes = [tuple(volume.removesuffix(":z").split(":")) for volume in service["volumes"]]
    lines = [
        "set -e",
        "keep=$(mktemp -d)",
        "mount -t tmpfs tmpfs $keep",
        "mkdir $keep/opt $keep/volumes",
        "mount --rbind /opt $keep/opt",
    ]
    for i, (host, _) in enumerate(volumes):
        os.makedirs(host, exist_ok=True)
        lines.append(f"mkdir $keep/volumes/{i}; mount --rbind {shlex.quote(host)} $keep/volumes/{i}")
    lines.append("mount -t tmpfs tmpfs /opt")
    lines.append(
        'for d in $keep/opt/*/; do n=/opt/$(basename "$d"); [ $n = /opt/ml ] || { mkdir $n; mount --rbind "$d" $n; };'
        " done"
    )
    for i, (_, inside) in sorted(enumerate(volumes), key=lambda volume: len(volume[1][1])):  # parents first
        lines.append(f"mkdir -p {inside}; mount --rbind $keep/volumes/{i} {inside}")
    environment = [
        f"PATH={Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
        "HOME=/tmp",
        "LANG=C.UTF-8",
        *service["environment"],
    ]
    lines.append("cd /; exec env -i " + shlex.join([*environment, *service["entrypoint"]]))
    return "\n".join(lines)


@pytest.fixture
def train(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Trains with a real ModelTrainer in local mode; returns the folder of its artifacts."""
    from sagemaker.core.training.configs import Compute, InputData, SourceCode
    from sagemaker.train.local.local_container import _LocalContainer
    from sagemaker.train.model_trainer import Mode, ModelTrainer

    settings = tmp_path / "sdk.yaml"
    settings.write_text("{SchemaVersion: '1.0', SageMaker: {PythonSDK: {Modules: {TelemetryOptOut: true}}}}\n")
    for name, text in {
        "SAGEMAKER_USER_CONFIG_OVERRIDE": str(settings),
        "SAGEMAKER_VALIDATE_ROLE": "false",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "none",
        "AWS_SECRET_ACCESS_KEY": "none",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, text)
    root = tmp_path / "job"
    root.mkdir()
    monkeypatch.setattr(
        _LocalContainer,
        "_generate_compose_command",
        lambda self, wait: [*UNSHARE, "bash", "-c", container(root / "docker-compose.yaml")],
    )

    def run(hyperparameters: dict[str, Any], distributed: Any = None) -> Path:
        trainer = ModelTrainer(
            training_mode=Mode.LOCAL_CONTAINER,
            training_image=IMAGE,
            local_container_root=str(root),
            base_job_name="thorax",
            compute=Compute(instance_type="local_cpu", instance_count=1),
            hyperparameters=hyperparameters,
            distributed=distributed,
            source_code=SourceCode(source_dir=str(SOURCE_DIR), entry_script="train_model.py"),
            input_data_config=[
                InputData(channel_name=part, data_source=str(images / part)) for part in ("train", "test")
            ],
        )
        trainer.train(wait=True)
        return root / "artifacts"

    run.root = root  # type: ignore[attr-defined]
    return run


def found(artifacts: Path) -> dict[str, Any]:
    return result(artifacts / "model", artifacts / "output" / "data")


def test_same_result_in_the_drivers_dialect(train: Any, plain: dict[str, Any]) -> None:
    typed = {
        **SETTINGS,
        "epochs": 2,
        "learning_rate": 0.001,
        "seed": 3,
        "use_weighted_loss": True,
        "early_stopping": False,
        "num_classes": None,
        "image_shape": [1, 64, 64],
        "labels": ["NORMAL", "PNEUMONIA"],
    }
    typed["batch-size"] = int(typed.pop("batch_size"))
    ours = found(train(typed))
    assert ours["configuration"] == plain["configuration"] | {"labels": ["NORMAL", "PNEUMONIA"]}
    assert ours["metrics"] == plain["metrics"]
    assert ours["weights"] == plain["weights"]


def test_the_torchrun_driver_comes_to_the_same(train: Any, plain: dict[str, Any]) -> None:
    from sagemaker.train.distributed import Torchrun

    assert_same_training(found(train(dict(SETTINGS), Torchrun(process_count_per_node=2))), plain)


def test_a_users_mistake_keeps_its_exit_code_and_its_words(train: Any) -> None:
    with pytest.raises(RuntimeError, match=r"code: 1$"):
        train({"epochz": 3})
    failure = (train.root / "artifacts" / "output" / "failure").read_text()
    assert failure.startswith("unknown hyperparameter epochz; did you mean epochs?")
    assert failure.count("\n") == 1
    # ... by the start-up command that AWS is sent too, not by something of ours
    (service,) = yaml.safe_load((train.root / "docker-compose.yaml").read_text())["services"].values()
    assert service["entrypoint"][:2] == ["/bin/bash", "-c"]
    assert service["entrypoint"][2].endswith("/opt/ml/input/data/sm_drivers/sm_train.sh")
    assert {"/opt/ml/input/data/code", "/opt/ml/input/data/sm_drivers"} <= {
        volume.split(":")[1] for volume in service["volumes"]
    }
