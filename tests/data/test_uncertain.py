"""Uncertain and blank labels: what training makes of them by choice, what is printed, and what is never scored."""

from __future__ import annotations

import numpy as np
import pytest

import images
import thorax
from listings import channel, read
from thorax.config import TrainingConfig
from thorax.data.formats.table_options import TableOptions, choices
from thorax.data.samples import label_space, sample_set
from thorax.data.uncertain import labels_asked, settled, with_uncertain_classes
from thorax.errors import ThoraxError

NAN = np.nan
TABLE = "path,Edema,Pleural Effusion\na.png,1,-1\nb.png,-1,0\nc.png,,-1\n"


def listing_of(root, **table):
    return read(channel(root, x__csv=TABLE), table=TableOptions(**table))


def train_targets(listing, *uncertain, seed=0, part="train"):
    chosen = choices(uncertain)
    listing = with_uncertain_classes(listing, chosen)
    images = sample_set(part, listing, label_space(listing, labels_asked((), listing, chosen), None))
    done, notes = settled({part: images}, chosen, seed)
    return done[part].targets, notes


@pytest.mark.parametrize(
    ("uncertain", "expected"),
    [
        ((), [[1, NAN], [NAN, 0], [NAN, NAN]]),
        (("ignore",), [[1, NAN], [NAN, 0], [NAN, NAN]]),
        (("zero",), [[1, 0], [0, 0], [NAN, 0]]),
        (("one",), [[1, 1], [1, 0], [NAN, 1]]),
        (("zero", "pleuraleffusion:one"), [[1, 1], [0, 0], [NAN, 1]]),
        (("class",), [[1, NAN, 0, 1], [NAN, 0, 1, 0], [NAN, NAN, NAN, 1]]),
        (("soft:0.5-0.5",), [[1, 0.5], [0.5, 0], [NAN, 0.5]]),
    ],
)
def test_each_choice(tmp_path, uncertain, expected):
    targets, notes = train_targets(listing_of(tmp_path), *uncertain)
    np.testing.assert_array_equal(targets, np.array(expected, np.float32))
    assert notes and notes[0].startswith("train: uncertain labels: Edema 1 ")


def test_soft_labels_follow_from_seed_and_image_alone(tmp_path):
    listing = listing_of(tmp_path)
    first, _ = train_targets(listing, "soft:0.55-0.85")
    other, _ = train_targets(listing.take(np.array([2, 1, 0])), "soft:0.55-0.85")
    np.testing.assert_array_equal(first, other[::-1])
    drawn = first[[0, 1, 2], [1, 0, 1]]
    assert ((drawn >= 0.55) & (drawn <= 0.85)).all() and len(set(drawn.tolist())) == 3
    assert (train_targets(listing, "soft:0.55-0.85", seed=1)[0] != first)[0, 1]


def test_validation_never_scores_them(tmp_path):
    targets, notes = train_targets(listing_of(tmp_path), "one", part="validation")
    np.testing.assert_array_equal(targets, [[1, NAN], [NAN, 0], [NAN, NAN]])
    assert notes == ["validation: uncertain labels, which are not scored: Edema 1, Pleural Effusion 2"]


def test_blank_is_negative_where_asked(tmp_path):
    listing = listing_of(tmp_path, blank="negative")
    np.testing.assert_array_equal(listing.targets, [[1, NAN], [NAN, 0], [0, NAN]])
    assert listing.notes[0] == "blank=negative: blank values become 0 (Edema 1)"


def test_the_mean_of_readers_is_soft_in_training_and_hard_in_validation(tmp_path):
    text = "path,Edema\n" + "".join(f"a.png,{v}\n" for v in (1, 1, 0)) + "b.png,1\nb.png,0\nc.png,0\n"
    listing = read(channel(tmp_path, x__csv=text), table=TableOptions(readers="mean"))
    np.testing.assert_allclose(train_targets(listing)[0][:, 0], [2 / 3, 0.5, 0], rtol=1e-6)
    np.testing.assert_array_equal(train_targets(listing, part="test")[0][:, 0], [1, NAN, 0])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"uncertain": "ones"}, "uncertain: 'ones' is not known; write ignore, zero, one, class or soft:LOW-HIGH"),
        ({"uncertain": "soft:0.9-0.2"}, "the range must be two numbers from 0 to 1"),
        ({"uncertain": "one,zero"}, "says two things of all labels"),
        ({"where": "PA,Projection=PA"}, "where=PA,Projection=PA: 'PA' is no condition; write COLUMN=VALUE"),
        ({"uncertain": "soft:0.1-0.2", "balanced_sampler": "true"}, "balanced_sampler=true with soft labels"),
        ({"readers": "most"}, "readers=most is not one of auto, any, majority, mean"),
    ],
)
def test_mistakes_are_refused_before_data_is_read(given, message):
    with pytest.raises(ThoraxError, match=message.replace("(", r"\(")):
        TrainingConfig.parse(given)


def test_a_choice_for_a_label_that_is_not_there(tmp_path):
    with pytest.raises(ThoraxError, match="uncertain=Edemas:one: the images have no label Edemas; did you mean Edema"):
        with_uncertain_classes(listing_of(tmp_path), choices(("Edemas:one",)))


def test_the_choice_is_in_log_report_and_bundle(tmp_path, capsys):
    rows = [f"{k}.png,{(1, 0, -1)[k % 3]},{k % 2},{'val' if k % 4 == 3 else 'train'}\n" for k in range(24)]
    names = [f"{k}.png" for k in range(24)]
    root = images.table(tmp_path / "set", "path,Edema,Pleural Effusion,split\n" + "".join(rows), names)
    given = {
        "network": "cnn5",
        "image_shape": "1,32,32",
        "epochs": 1,
        "batch_size": 6,
        "uncertain": "Edema:soft:0.5-0.9",
    }
    quick = {"num_workers": 0, "bootstrap_samples": 0, "threshold_views": 0, "labels": "PleuralEffusion,Edema"}
    result = thorax.train({**given, **quick}, train=root, output=tmp_path / "out")
    out = capsys.readouterr().out
    assert "task: multilabel, an image may have any of Pleural Effusion, Edema" in out
    assert "train: uncertain labels: Edema 6 soft:0.5-0.9" in out
    assert "validation: uncertain labels, which are not scored: Edema 2" in out
    assert "uncertain labels: Edema 6 soft:0.5-0.9" in result.report.read_text()
    assert "uncertain labels: Edema 6 soft:0.5-0.9" in (result.bundle / "bundle.json").read_text()
