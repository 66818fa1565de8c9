"""What a caller may choose, beside the bundle and the images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from thorax.errors import ThoraxError
from thorax.evaluation.studies import StudyRule

if TYPE_CHECKING:
    from thorax.serving.bundle import Bundle


@dataclass(frozen=True)
class EvaluationOptions:
    """How a bundle is evaluated.

    Attributes:
        data_format: of the images; auto looks at the files.
        data_lst: the folder with the .lst of the images (the channel test_lst).
        labels: names of numbered labels of the images (.lst, RecordIO), in order.
        settings: NAME=VALUE of hyperparameters that say how images are read, such as where=Projection=PA; what they do
            not name is as in the bundle's own training, but with `label_map`, where the images are another set's.
        predictions: a table of id and probability:LABEL to score instead of running the network.
        compare_with: another bundle, scored on the same images.
        by: columns of the images' table that make subgroups, such as sex, age, view.
        subgroup_table: the table with these columns and id or path, where that of the images has none.
        studies: mean or max: where studies have several images, scores are also of studies, by that of their images'
            probabilities; none: of images alone.
        label_map: a YAML file that says which labels of the images are the bundle's, or "common"; see data.label_names.
        tta: views of each image, see Classifier; None: each bundle's own.
        resamples: bootstrap resamples of patients for the intervals, 0 to 100,000; 0 gives none.
    """

    data_format: str = "auto"
    data_lst: Path | None = None
    labels: Sequence[str] = ()
    settings: Sequence[str] = ()
    predictions: Path | None = None
    compare_with: str | Path | Bundle | None = None
    by: Sequence[str] = ()
    subgroup_table: Path | None = None
    studies: StudyRule = "mean"
    label_map: str | Path | None = None
    tta: int | None = None
    resamples: int = 1000

    def __post_init__(self) -> None:
        for name in ("data_lst", "predictions", "subgroup_table"):  # a notebook gives texts
            if (path := getattr(self, name)) is not None:
                object.__setattr__(self, name, Path(path))


@dataclass(frozen=True)
class BatchOptions:
    """How many images are read and scored at once.

    Attributes:
        batch: images of one forward pass, at least 1; None is 32, on a GPU 128.
        workers: processes that read images ahead, 0 reads in this process; None is one for four CPUs (none where there
            are fewer), on a GPU all CPUs but one.
        threads: forward passes at once, each on one CPU; None is all CPUs that are free. On a GPU it is always one.
        precision, engine: see Classifier.
        settings: how images are read, see EvaluationOptions.
        tta: views of each image, see Classifier.
    """

    batch: int | None = None
    workers: int | None = None
    threads: int | None = None
    precision: str = "auto"
    engine: str = "auto"
    settings: Sequence[str] = ()
    tta: int | None = None

    def __post_init__(self) -> None:
        if (
            (self.batch is not None and self.batch < 1)
            or (self.workers or 0) < 0
            or (self.threads is not None and self.threads < 1)
        ):
            raise ThoraxError(
                f"--batch {self.batch} and --threads {self.threads} must be 1 or more, --workers {self.workers} 0 or"
                " more"
            )
