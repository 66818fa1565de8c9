"""What is publicly known of published sets: how many images, in which folders, named by which tables; archives' MD5."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from thorax.errors import ThoraxError
from thorax.unpacking import gunzipped


@dataclass(frozen=True)
class Names:
    """A table of the set that names its images.

    Attributes:
        file: of its name, such as Data_Entry_2017.*\\.csv.
        column: of the images' names; of a JSON of COCO "file_name".
        ending: put behind each name.
    """

    file: str
    column: str
    ending: str = ""


@dataclass(frozen=True)
class KnownSet:
    """One published set.

    Attributes:
        title: its name, and who published it.
        image: pattern of an image's path below the set's folder.
        counts: part of a path -> images there; "" for all.
        names: tables that name the images.
        archives: file -> MD5, as published.
        depth: folders and name, counted from the end, that tell an image; 1: its name alone.
    """

    title: str
    image: str = r".*\.(png|jpe?g|dcm|dicom)"
    counts: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    names: tuple[Names, ...] = ()
    archives: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    depth: int = 1

    def key(self, path: str) -> str:
        """What tells an image: the end of its path."""
        return "/".join(path.replace("\\", "/").split("/")[-self.depth :])

    def listed(self, files: Mapping[str, Path]) -> dict[str, str]:
        """Key of each image -> the table that names it.

        Args:
            files: path below the set's folder -> where it is.

        Raises:
            ThoraxError: none of the tables is there, or one cannot be read.
        """
        found: dict[str, str] = {}
        for names in self.names:
            for path, file in files.items():
                if re.fullmatch(names.file, path.rpartition("/")[2], re.IGNORECASE):
                    for name in _names_of(file, names):
                        found.setdefault(self.key(name), path)
        if self.names and not found:
            wanted = " or ".join(dict.fromkeys(names.file.replace("\\", "") for names in self.names))
            raise ThoraxError(f"there is no table that names the images of {self.title}: {wanted}")
        return found


def _names_of(file: Path, names: Names) -> Iterator[str]:
    try:
        content = file.read_bytes()
        text = gunzipped(content, file).decode("utf-8-sig")
        if file.name.endswith(".json"):
            yield from (str(image[names.column]) for image in json.loads(text)["images"])
            return
        for row in csv.DictReader(io.StringIO(text)):
            yield str(row[names.column]).strip() + names.ending
    except KeyError:
        raise ThoraxError(f"{file} has no column {names.column}") from None
    except (OSError, EOFError, ValueError, TypeError, RecursionError, csv.Error) as error:
        raise ThoraxError(f"{file} cannot be read: {error}") from None


_NIH_ARCHIVES = """
fe8ed0a6961412fddcbb3603c11b3698 ab07a2d7cbe6f65ddd97b4ed7bde10bf 2301d03bde4c246388bad3876965d574
9f1b7f5aae01b13f4bc8e2c44a4b8ef6 1861f3cd0ef7734df8104f2b0309023b 456b53a8b351afd92a35bc41444c58c8
1075121ea20a137b87f290d6a4a5965e b61f34cec3aa69f295fbb593cbd9d443 442a3caa61ae9b64e61c561294d1e183
09ec81c4c31e32858ad8cf965c494b74 499aefc67207a5a97692424cf5dbeed5 dc9fda1757c2de0032b63347a7d2895c
"""
_KAGGLE = {
    **{"": 5856, "train/NORMAL": 1341, "train/PNEUMONIA": 3875, "val/NORMAL": 8, "val/PNEUMONIA": 8},
    **{"test/NORMAL": 234, "test/PNEUMONIA": 390},
}
#: Name on the command line -> what is known.
SETS = {
    "kaggle-pneumonia": KnownSet(
        "Kaggle's Chest X-Ray Images (Pneumonia)", r"(?!.*chest_xray/chest_xray/).*\.jpe?g", _KAGGLE
    ),
    "chestxray14": KnownSet(
        "NIH ChestX-ray14", r".*\.png", {"": 112_120}, (Names(r"Data_Entry_2017.*\.csv(\.gz)?", "Image Index"),)
    ),
    "chestxray14-archives": KnownSet(
        "NIH ChestX-ray14, the archives",
        archives={f"images_{k:03d}.tar.gz": digest for k, digest in enumerate(_NIH_ARCHIVES.split(), 1)},
    ),
    "nih-sample": KnownSet(
        "Kaggle's sample of NIH ChestX-ray14",
        r"(?!.*sample/sample/).*\.png",
        {"": 5606},
        (Names(r"sample_labels\.csv", "Image Index"),),
    ),
    "chexpert": KnownSet(
        "CheXpert",
        r"(?!.*(^|/)test/).*/study\d+/.*\.jpg",
        {"": 223_648},
        (Names(r"(train|valid)\.csv", "Path"),),
        depth=3,
    ),
    "mimic-cxr": KnownSet(
        "MIMIC-CXR-JPG",
        r".*\.jpg",
        {"": 377_110},
        (Names(r"mimic-cxr-2\.0\.0-metadata\.csv(\.gz)?", "dicom_id", ".jpg"),),
    ),
    "padchest": KnownSet(
        "PadChest", r".*\.png", {}, (Names(r"PADCHEST_chest_x_ray_images_labels_160K.*\.csv(\.gz)?", "ImageID"),)
    ),
    "rsna": KnownSet(
        "RSNA Pneumonia Detection Challenge",
        r"(.*/)?stage_2_train_images/.*\.dcm",
        {"": 26_684},
        (Names(r"stage_2_train_labels\.csv", "patientId", ".dcm"),),
    ),
    "vindr": KnownSet(
        "VinDr-CXR",
        r"(.*/)?(train|test)/.*\.(dicom|dcm)",
        {"train/": 15_000},
        (Names(r"train\.csv|image_labels_(train|test)\.csv", "image_id", ".dicom"),),
    ),
    "coco-val2017": KnownSet(
        "MS-COCO, the validation images of 2017",
        r"(.*/)?val2017/.*\.jpg",
        {"": 5000},
        (Names(r"instances_val2017\.json", "file_name"),),
    ),
    "coco-train2017": KnownSet(
        "MS-COCO, the training images of 2017",
        r"(.*/)?train2017/.*\.jpg",
        {"": 118_287},
        (Names(r"instances_train2017\.json", "file_name"),),
    ),
    "coco2017-archives": KnownSet(
        "MS-COCO 2017, the archives",
        archives={
            "train2017.zip": "cced6f7f71b7629ddf16f17bbcfab6b2",
            "val2017.zip": "442b8da7639aecaf257c1dceb8ba8c80",
            "annotations_trainval2017.zip": "f4bbac642086de4f52a3fdda2de5fa2c",
        },
    ),
}
