"""Data formats are entries of one registry: one from outside is detected, read and trained on like the others."""

from __future__ import annotations

import subprocess
import sys
from typing import ClassVar

import numpy as np
import pytest

import images
from conftest import ROOT, clean_environment
from listings import channel, read, refused
from thorax.config import TrainingConfig
from thorax.data.columns import FileColumn
from thorax.data.formats import FORMATS, DataFormat, read_channel
from thorax.data.formats.registry import BUILT_IN, FORMAT_NAMES
from thorax.data.parts import read_parts
from thorax.data.samples import Listing
from thorax.errors import ThoraxError
from thorax.job import Job
from thorax_launch.sagemaker.package import content_type


class Toy(DataFormat):
    """A line per image: class, patient, path."""

    name = "toy"
    help = "a .toy list of class, patient and path"
    what = "a toy list"
    endings: ClassVar = {".toy": "text/toy"}

    def read(self, channel):
        file = channel.only(channel.ending(".toy"), "toy lists")
        rows = [line.split() for line in file.read_text().splitlines()]
        names = tuple(sorted({row[0] for row in rows}))
        places = channel.locate([row[2] for row in rows], file, range(1, len(rows) + 1))
        targets = np.eye(len(names), dtype=np.float32)[[names.index(row[0]) for row in rows]]
        patients = [row[1] for row in rows]
        return Listing(names, places, FileColumn(channel.paths(places)), targets, patients, exclusive=True)


@pytest.fixture
def toy():
    FORMATS.register("toy", Toy())
    yield
    FORMATS.remove("toy")


LIST = "sick p1 a.png\nwell p2 b.png\nsick p3 c.png\n"


def test_the_formats_of_the_package_and_their_order():
    assert tuple(FORMATS) == BUILT_IN
    assert tuple(FORMAT_NAMES) == ("auto", *BUILT_IN, "csv", "parquet")
    assert all(FORMATS[name].help and FORMATS[name].name == name for name in FORMATS)


@pytest.mark.parametrize("data_format", ["toy", "auto"])
def test_a_registered_format_is_read_by_name_and_by_detection(toy, tmp_path, data_format):
    listing = read(channel(tmp_path / "in", x__toy=LIST), data_format)
    assert (listing.names, listing.ids, listing.patients) == (
        ("sick", "well"),
        ["a.png", "b.png", "c.png"],
        ["p1", "p2", "p3"],
    )


def test_detection_names_it_beside_the_others(toy, tmp_path):
    root = channel(tmp_path / "in", x__toy=LIST, t__csv="path,labels\na.png,A\n")
    assert "holds a table (t.csv) and a toy list (x.toy); choose one by data_format=table|toy" in refused(root)
    assert read(root, "toy").names == ("sick", "well")


def test_the_images_of_its_list_may_lie_in_one_folder(toy, tmp_path):
    """As beside any other table, the folder is no class."""
    root = channel(tmp_path / "in", ("images/a.png",), x__toy="sick p1 images/a.png\n")
    assert read(root).ids == ["images/a.png"]


def test_a_run_reads_its_parts_in_it(toy, tmp_path):
    rows = [f"{('sick', 'well')[k % 2]} p{k // 2} {k}.png" for k in range(12)]
    channel(tmp_path / "in", [f"{k}.png" for k in range(12)], x__toy="\n".join(rows))
    job = Job.from_environment({"train": str(tmp_path / "in"), "model_dir": str(tmp_path / "model")})
    config = TrainingConfig.parse({"data_format": "toy", "image_shape": "1,32,32", "validation_fraction": "0.3"})
    parts = read_parts(job, config, lambda line: None)
    assert parts.space.classes == ("sick", "well")
    assert sorted([*parts.train.ids, *parts.validation.ids]) == sorted(f"{k}.png" for k in range(12))


def test_its_content_type_is_that_of_the_channel(toy):
    assert content_type(["x.toy", "a.png"]) == "text/toy"


def test_without_registration_it_is_unknown(tmp_path):
    assert "no known format" in refused(channel(tmp_path / "in", x__toy=LIST))
    with pytest.raises(ThoraxError, match="data_format=toy is not one of auto, folder, lst"):
        TrainingConfig.parse({"data_format": "toy"})
    with pytest.raises(ThoraxError, match="data_format=toy is not one of auto, folder, lst"):
        read_channel("train", tmp_path / "in", "toy")


def test_the_name_before_recordio_is_deprecated(tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr("thorax.data.formats.reading.deprecated", lambda *names: lines.append(names))
    images.put(tmp_path / "in" / "a.png")
    assert "data_format=recordio but" in refused(tmp_path / "in", "rec")
    assert lines == [("data_format=rec", "data_format=recordio")]


def test_the_configuration_knows_the_names_without_numpy():
    code = "import sys, thorax.config\nfrom thorax.data.formats.registry import FORMAT_NAMES\n"
    code += "assert 'coco' in FORMAT_NAMES and len(FORMAT_NAMES) == 16\nsys.exit('numpy' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT / "source_dir", env=clean_environment())
