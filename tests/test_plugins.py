"""A network, a data format, a loss, a metric and a tracker from outside the package, by registration alone."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from conftest import ROOT, TINY, clean_environment
from warm_python import PYTHON

#: A user's module: the package is only imported.
PLUGIN = """
import json

import numpy as np
import torch
from torch import nn

from thorax.data.columns import FileColumn
from thorax.data.formats import FORMATS, DataFormat
from thorax.data.samples import Listing
from thorax.evaluation.arrays import ratio
from thorax.evaluation.metric_table import METRICS, decision
from thorax.models import MODELS, ModelSpec
from thorax.tracking.trackers import TRACKERS, TrackerSpec
from thorax.training.losses import LOSSES, LossSpec


class TwoLayers(nn.Sequential):
    def __init__(self, channels, outputs):
        super().__init__()
        first = nn.Conv2d(channels, 4, 3, 2, bias=False), nn.BatchNorm2d(4), nn.ReLU()
        self.body, self.fc = nn.Sequential(*first, nn.Conv2d(4, 8, 3, 2)), nn.Linear(8, outputs)

    def forward(self, x):
        return self.fc(self.body(x).mean((2, 3)))


MODELS.register(
    "toy-net",
    ModelSpec(
        name="toy-net",
        build=lambda channels, outputs, dropout: TwoLayers(channels, outputs),
        stages=lambda net: [net.body, net.fc],
        feature_map=lambda net: net.body,
        head="fc.",
        smallest_side=16,
    ),
)


class ToyFormat(DataFormat):
    name, help, what, endings = "toy", "a .toy list of class, patient and path", "a toy list", {".toy": "text/toy"}

    def read(self, channel):
        file = channel.only(channel.ending(".toy"), "toy lists")
        rows = [line.split() for line in file.read_text().splitlines()]
        names = tuple(sorted({row[0] for row in rows}))
        places = channel.locate([row[2] for row in rows], file, range(1, len(rows) + 1))
        targets = np.eye(len(names), dtype=np.float32)[[names.index(row[0]) for row in rows]]
        patients = [row[1] for row in rows]
        return Listing(names, places, FileColumn(channel.paths(places)), targets, patients, exclusive=True)


FORMATS.register("toy", ToyFormat())
LOSSES.register("toy-hinge", LossSpec(lambda logits, targets, *rest: torch.relu(1 - (2 * targets - 1) * logits)))
METRICS.register("f2", decision("F2", lambda c: ratio(5 * c.tp, 5 * c.tp + 4 * c.fn + c.fp)))


class ToyTracker:
    def __init__(self, start, run):
        self.file = open(start.output_dir + "/toy.jsonl", "a")

    def log(self, metrics):
        print(json.dumps([metrics.step, sorted(metrics.values)]), file=self.file, flush=True)

    def finish(self, end):
        print(json.dumps(end.outcome), file=self.file, flush=True)


TRACKERS.register("Toy", TrackerSpec(ToyTracker))
"""
USE = """
import sys
import toy_plugin
import thorax
settings = {**SETTINGS, "network": "toy-net", "data_format": "toy", "loss": "toy-hinge", "epochs": 1}
result = thorax.train(settings, train="set/train", test="set/test", output="out")
image = next(iter(__import__("pathlib").Path("set/test").glob("PNEUMONIA/*")))
classifier = thorax.Classifier.load(result.bundle)
assert classifier.predict([image]).shape == (1, 1)
assert classifier.explain(image).map.shape == (32, 32)
print(thorax.evaluate(result.bundle, "set/test", data_format="toy", resamples=0).scores["test"]["macro"]["f2"])
"""


def test_five_entries_from_outside_train_score_and_are_tracked(images: Path, tmp_path: Path) -> None:
    for part in ("train", "test"):
        folder = tmp_path / "set" / part
        folder.parent.mkdir(exist_ok=True)
        folder.mkdir()
        for name in ("NORMAL", "PNEUMONIA"):
            (folder / name).symlink_to(images / part / name)
        paths = sorted(path.relative_to(folder) for path in folder.glob("*/*"))
        rows = "".join(f"{path.parent.name} {part}{k} {path.as_posix()}\n" for k, path in enumerate(paths))
        (folder / "list.toy").write_text(rows)
    (tmp_path / "toy_plugin.py").write_text(PLUGIN)
    path = f"{ROOT / 'source_dir'}:{tmp_path}"
    done = subprocess.run(
        [PYTHON, "-c", USE.replace("SETTINGS", repr(TINY))],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=200,
        env=clean_environment(PYTHONPATH=path),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    f2 = json.loads((tmp_path / "out/output/data/metrics.json").read_text())["test"]["macro"]["f2"]
    assert 0.5 < f2["value"] <= 1  # of 8 sick and 8 well images, at a threshold that finds most of the sick
    assert done.stdout.splitlines()[-1].startswith("{'value': 0.")
    assert "<th>F2" in (tmp_path / "out/output/data/report.html").read_text()
    tracked = [json.loads(line) for line in (tmp_path / "out/output/data/toy.jsonl").read_text().splitlines()]
    assert tracked[-1] == "finished" and any("validation/auc" in names for _, names in tracked[:-1])
