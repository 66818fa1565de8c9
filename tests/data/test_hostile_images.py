"""Files that lie, files that are bombs, and damage anywhere: refused in one line, within bounded memory and time."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom import uid

import dicoms
import images
import tiffs
from conftest import ROOT
from pngs import png16
from thorax.data.decoders import header, kinds
from thorax.data.images import DecodeError, Preprocessing, decode, is_image
from thorax.data.source import ByteRange

IMAGE = images.grey(16, 20)
WIDE = IMAGE.astype(np.uint16) * 16


# --- what a file is, its content tells


@pytest.mark.parametrize("name", ["xray.jpg", "image.png", "xray.tif", "xray.dcm", "image", "xray.txt"])
@pytest.mark.parametrize(
    "content", [images.data(IMAGE), images.data(IMAGE, "TIFF"), dicoms.dicom(IMAGE)], ids=["PNG", "TIFF", "DICOM"]
)
def test_a_wrong_ending_does_not_matter(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    np.testing.assert_array_equal(decode(tmp_path / name, name), IMAGE)


@pytest.mark.parametrize(
    ("content", "looks"),
    [
        (b"PK\x03\x04" + bytes(40), "a ZIP archive"),
        (b"\x80\x04\x95" + bytes(40), "a Python pickle"),
        (b"<!DOCTYPE html><html>", "HTML or XML"),
        (b"%PDF-1.7", "a PDF"),
        (b"\x1f\x8b\x08", "a gzip file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "a Git LFS pointer, not the file itself"),
    ],
)
@pytest.mark.parametrize("look", [decode, header])
def test_another_kind_of_file_is_named(tmp_path, content, looks, look):
    (tmp_path / "xray.jpg").write_bytes(content)
    with pytest.raises(
        DecodeError, match=rf"xray.jpg cannot be read: its content is neither {kinds('nor')} \(it looks like {looks}\)$"
    ):
        look(tmp_path / "xray.jpg", "xray.jpg")


def test_images_of_a_folder(tmp_path):
    files = {"a.png": b"", "b.TIFF": b"", "c.dcm": b"", "1.2.840.7": dicoms.dicom(IMAGE), "IM0001": dicoms.dicom(IMAGE)}
    others = {"README": b"read me", "notes.txt": dicoms.dicom(IMAGE), "1.2": b""}
    for name, content in (files | others).items():
        (tmp_path / name).write_bytes(content)
    assert {name for name in files | others if is_image(tmp_path / name)} == set(files)


def test_a_pipe_is_not_waited_for(tmp_path):
    import os

    os.mkfifo(tmp_path / "image.png")
    with pytest.raises(DecodeError, match="it is not a file"):
        decode(tmp_path / "image.png", "image.png")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "DICOM"])
def test_the_header_of_a_stretch_of_a_larger_file(tmp_path, kind):
    """Also where the header is longer than what is read first."""
    image = images.grey(300, 320)
    content = dicoms.dicom(image) if kind == "DICOM" else images.data(image, kind)
    if kind == "JPEG":
        content = (
            content[:2]
            + b"".join(b"\xff\xe5" + struct.pack(">H", 60002) + bytes(60000) for _ in range(2))
            + content[2:]
        )
    (tmp_path / "xrays.rec").write_bytes(b"before" + content + b"after")
    seen = header(ByteRange(tmp_path / "xrays.rec", 6, len(content)), "image")
    assert (seen.kind, seen.width, seen.height, seen.bits) == (kind, 320, 300, 8)


# --- damage

GOOD = {
    "JPEG": images.data(IMAGE, "JPEG"),
    "progressive JPEG": images.data(IMAGE, "JPEG", progressive=True),
    "PNG": images.data(IMAGE),
    "PNG of 16 bits": images.data(Image.fromarray(WIDE)),
    "TIFF": images.data(IMAGE, "TIFF"),
    "TIFF with LZW": images.data(IMAGE, "TIFF", compression="tiff_lzw"),
    "TIFF of 16 bits": images.data(Image.fromarray(WIDE), "TIFF", compression="tiff_adobe_deflate"),
    "DICOM": dicoms.dicom(WIDE, 12, WindowCenter=500, WindowWidth=900),
    "implicit DICOM": dicoms.dicom(WIDE, 12, syntax=uid.ImplicitVRLittleEndian),
    "DICOM with RLE": dicoms.dicom(WIDE, 12, syntax=uid.RLELossless),
    "DICOM with LUT": dicoms.dicom(WIDE, 12, VOILUTSequence=[dicoms.table(np.arange(256), 0, 8)]),
    "bare DICOM": dicoms.dicom(WIDE, 12)[132:],
    "deflated DICOM": dicoms.deflated(dicoms.data_set(WIDE, 12)),
    "DICOM with padding": dicoms.dicom(WIDE, PixelPaddingValue=16, PixelPaddingRangeLimit=0, HighBit=15),
    "DICOM of 32 bits": dicoms.dicom(WIDE.astype(np.uint32), 12),
    "PNG of 16 bits in colour": png16(np.stack([WIDE] * 3, -1)),
    "TIFF of 16 bits in colour": tiffs.colour(np.stack([WIDE] * 3, -1)),
    "DICOM with JPEG": dicoms.dicom(IMAGE, syntax=uid.JPEGBaseline8Bit, frame=images.data(IMAGE, "JPEG")),
    "DICOM with JPEG 2000": dicoms.dicom(IMAGE, syntax=uid.JPEG2000, frame=images.data(IMAGE, "JPEG2000")),
}


@pytest.mark.parametrize("kind", GOOD)
def test_the_undamaged_image_is_read(kind):
    assert decode(GOOD[kind], "image").shape == IMAGE.shape


@settings(max_examples=300, deadline=None)
@given(
    kind=st.sampled_from(sorted(GOOD)),
    cut=st.none() | st.floats(0, 1),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=4)), max_size=4),
)
def test_damage_anywhere_gives_a_image_or_one_line(kind, cut, changes):
    content = bytearray(GOOD[kind])
    for place, replaced in changes:
        at = int(place * len(content))
        content[at : at + len(replaced)] = replaced
    if cut is not None:
        del content[int(cut * len(content)) :]
    for look in (header, lambda data, name: Preprocessing(8, 8).image(data, name)):
        message = "image "
        try:
            look(bytes(content), "image")
        except DecodeError as error:
            message = str(error)
        assert message.startswith("image ") and "\n" not in message


# --- bombs: each in a process of its own, which tells its peak memory and its processor time

CHILD = """
import json, resource, sys, time
from pathlib import Path
from thorax.data.decoders import decode, header
from thorax.errors import ThoraxError
import thorax.data.decoders.dicom, thorax.data.decoders.raster, thorax.data.decoders.tiff
thorax.data.decoders.dicom._pydicom()
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
for path in sys.argv[1:]:
    start, message = time.process_time(), ""
    try:
        header(Path(path), "bomb")
        decode(Path(path), "bomb", lambda w, h: (64, 64))
    except ThoraxError as error:
        message = str(error)
    peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024
    print(json.dumps([Path(path).name, message, round(peak), round(time.process_time() - start, 1)]), flush=True)
"""


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"".join(
        struct.pack(">I", len(b)) + name + b + struct.pack(">I", zlib.crc32(name + b)) for name, b in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def zeros(count: int) -> bytes:
    """`count` zero bytes in a zlib stream, without holding them."""
    pack, piece = zlib.compressobj(1), bytes(1 << 20)
    return b"".join(pack.compress(piece) for _ in range(count >> 20)) + pack.flush()


HEAD = (b"IHDR", struct.pack(">IIBBBBB", 20, 16, 8, 0, 0, 0, 0))
REST = ((b"IDAT", zlib.compress(bytes(21 * 16))), (b"IEND", b""))


def many_scans(progressive: bool) -> bytes:
    """A JPEG of 2000 x 2000 pixels with its last scan repeated."""
    whole = images.data(np.zeros((2000, 2000), np.uint8), "JPEG", progressive=progressive)
    last = whole.rindex(b"\xff\xda")
    return whole[:last] + whole[last:-2] * 3000 + whole[-2:]


def nested(depth: int) -> bytes:
    """Sequences of undefined length in one another, never ended."""
    content = dicoms.dicom(IMAGE)
    at = content.index(b"\x28\x00\x02\x00US")  # before SamplesPerPixel
    begin = b"\x20\x00\x40\x11SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    return content[:at] + begin * depth + content[at:]


def rle_bomb() -> bytes:
    frame = struct.pack("<16L", 1, 64, *[0] * 14) + b"\x81\0" * 2_000_000  # 256 MB of zeros in 4 MB
    return dicoms.dicom(np.zeros((700, 700), np.uint8), syntax=uid.RLELossless, frame=frame)


def many_elements() -> bytes:
    content = dicoms.dicom(IMAGE)
    at = content.index(b"\x28\x00\x02\x00US")  # before SamplesPerPixel
    return content[:at] + struct.pack("<HH2sH", 0x27, 1, b"LO", 0) * 1_000_000 + content[at:]


BOMBS = {
    "huge.png": (lambda: images.huge(60000, 60000), "it claims more than the 67108864 pixels"),
    "text.png": (lambda: png(HEAD, (b"zTXt", b"Comment\0\0" + zeros(1 << 28)), *REST), "Decompressed data too large"),
    "texts.png": (
        lambda: png(HEAD, *[(b"zTXt", b"Comment\0\0" + zeros(1 << 20)) for _ in range(200)], *REST),
        "Too much memory",
    ),
    "profile.png": (lambda: png(HEAD, (b"iCCP", b"icc\0\0" + zeros(1 << 28)), *REST), "Decompressed data too large"),
    "scans.jpg": (lambda: many_scans(progressive=True), "it has more than 500 progressive scans"),
    "sequential.jpg": (lambda: many_scans(progressive=False), "broken data stream"),
    "largest.png": (
        lambda: png(
            (b"IHDR", struct.pack(">IIBBBBB", 8192, 8192, 8, 4, 0, 0, 0)),
            (b"IDAT", zeros(8192 * 8192 * 2 + (1 << 20))),
            REST[1],
        ),
        "",
    ),
    "rows.dcm": (lambda: dicoms.dicom(IMAGE, Rows=65535, Columns=65535), "it claims 65535x65535 pixels"),
    "short.dcm": (lambda: dicoms.dicom(WIDE, 12, Rows=8000, Columns=8000), "pixel data"),
    "rle.dcm": (rle_bomb, "its run lengths unpack to more than 490000 pixels"),
    "elements.dcm": (many_elements, "it has more than 100000 elements"),
    "nested.dcm": (lambda: nested(5000), "maximum recursion depth exceeded"),
    "stream.dcm": (
        lambda: dicoms.dicom(
            IMAGE, syntax=uid.JPEG2000, frame=images.data(np.zeros((4000, 4000), np.uint8), "JPEG2000")
        ),
        "its compressed image 4000x4000",
    ),
}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peak memory is read from /proc")
def test_bombs_take_little_memory_and_time(tmp_path):
    """MiB of the whole process; the largest image allowed, with transparency, takes 400."""
    for name, (make, _) in BOMBS.items():
        (tmp_path / name).write_bytes(make())
    with (tmp_path / "sparse.tif").open("wb") as file:
        file.write(b"II*\0")
        file.truncate(1 << 33)  # 8 GiB that take no disk
    names = [*BOMBS, "sparse.tif"]
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *(str(tmp_path / name) for name in names)],
        capture_output=True,
        text=True,
        timeout=200,
        env={"PYTHONPATH": str(ROOT / "source_dir"), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [name for name, *_ in rows] == names
    for name, message, peak, seconds in rows:
        expected = BOMBS[name][1] if name in BOMBS else "it has 8589934592 bytes, more than the"
        assert expected in message, (name, message)
        assert bool(message) == (name != "largest.png"), (name, message)
        assert peak < 600, (name, peak)
        assert seconds < 20, (name, seconds)
