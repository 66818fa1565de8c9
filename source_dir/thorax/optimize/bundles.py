"""A bundle gets an optimized network: int8 where its answers stay, else float32, as files beside its weights.

read -> convert -> quantise -> compare -> (sensitive layers back to float32 -> compare) -> write
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from thorax.data.out_of_distribution import OutOfDistributionDetector
from thorax.errors import ThoraxError
from thorax.files import digest_of, write_whole
from thorax.models.registry import spec_of
from thorax.optimize.acceptance import Figures
from thorax.optimize.examples import Examples
from thorax.optimize.quantization import check_installed, layers_by_harm, quantized
from thorax.serving.bundle import CODE, Bundle
from thorax.serving.bundle_hashes import FILES, hashes_of, sealed
from thorax.serving.bundle_place import DESCRIPTION
from thorax.serving.bundle_writer import copy_code
from thorax.serving.engines.choice import images_per_second
from thorax.serving.engines.engine import EngineRequest
from thorax.serving.engines.engine_files import FOLDER, EngineFiles
from thorax.serving.engines.openvino_engine import OpenVinoEngine, converted
from thorax.serving.engines.torch_engine import TorchEngine, candidates
from thorax.serving.reference_images import reference_images
from thorax.serving.s3_bundle import is_address

#: Layers that go back to float32, one try after the other; at most half of them.
FLOAT_LAYERS = (0, 1, 2, 4, 8, 16)
#: Calibration images that the layers are ranked on.
RANKED_ON = 24
#: The converted network in float32 may differ from torch's by this.
CONVERSION = 1e-3
#: What the serving image installs; see docs/hosting.md.
REQUIREMENT = "openvino>=2025.2,<2027\n"


@dataclass(frozen=True)
class OptimizedBundle:
    """What was written into a bundle.

    Attributes:
        folder: of the bundle.
        files: the network's files, as bundle.json lists them.
        rates: images per second on one thread of this machine: torch float32's and the new one's.
    """

    folder: Path
    files: EngineFiles
    rates: dict[str, float]

    def table(self) -> str:
        """Precision, figures and speed as plain text."""
        figures, rates = self.files.figures, list(self.rates.items())
        lines = [f"{'precision':22} {self.files.precision}"]
        for name, text in figures.items():
            shown = "; ".join(text) if isinstance(text, list) else f"{text:.4f}" if isinstance(text, float) else text
            lines.append(f"{name.replace('_', ' '):22} {shown}")
        if self.files.float_layers:
            lines.append(f"{'layers in float32':22} {len(self.files.float_layers)}")
        lines += [f"{name:22} {rate:.1f} images/s" for name, rate in rates]
        lines.append(f"{'faster':22} {rates[1][1] / rates[0][1]:.1f} times")
        return "\n".join(lines)


def optimize_bundle(
    bundle: str | Path,
    data: str | Path | None = None,
    *,
    data_format: str = "auto",
    labels: Sequence[str] = (),
    wheels: str | Path | None = None,
    say: Callable[[str], None] = print,
) -> OptimizedBundle:
    """Writes OpenVINO's files into a bundle: int8 with `data`, where its answers stay the same, else float32.

    Args:
        bundle: the model folder of a finished job, or the job's folder.
        data: labelled images that the bundle was not trained on, in any format of training; a third of them calibrates
            the network, the others decide whether it is accepted.
        data_format: of `data`; auto looks at it.
        labels: names of its numbered labels, in order.
        wheels: folder of OpenVINO's wheels that go into the bundle, for an endpoint without a network.
        say: gets a line for each step.

    Raises:
        ThoraxError: a package is missing, no bundle, a mistake in the images, or the folder cannot be written.
    """
    from thorax.scoring.evaluation import load_bundle
    from thorax.scoring.labelled_images import read_labelled
    from thorax.scoring.options import EvaluationOptions

    if is_address(bundle) or Path(bundle).is_file():
        raise ThoraxError(f"{bundle} is an archive: unpack it, and give the folder, into which is written")
    loaded = load_bundle(bundle)
    if loaded.members:
        raise ThoraxError(
            f"{loaded.folder} is an ensemble: optimize each bundle that it is made of, then make it anew with"
            " `thorax ensemble`; members take their int8 network along"
        )
    check_installed("thorax optimize")
    examples = None
    if data is not None:
        options = EvaluationOptions(data_format=data_format, labels=labels)
        found = read_labelled(Path(data), loaded, options)
        examples = Examples.read(loaded.preprocessing, found.sources, found.targets, found.patients)
    return optimize(loaded, examples, Path(wheels) if wheels else None, say)


def optimize(
    bundle: Bundle, examples: Examples | None, wheels: Path | None = None, say: Callable[[str], None] = print
) -> OptimizedBundle:
    """As optimize_bundle, of images that are prepared; without them the network stays in float32."""
    model = converted(bundle)
    network = _Network(bundle)
    exact = network.engine(model, "float32")
    plain = candidates(bundle, EngineRequest(precision="float32"))["float32"]()
    assert isinstance(plain, TorchEngine)
    if not network.difference(exact, plain) <= CONVERSION:
        raise ThoraxError(
            f"OpenVINO's {bundle.network} answers otherwise than torch's, by {network.difference(exact, plain):.4f};"
            " the bundle stays as it was"
        )
    chosen, engine = model, exact
    figures: dict[str, Any] = {}
    layers: tuple[str, ...] = ()
    if examples is not None:
        found, figures, layers = _quantize(model, network, examples, exact, say)
        if found is not None:
            chosen, engine = found, network.engine(found, "int8")
    files = _write(bundle, chosen, network.files(engine, figures, layers), wheels)
    rates = images_per_second({"torch float32": plain, f"openvino {engine.precision}": engine}, network.references)
    return OptimizedBundle(bundle.folder, files, rates)


def _quantize(
    model: Any, network: _Network, examples: Examples, exact: OpenVinoEngine, say: Callable[[str], None]
) -> tuple[Any | None, dict[str, Any], tuple[str, ...]]:
    """The first quantised model that is accepted (None: none is), its figures, and its layers in float32."""
    space = network.bundle.space
    thresholds = np.array([network.bundle.thresholds.get(name, 0.5) for name in space.outputs])
    wanted = network.answers(exact, examples.images)
    x = network.bundle.preprocessing.array(examples.calibration)
    say(f"calibrating on {len(x)} images, comparing on {len(wanted)} others")
    ranked: list[str] = []
    figures: dict[str, Any] = {}
    for count in FLOAT_LAYERS:
        if count > len(ranked) // 2:
            break
        layers = tuple(ranked[:count])
        int8 = quantized(model, x, layers)
        measured = Figures.of(
            examples.targets, wanted, network.answers(network.engine(int8, "int8"), examples.images), space, thresholds
        )
        problems = measured.problems()
        kept = f" with {count} of {len(ranked)} layers in float32" if count else ""
        say(f"int8{kept}: {measured}: {'not accepted: ' + '; '.join(problems) if problems else 'accepted'}")
        figures = measured.to_dict()
        if not problems:
            return int8, figures, layers
        figures["not_accepted"] = problems
        ranked = ranked or layers_by_harm(model, int8, x[:RANKED_ON])
    return None, figures, ()


class _Network:
    """Engines and answers of one bundle."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        detector = OutOfDistributionDetector.from_dict(bundle.typical_images)
        self.references = reference_images(bundle.preprocessing, detector)

    def engine(self, model: Any, precision: str) -> OpenVinoEngine:
        return OpenVinoEngine(model, self.bundle.preprocessing, precision, EngineRequest(batch=4))

    def answers(self, engine: Any, images: np.ndarray) -> np.ndarray:
        """(N, L) float32 probabilities."""
        logits = np.concatenate([engine.logits(images[k : k + 32]) for k in range(0, len(images), 32)])
        return self.bundle.calibrator.probabilities(logits, self.bundle.space.task)

    def difference(self, one: Any, other: Any) -> float:
        """The largest of a probability on the reference images."""
        return float(np.abs(self.answers(one, self.references) - self.answers(other, self.references)).max())

    def files(self, engine: OpenVinoEngine, figures: dict[str, Any], layers: tuple[str, ...]) -> EngineFiles:
        """What bundle.json says of it; files and their hashes are filled in when they are written."""
        return EngineFiles(
            name=engine.name,
            precision=engine.precision,
            files={},
            weights=self.bundle.version,
            expected=self.answers(engine, self.references).tolist(),
            figures=figures,
            float_layers=layers,
        )


def _write(bundle: Bundle, model: Any, files: EngineFiles, wheels: Path | None) -> EngineFiles:
    """Writes the network's files, then bundle.json; a former network goes.

    Raises:
        ThoraxError: the folder cannot be written or the disk is full; the bundle then serves as before.
    """
    import openvino

    folder, code = bundle.folder / FOLDER, bundle.folder / CODE
    stage = bundle.folder / f".{FOLDER}.partial"
    name = f"{files.name}-{files.precision}"
    found = sorted(wheels.glob("*.whl")) if wheels else []
    if wheels and not found:
        raise ThoraxError(f"--wheels {wheels} holds no .whl files; fill it: pip download openvino -d {wheels}")
    try:
        shutil.rmtree(stage, ignore_errors=True)
        stage.mkdir()
        openvino.save_model(model, stage / f"{name}.xml", compress_to_fp16=False)
        hashes = {f"{FOLDER}/{file.name}": digest_of(file) for file in sorted(stage.iterdir())}
        if code.is_dir():
            if not (code / "thorax" / "serving" / "engines").is_dir():  # a bundle of before there were engines
                copy_code(code)
            offline = "--no-index\n--find-links wheels\n" if found else ""
            needs = spec_of(bundle.network).requirement
            own = f"{needs}\n" if needs else ""
            write_whole((offline + REQUIREMENT + own).encode(), code / "requirements.txt", "bundle")
            for wheel in found:
                (code / "wheels").mkdir(exist_ok=True)
                shutil.copyfile(wheel, code / "wheels" / wheel.name)
        shutil.rmtree(folder, ignore_errors=True)
        stage.replace(folder)
        files = replace(files, files=hashes)
        stored = json.loads((bundle.folder / DESCRIPTION).read_text(encoding="utf-8")) | {"engine": files.to_dict()}
        if bundle.files:
            stored = sealed({**stored, FILES: bundle.files | hashes_of(bundle.folder, (CODE,))})
        write_whole(json.dumps(stored, indent=1).encode(), bundle.folder / DESCRIPTION, "bundle")
    except OSError as error:
        raise ThoraxError(f"{bundle.folder} cannot be written: {error.strerror or error}; free some space") from None
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    return files
