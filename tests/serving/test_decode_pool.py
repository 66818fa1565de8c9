"""Images that are not proven cheap are decoded in children, within a time and a memory of their own."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import threading
import time
import zlib

import numpy as np
import pytest
from PIL import Image

import dicoms
import images
from conftest import ROOT
from thorax.data.images import DecodeError, Preprocessing
from thorax.serving import decode_pool
from thorax.serving.decode_pool import DecodePool
from thorax.serving.image_cost import is_cheap
from thorax.serving.request import RequestError
from thorax.serving.settings import ServerSettings

IMAGE = images.smooth(80, 90)
PREPARED = Preprocessing(24, 24)
WIDE = IMAGE.astype(np.uint16) * 16
PNG, JPEG = images.data(IMAGE), images.data(IMAGE, "JPEG")


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def many_chunks(count: int) -> bytes:
    """A small PNG with so many empty chunks, each of which Pillow reads."""
    return PNG[:33] + chunk(b"teXt") * count + PNG[33:]


def claiming(width: int, height: int) -> bytes:
    """A PNG whose header says so."""
    return PNG[:8] + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)) + PNG[33:]


def in_colour(**options) -> bytes:
    return images.data(np.stack([IMAGE] * 3, -1), "JPEG", **options)


#: Slow: half a million chunks take seconds.
SLOW = many_chunks(500_000)


@pytest.fixture(autouse=True)
def all_get_as_much(monkeypatch):
    """The children of the second lane get what CPU the other tests leave: that may be none."""
    monkeypatch.setattr(decode_pool, "SLOW_NICE", 0)


@pytest.fixture
def pool():
    made = DecodePool(PREPARED, ServerSettings(max_pixels=2_000_000), processes=1)
    yield made
    made.close()


def soon(seconds: float = 60.0) -> float:
    return time.monotonic() + seconds


@pytest.mark.parametrize(
    ("data", "cheap"),
    {
        "PNG": (PNG, True),
        "grey JPEG": (JPEG, True),
        "colour JPEG": (in_colour(), True),
        "JPEG with restarts and EXIF": (in_colour(restart_marker_blocks=2, exif=b"Exif\0\0" + bytes(2000)), True),
        "progressive JPEG": (images.data(IMAGE, "JPEG", progressive=True), False),
        "arithmetic JPEG": (JPEG.replace(b"\xff\xc0", b"\xff\xc9"), False),
        "JPEG of three scans": (in_colour().replace(b"\xff\xda\x00\x0c\x03", b"\xff\xda\x00\x08\x01"), False),
        "JPEG of 49 million pixels": (JPEG.replace(struct.pack(">HH", 80, 90), struct.pack(">HH", 7000, 7000)), False),
        "JPEG whose height comes later": (JPEG.replace(struct.pack(">HH", 80, 90), struct.pack(">HH", 0, 90)), False),
        "JPEG of many segments": (JPEG[:2] + b"\xff\xe1\x00\x02" * 300 + JPEG[2:], False),
        "JPEG without a scan": (JPEG[:100], False),
        "JPEG's first bytes": (b"\xff\xd8\xff", False),
        "PNG of many chunks": (many_chunks(5000), False),
        "PNG of 49 million pixels": (claiming(7000, 7000), False),
        "PNG's first bytes": (PNG[:20], False),
        "TIFF": (images.data(IMAGE, "TIFF"), False),
        "JPEG 2000": (images.data(IMAGE, "JPEG2000"), False),
        "DICOM": (dicoms.dicom(IMAGE), False),
        "GIF": (images.data(IMAGE, "GIF"), False),
        "nothing": (b"", False),
    }.values(),
    ids=str,
)
def test_what_is_proven_cheap(data, cheap):
    assert is_cheap(data) is cheap


@pytest.mark.parametrize(
    "data",
    [
        *(
            JPEG,
            PNG,
            images.data(IMAGE, "TIFF"),
            images.data(IMAGE, "JPEG2000"),
            images.data(IMAGE, "JPEG", progressive=True),
        ),
        *(
            dicoms.dicom(WIDE, 12),
            images.data(Image.fromarray(WIDE)),
            images.data(IMAGE, "GIF"),
            images.data(IMAGE, "WEBP"),
        ),
    ],
    ids=["JPEG", "PNG", "TIFF", "JPEG 2000", "progressive", "DICOM", "PNG of 16 bits", "GIF", "WebP"],
)
def test_a_child_gives_the_same_pixels(pool, data):
    np.testing.assert_array_equal(pool.prepare(data, "image", soon()), PREPARED.image(data, "image"))


@pytest.mark.parametrize("data", [b"", b"no image", PNG[:60], images.data(IMAGE, "TIFF")[:200]])
def test_a_child_says_what_is_wrong_in_the_same_words(pool, data):
    with pytest.raises(DecodeError) as here:
        PREPARED.image(data, "image 3")
    with pytest.raises(DecodeError) as there:
        pool.prepare(data, "image 3", soon())
    assert str(there.value) == str(here.value)


def test_more_pixels_than_the_server_reads(pool):
    with pytest.raises(DecodeError, match="image has 3000x1000 pixels, more than the 2000000 that this server reads"):
        pool.prepare(claiming(3000, 1000), "image", soon())


def test_an_image_that_takes_long_is_given_up_and_the_next_one_answered(pool):
    pool.prepare(PNG, "image", soon())
    began = time.monotonic()
    with pytest.raises(
        DecodeError, match=r"image cannot be read: it takes more than 0\.\d+ seconds; it is damaged, or made"
    ):
        pool.prepare(SLOW, "image", soon(0.3))
    assert time.monotonic() - began < 20, "the child was killed, not waited for"
    np.testing.assert_array_equal(pool.prepare(PNG, "image", soon()), PREPARED.image(PNG, "image"))


def test_an_image_has_a_time_of_its_own(pool, monkeypatch):
    monkeypatch.setattr(decode_pool, "LONGEST", 0.3)
    with pytest.raises(DecodeError, match=r"it takes more than 0\.3 seconds"):
        pool.prepare(SLOW, "image", soon())


def test_memory_has_a_limit(monkeypatch):
    out = io.BytesIO()
    Image.new("L", (8000, 8000)).save(out, "GIF")  # 64 MB of pixels
    monkeypatch.setattr(decode_pool, "MEMORY", 20 * 2**20)
    pool = DecodePool(PREPARED, ServerSettings(max_pixels=2**26), processes=1)
    with pytest.raises(DecodeError, match=r"not enough memory|broke off"):
        pool.prepare(out.getvalue(), "image", soon())
    assert pool.prepare(PNG, "image", soon()).shape == (24, 24)
    pool.close()


def test_a_child_that_is_killed_is_replaced(pool):
    pool.prepare(PNG, "image", soon())
    pool.brief._idle[-1]._process.kill()
    with pytest.raises(DecodeError, match="its decoder broke off"):
        pool.prepare(PNG, "image", soon())
    assert pool.prepare(PNG, "image", soon()).shape == (24, 24)


def test_who_waits_too_long_is_told_to_come_back(pool):
    """One child is busy: images of about three seconds each wait for it until their time or the room for them is up."""
    told: list[str] = []

    def ask(client: str, seconds: float) -> None:
        try:
            pool.prepare(SLOW, "image", soon(seconds), client)
        except (DecodeError, RequestError) as error:
            told.append(str(error))

    busy = threading.Thread(target=ask, args=("1.1.1.1", 4.0))
    busy.start()
    until(lambda: pool.slow._ahead.used > 0)
    waiting = [threading.Thread(target=ask, args=(f"1.1.1.{k}", 1.8)) for k in range(2, 10)]
    for thread in waiting:
        thread.start()
    until(lambda: pool.slow._ahead.used > 24)
    with pytest.raises(RequestError, match="too many images that take long to decode") as refused:
        pool.prepare(SLOW, "image", soon(), "1.1.1.99")
    assert refused.value.status == 503
    began = time.monotonic()
    assert pool.prepare(images.data(IMAGE, "TIFF"), "image", soon()).shape == (24, 24), "an ordinary one does not wait"
    assert busy.is_alive() or time.monotonic() - began > 2
    for thread in (busy, *waiting):
        thread.join(30)
    assert sum("other images take long to decode; try again later" in line for line in told) == 8


def until(condition) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_one_client_leaves_room_for_others(pool):
    """Of what is left one may take three times as much."""
    pool.slow._ahead.take("1.1.1.1", 24.0)
    with pytest.raises(RequestError, match="your images take long to decode; send the next when one is answered") as no:
        pool.prepare(SLOW, "image", soon(), "1.1.1.1")
    assert no.value.status == 429
    assert pool.slow._ahead.take("1.1.1.2", 3.0)


def test_what_takes_longer_than_its_header_says_goes_on_by_the_second_lane(pool, monkeypatch):
    """Its child is killed by the system at its CPU time, and replaced; the image is right all the same."""
    monkeypatch.setattr(decode_pool, "cost", lambda data: 0.1)
    monkeypatch.setattr(decode_pool, "BRIEF", 0.05)
    slow = many_chunks(60_000)
    np.testing.assert_array_equal(pool.prepare(slow, "image", soon()), PREPARED.image(PNG, "image"))
    assert pool.brief._idle == [] and len(pool.slow._idle) == 1


def test_children_end_with_their_server():
    """Also where it is killed: a child sees the end of its input."""
    program = f"""
import sys, time
sys.path[:0] = [{str(ROOT / "source_dir")!r}]
from thorax.data.images import Preprocessing
from thorax.serving.decode_pool import DecodePool
pool = DecodePool(Preprocessing(24, 24), processes=1)
pool.prepare(bytes.fromhex({PNG.hex()!r}), "image", time.monotonic() + 60)
print(pool.brief._idle[-1]._process.pid, flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as server:
        child = int(server.stdout.readline())
        server.kill()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and running(child):
        time.sleep(0.02)
    assert not running(child)


def running(number: int) -> bool:
    try:
        with open(f"/proc/{number}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
