"""The benchmark: it runs to the end on tiny images and writes a whole table. What it measures is nobody's test."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("timm", reason="timm is in the extra bench")
BENCH = Path(__file__).resolve().parents[2] / "bench"


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(BENCH), *sys.path])
    threads = torch.get_num_threads()
    import bench

    yield bench
    torch.set_num_threads(threads)


def test_every_row_is_measured_against_its_peer(bench, monkeypatch, tmp_path, capsys):
    import labels

    monkeypatch.setattr(bench, "NATIVE", (96, 128))
    monkeypatch.setattr(labels, "IMAGES", 1500)
    out = tmp_path / "results" / "table.md"
    bench.main(
        [
            "--quick",
            "--size",
            "64",
            "--batch",
            "4",
            "--epoch-images",
            "8",
            "--native-images",
            "4",
            "--seconds",
            "0",
            "--workers",
            "0",
            "--out",
            str(out),
        ]
    )
    text = out.read_text(encoding="utf-8")
    assert text in capsys.readouterr().out
    head, table, end = text.split("\n\n")
    assert end.startswith("Load at the end: ")
    assert f"torch {torch.__version__}" in head
    assert "1 thread(s) and 0 reading worker(s)" in head
    rows = [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]
    assert all(line.count("|") == 7 for line in table.splitlines())
    assert [row[0].split(",")[0] for row in rows] == [
        *["Training step"] * 3,
        "Training epoch with loading",
        "Our second epoch's speed",
        "Share of our first epoch spent waiting for images",
        "Reading 4 native-size JPEGs to 256 px",
        *["RecordIO"] * 4,
        *["Shards"] * 4,
        "Packing native images",
        "1",
        "Sample table",
    ]
    wanted = (
        "plain step",
        "plain step",
        "ours, float32",
        "timm 1.0",
        "",
        "",
        "ImageFolder",
        *["the same decoder"] * 8,
        "1 process",
        "",
        "",
    )
    peers = [row[2] for row in rows]
    assert all(name in peer for name, peer in zip(wanted, peers, strict=True))


def test_given_images_are_taken_evenly_spread(bench, tmp_path):
    for name, images in (("A", 9), ("B", 3)):
        (tmp_path / "source" / name).mkdir(parents=True)
        for k in range(images):
            (tmp_path / "source" / name / f"{k}.jpeg").write_bytes(b"image")
    chosen = bench.prepare(tmp_path / "chosen", tmp_path / "source", 8, (64, 64))
    assert {d.name: sorted(f.name for f in d.iterdir()) for d in chosen.iterdir()} == {
        "A": ["0.jpeg", "1.jpeg", "3.jpeg", "4.jpeg", "6.jpeg", "7.jpeg"],
        "B": ["0.jpeg", "1.jpeg"],
    }


def test_an_epoch_smaller_than_a_batch_is_refused(bench, capsys):
    with pytest.raises(SystemExit):
        bench.main(["--batch", "32", "--epoch-images", "8"])
    assert "--batch 32 with --epoch-images 8" in capsys.readouterr().err


def test_too_few_images_are_told(bench, tmp_path):
    (tmp_path / "A").mkdir()
    with pytest.raises(SystemExit, match="0 JPEGs in folders per class; 4 or more"):
        bench.prepare(tmp_path / "chosen", tmp_path, 8, (64, 64), least=4)
