"""What one caller can do to the others: files that cost much for their size, and requests that do."""

from __future__ import annotations

import io
import json
import random
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

from load import Asked


def files(share: float = 1.0) -> dict[str, bytes]:
    """The worst image files found, by name; `share` of their size."""
    side, many = round(7000 * share**0.5), round(1_000_000 * share)
    return {
        "progressive JPEG of 400 scans": scans(side, max(20, round(400 * share))),
        "PNG of a million chunks": chunks(many),
        "TIFF of a million strips": strips(many),
        "JPEG of a million segments": segments(many),
        "JPEG 2000 of small tiles": tiles(round(1200 * share**0.5)),
        "PNG of 16 bits and four channels": png(round(4000 * share**0.5), round(4000 * share**0.5), 16, 6, 8),
        "PNG of one column": png(1, round(16_000_000 * share), 8, 0, 1),
    }


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def scans(side: int, count: int) -> bytes:
    """A progressive JPEG whose last scan comes `count` times."""
    plain = encoded(Image.new("L", (side, side), 99), "JPEG", progressive=True)
    last = plain.rindex(b"\xff\xda")
    return plain[:last] + plain[last:-2] * count + plain[-2:]


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def chunks(count: int) -> bytes:
    """A PNG of so many empty chunks."""
    plain = encoded(Image.new("L", (64, 64), 99), "PNG")
    return plain[:33] + chunk(b"teXt") * count + plain[33:]


def png(width: int, height: int, depth: int, kind: int, pixel: int) -> bytes:
    """A PNG of zeros: a small file of many bytes."""
    packer, row = zlib.compressobj(9), bytes(1 + width * pixel)
    data = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", data) + chunk(b"IEND")


def strips(count: int) -> bytes:
    """A TIFF of so many strips of one row each."""
    entries = [(256, 4, 1, 1), (257, 4, 1, count), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    end = 8 + 2 + 12 * 8 + 4
    entries += [(273, 4, count, end), (278, 4, 1, 1), (279, 4, count, end + 4 * count)]
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *e) for e in entries) + bytes(4)
    return b"II*\0" + struct.pack("<I", 8) + directory + struct.pack("<I", 8) * count + struct.pack("<I", 1) * count


def segments(count: int) -> bytes:
    """A JPEG of so many empty segments."""
    plain = encoded(Image.new("L", (64, 64), 99), "JPEG")
    return plain[:2] + b"\xff\xe1\x00\x02" * count + plain[2:]


def tiles(side: int) -> bytes:
    """A JPEG 2000 image of tiles of 8 x 8."""
    return encoded(Image.new("L", (side, side), 99), "JPEG2000", tile_size=(8, 8))


def form(parts: list[bytes]) -> Asked:
    body = b"".join(
        b'--x\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n' + part + b"\r\n" for part in parts
    )
    return Asked.image(body + b"--x--\r\n", "multipart/form-data; boundary=x")


def requests(image: bytes, worst: dict[str, bytes], share: float = 1.0) -> dict[str, list[bytes]]:
    """Whole requests that cost much, by name."""
    size = round(8_000_000 * share)
    films = list(worst.values())
    scanned = films[0]
    found = {
        "a form of hostile films": form([scanned] * min(80, max(2, 18_000_000 // len(scanned)))),
        "a form of all kinds": form(films[2:3] + films[4:]),
        "a form of many parts": form([b"x"] * round(100_000 * share)),
        "lists of one number": Asked.image(b"[" + b"[1]," * (size // 4) + b"[1]]", "application/json"),
        "empty lists": Asked.image(b'{"a": [' + b"[]," * (size // 3) + b"[]]}", "application/json"),
        "lines of numbers": Asked.image(b"1\n" * (size // 2), "text/csv"),
        "a boundary of semicolons": Asked.image(b"x", f'multipart/form-data; a="{";" * 60_000}'),
        "a deep list": Asked.image(b"[" * 100_000, "application/json"),
        "heat maps of many": _explained(form([image] * 200)),
        "an array that lies": Asked.image(_lying_array(), "application/x-npy"),
        "a zipped body": Asked(
            Asked.image(zlib.compress(bytes(size), 9)).wire.replace(b"\r\n", b"\r\nContent-Encoding: gzip\r\n", 1)
        ),
        "an address": Asked.image(b'{"s3_uri": "http://169.254.169.254/latest"}', "application/json"),
        "a host's secrets": Asked.image(b'{"s3_uri": "s3://169.254.169.254/latest"}', "application/json"),
    }
    wires = {name: [asked.wire] for name, asked in found.items()}
    plain = b"Host: localhost\r\n"
    wires["HEAD and OPTIONS"] = [
        f"{m} {p} HTTP/1.1\r\n".encode() + plain + b"\r\n" for m in ("HEAD", "OPTIONS") for p in ("/", "/metadata")
    ]
    wires["metrics and metadata"] = [
        f"GET /{p} HTTP/1.1\r\n".encode() + plain + b"\r\n" for p in ("metrics", "metadata")
    ]
    wires["a long address"] = [b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\n" + plain + b"\r\n"]
    wires["cookies"] = [b"GET /metadata HTTP/1.1\r\n" + plain + b'Cookie: a="' + b"\\" * 50_000 + b'"\r\n\r\n']
    return wires


def _explained(asked: Asked) -> Asked:
    return Asked(asked.wire.replace(b"/invocations ", b"/invocations?explain=1 ", 1))


def _lying_array() -> bytes:
    head = b"{'descr': '|u1', 'fortran_order': False, 'shape': (999999, 999999), }\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + bytes(1000)


def mutated(body: bytes, chance: random.Random) -> bytes:
    """A body with some bytes changed, cut out or doubled."""
    data = bytearray(body[:200_000])
    for _ in range(chance.randint(1, 8)):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(4):
            case 0:
                data[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                del data[at : at + chance.randrange(1, 400)]
            case 2:
                data[at:at] = data[at : at + 300]
            case _:
                del data[max(at, 20) :]
    return bytes(data)


def mutations(seeds: list[bytes], chance: random.Random) -> Iterator[Asked]:
    """Requests that are almost good."""
    kinds = ("image/jpeg", "application/json", "application/x-npy", "text/csv", "multipart/form-data; boundary=x", "")
    array = io.BytesIO()
    np.save(array, np.zeros((40, 40), np.uint8))
    seeds = [*seeds, array.getvalue(), json.dumps([[1, 2], [3, 4]]).encode(), b"1,2\n3,4\n"]
    while True:
        yield Asked.image(mutated(chance.choice(seeds), chance), chance.choice(kinds), accept=chance.choice(
            ("application/json", "*/*", "image/png", "text/csv", "application/json;verbose")))  # fmt: skip
