"""check tells what training would pass over: files, folders, unknown patients, images of other parts."""

from __future__ import annotations

import images
from thorax.dataset import check, read_inventory


def messages(report):
    return {f.check: f.message for f in report.warnings}


def test_files_and_patients_that_nobody_knows(tmp_path):
    for k, name in enumerate(("A/a.png", "A/b.png", "B/c.png", "B/masks/c.png", "@eaDir/d.png")):
        images.put(tmp_path / name, images.grey(80, 90, seed=k))
    (tmp_path / "A" / "readme.txt").write_text("text")
    found = [finding.message for finding in check(tmp_path).warnings]
    assert "1 image in folders of masks, annotations or thumbnails, is left out: B/masks" in found
    assert "folders passed over: @eaDir (1 image)" in found
    assert "1 file left out (.txt 1): no images" in found
    assert messages(check(tmp_path))["patients-unknown"].startswith("the patient is not known of any of the 3 images")


def lay(root, *parts):
    for k, part in enumerate(parts):
        for name in ("A", "B"):
            images.put(root / part / name / f"person{k}_{name}.png", seed=k)
    return root


def test_images_of_a_part_that_has_a_channel_of_its_own(tmp_path):
    both = lay(tmp_path / "both", "train", "test")
    given = lay(tmp_path / "given", "test", "train")
    inventory = read_inventory({"train": both, "test": given})
    assert sorted(zip(inventory.parts.tolist(), inventory.ids, strict=True)) == [
        ("test", "test/A/person0_A.png"),
        ("test", "test/B/person0_B.png"),
        ("train", "train/A/person0_A.png"),
        ("train", "train/B/person0_B.png"),
    ]
    assert "train: 2 images are marked test and are left out" in inventory.notes
    assert "test: 2 images are marked train and are left out" in inventory.notes


def test_parts_of_the_train_channel_without_another(tmp_path):
    inventory = read_inventory({"train": lay(tmp_path / "both", "train", "test")})
    assert inventory.parts.tolist() == ["test", "test", "train", "train"]


def test_a_channel_whose_marks_name_another_part(tmp_path):
    inventory = read_inventory({"train": lay(tmp_path / "a", "train"), "test": lay(tmp_path / "b", "train")})
    assert inventory.parts.tolist() == ["train", "train", "test", "test"]
    assert "test: its images are marked train, none test; all are taken" in inventory.notes
