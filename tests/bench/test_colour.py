"""bench/colour.py: what it cuts out of photographs, and which label it gives them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

import images
from photos import photo

BENCH = Path(__file__).resolve().parents[2] / "bench"


def test_objects_are_cut_out_of_their_photographs(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    import colour

    monkeypatch.setattr(colour, "FEWEST", 2)
    names = {1: "animal", 2: "food"}
    categories = [{"id": k, "name": f"name {k}", "supercategory": name} for k, name in names.items()]
    about = {"images": [], "annotations": [], "categories": categories}
    for k in range(3):
        images.put(tmp_path / "coco/train2017" / f"{k}.png", images.data(photo(80, 120, seed=k)))
        about["images"].append({"id": k, "file_name": f"{k}.png"})
        for box, category, crowd in (
            ([10, 20, 40, 50], 1, 0),
            ([60, 0, 33, 40], 2, 0),
            ([0, 0, 9, 90], 2, 0),
            ([0, 0, 50, 50], 1, 1),
        ):
            about["annotations"].append({"image_id": k, "bbox": box, "category_id": category, "iscrowd": crowd})
    about["images"].append({"id": 9, "file_name": "not here.png"})
    (tmp_path / "coco/annotations").mkdir()
    (tmp_path / "coco/annotations/instances_train2017.json").write_text(json.dumps(about))
    (tmp_path / "out").mkdir()
    labels, rows = colour.write_channel(tmp_path / "coco", tmp_path / "out", "objects")
    assert labels == ["animal", "food"]
    assert [(row["patient"], row["animal"], row["food"]) for row in rows] == [
        (str(k), animal, 1 - animal) for k in range(3) for animal in (1, 0)
    ]  # small ones and crowds are left out
    np.testing.assert_array_equal(
        np.asarray(Image.open(tmp_path / "out" / rows[0]["path"])), photo(80, 120)[20:70, 10:50]
    )
    _, rows = colour.write_channel(tmp_path / "coco", tmp_path / "out", "scenes")
    assert [(row["animal"], row["food"]) for row in rows] == [(1, 1)] * 3
