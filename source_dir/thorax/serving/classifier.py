"""The classifier: a bundle, ready to score images. Every server, batch and page asks this one."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from thorax.data.images import DecodeError
from thorax.data.out_of_distribution import OutOfDistributionDetector
from thorax.errors import ThoraxError
from thorax.machine import cpu_has_bfloat16, free_cpus
from thorax.models import fuse_batchnorm, heat_maps
from thorax.serving import served
from thorax.serving.arrays import as_png, overlay
from thorax.serving.bundle import WEIGHTS, Bundle

#: An image: a path, the bytes of a file, or grey values as `arrays.as_png` takes them.
Image = Path | bytes | np.ndarray
PRECISIONS = ("auto", "float32", "bfloat16")


@dataclass(frozen=True)
class HeatMap:
    """Where in an image the network saw a label.

    Attributes:
        label: the label.
        map: (height, width) float32 in 0..1, of the prepared image's size.
        image: (height, width) uint8, the prepared image below it.
    """

    label: str
    map: np.ndarray
    image: np.ndarray

    @property
    def png(self) -> bytes:
        """The map laid in colour over the image, as the bytes of a PNG."""
        return overlay(self.image, self.map)


class Classifier:
    """Scores images with a bundle's network, prepared as in training. Any number of threads may ask it at once.

    Args:
        bundle: what to serve.
        device: default: a GPU if there is one.
        precision: auto (bfloat16 where the machine has it and no probability moves by more than 0.01), float32 or
            bfloat16.
        threads: for the arithmetic of one forward pass. One is best where several passes run at once, as in
            `predict_each`
            and in a server: threads of one pass wait for each other.
        batch: images of one forward pass, at most.

    Raises:
        ThoraxError: another precision, or a number below 1.
    """

    def __init__(
        self,
        bundle: Bundle,
        device: torch.device | None = None,
        *,
        precision: str = "auto",
        threads: int = 1,
        batch: int = 16,
    ) -> None:
        if precision not in PRECISIONS:
            raise ThoraxError(f"precision={precision} is not one of {', '.join(PRECISIONS)}")
        if batch < 1 or threads < 1:
            raise ThoraxError(f"batch={batch} and threads={threads} must be 1 or more")
        self.bundle, self.batch = bundle, batch
        self.device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.threads = threads
        self.labels: tuple[str, ...] = bundle.space.outputs
        #: None for three or more exclusive classes: the most probable one is predicted, whatever its probability.
        self.thresholds: dict[str, float] = (
            {}
            if bundle.space.task == "multiclass"
            else {name: float(bundle.thresholds.get(name, 0.5)) for name in self.labels}
        )
        self.typical = OutOfDistributionDetector.from_dict(bundle.about.get("films"))
        self.version = version_of(bundle)
        self._decoding = threading.BoundedSemaphore(free_cpus() + 1)  # more at once would only take more memory
        self._explaining = threading.Lock()
        self._explained: torch.nn.Module | None = None
        self._temperatures = torch.tensor(bundle.temperatures, dtype=torch.float32, device=self.device)
        self._told = threading.local()
        self.net, self.precision = self._chosen(precision)
        self._warm_up()

    @classmethod
    def load(cls, folder: str | Path, **settings: Any) -> Classifier:
        """The classifier of the bundle in `folder`; settings as above.

        Raises:
            ThoraxError: the folder is no bundle, or a damaged one.
        """
        return cls(Bundle.load(Path(folder)), **settings)

    # -- Images in, probabilities out
    # -----------------------------------------------------------------------------------

    def prepare(self, image: Image, name: str = "") -> np.ndarray:
        """One image decoded and brought to the network's size: (height, width) uint8.

        Raises:
            DecodeError: it cannot be read.
        """
        with self._decoding:
            return self.bundle.preprocessing.image(as_png(image) if isinstance(image, np.ndarray) else image, name)

    @torch.inference_mode()
    def score(self, images: np.ndarray) -> np.ndarray:
        """Calibrated probabilities of prepared images, at most `batch` of them in one forward pass.

        Args:
            images: (N, height, width) uint8.

        Returns:
            (N, L) float32 in 0..1.
        """
        self._set_threads()
        parts = [self._probabilities(images[k : k + self.batch]) for k in range(0, len(images), self.batch)]
        return np.concatenate(parts) if parts else np.zeros((0, len(self.labels)), np.float32)

    def predict(self, images: Sequence[Image]) -> np.ndarray:
        """Probabilities of the labels.

        Args:
            images: paths, bytes of files, or arrays.

        Returns:
            (N, L) float32 in 0..1.

        Raises:
            DecodeError: one of them cannot be read.
        """
        rows = self.predict_each(images)
        for row in rows:
            if isinstance(row, DecodeError):
                raise row
        return np.stack(rows) if rows else np.zeros((0, len(self.labels)), np.float32)  # type: ignore[arg-type]

    def predict_each(self, images: Sequence[Image], names: Sequence[str] = ()) -> list[np.ndarray | DecodeError]:
        """For each image its (L,) float32 probabilities, or why it cannot be read: a bad image never fails the others.

        Batches are read and scored side by side on the CPUs that are free.

        Args:
            images: paths, bytes of files, or arrays.
            names: what to call each image in errors; default: paths.
        """
        called = names or [""] * len(images)
        starts = range(0, len(images), self.batch)
        with ThreadPoolExecutor(max(1, free_cpus() // self.threads)) as pool:
            parts = pool.map(lambda k: self._batch(images[k : k + self.batch], called[k : k + self.batch]), starts)
            return [row for part in parts for row in part]

    def explain(self, image: Image, label: str | None = None) -> HeatMap:
        """Where in an image the network saw a label: Grad-CAM.

        Args:
            image: an image.
            label: default: the one with the highest probability.

        Raises:
            DecodeError: the image cannot be read.
            ThoraxError: the network has no such label.
        """
        prepared = self.prepare(image)
        return self.heat_map(prepared, label or self.labels[int(self.score(prepared[None])[0].argmax())])

    def heat_map(self, image: np.ndarray, label: str) -> HeatMap:
        """As `explain`, of an image that `prepare` gave.

        Raises:
            ThoraxError: the network has no such label.
        """
        if label not in self.labels:
            raise ThoraxError(f"label {label} is not one of {', '.join(self.labels)}")
        self._set_threads()
        outputs = torch.tensor([self.labels.index(label)], device=self.device)
        with self._explaining:  # Grad-CAM hooks into the network: it has one of its own, which no prediction uses
            self._explained = self._explained or served.deep_copy(self.net)
            found = heat_maps(self._explained, self._input(image[None]), outputs)[0]
        return HeatMap(label, np.asarray(found.cpu().numpy(), np.float32), image)

    # -- What probabilities mean ---------------------------------------------------------------------------------------

    def decisions(self, p: np.ndarray) -> np.ndarray:
        """(..., L) bool: which labels are found."""
        return self.bundle.space.decisions(p, np.array([self.thresholds.get(name, 0.5) for name in self.labels]))

    def predicted(self, p: np.ndarray) -> str | list[str]:
        """What one image's (L,) probabilities come to: a class, or (multilabel) the list of labels found."""
        found = [name for name, yes in zip(self.labels, self.decisions(p), strict=True) if yes]
        if self.bundle.space.task == "multilabel":
            return found
        return found[0] if found else self.bundle.space.classes[0]

    def warnings(self, image: np.ndarray) -> list[str]:
        """What makes a prepared image unlike those of training, in words; none where the bundle does not know them."""
        return self.typical.warnings(image) if self.typical else []

    # -- Inside --------------------------------------------------------------------------------------------------------

    def _batch(self, images: Sequence[Image], names: Sequence[str]) -> list[np.ndarray | DecodeError]:
        prepared: list[np.ndarray | DecodeError] = []
        for image, name in zip(images, names, strict=True):
            try:
                prepared.append(self.prepare(image, name))
            except DecodeError as error:
                prepared.append(error)
        readable = [one for one in prepared if isinstance(one, np.ndarray)]
        rows = iter(self.score(np.stack(readable))) if readable else iter(())
        return [one if isinstance(one, DecodeError) else next(rows) for one in prepared]

    def _input(self, images: np.ndarray) -> torch.Tensor:
        x = self.bundle.preprocessing.tensor(
            torch.from_numpy(np.require(images, requirements=["C", "W"])).to(self.device)
        )
        return x.contiguous(memory_format=torch.channels_last)

    def _probabilities(self, images: np.ndarray) -> np.ndarray:
        logits = self.net(self._input(images)).float() / self._temperatures
        return np.asarray(served.probabilities(logits, self.bundle.space.task).cpu().numpy(), np.float32)

    def _set_threads(self) -> None:
        """Once per thread: OpenMP's number of threads belongs to the thread that calls it."""
        if self.device.type == "cpu" and not getattr(self._told, "threads", 0):
            torch.set_num_threads(self.threads)
            self._told.threads = self.threads

    def _chosen(self, precision: str) -> tuple[torch.nn.Module, str]:
        """The network to serve, and in which precision."""
        self._set_threads()
        prepared = self.bundle.preprocessing
        net = fuse_batchnorm(self.bundle.build_network(), (prepared.channels, prepared.height, prepared.width))
        net = net.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        has = (
            torch.cuda.is_bf16_supported(including_emulation=False)
            if self.device.type == "cuda"
            else cpu_has_bfloat16()
        )
        if precision == "float32" or (precision == "auto" and not has):
            return net, "float32"
        low = served.to_bfloat16(served.deep_copy(net))
        x = self._input(self._references())
        if (
            precision == "auto"
            and not served.largest_difference(net, low, x, self.bundle.space.task) <= served.TOLERANCE
        ):
            return net, "float32"
        return low, "bfloat16"

    def _references(self) -> np.ndarray:
        """(4, height, width) uint8: images like those of training where the bundle knows them, and synthetic ones."""
        height, width = self.bundle.preprocessing.height, self.bundle.preprocessing.width
        rng = np.random.default_rng(0)
        waves = np.sin(np.linspace(0, 9, height))[:, None] * np.cos(np.linspace(0, 7, width))[None]
        images = [128 + 80 * waves, rng.normal(128, 40, (height, width))]
        images += (
            self.typical.examples(height, width)
            if self.typical
            else [images[0] * 0.5 + images[1] * 0.5, 255 - images[0]]
        )
        return np.stack(images).clip(0, 255).astype(np.uint8)

    def _warm_up(self) -> None:
        """A first prediction at the sizes of batches that are used, so that no caller waits for it."""
        images = self._references()
        for count in {1, min(4, self.batch), self.batch}:
            self.score(np.resize(images, (count, *images.shape[1:])))


def version_of(bundle: Bundle) -> str:
    """Twelve letters that tell one model from another: of the SHA-256 of its weights."""
    try:
        with (bundle.folder / WEIGHTS).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:12]
    except OSError:
        return ""
