"""What a data format is, and the registry of all. Imports no numpy: the configuration takes the names from here."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from thorax.registry import Registry

if TYPE_CHECKING:
    from thorax.data.formats.channel import Channel
    from thorax.data.samples import Listing

#: SageMaker's content type of a channel of plain image files.
IMAGES = "application/x-image"


class DataFormat(ABC):
    """How the images of a channel and their labels are laid out: one class, and one entry in FORMATS.

    Attributes:
        name: what data_format calls it.
        help: one line for the documentation and for errors.
        what: the files that list the images, in words, such as "a list".
        endings: endings of those files, in lower case -> SageMaker's content type of such a channel.
        owns_folders: the folders beside its table hold its images and are no classes.
    """

    name: ClassVar[str]
    help: ClassVar[str]
    what: ClassVar[str] = ""
    endings: ClassVar[Mapping[str, str]] = {}
    owns_folders: ClassVar[bool] = False

    def files(self, channel: Channel) -> list[str]:
        """Names of the files in the channel that list its images."""
        return channel.ending(*self.endings)

    def detect(self, channel: Channel) -> str:
        """What of this format the channel holds, such as "a list (train.lst)"; "" where it holds nothing of it."""
        files = self.files(channel)
        return f"{self.what} ({', '.join(files)})" if files else ""

    @abstractmethod
    def read(self, channel: Channel) -> Listing:
        """The images of a channel in which `detect` found something.

        Raises:
            ThoraxError: it cannot be read, with file and line.
        """


#: Every format by name. A folder is looked at by all of them, in this order; more than one that finds something is an
#: error, so that the order decides nothing but the order of names in messages.
FORMATS: Registry[DataFormat] = Registry("data format")
#: Names of the formats of this package in the order of FORMATS; `thorax.data.formats` registers them.
BUILT_IN = (
    *("folder", "lst", "recordio", "manifest", "table", "nih", "coco", "shards"),
    *("chexpert", "mimic_cxr", "padchest", "rsna", "vindr"),
)
#: Other names that data_format takes.
ALIASES = {"csv": "table", "parquet": "table"}
#: Names of before, which are accepted with a deprecation line.
RENAMED = {"rec": "recordio"}


class _FormatNames(Sequence[str]):
    """A live view: a format that is registered later is a choice from then on."""

    def __getitem__(self, index: Any) -> Any:
        return list(dict.fromkeys(("auto", *BUILT_IN, *FORMATS, *ALIASES)))[index]

    def __len__(self) -> int:
        return len(self[:])


#: What data_format may be.
FORMAT_NAMES = _FormatNames()
