"""Makes smdebug 1.0.34 importable beside current protobuf (4 to 7), numpy (2.3 and later) and Python (3.12 and later).

The last release of SageMaker Debugger's library is of 2023 and pins protobuf 3.20, which the training toolkit and wandb
do not allow. Installed with `pip install --no-deps smdebug==1.0.34` it works with what is patched here, in memory only:
its generated protobuf modules, `ndarray.tostring`, `distutils.util.strtobool`, and pyinstrument, which only its retired
profiler used.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from thorax.errors import ThoraxError

#: The last release.
RELEASE = "smdebug==1.0.34"
#: Set in a job that is to install it where it is missing.
WANTED = "THORAX_INSTALL_SMDEBUG"
PROTOCOL = "smdebug.core.tfevent.proto"


def fetch() -> None:
    """Installs smdebug into this Python, without its dependencies, from wheels/ beside the code where there are some.

    Raises:
        ThoraxError: pip's own reason.
    """
    wheels = Path(sys.argv[0]).resolve().parent / "wheels"
    words = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    words += ["--no-index", "--find-links", str(wheels)] if wheels.is_dir() else []
    try:
        done = subprocess.run([*words, RELEASE], capture_output=True, text=True, timeout=300, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ThoraxError(f"{RELEASE} cannot be installed: {error}") from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["pip gives no reason"]
        raise ThoraxError(f"{RELEASE} cannot be installed: {lines[-1].removeprefix('ERROR: ')}")
    importlib.invalidate_caches()


def install() -> None:
    """Makes smdebug importable; a second call does nothing.

    Raises:
        ThoraxError: smdebug is not installed.
    """
    if f"{PROTOCOL}.event_pb2" in sys.modules:
        return
    spec = importlib.util.find_spec("smdebug")
    if spec is None or spec.origin is None:
        raise ThoraxError("smdebug is not installed; run: pip install --no-deps smdebug==1.0.34")
    _substitute("distutils.util", strtobool=_strtobool)
    _substitute("pyinstrument.renderers", JSONRenderer=object)
    if not hasattr(sys.modules["pyinstrument"], "Profiler"):
        setattr(sys.modules["pyinstrument"], "Profiler", object)  # noqa: B010
    _rebuild_protocol(Path(spec.origin).parent.joinpath(*PROTOCOL.split(".")[1:]))
    _patch_numpy()


def _substitute(name: str, **content: Any) -> None:
    """A module of that name with this content, where it cannot be imported."""
    try:
        importlib.import_module(name)
        return
    except Exception:  # a C extension for another Python raises what it likes
        parent, child = name.split(".")
    modules = ModuleType(parent), ModuleType(name)
    modules[0].__path__ = []
    setattr(modules[0], child, modules[1])
    for key, value in content.items():
        setattr(modules[1], key, value)
    sys.modules.update({parent: modules[0], name: modules[1]})


def _strtobool(text: str) -> int:
    if text.lower() in ("y", "yes", "t", "true", "on", "1"):
        return 1
    if text.lower() in ("n", "no", "f", "false", "off", "0"):
        return 0
    raise ValueError(f"invalid truth value {text!r}")


def _rebuild_protocol(folder: Path) -> None:
    """Builds the modules that protoc 3 generated anew, from the serialized descriptors in their source."""
    from google.protobuf import descriptor_pb2, descriptor_pool
    from google.protobuf.internal import builder

    files = dict(_descriptors(file) for file in sorted(folder.glob("*_pb2.py")))
    package = importlib.import_module(PROTOCOL)
    built: set[str] = set()

    def build(name: str) -> None:
        if name in built:
            return
        built.add(name)
        module_name, serialized = files[name]
        for needed in descriptor_pb2.FileDescriptorProto.FromString(serialized).dependency:
            build(needed)
        descriptor = descriptor_pool.Default().AddSerializedFile(serialized)
        module = ModuleType(f"{PROTOCOL}.{module_name}")
        module.__dict__["DESCRIPTOR"] = descriptor
        builder.BuildMessageAndEnumDescriptors(descriptor, module.__dict__)
        builder.BuildTopDescriptorsAndMessages(descriptor, module.__name__, module.__dict__)
        sys.modules[module.__name__] = module
        setattr(package, module_name, module)

    for name in files:
        build(name)


def _descriptors(file: Path) -> tuple[str, tuple[str, bytes]]:
    """(name of the .proto, (module's name, serialized descriptor)); read from the source, which is not run."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "FileDescriptor":
            given = {keyword.arg: keyword.value for keyword in node.keywords}
            return ast.literal_eval(given["name"]), (file.stem, ast.literal_eval(given["serialized_pb"]))
    raise ThoraxError(f"{file} holds no protobuf descriptor; this is not smdebug 1.0.34")


def _patch_numpy() -> None:
    import numpy as np

    if hasattr(np.ndarray, "tostring"):
        return
    util, writer = (importlib.import_module(f"smdebug.core.{name}") for name in ("tfevent.util", "writer"))

    def make_tensor_proto(nparray_data: Any, tag: str) -> Any:
        numeric, dtype = util._get_proto_dtype(nparray_data.dtype)
        shape = util.TensorShapeProto(
            dim=[util.TensorShapeProto.Dim(size=size, name=f"{tag}_{size}") for size in nparray_data.shape]
        )
        if numeric:
            return util.TensorProto(dtype=dtype, tensor_content=nparray_data.tobytes(), tensor_shape=shape)
        text_tensor = util.TensorProto(tensor_shape=shape)
        text_tensor.string_val.extend(bytes(text, "utf-8") for text in nparray_data)
        return text_tensor

    setattr(util, "make_tensor_proto", make_tensor_proto)  # noqa: B010
    setattr(writer, "make_tensor_proto", make_tensor_proto)  # noqa: B010
