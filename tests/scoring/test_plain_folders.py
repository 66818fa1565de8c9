"""A plain folder to score: what is no image in it is listed and passed over, everywhere alike."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import images
from thorax.errors import ThoraxError
from thorax.scoring.folder_images import images_to_score
from thorax_launch.predictions import named_images


def plain(root):
    """Three images among what people and systems leave in a folder."""
    images.put(root / "NORMAL" / "a.png")
    images.put(root / "PNEUMONIA" / "b.jpeg")
    Image.fromarray(images.grey()).save(root / "NORMAL" / "c.bmp")
    for name in ("README.md", "Thumbs.db", "NORMAL/notes.txt", "desktop.ini"):
        (root / name).write_text("text")
    images.put(root / "@eaDir" / "a.png")
    return root


EXPECTED = ["NORMAL/a.png", "NORMAL/c.bmp", "PNEUMONIA/b.jpeg"]


def test_batch_and_evaluate(tmp_path, capsys):
    found = images_to_score(plain(tmp_path), images.BINARY)
    assert found.ids == EXPECTED
    np.testing.assert_array_equal(found.targets, [[0], [0], [1]])
    lines = capsys.readouterr().out.splitlines()
    assert f"note: {tmp_path}: folders passed over: @eaDir (1 image)" in lines
    assert any(line.startswith(f"note: {tmp_path}: 4 files left out (") for line in lines)


def test_predict(tmp_path, capsys):
    assert [name for name, _ in named_images([plain(tmp_path)])] == EXPECTED
    assert "4 files left out (" in capsys.readouterr().err


@pytest.mark.parametrize("name", [None, "README.md"])
def test_a_folder_without_images(tmp_path, name):
    if name:
        (tmp_path / name).write_text("text")
    with pytest.raises(ThoraxError, match="holds no images"):
        images_to_score(tmp_path, images.BINARY)
    with pytest.raises(ThoraxError, match="holds no images"):
        list(named_images([tmp_path]))


def test_a_table_is_read_as_one(tmp_path, capsys):
    images.put(tmp_path / "a.png")
    images.put(tmp_path / "b.png")
    (tmp_path / "x.csv").write_text("path,label\na.png,NORMAL\n")
    assert images_to_score(tmp_path, images.BINARY).ids == ["a.png"]
    assert "1 image below" in capsys.readouterr().out
