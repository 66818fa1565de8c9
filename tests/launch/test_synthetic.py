"""The synthetic images: the same seed gives the same bytes, labels are true to pixels, and nothing leaks."""

from __future__ import annotations

import csv
import hashlib
import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from thorax.errors import ThoraxError
from thorax_launch.synthetic import radiographs
from thorax_launch.synthetic.radiographs import FINDINGS, Anatomy, draw_radiograph, write_folders, write_table

SMALL = (160, 152)
NAMES = {"NORMAL": r"IM-(\d{4})-\d{4}\.(jpeg|png)", "PNEUMONIA": r"person(\d+)_(?:bacteria|virus)_\d+\.(jpeg|png)"}


def xray(seed: int, *findings: str, anatomy: Anatomy | None = None) -> np.ndarray[Any, np.dtype[np.float64]]:
    """(H, W) grey levels of a small image; the same seed differs only by its findings."""
    return draw_radiograph(np.random.default_rng(seed), findings, anatomy, SMALL).astype(float)


def digests(root: Path) -> dict[str, str]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    root = tmp_path_factory.mktemp("synthetic") / "folders"
    return root, write_folders(root, images=75)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    root = tmp_path_factory.mktemp("synthetic") / "table"
    return root, write_table(root, images=75)


def rows_of(root: Path) -> dict[str, list[dict[str, str]]]:
    return {part: list(csv.DictReader((root / part / "images.csv").open())) for part in ("train", "test")}


# --- one image


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    findings=st.sets(st.sampled_from(FINDINGS)),
    size=st.tuples(st.integers(64, 200), st.integers(64, 200)),
)
def test_any_image_is_grey_levels_of_the_asked_size_and_repeats(
    seed: int, findings: set[str], size: tuple[int, int]
) -> None:
    one = draw_radiograph(np.random.default_rng(seed), findings, None, size)
    again = draw_radiograph(np.random.default_rng(seed), sorted(findings), None, size)
    assert one.shape == size
    assert one.dtype == np.uint8
    assert np.array_equal(one, again)
    assert one.std() > 20, "an image has contrast"


def test_statistics_of_fixed_images() -> None:
    """Golden: the drawing changed if these move; then raise VERSION. Wide enough for another machine's rounding."""
    found = [(xray(7, *names).mean(), xray(7, *names).std()) for names in ((), FINDINGS)]
    assert np.allclose(found, [(158.71, 51.73), (166.90, 55.42)], atol=0.3)


def test_a_image_looks_like_a_chest() -> None:
    """Over many normal images: lungs darker than the middle and the belly, the corners of the image darkest."""
    mean = np.mean([xray(seed) for seed in range(24)], axis=0)
    lungs = (mean[60:85, 35:50].mean() + mean[60:85, 102:117].mean()) / 2
    assert mean[:12, :12].mean() < lungs < mean[60:85, 72:82].mean() - 40
    assert lungs < mean[140:155, 50:100].mean() - 60
    heart = mean[85:100]
    assert heart[:, 86:98].mean() > heart[:, 54:66].mean() + 10, "the heart lies to the image's right"


def test_consolidation_brightens_one_lung() -> None:
    more = np.stack([xray(seed, "Consolidation") - xray(seed) for seed in range(24)])
    halves = np.stack([more[:, 40:110, :76].mean((1, 2)), more[:, 40:110, 76:].mean((1, 2))])
    assert (halves.max(0) > 1.0).all(), "every one can be seen"
    assert (halves.min(0) < 0.2 * halves.max(0)).all(), "and is on one side"
    assert 0 < (halves[0] > halves[1]).sum() < 24, "not always the same side"
    assert halves.max(0).max() > 3 * halves.max(0).min(), "some subtle, some plain"


def test_effusion_fills_the_lower_lung_and_spares_the_upper() -> None:
    more = np.mean([xray(seed, "Effusion") - xray(seed) for seed in range(24)], axis=0)
    assert more[85:130].mean() > 2.0
    assert abs(more[:45].mean()) < 0.1


def test_cardiomegaly_widens_the_heart_more_to_the_left() -> None:
    more = np.stack([xray(seed, "Cardiomegaly") - xray(seed) for seed in range(24)])
    assert (more.mean((1, 2)) > 0.1).mean() > 0.9
    assert more[:, 60:120, 76:].mean() > 1.5 * more[:, 60:120, :76].mean() > 0


def test_a_nodule_is_a_small_bright_spot_in_a_lung() -> None:
    for seed in range(12):
        spot = xray(seed, "Nodule") - xray(seed) > 5
        rows, columns = np.nonzero(spot)
        assert 10 < len(rows) < 0.02 * spot.size
        assert max(np.ptp(rows), np.ptp(columns)) < 0.15 * max(SMALL), "one spot"
        assert abs(columns.mean() - 76) > 15, "off the midline"


def test_pneumothorax_darkens_the_rim_and_draws_a_line() -> None:
    for seed in range(12):
        more = xray(seed, "Pneumothorax") - xray(seed)
        dark = np.nonzero(more < -6)
        assert len(dark[0]) > 40
        assert (more > 6).sum() > 10
        assert abs(dark[1].mean() - 76) > 15, "on one side"
        assert dark[0].mean() < 95, "upper and middle image"


def test_a_patient_keeps_the_build_while_pose_and_exposure_change() -> None:
    one, other = (Anatomy.draw(np.random.default_rng(seed)) for seed in (1, 2))
    assert one != other
    assert 0.39 <= one.heart <= 0.49
    assert not np.array_equal(xray(1, anatomy=one), xray(2, anatomy=one))
    assert not np.array_equal(xray(1, anatomy=one), xray(1, anatomy=other))
    levels = [xray(seed, anatomy=one).mean() for seed in range(12)]
    assert np.std(levels) > 4, "exposure varies"


def test_unknown_findings_and_tiny_images_are_refused() -> None:
    with pytest.raises(ThoraxError, match=r"Measles.*Cardiomegaly"):
        xray(0, "Measles")
    with pytest.raises(ThoraxError, match=r"size=32x300.*64"):
        draw_radiograph(np.random.default_rng(0), (), None, (32, 300))


# --- sets in folders


def test_folders_hold_what_the_counts_say(folders: tuple[Path, dict[str, Any]]) -> None:
    root, counts = folders
    assert counts["images"] == 75 == sum(counts["classes"].values())
    for part in ("train", "test"):
        found = {folder.name: len(list(folder.iterdir())) for folder in (root / part).iterdir()}
        assert found == counts[part]["classes"]
        assert set(found) == {"NORMAL", "PNEUMONIA"}
    assert counts["patients"] == counts["train"]["patients"] + counts["test"]["patients"]


def test_patients_read_from_names_have_one_to_four_images_in_one_place(folders: tuple[Path, dict[str, Any]]) -> None:
    root, counts = folders
    places: dict[int, Counter[str]] = defaultdict(Counter)
    for path in root.glob("*/*/*"):
        match = re.fullmatch(NAMES[path.parent.name], path.name)
        assert match, path.name
        places[int(match[1])][f"{path.parts[-3]}/{path.parts[-2]}"] += 1
    assert len(places) == counts["patients"]
    assert all(len(place) == 1 for place in places.values()), "a patient is in one part and class"
    assert {place.total() for place in places.values()} == {1, 2, 3, 4}


def test_file_type_mode_and_shape_tell_nothing(folders: tuple[Path, dict[str, Any]]) -> None:
    root, _ = folders
    for part in ("train", "test"):
        shares: dict[str, dict[str, float]] = {}
        for folder in (root / part).iterdir():
            seen: Counter[str] = Counter()
            paths = list(folder.iterdir())
            for path in paths:
                with Image.open(path) as picture:
                    assert picture.format == {".png": "PNG", ".jpeg": "JPEG"}[path.suffix]
                    assert 220 <= min(picture.size) <= max(picture.size) <= 420
                    shape = "portrait" if picture.height > picture.width else "landscape"
                    seen.update({f"type {path.suffix}": 1, f"mode {picture.mode}": 1, shape: 1})
            shares[folder.name] = {what: count / len(paths) for what, count in seen.items()}
        assert shares["NORMAL"].keys() == shares["PNEUMONIA"].keys()
        for what in ("type .png", "mode RGB", "portrait"):
            few = min(len(list(folder.iterdir())) for folder in (root / part).iterdir())
            assert abs(shares["NORMAL"][what] - shares["PNEUMONIA"][what]) <= 1.5 / few, (part, what)
            assert 0.05 < shares["NORMAL"][what] < 0.6


# --- sets in a table


def test_table_rows_and_files_agree(table: tuple[Path, dict[str, Any]]) -> None:
    root, counts = table
    for part, rows in rows_of(root).items():
        assert list(rows[0]) == ["path", "labels", "patient"]
        images = {str(path.relative_to(root / part)) for path in (root / part / "images").iterdir()}
        assert sorted(row["path"] for row in rows) == sorted(images)
        assert len(rows) == counts[part]["images"]
        seen = Counter(name for row in rows for name in row["labels"].split("|"))
        assert dict(seen) == counts[part]["classes"]
        for row in rows:
            names = row["labels"].split("|")
            assert names == ["No Finding"] or (set(names) <= set(FINDINGS) and len(set(names)) == len(names) <= 3)


def test_every_finding_is_in_both_parts_and_follows_its_patient(table: tuple[Path, dict[str, Any]]) -> None:
    root, counts = table
    parts = rows_of(root)
    for name in FINDINGS:
        assert 0.12 < counts["classes"][name] / counts["images"] < 0.36
        assert counts["train"]["classes"][name] > 0
        assert counts["test"]["classes"][name] > 0
    people = {part: {row["patient"] for row in rows} for part, rows in parts.items()}
    assert not people["train"] & people["test"]
    assert all(re.fullmatch(r"P\d{4}", patient) for patient in people["train"] | people["test"])
    xrays: dict[str, list[set[str]]] = defaultdict(list)
    for row in parts["train"] + parts["test"]:
        xrays[row["patient"]].append(set(row["labels"].split("|")))
    again = [name in other for first, *rest in xrays.values() for other in rest for name in first & set(FINDINGS)]
    assert np.mean(again) > 0.6, "a finding of the first image is on most of the patient's later ones"


def test_the_smallest_table_still_has_every_finding_in_both_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blank = np.zeros((8, 8), np.uint8)
    monkeypatch.setattr(radiographs, "draw_radiograph", lambda *_: blank)
    for seed in range(20):
        counts = write_table(tmp_path / str(seed), images=40, seed=seed)
        assert all(counts[part]["classes"].get(name) for part in ("train", "test") for name in FINDINGS)
    counts = write_table(tmp_path / "usual", images=400)
    assert all(0.15 <= counts["classes"][name] / 400 <= 0.30 for name in FINDINGS)


# --- writing as a set


@pytest.mark.parametrize("write", [write_folders, write_table])
def test_the_same_seed_gives_the_same_bytes_and_another_does_not(
    tmp_path: Path, write: Any, folders: tuple[Path, dict[str, Any]], table: tuple[Path, dict[str, Any]]
) -> None:
    first = write(tmp_path / "a", images=40, seed=3)
    assert write(tmp_path / "b", images=40, seed=3) == first
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    other = folders[0] if write is write_folders else table[0]
    assert not set(digests(tmp_path / "a").values()) & set(digests(other).values())


def test_asking_again_returns_the_counts_without_writing(folders: tuple[Path, dict[str, Any]]) -> None:
    root, counts = folders
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert write_folders(root, images=75) == counts
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_other_parameters_and_foreign_folders_are_refused_untouched(
    tmp_path: Path, folders: tuple[Path, dict[str, Any]]
) -> None:
    root, _ = folders
    with pytest.raises(ThoraxError, match=r"'images': 75.*'images': 76"):
        write_folders(root, images=76)
    with pytest.raises(ThoraxError, match=r"'kind': 'folders'.*'kind': 'table'"):
        write_table(root, images=75)
    for name in ("mine", "other.partial", "marked"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "notes.txt").write_text("keep me")
    (tmp_path / "marked" / radiographs.MARKER).write_text("[]")
    for name in ("mine", "other", "marked", "mine/notes.txt"):
        with pytest.raises(ThoraxError, match="no set of synthetic images") as caught:
            write_table(tmp_path / name)
        assert "\n" not in str(caught.value)
    assert (tmp_path / "mine" / "notes.txt").read_text() == "keep me"
    assert (tmp_path / "other.partial" / "notes.txt").read_text() == "keep me"


@pytest.mark.parametrize("wrong", [{"images": 39}, {"seed": -1}])
def test_wrong_numbers_are_refused(tmp_path: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(ThoraxError, match="=".join(map(str, *wrong.items()))):
        write_folders(tmp_path / "set", **wrong)
    assert not any(tmp_path.iterdir())


def test_an_interrupted_write_leaves_no_root_and_the_next_one_finishes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blank, calls = np.zeros((8, 8), np.uint8), Counter[str]()

    def draw(*_: Any) -> np.ndarray[Any, np.dtype[np.uint8]]:
        calls["image"] += 1
        if calls["image"] == 20:
            raise KeyboardInterrupt
        return blank

    monkeypatch.setattr(radiographs, "draw_radiograph", draw)
    root = tmp_path / "set"
    with pytest.raises(KeyboardInterrupt):
        write_folders(root, images=40)
    assert not root.exists()
    counts = write_folders(root, images=40)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
    assert len(list(root.glob("*/*/*"))) == counts["images"] == 40
