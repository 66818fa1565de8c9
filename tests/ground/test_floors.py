"""What a module must never do: import upwards, read the environment, unpickle, import an optional package early."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from conftest import ROOT, clean_environment

SOURCE = ROOT / "source_dir"
#: Imported where they are used, with a message that says what to install.
OPTIONAL = {"wandb", "smdebug", "ray", "pydicom", "pyarrow", "boto3", "sagemaker_inference"}
#: They run code that a file holds.
UNPICKLERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
ENVIRONMENT = {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"}


def trees():
    return {file.relative_to(SOURCE).as_posix(): ast.parse(file.read_text()) for file in sorted(SOURCE.rglob("*.py"))}


def environment_uses(tree):
    """Lines that read or set the process's environment."""
    by_attribute = {n.lineno for n in ast.walk(tree) if isinstance(n, ast.Attribute) and n.attr in ENVIRONMENT}
    by_name = {
        n.lineno
        for n in ast.walk(tree)
        if isinstance(n, ast.ImportFrom) and n.module == "os" and ENVIRONMENT & {a.name for a in n.names}
    }
    return by_attribute | by_name


def loads(tree):
    """Whether each call of torch.load, under whatever name, has weights_only=True."""
    named = {
        a.asname or a.name
        for n in ast.walk(tree)
        if isinstance(n, ast.ImportFrom) and n.module == "torch"
        for a in n.names
        if a.name == "load"
    }
    torches = {
        a.asname or a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names if a.name == "torch"
    }
    found = []
    for node in ast.walk(tree):
        f = getattr(node, "func", None)
        attribute = isinstance(f, ast.Attribute) and f.attr == "load" and getattr(f.value, "id", "") in torches
        if attribute or (isinstance(f, ast.Name) and f.id in named):
            safe = [k for k in node.keywords if k.arg == "weights_only"]
            found.append(bool(safe) and getattr(safe[0].value, "value", None) is True)
    return found


def imported(tree, everywhere=True):
    """Names of the packages that a module imports; else only those outside functions and TYPE_CHECKING."""
    names, waiting = set(), [tree]
    while waiting:
        node = waiting.pop()
        if not everywhere and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if not everywhere and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
        waiting += ast.iter_child_nodes(node)
    return names


def test_imports_only_run_down():
    """The contracts of .importlinter, for both packages."""
    paths = f"{SOURCE}:{ROOT / 'launch'}"
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=120, env=clean_environment(PYTHONPATH=paths)
    )
    assert done.returncode == 0 and "4 kept, 0 broken" in done.stdout, done.stdout + done.stderr


def test_the_job_alone_reads_the_environment():
    assert {name for name, tree in trees().items() if environment_uses(tree)} == {"thorax/job.py"}


def test_files_are_loaded_as_weights_only_and_nothing_is_unpickled():
    found = trees()
    calls = [call for tree in found.values() for call in loads(tree)]
    assert len(calls) >= 2 and all(calls)
    assert not {name for name, tree in found.items() if imported(tree) & UNPICKLERS}


def test_optional_packages_are_imported_where_they_are_used():
    early = {name: imported(tree, everywhere=False) & OPTIONAL for name, tree in trees().items()}
    assert {name: packages for name, packages in early.items() if packages} == {
        "thorax/serving/ray_app.py": {"ray"}  # Ray alone imports that module
    }


def test_a_mistake_in_a_hyperparameter_is_reported_before_torch_is_imported():
    code = (
        f"import sys; sys.path.insert(0, {str(SOURCE)!r}); import train_model\n"
        "from thorax.config import TrainingConfig\n"
        "TrainingConfig.parse({'network': 'resnet18'})\n"
        "print({'torch', 'numpy', 'PIL', 'torchvision'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "set()\n", done.stdout + done.stderr


# -- The readers above, on sources that break each rule ----------------------------------------------------------------


@pytest.mark.parametrize(
    "source", ["import os\nos.environ['A']", "import os\nos.getenv('A')", "from os import path, getenv as g"]
)
def test_a_look_at_the_environment_is_seen(source):
    assert environment_uses(ast.parse(source))


@pytest.mark.parametrize(
    ("source", "safe"),
    [
        ("import torch\ntorch.load(f)", [False]),
        ("import torch\ntorch.load(f, weights_only=False)", [False]),
        ("import torch as t\nt.load(f, weights_only=w)", [False]),
        ("from torch import load as l\nl(f)", [False]),
        ("import torch\ntorch.load(f, weights_only=True)", [True]),
        ("import json\njson.load(f)", []),
    ],
)
def test_an_unsafe_load_is_seen(source, safe):
    assert loads(ast.parse(source)) == safe


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import wandb", {"wandb"}),
        ("try:\n    import ray.serve\nexcept ImportError:\n    pass", {"ray"}),
        ("class A:\n    import pydicom", {"pydicom"}),
        ("def f():\n    import wandb", set()),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import wandb", {"typing"}),
    ],
)
def test_an_import_at_the_top_is_seen(source, found):
    assert imported(ast.parse(source), everywhere=False) == found
