"""The bundle: all that a server needs, in one folder.

model.safetensors  weights, a plain state_dict (older bundles: model.pt)
bundle.json   labels, network, preprocessing, thresholds, configuration, split hash, metrics, versions
split.csv     id, patient and part of every image the run saw
code/         inference.py and deployment.py, and the package they need
config.yaml   tells AWS's Ray Serve image what to start
members/      of an ensemble: its bundles, in place of weights
engine/       an optimized network, after `thorax optimize`
"""

from __future__ import annotations

import shutil
import weakref
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thorax import models
from thorax.data.images import Preprocessing
from thorax.data.joint_preprocessing import JointPreprocessing
from thorax.data.out_of_distribution import OutOfDistributionDetector
from thorax.errors import ThoraxError
from thorax.files import digest_of
from thorax.job import environment
from thorax.labels import LabelSpace
from thorax.models.bundle_weights import OLD_WEIGHTS, WEIGHTS, weights_of_bundle
from thorax.serving import bundle_schema
from thorax.serving.bundle_archive import unpack
from thorax.serving.bundle_card import card
from thorax.serving.bundle_contents import VERSION, BundleContents
from thorax.serving.bundle_hashes import FILES, changed, check_seal
from thorax.serving.bundle_place import DESCRIPTION, bundle_place
from thorax.serving.bundle_signature import KEY, checked_key
from thorax.serving.engines.engine_files import EngineFiles

if TYPE_CHECKING:
    from torch import nn

SPLIT, CODE, RAY = ("split.csv", "code", "config.yaml")


@dataclass(frozen=True, kw_only=True, repr=False)
class Bundle(BundleContents):
    """A bundle on disk: its contents as attributes, and its folder. A notebook shows it as a table.

    Attributes:
        members: of an ensemble, a bundle each; empty for a bundle of one network.
        folder: where it lies; for a model.tar.gz a temporary folder that goes when the bundle does.

    Examples:
        >>> bundle = Bundle.load("runs/my-job/model")
        >>> bundle.labels, bundle.thresholds, bundle.metrics["test"]["macro"]["auc"]["value"]
    """

    folder: Path
    members: tuple[Bundle, ...] = ()

    @classmethod
    def load(cls, place: str | Path) -> Bundle:
        """The bundle in a folder, or in a model.tar.gz, which is unpacked into a temporary folder.

        Args:
            place: also a job's folder, or the name of a job below runs/; see `bundle_place`.

        Raises:
            ThoraxError: there is no bundle, a damaged one, or one of a newer version.
        """
        place = bundle_place(place)
        if not place.is_file():
            return cls._read(place)
        folder = unpack(place)
        try:
            bundle = cls._read(folder)
        except ThoraxError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise ThoraxError(str(error).replace(str(folder), str(place))) from None
        weakref.finalize(bundle, shutil.rmtree, folder, ignore_errors=True)
        return bundle

    @classmethod
    def _read(cls, folder: Path) -> Bundle:
        file = folder / DESCRIPTION
        try:
            stored = bundle_schema.read(file)
            if type(stored["version"]) is not int:
                raise ValueError(f"its version is {stored['version']!r:.60}")
            if stored["version"] > VERSION:
                raise ThoraxError(
                    f"{file} has version {stored['version']}, this program reads up to {VERSION}; update it"
                )
            check_seal(stored)
            bundle_schema.check(stored)
            preprocessing = Preprocessing.from_dict(stored["preprocessing"])
            if preprocessing.fingerprint() != stored["preprocessing_fingerprint"]:
                raise ValueError("its preprocessing was changed by hand")
            bundle = cls(
                folder=folder,
                network=stored["network"]["name"],
                dropout=stored["network"]["dropout"],
                space=LabelSpace.from_dict(stored["labels"]),
                preprocessing=preprocessing,
                thresholds=stored["thresholds"],
                configuration=stored["configuration"],
                split=stored["split"],
                compute=stored.get("compute", {}),
                metrics=stored["metrics"],
                calibration=stored.get("calibration"),
                typical_images=stored.get("films"),
                training_data=stored.get("training_data"),
                versions=stored["versions"],
                engine=EngineFiles.from_dict(stored.get("engine")),
                files=dict(stored.get(FILES, {})),
                ensemble=stored.get("ensemble"),
                members=cls._members(folder, stored),
            )
            bundle.calibrator  # noqa: B018  raises where the calibration has another form
            bundle.views  # noqa: B018  and where `tta` is no number of views
            OutOfDistributionDetector.from_dict(bundle.typical_images)  # so does this
            return bundle
        except FileNotFoundError:
            raise ThoraxError(
                f"{folder} is not a bundle: it has no {DESCRIPTION}; name the model folder of a finished job"
            ) from None
        except (ValueError, LookupError, TypeError, AttributeError, OverflowError, OSError, RecursionError) as error:
            raise ThoraxError(f"{file} is damaged ({error}); take the bundle from the job again") from None

    @classmethod
    def _members(cls, folder: Path, stored: dict[str, Any]) -> tuple[Bundle, ...]:
        """The members of an ensemble, each loaded.

        Raises:
            ValueError: one is an ensemble itself, has other labels, or is prepared otherwise than the ensemble says.
            ThoraxError: one is no bundle, or a damaged one.
        """
        members = tuple(cls._read(folder / name) for name in (stored.get("ensemble") or {}).get("members", ()))
        for member in members:
            if member.members:
                raise ValueError(f"{member.folder.name} is an ensemble itself")
            if member.space != LabelSpace.from_dict(stored["labels"]):
                raise ValueError(f"{member.folder.name} has other labels")
        if members:
            joint = JointPreprocessing.of([member.preprocessing for member in members])
            if joint.fingerprint() != stored["preprocessing_fingerprint"]:
                raise ValueError("its members' preprocessings are not its own")
        return members

    def check(self) -> None:
        """Compares the files that answers come from, weights and split table, with their hashes in bundle.json; where
        the variable THORAX_BUNDLE_KEY holds a key, also the bundle with its signature, and the code.

        Raises:
            ThoraxError: one is damaged, or the signature is missing or of another key.
        """
        if key := environment().get(KEY):
            from thorax.serving import bundle_verify

            if differences := bundle_verify.wrong(self, checked_key(key.strip().encode(), KEY)):
                raise ThoraxError(
                    f"{self.folder} is not served, because {KEY} asks for its signature: {differences[0]}"
                )
        self._check_files()

    def _check_files(self) -> None:
        for member in self.members:
            member._check_files()
        for name in (WEIGHTS, OLD_WEIGHTS, SPLIT):
            if wanted := self.files.get(name):
                found = digest_of(self.folder / name) if name != self.weights.name else self._weights_digest
                if wrong := changed(name, wanted, found):
                    raise ThoraxError(f"{self.folder}: {wrong}; take the bundle from the job again")

    @property
    def weights(self) -> Path:
        """The file of its weights: the one that bundle.json has the hash of, else the one that is there."""
        listed = [name for name in (WEIGHTS, OLD_WEIGHTS) if name in self.files]
        return self.folder / listed[0] if listed else weights_of_bundle(self.folder)

    @property
    def version(self) -> str:
        """The first twelve hexadecimal digits of the SHA-256 of the weights; "" where they cannot be read."""
        return self._weights_digest[:12]

    @cached_property
    def _weights_digest(self) -> str:
        if self.members:
            return sha256("".join(member._weights_digest for member in self.members).encode()).hexdigest()
        return digest_of(self.weights)

    def build_network(self) -> nn.Module:
        """The network with the bundle's weights, on the CPU, in evaluation mode.

        Raises:
            ThoraxError: the weights are missing or damaged, or do not fit; or it is an ensemble.
        """
        if self.members:
            raise ThoraxError(
                f"{self.folder} is an ensemble of {len(self.members)} networks; take one of its `members`"
            )
        self.check()
        if self.weights.exists() and not self.weights.is_file():
            raise ThoraxError(f"{self.weights} is not a regular file; take the bundle from the job again")
        net = models.build(self.network, self.preprocessing.channels, len(self.labels), self.dropout)
        # What is adapted is right for fine-tuning; here it would be another network.
        if adapted := models.load_weights(net, self.weights):
            raise ThoraxError(
                f"{self.weights} does not fit {DESCRIPTION} ({'; '.join(adapted)}); take the bundle from the job again"
            )
        return net.eval()

    def __repr__(self) -> str:
        size = f"{self.preprocessing.height}x{self.preprocessing.width}"
        return f"Bundle({self.network}, {size}, {self.space.task}: {', '.join(self.space.classes)}, {self.folder})"

    def _repr_html_(self) -> str:
        return card(self, self.folder)
