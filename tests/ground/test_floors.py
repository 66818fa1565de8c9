"""The floors of the package: imports only run down, and what a module must never do. Read from the source, not run."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "source_dir"

#: From the ground up. A module's part is the name below thorax/, or its own where it lies at the top of source_dir.
FLOORS = (
    {"thorax", "labels", "errors", "files", "tables", "machine", "job", "tracking", "registry", "console"},
    {"config", "data", "evaluation", "models"},
    {"training", "serving", "dataset"},
    {"run", "scoring", "command_line", "train_model", "inference", "deployment"},
)
FLOOR = {part: number for number, parts in enumerate(FLOORS) for part in parts}
#: Imported where they are used, with a message that says what to install.
OPTIONAL = {"wandb", "smdebug", "ray", "pydicom", "pyarrow", "boto3", "sagemaker_inference"}
#: They run code that a file holds.
UNPICKLERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}


def module_name(file):
    parts = file.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {
    module_name(file): ast.parse(file.read_text(encoding="utf-8"), str(file)) for file in sorted(SOURCE.rglob("*.py"))
}


def part(module):
    """thorax.data.images -> data; train_model -> train_model."""
    names = module.split(".")
    return names[1] if names[0] == "thorax" and len(names) > 1 else names[0]


def imported(tree, module="thorax.x", known=MODULES):
    """Dotted names of all modules that a module imports, at its top, in functions and for type checking."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = module.split(".")[: -node.level] if node.level else []
            base = ".".join([*package, *([node.module] if node.module else [])])
            names |= {f"{base}.{alias.name}" if f"{base}.{alias.name}" in known else base for alias in node.names}
    return names


def ours(names):
    return {name for name in names if name in MODULES or name.split(".")[0] == "thorax"}


def wrong_imports(module, names):
    """What a module imports from a floor above its own, or across between training and serving."""
    here = part(module)
    up = {name for name in names if FLOOR[part(name)] > FLOOR[here]}
    across = {name for name in names if {here, part(name)} == {"training", "serving"}}
    return up | across


def environment_uses(tree):
    """Lines that read or set the process's environment."""
    names = {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"}
    lines = {
        n.lineno
        for n in ast.walk(tree)
        if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name) and n.value.id == "os" and n.attr in names
    }
    return lines | {
        n.lineno
        for n in ast.walk(tree)
        if isinstance(n, ast.ImportFrom) and n.module == "os" and names & {a.name for a in n.names}
    }


def loads(tree):
    """Every call of torch.load, under whatever name -> whether it has weights_only=True."""
    from_torch = {
        (a.asname or a.name): a.name
        for n in ast.walk(tree)
        if isinstance(n, ast.ImportFrom) and n.module == "torch"
        for a in n.names
    }
    torches = {
        a.asname or a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names if a.name == "torch"
    }
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        f = node.func
        whole = (
            isinstance(f, ast.Attribute)
            and f.attr == "load"
            and isinstance(f.value, ast.Name)
            and f.value.id in torches
        )
        if whole or (isinstance(f, ast.Name) and from_torch.get(f.id) == "load"):
            found.append(
                any(
                    k.arg == "weights_only" and isinstance(k.value, ast.Constant) and k.value.value is True
                    for k in node.keywords
                )
            )
    return found


def at_the_top(tree):
    """Packages that importing the module imports: outside functions, also in try and if (but not TYPE_CHECKING)."""
    names = set()
    waiting = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
        waiting += ast.iter_child_nodes(node)
    return names


# -- The package -------------------------------------------------------------------------------------------------------


def test_there_is_something_to_read():
    assert {"train_model", "inference", "thorax.job", "thorax.training.trainer", "thorax.serving.bundle"} <= set(
        MODULES
    )


@pytest.mark.parametrize("module", MODULES)
def test_every_module_has_its_floor(module):
    assert part(module) in FLOOR, f"say in FLOORS of {Path(__file__).name} and in the design on which floor {module} is"


@pytest.mark.parametrize("module", MODULES)
def test_imports_only_run_down(module):
    assert wrong_imports(module, ours(imported(MODULES[module], module))) == set()


@pytest.mark.parametrize("module", MODULES)
def test_what_is_imported_of_ours_is_there(module):
    missing = {name for name in ours(imported(MODULES[module], module)) if name not in MODULES}
    assert missing == set()


@pytest.mark.parametrize("module", MODULES)
def test_the_container_knows_nothing_of_the_launchers(module):
    assert "thorax_launch" not in {name.split(".")[0] for name in imported(MODULES[module], module)}


@pytest.mark.parametrize("module", MODULES)
def test_the_job_alone_reads_the_environment(module):
    assert module == "thorax.job" or environment_uses(MODULES[module]) == set()


def test_the_job_does_read_it():
    assert environment_uses(MODULES["thorax.job"])


@pytest.mark.parametrize("module", MODULES)
def test_files_are_loaded_as_weights_only_and_nothing_is_unpickled(module):
    assert all(loads(MODULES[module]))
    assert {name.split(".")[0] for name in imported(MODULES[module], module)} & UNPICKLERS == set()


def test_the_package_does_load_files():
    assert sum(len(loads(tree)) for tree in MODULES.values()) >= 2


@pytest.mark.parametrize("module", MODULES)
def test_optional_packages_are_imported_where_they_are_used(module):
    assert at_the_top(MODULES[module]) & OPTIONAL <= (
        {"ray"} if module == "deployment" else set()
    )  # Ray alone imports that one


@pytest.mark.parametrize(
    "module", [m for m in MODULES if part(m) in ("config", "command_line", "job", "errors", "labels", "train_model")]
)
def test_a_mistake_in_a_hyperparameter_is_told_before_torch_is_imported(module):
    assert at_the_top(MODULES[module]) <= {"thorax", *sys.stdlib_module_names}


# -- The readers above, on sources that break each rule
# ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "source", "wrong"),
    [
        ("thorax.labels", "from thorax.config import TrainingConfig", {"thorax.config"}),
        ("thorax.data.images", "import thorax.training.losses", {"thorax.training.losses"}),
        ("thorax.data.images", "def f():\n    from thorax import run", {"thorax.run"}),
        ("thorax.training.losses", "from thorax.serving import bundle", {"thorax.serving.bundle"}),
        ("thorax.serving.bundle", "from thorax.training.trainer import Trainer", {"thorax.training.trainer"}),
        ("thorax.training.losses", "from ..serving.bundle import load", {"thorax.serving.bundle"}),
        ("thorax.training.losses", "from .. import command_line", {"thorax.command_line"}),
        ("thorax.run", "import train_model", set()),
        (
            "thorax.training.losses",
            "from thorax.training.precision import scaler\nfrom thorax.errors import ThoraxError\nimport torch",
            set(),
        ),
    ],
)
def test_an_import_that_runs_up_or_across_is_seen(module, source, wrong):
    assert wrong_imports(module, ours(imported(ast.parse(source), module))) == wrong


@pytest.mark.parametrize(
    "source",
    ["import os\nos.environ['A']", "os.getenv('A')", "from os import environ", "from os import path, getenv as g"],
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
        ("from smdebug.pytorch import Hook", {"smdebug"}),
        ("def f():\n    import wandb", set()),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import wandb", {"typing"}),
    ],
)
def test_an_import_at_the_top_is_seen(source, found):
    assert at_the_top(ast.parse(source)) == found
