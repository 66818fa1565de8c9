"""Small files that unpack to much: one line, soon, and in little memory; what is honest is read."""

from __future__ import annotations

import bz2
import gzip
import io
import resource
import struct
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml

from thorax.errors import ThoraxError
from thorax.tables import read_header, read_table
from thorax.unpacking import gunzipped, npz_arrays, open_tar, read_npy
from thorax.yaml_reading import read_yaml

MB = 1 << 20


def bomb(content: bytes, times: int) -> bytes:
    """A gzip file of `content` that many times, made without holding all of it: members may follow each other."""
    return gzip.compress(content) * times


def test_a_table_that_is_a_bomb_is_told_in_little_memory(tmp_path: Path) -> None:
    """10 MB that unpack to 10 GB; in a process of its own, whose memory tells."""
    file = tmp_path / "labels.csv.gz"
    file.write_bytes(gzip.compress(b"image,label\n") + bomb(b"0.png,1\n" * (8 * MB), 160))
    assert file.stat().st_size > 8 * MB
    code = "import sys; from pathlib import Path; from thorax.tables import read_table\n"
    code += "try: read_table(Path(sys.argv[1]))\nexcept Exception as error: print(type(error).__name__, error)\n"
    code += "print(Path('/proc/self/status').read_text().partition('VmHWM:')[2].split()[0])"
    began = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, timeout=300)
    told, memory = done.stdout.splitlines()
    assert told.startswith(f"ThoraxError {file} unpacks to more than 16.8 MB, as no honest file of its size does; ")
    assert "THORAX_MAX_UNPACKED" in told
    assert int(memory) < 700 << 10  # kB
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - began < 30


def test_a_line_without_an_end_is_told(tmp_path: Path) -> None:
    file = tmp_path / "labels.csv.gz"
    file.write_bytes(gzip.compress(b"a" * (3 * MB)))
    with pytest.raises(ThoraxError, match="line 1 has more than 1,048,576 characters"):
        read_table(file)
    assert read_header(file) == []


def test_a_table_that_is_well_packed_is_read_and_the_limit_is_settable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "labels.csv.gz"
    file.write_bytes(gzip.compress(b"image,label\n" + b"0.png,1\n" * (MB // 4)))  # 500:1, and small
    assert len(read_table(file).columns[0]) == MB // 4
    monkeypatch.setenv("THORAX_MAX_UNPACKED", "1")
    with pytest.raises(ThoraxError, match=r"labels.csv.gz unpacks to more than 1.0 MB"):
        read_table(file)
    monkeypatch.setenv("THORAX_MAX_UNPACKED", "much")
    with pytest.raises(ThoraxError, match="THORAX_MAX_UNPACKED=much must be a whole number of MB"):
        read_table(file)


def test_a_list_that_is_a_bomb() -> None:
    with pytest.raises(ThoraxError, match=r"list.gz unpacks to more than 16.8 MB"):
        gunzipped(bomb(bytes(MB), 20), "list.gz")
    assert gunzipped(b"plain", "x") == b"plain"
    assert gunzipped(gzip.compress(b"packed"), "x") == b"packed"
    for damaged in (gzip.compress(b"packed")[:-3], b"\x1f\x8b" + bytes(40)):
        with pytest.raises(ThoraxError, match="x is no gzip file that can be unpacked: "):
            gunzipped(damaged, "x")


def npz(file: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return file


#: Of a header of 1,000 numbers, and of one that announces more than there are.
LENGTH, LYING = b"(1000,), }         ", b"(9999999999,), }   "


def npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array, allow_pickle=True)
    return out.getvalue()


def test_arrays_are_read_as_numpy_reads_them(tmp_path: Path) -> None:
    arrays = {
        "a": np.arange(12, dtype=np.float32).reshape(3, 4),
        "f": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "none": np.zeros((0, 3)),
        "scalar": np.array(3),
        "text": np.array(["ä", "bc"]),
    }
    np.savez_compressed(tmp_path / "a.npz", **arrays)
    found = npz_arrays(tmp_path / "a.npz")
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (npy(np.array([{}], object)), "an array of Python objects"),
        (npy(np.zeros(1000)).replace(LENGTH, LYING), "announces the shape"),
        (npy(np.zeros(1000))[:-8], "announces the shape"),
        (b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 60000, "no array"),
        (b"junk", "no array"),
    ],
)
def test_an_array_that_is_not_what_it_says(data: bytes, told: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=told):
        read_npy(data, "a.npy")
    with pytest.raises(ValueError, match=told):
        npz_arrays(npz(tmp_path / "a.npz", a=data))


def test_an_npz_that_is_a_bomb(tmp_path: Path) -> None:
    with pytest.raises(ThoraxError, match=r"a.npz unpacks to more than 16.8 MB"):
        npz_arrays(npz(tmp_path / "a.npz", a=npy(np.zeros(3 * MB))))


def tar(*members: tuple[tarfile.TarInfo, bytes], packed: bool = True) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz" if packed else "w") as archive:
        for member, data in members:
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


def member(name: str, size: int, **more: object) -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.size = size
    for key, value in more.items():
        setattr(found, key, value)
    return found


def names_in(file: Path) -> list[str]:
    with open_tar(file) as archive:
        return archive.getnames()


def test_archives(tmp_path: Path) -> None:
    file = tmp_path / "model.tar.gz"
    for packed in (True, False):
        file.write_bytes(tar((member("model.pt", 7), b"weights"), packed=packed))
        assert names_in(file) == ["model.pt"]
    file.write_bytes(tar((member("model.pt", 40 * MB), bytes(40 * MB))))
    with pytest.raises(ThoraxError, match=r"model.tar.gz unpacks to more than 16.8 MB"):
        names_in(file)
    holes = tar((member("model.pt", 512), bytes(512)), packed=False)
    sparse = bytearray(holes)
    sparse[156:157] = tarfile.GNUTYPE_SPARSE
    sparse[257:265] = b"ustar  \0"
    sparse[386:410] = b"%011o\0%011o\0" % (0, 512)
    sparse[483:495] = b"%011o\0" % (10**9)
    sparse[148:156] = b" " * 8
    sparse[148:156] = b"%06o\0 " % sum(sparse[:512])
    file.write_bytes(sparse)
    with pytest.raises(ThoraxError, match=r"model.pt has holes|unpacks to more than"):
        names_in(file)


@pytest.mark.parametrize("size", ["-512", "-1", "9" * 30, "1e9", ""])
def test_sizes_of_pax_headers(size: str, tmp_path: Path) -> None:
    """A negative one makes Python's own tarfile read the same header round and round."""
    file = tmp_path / "model.tar"
    file.write_bytes(tar((member("a", 3, pax_headers={"size": size}), b"abc"), (member("b", 1), b"x"), packed=False))
    try:
        names_in(file)
    except (ThoraxError, tarfile.TarError, OSError, ValueError, OverflowError) as error:
        assert str(error)  # noqa: PT017


def test_a_size_in_base_256_that_is_negative(tmp_path: Path) -> None:
    data = bytearray(tar((member("a", 3), b"abc"), packed=False))
    data[124:136] = b"\xff" * 4 + struct.pack(">q", -1024)
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    (tmp_path / "a.tar").write_bytes(data)
    with pytest.raises((tarfile.TarError, ThoraxError)):
        names_in(tmp_path / "a.tar")


def test_aliases_of_yaml() -> None:
    laughs = "a0: &a0 [x, x]\n" + "".join(f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]\n" for k in range(1, 12))
    for text in (laughs, "a: &a [*a]", "[" * 20_000, "when: 2026-99-99"):
        with pytest.raises(yaml.YAMLError):
            read_yaml(text)
    assert read_yaml("a: &a {b: 1}\nc: *a") == {"a": {"b": 1}, "c": {"b": 1}}
    assert read_yaml("") is None


def test_other_packings_are_no_tables(tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_bytes(bz2.compress(b"image,label\n0.png,1\n"))
    with pytest.raises(ThoraxError, match="is not a CSV in UTF-8"):
        read_table(file)
