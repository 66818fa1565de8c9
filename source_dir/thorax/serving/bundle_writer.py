"""Writes a bundle, whole or not at all."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from thorax.errors import ThoraxError
from thorax.files import source_file, write_whole
from thorax.models.bundle_weights import OLD_WEIGHTS, WEIGHTS
from thorax.serving.bundle import CODE, RAY, SPLIT
from thorax.serving.bundle_contents import BundleContents
from thorax.serving.bundle_hashes import hashes_of
from thorax.serving.bundle_place import DESCRIPTION
from thorax.serving.engines.engine_files import FOLDER

STAGE = ".partial"
#: What of source_dir travels with a bundle: the serving entry points and the package without the trainer.
_SERVING = ("inference.py", "deployment.py", "thorax")
_LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc", "training", "optimize", "_source")
#: Replicas and their share of CPUs and GPUs are settings (THORAX_REPLICAS ...), see serving/settings.py.
RAY_CONFIG = b"""applications:
  - name: thorax
    route_prefix: /
    import_path: deployment:app
"""


def check_folder(folder: Path) -> None:
    """Refuses a folder in which a bundle would overwrite files that are not a bundle's, before hours are spent.

    Raises:
        ThoraxError: it has such files.
    """
    if (folder / DESCRIPTION).exists() or (folder / STAGE).exists():
        return
    if taken := [name for name in (WEIGHTS, OLD_WEIGHTS, SPLIT, CODE, RAY) if (folder / name).exists()]:
        raise ThoraxError(
            f"--model-dir {folder} holds {', '.join(taken)} but is no bundle, and they would be overwritten; choose"
            " another folder"
        )


def write_bundle(
    folder: Path, net: nn.Module, contents: BundleContents, split_table: str, source_dir: Path | None = None
) -> None:
    """Writes a bundle: everything into a hidden folder first, bundle.json last of all.

    Args:
        folder: where it goes; an older bundle there is replaced.
        net: whose weights are stored.
        contents: what bundle.json says.
        split_table: split.csv, the id, patient and part of every image.
        source_dir: where inference.py, deployment.py and the package lie; default: where `source_file` finds them.

    Raises:
        ThoraxError: the folder cannot be written or the disk is full; then there is no bundle.json.
    """
    stage = folder / STAGE
    try:
        shutil.rmtree(stage, ignore_errors=True)
        stage.mkdir(parents=True)
        write_whole(_as_safetensors(net), stage / WEIGHTS, "bundle")
        write_whole(split_table.encode(), stage / SPLIT, "bundle")
        write_whole(RAY_CONFIG, stage / RAY, "bundle")
        (stage / CODE).mkdir()
        copy_code(stage / CODE, source_dir)
        if (spec := getattr(net, "spec", None)) is not None and spec.requirement:
            write_whole(f"{spec.requirement}\n".encode(), stage / CODE / "requirements.txt", "bundle")
        shutil.rmtree(folder / FOLDER, ignore_errors=True)  # of the weights before
        for name in (DESCRIPTION, OLD_WEIGHTS):
            (folder / name).unlink(missing_ok=True)
        shutil.rmtree(folder / CODE, ignore_errors=True)
        for part in (WEIGHTS, SPLIT, RAY, CODE):
            (stage / part).replace(folder / part)
        contents = replace(contents, files=hashes_of(folder, (WEIGHTS, SPLIT, RAY, CODE)))
        write_whole(json.dumps(contents.to_dict(), indent=1).encode(), folder / DESCRIPTION, "bundle")
    except (OSError, shutil.Error) as error:
        raise ThoraxError(
            f"the bundle cannot be saved in {folder}: {error.strerror or error}; free some space or make it writable"
        ) from None
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _as_safetensors(net: nn.Module) -> bytes:
    """The file's bytes: the same for the same weights. Tied tensors are stored under each of their names."""
    from safetensors.torch import save

    state = {key: value.detach().cpu() for key, value in net.state_dict().items()}
    # More metadata than one entry would stand in another order each time.
    return save(
        {key: value.clone(memory_format=torch.contiguous_format) for key, value in state.items()}, {"format": "pt"}
    )


def copy_code(target: Path, source_dir: Path | None = None) -> None:
    """Puts the serving code into an existing folder, in place of what is there under its names.

    Args:
        target: code/ of a bundle.
        source_dir: where it lies; default: where `source_file` finds it.
    """
    for name in _SERVING:
        source = source_dir / name if source_dir else source_file(name)
        if source.is_dir():
            shutil.rmtree(target / name, ignore_errors=True)
            shutil.copytree(source, target / name, ignore=_LEFT_OUT)
        else:
            shutil.copyfile(source, target / name)
