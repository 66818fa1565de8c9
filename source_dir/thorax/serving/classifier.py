"""The classifier: a bundle, ready to score images. Every server, batch and page uses this one."""

from __future__ import annotations

import copy
import hashlib
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from thorax.data.images import DecodeError
from thorax.data.out_of_distribution import OutOfDistributionDetector
from thorax.errors import ThoraxError
from thorax.machine import free_cpus
from thorax.models import fuse_batchnorm, heat_maps
from thorax.serving.bundle import WEIGHTS, Bundle
from thorax.serving.heat_map import HeatMap
from thorax.serving.image_inputs import ImageInput, as_file
from thorax.serving.precision import PRECISIONS, choose_precision, probabilities

#: Prepared images (N, height, width) uint8 -> (N, L) float32 probabilities.
Score = Callable[[np.ndarray], np.ndarray]


class Classifier:
    """Scores images with a bundle's network, prepared as in training. Any number of threads may use it at once.

    Args:
        bundle: what to serve.
        device: default: a GPU if there is one.
        precision: auto (bfloat16 where the machine has it and no probability moves by more than 0.01), float32 or
            bfloat16.
        threads: threads of one forward pass on a CPU. One is best where several passes run at once, as in
            `predict_each` and in a server: threads of one pass wait for each other.
        batch: images of one forward pass, at most.

    Attributes:
        labels: names of the L columns of `predict`; of two exclusive classes the positive one alone.
        thresholds: by label, probabilities in 0..1 at or above which it is found; empty for three or more exclusive
            classes, of which the most probable one is predicted.
        version: twelve hexadecimal digits that tell one model from another, of the SHA-256 of its weights.
        precision: the one chosen, float32 or bfloat16.

    Raises:
        ThoraxError: another precision, a number below 1, or weights that do not fit the bundle.

    Examples:
        >>> classifier = Classifier.load("runs/my-job/model")
        >>> classifier.predict(["one.png", "two.dcm"])  # (2, L) float32
        >>> classifier.explain("one.png", "Effusion")  # a HeatMap, which a notebook shows
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
        self.bundle, self.batch, self.threads = bundle, batch, threads
        self.device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.labels = bundle.labels
        self.thresholds: dict[str, float] = (
            {}
            if bundle.space.task == "multiclass"
            else {name: float(bundle.thresholds.get(name, 0.5)) for name in self.labels}
        )
        self.detector = OutOfDistributionDetector.from_dict(bundle.typical_images)
        self.version = version_of(bundle)
        self._decoding = threading.BoundedSemaphore(free_cpus() + 1)  # more at once would only take more memory
        self._explaining = threading.Lock()
        self._explained: torch.nn.Module | None = None
        self._temperatures = torch.tensor(bundle.temperatures, dtype=torch.float32, device=self.device)
        self._per_thread = threading.local()
        self._set_threads()
        images = bundle.preprocessing
        fused = fuse_batchnorm(bundle.build_network(), (images.channels, images.height, images.width))
        fused = fused.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        references = self._references()
        self.net, self.precision = choose_precision(fused, precision, self._input(references), bundle.space.task)
        for count in {1, min(4, batch), batch}:  # a first pass at the sizes in use, so that no caller waits for it
            self.score(np.resize(references, (count, *references.shape[1:])))

    @classmethod
    def load(cls, bundle: str | Path, **settings: Any) -> Classifier:
        """The classifier of a bundle.

        Args:
            bundle: its folder, or its model.tar.gz.
            settings: device, precision, threads, batch: see the class.

        Raises:
            ThoraxError: there is no bundle, or a damaged one.
        """
        return cls(Bundle.load(bundle), **settings)

    def __repr__(self) -> str:
        return f"Classifier({self.bundle!r}, {self.precision} on {self.device.type})"

    # -- Images in, probabilities out ----------------------------------------------------------------------------------

    def prepare(self, image: ImageInput, name: str = "") -> np.ndarray:
        """One image decoded and brought to the network's size: (height, width) uint8; `name` stands for it in errors.

        Raises:
            DecodeError: it cannot be read.
        """
        with self._decoding:
            return self.bundle.preprocessing.image(as_file(image), name)

    def prepare_each(
        self, images: Sequence[ImageInput | DecodeError], names: Sequence[str]
    ) -> list[np.ndarray | DecodeError]:
        """Each image as `prepare` returns it, or why it cannot be read: a bad image never fails the others."""
        prepared: list[np.ndarray | DecodeError] = []
        for image, name in zip(images, names, strict=True):
            try:
                prepared.append(image if isinstance(image, DecodeError) else self.prepare(image, name))
            except DecodeError as error:
                prepared.append(error)
        return prepared

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

    def score_each(
        self, prepared: Sequence[np.ndarray | DecodeError], score: Score | None = None
    ) -> list[np.ndarray | DecodeError]:
        """The (L,) probabilities of each prepared image, all in one call of `score`; a DecodeError stays as it is."""
        readable = [image for image in prepared if isinstance(image, np.ndarray)]
        rows = iter((score or self.score)(np.stack(readable)) if readable else ())
        return [image if isinstance(image, DecodeError) else next(rows) for image in prepared]

    def predict(self, images: Sequence[ImageInput]) -> np.ndarray:
        """Calibrated probabilities of the labels.

        Args:
            images: any number of paths, bytes of files, PIL images or arrays: (H, W) or (H, W, 3) uint8, (H, W) uint16,
                or (H, W) float in 0..1.

        Returns:
            (N, L) float32 in 0..1, a row an image and a column a label of `labels`.

        Raises:
            DecodeError: one of them cannot be read; the message names it.
            ThoraxError: a single image instead of a list.

        Examples:
            >>> classifier.predict(["one.png", Path("two.dcm").read_bytes(), np.zeros((512, 512), np.uint8)])
        """
        rows = self.predict_each(images)
        for row in rows:
            if isinstance(row, DecodeError):
                raise row
        return np.stack(rows) if rows else np.zeros((0, len(self.labels)), np.float32)  # type: ignore[arg-type]

    def predict_each(self, images: Sequence[ImageInput], names: Sequence[str] = ()) -> list[np.ndarray | DecodeError]:
        """For each image its (L,) float32 probabilities, or why it cannot be read: a bad image never fails the others.

        Batches are decoded and scored side by side on the CPUs that are free.

        Args:
            images: as for `predict`.
            names: what to call each image in errors; default: its path.

        Raises:
            ThoraxError: a single image instead of a list.

        Examples:
            >>> [row for row in classifier.predict_each(paths) if not isinstance(row, DecodeError)]
        """
        if isinstance(images, str | bytes) or not hasattr(images, "__len__"):
            raise ThoraxError(f"{type(images).__name__} is no list of images; give a list, also of one image")
        names = names or [""] * len(images)

        def predict_part(k: int) -> list[np.ndarray | DecodeError]:
            return self.score_each(self.prepare_each(images[k : k + self.batch], names[k : k + self.batch]))

        with ThreadPoolExecutor(max(1, free_cpus() // self.threads)) as pool:
            return [row for rows in pool.map(predict_part, range(0, len(images), self.batch)) for row in rows]

    def explain(self, image: ImageInput, label: str | None = None) -> HeatMap:
        """Where in an image the network saw a label: Grad-CAM.

        Args:
            image: one image, in any form that `predict` takes.
            label: default: the one with the highest probability.

        Returns:
            A HeatMap: `map` (height, width) float32 in 0..1 and `image` (height, width) uint8, of the network's size.

        Raises:
            DecodeError: the image cannot be read.
            ThoraxError: the network has no such label.

        Examples:
            >>> Path("effusion.png").write_bytes(classifier.explain("one.png", "Effusion").png())
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
            self._explained = self._explained or copy.deepcopy(self.net)
            found = heat_maps(self._explained, self._input(image[None]), outputs)[0]
        return HeatMap(label, np.asarray(found.cpu().numpy(), np.float32), image)

    # -- What probabilities mean ---------------------------------------------------------------------------------------

    def decisions(self, p: np.ndarray) -> np.ndarray:
        """(..., L) bool: which labels are found."""
        return self.bundle.space.decisions(p, np.array([self.thresholds.get(name, 0.5) for name in self.labels]))

    def predicted(self, p: np.ndarray) -> str | list[str]:
        """What is predicted from one image's (L,) probabilities: a class, or (multilabel) the list of labels found."""
        found = [name for name, yes in zip(self.labels, self.decisions(p), strict=True) if yes]
        if self.bundle.space.task == "multilabel":
            return found
        return found[0] if found else self.bundle.space.classes[0]

    def warnings(self, image: np.ndarray) -> list[str]:
        """How a prepared image differs from those of training, in words; none where the bundle does not say."""
        return self.detector.warnings(image) if self.detector else []

    # -- Inside --------------------------------------------------------------------------------------------------------

    def _input(self, images: np.ndarray) -> torch.Tensor:
        x = self.bundle.preprocessing.tensor(
            torch.from_numpy(np.require(images, requirements=["C", "W"])).to(self.device)
        )
        return x.contiguous(memory_format=torch.channels_last)

    def _probabilities(self, images: np.ndarray) -> np.ndarray:
        logits = self.net(self._input(images)).float() / self._temperatures
        return np.asarray(probabilities(logits, self.bundle.space.task).cpu().numpy(), np.float32)

    def _set_threads(self) -> None:
        """Once per thread: OpenMP's number of threads belongs to the thread that calls it."""
        if self.device.type == "cpu" and not getattr(self._per_thread, "threads", 0):
            torch.set_num_threads(self.threads)
            self._per_thread.threads = self.threads

    def _references(self) -> np.ndarray:
        """(4, height, width) uint8: images like those of training where the bundle knows them, and synthetic ones."""
        height, width = self.bundle.preprocessing.height, self.bundle.preprocessing.width
        rng = np.random.default_rng(0)
        waves = np.sin(np.linspace(0, 9, height))[:, None] * np.cos(np.linspace(0, 7, width))[None]
        images = [128 + 80 * waves, rng.normal(128, 40, (height, width))]
        synthetic = [images[0] * 0.5 + images[1] * 0.5, 255 - images[0]]
        images += self.detector.examples(height, width) if self.detector else synthetic
        return np.stack(images).clip(0, 255).astype(np.uint8)


def version_of(bundle: Bundle) -> str:
    """The first twelve hexadecimal digits of the SHA-256 of a bundle's weights; "" where they cannot be read."""
    try:
        with (bundle.folder / WEIGHTS).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:12]
    except OSError:
        return ""
