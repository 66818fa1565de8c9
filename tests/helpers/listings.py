"""Channels for the tests of formats: written, read, and refused."""

from __future__ import annotations

import json

import pytest

import images
from thorax.data.formats import read_channel
from thorax.data.formats.channel import ReadOptions
from thorax.data.recordio import Writer, pack
from thorax.errors import ThoraxError


def read(root, data_format="auto", lists=None, **options):
    return read_channel("train", root, data_format, ReadOptions(**options), lists)


def refused(root, *args, **options):
    with pytest.raises(ThoraxError) as caught:
        read(root, *args, **options)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("channel train: ")
    return str(caught.value)


def channel(root, names=("a.png", "b.png", "c.png"), **texts):
    """A folder with these images and text files; `__` in a file's name stands for a dot."""
    for k, name in enumerate(names):
        images.put(root / name, seed=k)
    root.mkdir(exist_ok=True)
    for name, text in texts.items():
        (root / name.replace("__", ".")).write_text(text)
    return root


def records(root, *labels, name="train.rec", ids=None, lst=None):
    root.mkdir(exist_ok=True)
    with Writer(root / name) as writer:
        for k, label in enumerate(labels):
            writer.write(pack(images.data(images.grey(seed=k)), label, (ids or range(9))[k]), k)
    if lst:
        (root / name).with_suffix(".lst").write_text(lst)
    return root


def manifest(root, *rows, names=("a.png", "b.png", "c.png")):
    return channel(
        root, names, x__manifest="".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    )


def rows(*labels, **about):
    return [{"source-ref": f"{name}.png", "class": label, **about} for name, label in zip("abc", labels, strict=False)]
