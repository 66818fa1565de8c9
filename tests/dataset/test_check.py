"""prepare.py check and stats: a set with every trouble, and one with none."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import images as xrays
from conftest import ROOT
from thorax.dataset import leaks, similar
from thorax_launch.cli import prepare

TWO = ("NORMAL", "PNEUMONIA")
DATA = Path(os.environ.get("THORAX_REALDATA", ROOT.parent / "shared" / "data"))


def chest(seed: int, height: int = 96, width: int = 96) -> np.ndarray:
    """A soft picture of its own, (height, width) uint8: no two are alike."""
    rough = np.random.default_rng(seed).normal(128, 60, (7, 7)).clip(0, 255).astype(np.uint8)
    return np.asarray(Image.fromarray(rough).resize((width, height), Image.Resampling.BICUBIC))


def sound(root, counts=None, first=0):
    """A set with nothing to find.

    60 different images of each class in train and test, none of them alike, patients apart.
    """
    seed = first
    for part in ("train", "test"):
        for name in TWO:
            for k in range((counts or {}).get((part, name), 60)):
                xrays.put(root / part / name / f"person{seed + 5000}_{part}{name}{k}.png", chest(seed))
                seed += 1
    return root


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    return sound(tmp_path_factory.mktemp("clean"))


@pytest.fixture
def copy(clean, tmp_path):
    """The same set, to be spoilt: links to its images."""
    for xray in clean.rglob("*.png"):
        place = tmp_path / "set" / xray.relative_to(clean)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(xray)
    return tmp_path / "set"


def check(root, *words):
    """(exit code, check -> findings) of a run."""
    out = root.parent / f"{root.name}.json"
    parts = [
        word
        for part in ("train", "validation", "test")
        if (root / part).is_dir()
        for word in (f"--{part}", str(root / part))
    ]
    code = prepare.main(["check", *parts, "--processes", "1", "--json", str(out), *words])
    found = {}
    for finding in json.loads(out.read_text())["findings"]:
        found.setdefault(finding["check"], []).append(finding)
    return code, found


def test_a_sound_set_has_no_findings(clean, capsys):
    code, found = check(clean)
    assert (code, found) == (0, {})
    assert "240 images: 0 errors, 0 warnings" in capsys.readouterr().out


def spoil(root, trouble):
    """Does one kind of harm; returns the check that must tell it, its level and the images it must name."""
    train, test = root / "train", root / "test"
    old = train / "NORMAL" / "person5000_trainNORMAL0.png"
    match trouble:
        case "cut short":
            return "unreadable", "error", {xrays.put(train / "NORMAL" / "cut.png", old.read_bytes()[:200])}
        case "no image":
            return "unreadable", "error", {xrays.put(train / "NORMAL" / "zip.png", b"PK\x03\x04" + bytes(30))}
        case "tiny":
            return "tiny", "warning", {xrays.put(train / "NORMAL" / "tiny.png", chest(9001, 40, 90))}
        case "constant":
            return "constant", "error", {xrays.put(train / "NORMAL" / "flat.png", np.full((90, 90), 77, np.uint8))}
        case "copy in train":
            return "duplicate", "warning", {old, xrays.put(train / "NORMAL" / "again.png", old.read_bytes())}
        case "copy in test":
            return "duplicate-across-parts", "error", {old, xrays.put(test / "NORMAL" / "again.png", old.read_bytes())}
        case "copy of another label":
            return "duplicate-labels", "error", {old, xrays.put(train / "PNEUMONIA" / "again.png", old.read_bytes())}
        case "smaller, darker JPEG in test":
            image = Image.open(old).resize((80, 80)).point(lambda v: v * 0.8)
            return (
                "near-duplicate-across-parts",
                "warning",
                {old, xrays.put(test / "NORMAL" / "near.jpeg", xrays.data(image, "JPEG", quality=70))},
            )
        case "16 bits of another label":
            wide = np.asarray(Image.open(old)).astype(np.uint16) * 257
            return (
                "near-duplicate-labels",
                "warning",
                {old, xrays.put(train / "PNEUMONIA" / "wide.png", xrays.data(Image.fromarray(wide)))},
            )
        case "a patient in both":
            return (
                "patients",
                "error",
                {
                    xrays.put(part / "PNEUMONIA" / f"person7_virus_{k}.png", chest(9100 + k))
                    for k, part in enumerate((train, test))
                },
            )
    raise AssertionError(trouble)


@pytest.mark.parametrize(
    "trouble",
    [
        "cut short",
        "no image",
        "tiny",
        "constant",
        "copy in train",
        "copy in test",
        "copy of another label",
        "smaller, darker JPEG in test",
        "16 bits of another label",
        "a patient in both",
    ],
)
def test_each_trouble_is_found_and_named(copy, trouble):
    name, level, concerned = spoil(copy, trouble)
    code, found = check(copy)
    assert code == (level == "error")
    reported = found[name][0]
    assert reported["level"] == level
    assert {xray["id"].split("/")[-1] for group in reported["images"] for xray in group} == {
        path.name for path in concerned
    }
    assert "\n" not in reported["message"]


def test_patients_that_are_counted_anew_are_a_warning(copy):
    spoil(copy, "a patient in both")
    code, found = check(copy, "--patient-scope", "channel")
    assert (code, found["patients"][0]["level"]) == (0, "warning")


def test_a_shift_of_prevalence_counts_only_where_it_matters(tmp_path):
    shifted = sound(tmp_path / "shifted", {("train", "NORMAL"): 120, ("train", "PNEUMONIA"): 40}, first=5000)
    _, found = check(shifted)
    assert re.search(
        r"PNEUMONIA is 25\.0% of train but 50\.0% of test \(Cohen's h 0\.52\)", found["prevalence"][0]["message"]
    )


def test_a_small_validation_part_and_an_empty_class(copy):
    for k in range(16):
        xrays.put(copy / "validation" / TWO[k % 2] / f"v{k}.png", chest(7000 + k))
    _, found = check(copy)
    assert "validation has 16 images, too few to choose an epoch or a threshold on" in found["small-part"][0]["message"]
    table = xrays.table(
        copy.parent / "table",
        "path,A,B\n" + "".join(f"f{k}.png,{k % 2},0\n" for k in range(4)),
        [f"f{k}.png" for k in range(4)],
    )
    code = prepare.main(["check", str(table), "--processes", "1", "--json", str(copy.parent / "t.json")])
    reported = json.loads((copy.parent / "t.json").read_text())["findings"]
    assert code == 1
    assert [f["message"] for f in reported if f["check"] == "empty-class"] == ["class B has no images in images"]


@pytest.mark.parametrize("leak", ["colour", "size", "bits", "file"])
def test_what_a_image_is_must_not_tell_its_label(copy, leak):
    """A third of the positives are RGB, larger, of 16 bits, or JPEG."""
    for path in sorted((copy / "train" / "PNEUMONIA").iterdir())[:20]:
        pixels = np.asarray(Image.open(path))
        path.unlink()
        if leak == "colour":
            xrays.put(path, xrays.data(Image.fromarray(pixels).convert("RGB")))
        elif leak == "size":
            xrays.put(path, np.asarray(Image.fromarray(pixels).resize((130, 110))))
        elif leak == "bits":
            xrays.put(path, xrays.data(Image.fromarray(pixels.astype(np.uint16) * 257)))
        else:
            xrays.put(path.with_suffix(".jpeg"), pixels)
    code, found = check(copy)
    assert code == 0
    assert set(found) == {f"leak-{leak}"}
    reported = [finding["message"] for finding in found[f"leak-{leak}"]]
    assert any(
        re.search(r"all 20 images with .* are PNEUMONIA \(of all images 50% are\)", message) for message in reported
    )


def test_processes_find_the_same(copy, tmp_path):
    for trouble in ("no image", "copy in test"):
        spoil(copy, trouble)
    _, one = check(copy)
    _, two = check(copy, "--processes", "2")
    assert one == two


def test_the_page_stands_alone(copy, tmp_path):
    for trouble in ("cut short", "copy in test"):
        spoil(copy, trouble)
    xrays.put(copy / "train" / "NORMAL" / "<b>bold.png", b"x")
    assert check(copy, "--html", str(tmp_path / "check.html"))[0] == 1
    text = (tmp_path / "check.html").read_text()
    assert text.count("data:image/png;base64,") == 4  # the copy has another patient, too
    assert "&lt;b&gt;bold.png" in text and "<b>bold" not in text
    assert not re.search(r"(src|href)=\"(?!data:)", text)


@pytest.mark.parametrize(
    ("words", "reported"),
    [
        ([], "give either IMAGES, a folder, or --train DIR"),
        (["{set}", "--train", "{set}"], "give either IMAGES, a folder, or --train DIR"),
        (["{set}/nowhere"], "is not a folder"),
        (["{set}/train", "--processes", "0"], "--processes 0 is out of range"),
        (["{set}/train", "--labels", "A,B"], "--labels: 'A' is unknown; the images have NORMAL, PNEUMONIA"),
        (["{set}/train", "--data-format", "folders"], "--data-format folders is not known; choose one of auto, folder"),
    ],
)
@pytest.mark.parametrize("command", ["check", "stats"])
def test_mistakes_get_one_line(clean, capsys, command, words, reported):
    assert prepare.main([command, *(word.format(set=clean) for word in words)]) == 1
    error = capsys.readouterr().err
    assert reported in error and error.count("\n") == 1


def test_labels_that_are_not_kept_are_not_looked_at(tmp_path):
    """Of several parts a label may be unknown in one."""
    for part, head in (("train", "path,Hernia,Mass,Edema"), ("test", "path,Mass,Hernia")):
        names = [f"{part}{k}.png" for k in range(4)]
        labels = ["0,1,1", "0,0,1", "0,1,0", "0,0,0"] if part == "train" else ["1,0"] * 4
        xrays.table(
            tmp_path / "in" / part, "\n".join([head, *map(",".join, zip(names, labels, strict=True))]) + "\n", names
        )
    channels = ["--train", str(tmp_path / "in" / "train"), "--test", str(tmp_path / "in" / "test"), "--processes", "1"]
    prepare.main(["check", *channels, "--labels", "Edema, Mass", "--json", str(tmp_path / "check.json")])
    report = (tmp_path / "check.json").read_text()
    assert [row["labels"] for row in json.loads(report)["parts"]] == [{"Edema": 2, "Mass": 2}, {"Edema": 0, "Mass": 4}]
    assert "Hernia" not in report
    assert prepare.main(["stats", *channels, "--labels", "Mass", "--json", str(tmp_path / "stats.json")]) == 0
    assert json.loads((tmp_path / "stats.json").read_text())["labels"] == {"Mass": {"images": 2, "unknown": 0}}


# --- the parts


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31), near=st.integers(0, 39))
def test_near_pairs_are_found_and_others_are_not(seed, near):
    rng = np.random.default_rng(seed)
    small = np.stack([chest(seed % 100000 + k, 32, 32) for k in range(40)])
    noisy = (small[near] * 0.9 + 10 + rng.normal(0, 2, (32, 32))).clip(0, 255).astype(np.uint8)
    assert [pair[:2] for pair in similar.near_pairs(np.concatenate([small, noisy[None]]))] == [(near, 40)]


def test_like_hashes_alone_are_no_near_pair():
    """The same broad shape with other details, as chest X-rays have."""
    xray = chest(3, 32, 32)
    other = (xray + 40.0 * np.random.default_rng(0).choice([-1, 1], (32, 32))).clip(0, 255).astype(np.uint8)
    both = np.stack([xray, other])
    assert int(similar.hashes(both)[0] ^ similar.hashes(both)[1]).bit_count() <= similar.MOST_BITS
    assert similar.near_pairs(both) == []


def test_near_pairs_across_blocks(monkeypatch):
    monkeypatch.setattr(similar, "_PAIRS", 30)  # three rows of ten
    small = np.stack([chest(k % 7, 32, 32) for k in range(10)])
    assert {pair[:2] for pair in similar.near_pairs(small)} == {(0, 7), (1, 8), (2, 9)}


def test_bits_are_counted_without_numpy_2(monkeypatch):
    words = np.random.default_rng(0).integers(0, 2**63, (5, 6), np.uint64)
    want = np.array([[int(w).bit_count() for w in row] for row in words])
    np.testing.assert_array_equal(similar._bits(words), want)
    monkeypatch.delattr(np, "bitwise_count", raising=False)
    np.testing.assert_array_equal(similar._bits(words), want)


def test_a_few_images_of_one_label_are_no_rule():
    """Five of one value have one label by chance in one of 16 sets."""
    assert leaks.rules("mode", ["RGB"] * 5 + ["L"] * 20, np.array([1] * 5 + [0, 1] * 10, float), "A", "B") == []
    assert len(leaks.rules("mode", ["RGB"] * 15 + ["L"] * 20, np.array([1] * 15 + [0] * 20, float), "A", "B")) == 2


def test_labels_that_chance_made_do_not_leak():
    rng = np.random.default_rng(0)
    size, labels = rng.integers(500, 3000, (400, 2)).astype(float), rng.integers(0, 2, 400).astype(float)
    patients = [f"p{k // 2}" for k in range(400)]
    reported = leaks.auc_of(size, labels, patients)
    assert reported is not None and reported[1] < leaks.LEAST_AUC
    assert leaks.auc_of(size + 3000 * labels[:, None], labels, patients)[1] > 0.95
    assert leaks.auc_of(size[:12], labels[:12], patients[:12]) is None


# --- stats


def test_stats_are_those_of_all_pixels(tmp_path, capsys):
    """Large images count by their pixels; test is left out; 16 bits and colour as the decoder reads them."""
    pictures = [chest(1, 50, 60), chest(2, 120, 90), np.full((30, 20), 255, np.uint8)]
    xrays.put(tmp_path / "train" / "A" / "1.png", pictures[0])
    xrays.put(tmp_path / "train" / "B" / "2.png", xrays.data(Image.fromarray(pictures[1].astype(np.uint16) * 257)))
    xrays.put(tmp_path / "train" / "B" / "3.png", xrays.data(Image.fromarray(pictures[2]).convert("RGB")))
    xrays.put(tmp_path / "train" / "B" / "bad.png", b"no image")
    xrays.put(tmp_path / "test" / "A" / "4.png", np.zeros((300, 300), np.uint8))
    xrays.put(tmp_path / "test" / "B" / "5.png", np.zeros((300, 300), np.uint8))
    out, picture = tmp_path / "out" / "stats.json", tmp_path / "out" / "stats.png"
    assert prepare.main(["stats", str(tmp_path), "--processes", "1", "--json", str(out), "--png", str(picture)]) == 0
    reported = json.loads(out.read_text())
    every = np.concatenate([p.ravel() for p in pictures]) / 255
    assert reported["mean"] == pytest.approx(every.mean(), abs=1e-6)
    assert reported["std"] == pytest.approx(every.std(), abs=1e-6)
    assert (reported["images"], reported["unreadable"], reported["pixels"]) == (4, 1, every.size)
    assert reported["labels"] == {"A": {"images": 1, "unknown": 0}, "B": {"images": 3, "unknown": 0}}
    assert reported["modes"] == {"L": 2, "RGB": 1}
    assert reported["bits"] == {"8": 2, "16": 1}
    assert reported["width"] == {"least": 20, "median": 60, "most": 90}
    assert Image.open(picture).size[0] > 800
    printed = capsys.readouterr().out
    assert "mean, std" in printed and "left out" in printed


@pytest.mark.realdata
@pytest.mark.skipif(
    not (DATA / "kermany_native").is_dir(), reason=f"no public image sets in {DATA}; set THORAX_REALDATA"
)
def test_the_kaggle_set(tmp_path):
    """The colour leak, the size leak and the 16 images of validation; 28 groups of duplicates at 224 pixels."""

    def findings(*words):
        assert (
            prepare.main(["check", *words, "--patient-scope", "channel", "--json", str(tmp_path / "check.json")]) == 0
        )
        return {f["check"]: f for f in json.loads((tmp_path / "check.json").read_text())["findings"]}

    native = findings(str(DATA / "kermany_native"))
    assert "all 20 images with colour mode RGB are PNEUMONIA" in native["leak-colour"]["message"]
    assert "leak-size" in native
    assert "the validation folder has 16 images" in native["format"]["message"]
    small = findings(
        *(
            f"--{part}={DATA / 'kermany224' / folder}"
            for part, folder in (("train", "train"), ("validation", "val"), ("test", "test"))
        )
    )
    assert len(small["duplicate"]["images"]) == 28
    assert "prevalence" in small
    assert "validation has 16 images" in small["small-part"]["message"]
