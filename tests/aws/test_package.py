"""The tarball of the code: the same bytes for the same files, and nothing that does not belong."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from thorax.errors import ThoraxError
from thorax_launch.paths import source_dir
from thorax_launch.sagemaker.package import content_type, images, tarball


def write(root: Path, names: list[str]) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


def members(packed: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as tar:
        return {one.name: tar.extractfile(one).read() for one in tar.getmembers()}  # type: ignore[union-attr]


def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    names = ["train_model.py", "thorax/b.py", "thorax/a.py"]
    first = write(tmp_path / "first", names)
    second = write(tmp_path / "second", names[::-1])
    os.utime(second / "thorax" / "a.py", (1, 1))
    (second / "train_model.py").chmod(0o755)
    write(second, ["thorax/__pycache__/a.cpython-311.pyc", "thorax/b.pyc", ".git/HEAD", ".ipynb_checkpoints/x.ipynb"])
    assert tarball(first) == tarball(second)
    assert tarball(first)[4:8] == bytes(4)  # gzip's own time
    (second / "thorax" / "a.py").write_text("other")
    assert tarball(first) != tarball(second)


def test_the_archive_has_the_entry_point_at_its_top() -> None:
    found = members(tarball(source_dir()))
    assert {"train_model.py", "inference.py", "requirements.txt", "thorax/run.py"} <= set(found)
    assert not [name for name in found if "__pycache__" in name or name.startswith(("/", "."))]
    with tarfile.open(fileobj=io.BytesIO(tarball(source_dir())), mode="r:gz") as tar:
        assert {(one.uid, one.gid, one.mtime, one.uname) for one in tar.getmembers()} == {(0, 0, 0, "")}


def test_a_link_is_refused(tmp_path: Path) -> None:
    source = write(tmp_path, ["a.py"])
    (source / "b.py").symlink_to(source / "a.py")
    with pytest.raises(ThoraxError, match=r"b\.py is a link; the container would not have its target"):
        tarball(source)


def test_wheels_are_installed_from_the_archive_and_from_nowhere_else(tmp_path: Path) -> None:
    """What pip does with them in a container without a network."""
    source = write(tmp_path / "source", ["train_model.py"])
    (source / "requirements.txt").write_text("nowhere-to-be-found==7\n")
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    (wheels / "nowhere_to_be_found-7-py3-none-any.whl").write_bytes(wheel())
    code = tmp_path / "code"
    with tarfile.open(fileobj=io.BytesIO(tarball(source, wheels)), mode="r:gz") as tar:
        tar.extractall(code, filter="data")
    assert (code / "requirements.txt").read_text() == "--no-index\n--find-links wheels\nnowhere-to-be-found==7\n"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "-q",
            "-r",
            "requirements.txt",
            "--target",
            str(tmp_path / "there"),
            "--no-deps",
        ],
        cwd=code,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "there" / "nowhere.py").read_text() == "found = True\n"


def wheel() -> bytes:
    """A wheel of one module, as small as pip takes it."""
    import zipfile

    packed = io.BytesIO()
    info = "nowhere_to_be_found-7.dist-info"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("nowhere.py", "found = True\n")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: nowhere-to-be-found\nVersion: 7\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return packed.getvalue()


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["a.png", "b.jpeg"], "application/x-image"),
        (["train.rec", "train.idx"], "application/x-recordio"),
        (["train.lst"], "application/x-image"),
        (["labels.csv", "a.png"], "text/csv"),
        (["output.manifest"], "application/jsonlines"),
        (["annotations.json"], "application/json"),
        (["resnet50.pth"], "application/x-pytorch"),
        (["model.tar.gz"], "application/x-tar"),
    ],
)
def test_the_content_type_is_told_from_the_files(names: list[str], kind: str) -> None:
    assert content_type(names) == kind


def test_a_channel_is_known_by_names_and_contents(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", ["x/1.png", ".hidden/2.png"])
    same = write(tmp_path / "b", ["x/1.png"])
    assert images("--train", folder).digest == images("--train", same).digest
    assert set(images("--train", folder).files) == {"x/1.png"}
    (same / "x" / "1.png").rename(same / "x" / "2.png")
    assert images("--train", folder).digest != images("--train", same).digest
    (tmp_path / "empty").mkdir()
    with pytest.raises(ThoraxError, match="is empty"):
        images("--train", tmp_path / "empty")


def test_a_channel_of_links_holds_what_they_lead_to(tmp_path: Path) -> None:
    real, links = write(tmp_path / "real", ["x/1.png", "y/2.png"]), tmp_path / "links"
    links.mkdir()
    for name in "xy":
        (links / name).symlink_to(real / name)
    assert images("--train", links).digest == images("--train", real).digest
    (links / "x").unlink()
    (links / "x").symlink_to(tmp_path / "gone")
    with pytest.raises(ThoraxError, match=r"links/x is a link to .*gone, which is not there"):
        images("--train", links)
