"""The classifier: a bundle, ready to score images. Every server, batch and page uses this one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from thorax.data.images import DecodeError
from thorax.data.joint_preprocessing import JointPreprocessing
from thorax.data.out_of_distribution import OutOfDistributionDetector
from thorax.data.views import Views
from thorax.errors import ThoraxError
from thorax.machine import free_cpus
from thorax.serving.arrays import NormalizedImage
from thorax.serving.bundle import Bundle
from thorax.serving.color_notes import color_notes
from thorax.serving.engines.choice import Choice, choose
from thorax.serving.engines.devices import SERVED, default_batch
from thorax.serving.engines.engine import EngineRequest
from thorax.serving.ensemble import Ensemble
from thorax.serving.heat_map import HeatMap
from thorax.serving.image_inputs import ImageInput, as_file, listed
from thorax.serving.reference_images import reference_images

if TYPE_CHECKING:
    import torch

#: Prepared images (N, height, width[, 3]) uint8 -> (N, L) float32 probabilities.
Score = Callable[[np.ndarray], np.ndarray]


class Classifier:
    """Scores images with a bundle's network, prepared as in training. Any number of threads may use it at once.

    Args:
        bundle: what to serve.
        device: default: a GPU if there is one.
        engine: auto (OpenVINO where the bundle holds its files and it is installed, else torch), torch or openvino.
        precision: auto (the fastest, as measured, that gives float32's probabilities within 0.01; int8 where `thorax
            optimize` made and accepted it), float32, bfloat16 or int8.
        threads: threads of one forward pass on a CPU. One is best where several passes run at once, as in
            `predict_each` and in a server: threads of one pass wait for each other.
        batch: images of one forward pass, at most; default: 16, on a GPU 64.
        passes: forward passes that run at once; default: one for each of the free CPUs' `threads`.
        tta: views of each image whose logits are averaged, 1 (the image alone) to 16; default: the bundle's own, by
            which its thresholds were chosen.

    Attributes:
        labels: names of the L columns of `predict`; of two exclusive classes the positive one alone.
        thresholds: by label, probabilities in 0..1 at or above which it is found; empty for three or more exclusive
            classes, of which the most probable one is predicted.
        version: twelve hexadecimal digits that tell one model from another, of the SHA-256 of its weights.
        choice: the engine that computes, and the figures it was chosen by.
        engine, precision, device: of it, such as openvino, int8 and cpu.
        views: of each image, see `tta`.

    Raises:
        ThoraxError: another engine or precision or one that cannot be had here, a number below 1, or weights that do
            not fit the bundle.

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
        engine: str = "auto",
        precision: str = "auto",
        threads: int = 1,
        batch: int | None = None,
        passes: int | None = None,
        tta: int | None = None,
    ) -> None:
        batch = default_batch(SERVED, device) if batch is None else batch
        at_once = passes or max(1, free_cpus() // max(1, threads))
        request = EngineRequest(engine, precision, device, threads, at_once, batch)
        self.bundle, self.batch, self.threads = bundle, batch, threads
        self.labels, self.views = bundle.labels, Views.of(tta, bundle.configuration)
        self.thresholds: dict[str, float] = (
            {}
            if bundle.space.task == "multiclass"
            else {name: float(bundle.thresholds.get(name, 0.5)) for name in self.labels}
        )
        self.detector = OutOfDistributionDetector.from_dict(bundle.typical_images)
        bundle.check()
        self.version = bundle.version
        self._decoding = threading.BoundedSemaphore(free_cpus() + 1)  # more at once would only take more memory
        self._explaining = threading.Lock()
        self._explained: torch.nn.Module | None = None
        self._calibration = bundle.calibrator
        self._ensemble: Ensemble | None = None
        if bundle.members:
            how: dict[str, Any] = {"engine": engine, "precision": precision, "threads": threads, "batch": batch}
            how |= {"passes": passes, "tta": tta}
            self._ensemble = Ensemble(bundle, [Classifier(member, device, **how) for member in bundle.members])
            self._take_over(self._ensemble.members)
            return
        references = reference_images(bundle.preprocessing, self.detector)
        self.choice = choose(bundle, request, references, self._calibrated)
        self._engine = self.choice.engine
        self.engine, self.precision, self.device = self._engine.name, self._engine.precision, self._engine.device
        for count in {1, min(4, batch), min(self._engine.batch, batch)}:  # a first pass, which no caller waits for
            self.score(np.resize(references, (count, *references.shape[1:])))

    @classmethod
    def load(cls, bundle: str | Path, **settings: Any) -> Classifier:
        """The classifier of a bundle.

        Args:
            bundle: its folder, or its model.tar.gz.
            settings: device, engine, precision, threads, batch, tta: see the class.

        Raises:
            ThoraxError: there is no bundle, or a damaged one.
        """
        return cls(Bundle.load(bundle), **settings)

    def __repr__(self) -> str:
        return f"Classifier({self.bundle!r}, {self.engine} {self.precision} on {self.device})"

    # -- Images in, probabilities out ----------------------------------------------------------------------------------

    def prepare(self, image: ImageInput, name: str = "") -> np.ndarray:
        """One image decoded and brought to the network's size: (height, width) uint8, in colour (height, width, 3); one
        that is normalised already as it is, (channels, height, width) float32. `name` stands for it in errors.

        Raises:
            DecodeError: it cannot be read.
        """
        if isinstance(image, NormalizedImage):
            if isinstance(self.bundle.preprocessing, JointPreprocessing):
                raise DecodeError(
                    f"{name or 'the image'} is normalised already, and the ensemble's members prepare images in"
                    " different ways; send pixels"
                )
            return image.fitting(self.bundle.preprocessing, name or "the image")
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

    def score(self, images: np.ndarray) -> np.ndarray:
        """Calibrated probabilities of prepared images, at most `batch` of them in one forward pass.

        Args:
            images: (N, height, width[, 3]) uint8, or normalised already (N, channels, height, width) float32.

        Returns:
            (N, L) float32 in 0..1.
        """
        return self.outputs(images)[:, : len(self.labels)]

    def outputs(self, images: np.ndarray) -> np.ndarray:
        """As `score`; of an ensemble (N, 2 L), with the standard deviations of its members' probabilities behind."""
        work = self._ensemble.outputs if self._ensemble else self._probabilities
        parts = [work(images[k : k + self.batch]) for k in range(0, len(images), self.batch)]
        return np.concatenate(parts) if parts else np.zeros((0, len(self.labels)), np.float32)

    def disagreement(self, images: Sequence[ImageInput]) -> np.ndarray:
        """(N, L) float32: the standard deviation of an ensemble's members' probabilities; zeros for one network.

        Args:
            images: as for `predict`.

        Raises:
            DecodeError: one of them cannot be read.
        """
        prepared = [self.prepare(image) for image in listed(images)]
        if self._ensemble is None or not prepared:
            return np.zeros((len(prepared), len(self.labels)), np.float32)
        return self.outputs(np.stack(prepared))[:, len(self.labels) :]

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
            images: any number of paths, folders (of which all images are taken, sorted), bytes of files, PIL images,
                files opened in binary, DICOM datasets, arrays or tensors: (H, W) or (H, W, 3) uint8, (H, W) uint16, or
                float in 0..1, channels first or last; an iterator of them; or one folder.

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
        images = listed(images)
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
            A HeatMap: `map` (height, width) float32 in 0..1 and `image` (height, width[, 3]) uint8, of the network's
            size.

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
        if self._ensemble is not None:
            return HeatMap(label, self._ensemble.heat_map(image, label), self._picture(image))
        import torch  # late: only heat maps need torch whatever the engine

        from thorax.models import heat_maps

        device = torch.device(self.device)
        x = torch.from_numpy(image[None].copy()).to(device)
        if not x.is_floating_point():
            x = self.bundle.preprocessing.tensor(x)
        with self._explaining:  # Grad-CAM hooks into the network: it has one of its own, which no prediction uses
            torch.set_num_threads(self.threads)
            self._explained = self._explained or self.bundle.build_network().to(device)
            found = heat_maps(self._explained, x, torch.tensor([self.labels.index(label)], device=device))[0]
        return HeatMap(label, np.asarray(found.cpu().numpy(), np.float32), self._picture(image))

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

    def disputed(self, spread: np.ndarray | None) -> list[str]:
        """Where the members of an ensemble disagree about an image more than the bundle's limits, in words.

        Args:
            spread: (L,) standard deviations of the members' probabilities; None for one network.
        """
        return [] if self._ensemble is None or spread is None else self._ensemble.warnings(spread)

    def warnings(self, image: np.ndarray, source: Any = None) -> list[str]:
        """How a prepared image differs from those of training, in words; none where the bundle does not say.

        Args:
            image: as `prepare` gave it.
            source: what it was prepared from, to see whether it lost its colour.
        """
        picture = self._picture(image)
        found = self.detector.warnings(picture) if self.detector else []
        usual = None if self.detector is None else self.detector.colored
        return found + color_notes(picture, source, self.bundle.preprocessing, usual)

    # -- Inside --------------------------------------------------------------------------------------------------------

    def _picture(self, image: np.ndarray) -> np.ndarray:
        """A prepared image as a picture, also where it was normalised; of an ensemble as the first member sees it."""
        if isinstance(joint := self.bundle.preprocessing, JointPreprocessing):
            return np.asarray(joint.split(image[None])[joint.each[0]][0])
        return self.bundle.preprocessing.levels(image[None])[0] if image.dtype == np.float32 else image

    @property
    def largest_pass(self) -> int:
        """Images of one pass beyond which an image costs no less, at most `batch`; a view counts as an image."""
        if self._ensemble is not None:
            return min(member.largest_pass for member in self._ensemble.members)
        return max(1, min(self.batch, self._engine.batch) // self.views.count)

    @property
    def cost(self) -> int:
        """Passes of a network that an image takes: views, and of an ensemble those of all its members."""
        return sum(member.cost for member in self._ensemble.members) if self._ensemble else self.views.count

    @property
    def waits(self) -> bool:
        """Whether an image in a larger pass costs so much less that it is worth waiting for others."""
        if self._ensemble is not None:
            return any(member.waits for member in self._ensemble.members)
        return self._engine.waits

    def _take_over(self, members: list[Classifier]) -> None:
        """The choice of engines of an ensemble: what its members have in common, else all that they have."""

        def told(values: Iterable[str]) -> str:
            return "+".join(dict.fromkeys(values))

        notes = [str(member.choice).removeprefix("engine: ") for member in members]
        kinds = tuple(f"member {k}: {note}" for k, note in enumerate(notes)) if len(set(notes)) > 1 else ()
        self.choice = Choice(members[0].choice.engine, {}, (f"an ensemble of {len(members)}", *kinds))
        self.engine, self.precision = told(m.engine for m in members), told(m.precision for m in members)
        self.device = members[0].device

    def _probabilities(self, images: np.ndarray) -> np.ndarray:
        first = images.dtype == np.float32  # normalised already
        return self._calibrated(self.views.mean_logits(self._engine.logits, images, self.batch, first))

    def _calibrated(self, logits: np.ndarray) -> np.ndarray:
        return self._calibration.probabilities(logits, self.bundle.space.task)
