"""The flags and the help of `python -m thorax.dataset` (and launch/prepare.py). Imports no numpy: --help is instant."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from thorax.console import OldSpelling, script
from thorax.machine import free_cpus

PARTS = ("train", "validation", "test")


def parser(document: str | None) -> tuple[argparse.ArgumentParser, Any]:
    """The command line, and the object that further commands are added to, see `add_command`.

    args.command is the command's name.
    """
    p = script(document)
    commands = p.add_subparsers(title="commands", metavar="COMMAND", required=True, dest="command")
    for name, (help, text, add_arguments) in COMMANDS.items():
        add_arguments(add_command(commands, name, help, text))
    return p, commands


def add_command(commands: Any, name: str, help: str, document: str | None) -> argparse.ArgumentParser:
    """The parser of one more command."""
    added: argparse.ArgumentParser = commands.add_parser(
        name, help=help, description=document, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    return added


def place(text: str) -> Path | str:
    """A folder; an s3:// address stays as it is."""
    return text if "://" in text else Path(text)


# -- Flags that commands share -----------------------------------------------------------------------------------------


def _add(p: argparse.ArgumentParser, name: str, metavar: str, help: str, **more: Any) -> None:
    p.add_argument(name, metavar=metavar, help=help, **more)


def _add_format(p: argparse.ArgumentParser) -> None:
    text = "format of the folder (folder, table, lst, recordio, ...); default: looked for"
    _add(p, "--data-format", "NAME", text, default="auto")
    _add(p, "--labels", "A,B,...", "labels to keep, in this order; names of numbered ones (.lst, RecordIO)", default="")
    text = "how a table is read: path_column, patient_column, label_columns, where, blank, readers ...; may be repeated"
    _add(p, "--set", "NAME=VALUE", text, action="append", default=[])


def _add_source(p: argparse.ArgumentParser) -> None:
    _add(p, "images", "IMAGES", "folder with images in any format that training takes", type=place)
    _add_format(p)


def _add_parts(p: argparse.ArgumentParser) -> None:
    text = "folder with images in any format that training takes, perhaps with parts of its own"
    _add(p, "images", "IMAGES", text, type=place, nargs="?")
    for part in PARTS:
        _add(p, f"--{part}", "DIR", f"the channel {part} (instead of IMAGES)", type=place)
        _add(p, f"--{part}-lst", "DIR", f"the channel {part}_lst: the .lst of the images of --{part}", type=place)
    _add_format(p)
    _add_processes(p, "processes that read images (default: the CPUs)")


def _add_processes(p: argparse.ArgumentParser, help: str) -> None:
    _add(p, "--processes", "N", help, type=int, default=free_cpus())


def _add_patient_scope(p: argparse.ArgumentParser, help: str) -> None:
    p.add_argument("--patient-scope", choices=("global", "channel"), default="global", help=help)


def _add_color(p: argparse.ArgumentParser, what: str) -> None:
    help = f"{what}; auto (default): rgb where a sample of the images is in colour"
    p.add_argument("--color", choices=("auto", "gray", "rgb"), default="auto", help=help)


# -- Commands ----------------------------------------------------------------------------------------------------------

CHECK = """\
Check a set before a job is paid for: images that cannot be read or show nothing, duplicates, patients in two parts,
labels that contradict, classes without images, shifts between parts, and labels that file properties give away.

Exit code 1 where there are errors, 0 where there are warnings or nothing.

examples:
    python launch/prepare.py check images/ --html check.html
    python launch/prepare.py check --train images/train --test images/test --files findings.csv
"""


def _check(p: argparse.ArgumentParser) -> None:
    _add_parts(p)
    _add_patient_scope(p, "channel: the parts count patients anew (Kaggle's chest_xray)")
    _add(p, "--smallest", "PIXELS", "images with a shorter side are named (default: 64)", type=int, default=64)
    _add(p, "--json", "FILE", "write all findings with all images", type=Path)
    _add(p, "--html", "FILE", "write one page with thumbnails, and images of each class", type=Path)
    _add(p, "--files", "FILE", "write a table of every file behind every finding (.csv, .parquet)", type=Path)
    p.add_argument("--full", action="store_true", help="print every file behind every finding (or to upload)")


STATS = """\
Mean and standard deviation over all pixels of the training part, as the network's decoder sees them; class counts,
sizes, colour modes and bits, as a table and a picture.

The mean and std are of grey / 255, and of images in colour also of red, green and blue / 255, as the hyperparameter
normalization=dataset uses them.

examples:
    python launch/prepare.py stats images/train --png stats.png --html stats.html
    python launch/prepare.py stats --train images/train --json stats.json
"""


def _stats(p: argparse.ArgumentParser) -> None:
    _add_parts(p)
    _add_color(p, "rgb: also those of red, green and blue")
    _add(p, "--png", "FILE", "draw a picture", type=Path)
    _add(p, "--html", "FILE", "write one page with the figures and images of each class", type=Path)
    _add(p, "--json", "FILE", "write the figures", type=Path)


LIST = """\
Make the .lst files of SageMaker's built-in algorithm: index, tab, label(s), tab, path below IMAGES.

One class index an image, or a column of 1 and 0 (-1: unknown) per label. The lines are shuffled, as im2rec does.

examples:
    python launch/prepare.py list images/ --out lists/pneumonia               # lists/pneumonia.lst
    python launch/prepare.py list images/ --out lists/pneumonia --ratio 0.85  # ..._train.lst, ..._val.lst by patient
    python launch/prepare.py list coco/ --out lists/coco --only-labelled --first 500
"""


def _list(p: argparse.ArgumentParser) -> None:
    _add_source(p)
    _add(p, "--out", "PREFIX", "where to write: PREFIX.lst, or PREFIX_train.lst and PREFIX_val.lst", required=True)
    text = "share of the images for training, whole patients only (default: 1, one list)"
    _add(p, "--ratio", "SHARE", text, type=float, default=1.0)
    _add(p, "--first", "N", "only the first N images, in the order in which they are found", type=int)
    p.add_argument("--only-labelled", action="store_true", help="leave out images that have none of the labels")
    p.add_argument("--seed", type=int, default=0, help="of the split and of the lines' order (default: 0)")


SPLIT = """\
Split images into train, validation and test: whole patients only, every label's share kept (also with many labels).

Parts that the set itself has are kept: a split column, folders of parts, the NIH lists. Then only validation is cut,
from train, where there is none. The same images and seed give the same split, written with its sha256.

examples:
    python launch/prepare.py split images/ --out split.csv                               # 70 % / 15 % / 15 %
    python launch/prepare.py split images/ --out split.csv --validation 60/class --test 200
    python launch/prepare.py split nih/ --out split.csv --test-list test_list.txt       # the official test
"""


def _split(p: argparse.ArgumentParser) -> None:
    _add_source(p)
    _add(p, "--out", "CSV", "table of id, patient and part; its sha256 goes to CSV.sha256", type=Path, required=True)
    text = "a share of all images that are to be split (default: 0.15; 0: none), so many images (60) or 60/class"
    _add(p, "--validation", "SIZE", text, default="0.15")
    _add(p, "--test", "SIZE", "the same for test (default: 0.15; 0: none)", default="0.15")
    _add(p, "--test-list", "FILE", "images (names or ids, one a line) that are test; all others are not", type=Path)
    p.add_argument("--anew", action="store_true", help="split everything, whatever parts the set itself has")
    p.add_argument("--seed", type=int, default=0, help="default: 0")
    _add_patient_scope(p, "channel: the set's own parts count patients anew (Kaggle's chest_xray); default: global")


PACK = """\
Pack images into a few large files: tar shards for streaming, or RecordIO as SageMaker's built-in algorithm takes it.

Every image is decoded once on the way, so that damaged ones are found now. A run that was killed goes on where it was:
start the same command again. The same images and options give the same bytes.

examples:
    python launch/prepare.py pack images/ packed/ --size 256                     # packed/shard-000000.tar ... + index
    python launch/prepare.py pack images/ packed/ --to rec --size 256            # packed/images.rec + .idx + .lst
    python launch/prepare.py pack images/ packed/ --size 256x256 --encode raw    # just what image_shape=1,256,256 sees
    python launch/prepare.py pack images/ packed/ --split split.csv --size 256   # packed/train, packed/validation ...
    python launch/prepare.py pack packed/ --verify                              # checksums, and every image decoded
"""


def _pack(p: argparse.ArgumentParser) -> None:
    _add_source(p)
    _add(p, "out", "OUT", "folder to write to, empty or of an unfinished run", type=place, nargs="?")
    p.add_argument(
        "--to", choices=("shards", "rec"), default="shards", help="tar shards (default) or one RecordIO file"
    )
    text = "N: short side, aspect kept; WxH: stretched as fit=stretch does; default: as they are"
    _add(p, "--size", "N or WxH", text, default="")
    text = (
        "how images are stored: as they are (default), or in 8 bits (with --size: jpeg); raw (PGM, in colour PPM) is"
        " the largest and by far the fastest to read"
    )
    p.add_argument("--encode", choices=("keep", "jpeg", "png", "raw"), help=text)
    _add_color(p, "what images are encoded anew as")
    _add(p, "--quality", "1..100", "of JPEGs that are written (default: 95)", type=int, default=95)
    _add(p, "--shard-images", "N", "images in a shard (default: 1000)", type=int, default=1000)
    p.add_argument("--shard-films", dest="shard_images", type=int, action=OldSpelling, new="--shard-images")
    text = "shuffle the images first, by this seed; default: the order in which they are found"
    _add(p, "--shuffle", "SEED", text, type=int)
    text = "from prepare.py split: a folder for each part; default: parts that the set itself has"
    _add(p, "--split", "CSV", text, type=Path)
    p.add_argument(
        "--skip-corrupt", action="store_true", help="leave images out that cannot be read, instead of stopping"
    )
    _add_processes(p, "processes that read and encode (default: the CPUs)")
    text = "pack nothing: check IMAGES, a packed folder, against its checksums and decode every image"
    p.add_argument("--verify", action="store_true", help=text)


COCO = """\
Turn MS-COCO boxes into a table of labels: an image has those categories that it has a box of.

examples:
    python launch/prepare.py coco coco/ --labels person,bicycle,car --out coco/labels.csv
    python launch/prepare.py coco coco/ --labels person,car --no-crowds --drop-empty --out coco/labels.parquet
"""


def _coco(p: argparse.ArgumentParser) -> None:
    _add(p, "images", "COCO", "folder with annotations/instances_*.json and the images", type=Path)
    _add(p, "--labels", "A,B,...", "categories to keep, in this order; default: all", default="")
    p.add_argument("--no-crowds", action="store_true", help="boxes marked iscrowd do not count")
    p.add_argument("--drop-empty", action="store_true", help="leave out images with none of the categories")
    _add(p, "--out", "FILE", "CSV or Parquet", type=Path, required=True)


NIH = """\
Turn the NIH ChestX-ray14 table (either release) into a table of 14 label columns, patient and official split.

examples:
    python launch/prepare.py nih nih14/ --out nih14/labels.csv                  # the images that are there
    python launch/prepare.py nih nih14/ --without-images --out labels.parquet    # every row of the table
"""


def _nih(p: argparse.ArgumentParser) -> None:
    _add(p, "images", "NIH", "folder with Data_Entry_2017*.csv, the official lists and the images", type=Path)
    p.add_argument(
        "--without-images", action="store_true", help="all rows of the table, whether their images are there or not"
    )
    p.add_argument("--without-films", dest="without_images", value=True, action=OldSpelling, new="--without-images")
    _add(p, "--out", "FILE", "CSV or Parquet", type=Path, required=True)


VERIFY = """\
Hold a downloaded set against a list of names and checksums, or against what is known of a published set: one line for
each kind of trouble (missing, other bytes, unreadable, a count, files that no list names).

A list is what md5sum or sha256sum writes, a CSV with a path and a checksum or size, or names alone; without --list the
one that lies in DIR is taken (SHA256SUMS.txt ...). Files that were hashed before and are unchanged are not read again:
start a run that was stopped again. Exit code 1 where something is missing or other than listed.

examples:
    python launch/prepare.py verify nih/ --set chestxray14              # all images of its own table, 112,120
    python launch/prepare.py verify downloads/ --set chestxray14-archives   # the published MD5 of the 12 archives
    python launch/prepare.py verify mimic-cxr-jpg/                      # its own SHA256SUMS.txt
    python launch/prepare.py verify images/ --list images.md5
    python launch/prepare.py verify images/ --make images.sha256        # write such a list
"""


def _verify(p: argparse.ArgumentParser) -> None:
    _add(p, "images", "DIR", "folder to verify", type=place)
    _add(p, "--list", "FILE", "names and checksums (md5sum, sha256sum, CSV), or names alone; .gz too", type=Path)
    text = "a published set: chestxray14, kaggle-pneumonia, coco-val2017 ... (all: --set ?)"
    _add(p, "--set", "NAME", text, dest="published")
    text = "write a list of DIR instead: FILE.md5, .sha1, .sha256, .sha512, or .csv with sizes"
    _add(p, "--make", "FILE", text, type=Path)
    p.add_argument("--partial", action="store_true", help="DIR is a part of the set: what is missing is no trouble")
    p.add_argument("--anew", action="store_true", help="hash everything, whatever was hashed before")
    _add(p, "--json", "FILE", "write every file of every trouble", type=Path)
    _add(p, "--threads", "N", "files that are read at once (default: the CPUs)", type=int, default=free_cpus())


#: Name -> one line, what its own --help says, and what adds its flags to a parser.
COMMANDS = {
    "check": (
        "find what is wrong with a set before training: unreadable, duplicate, leaking, contradicting images",
        CHECK,
        _check,
    ),
    "stats": (
        "mean and std over all pixels, class counts, sizes, modes and bits, as a table and a picture",
        STATS,
        _stats,
    ),
    "list": ("make .lst files from folders (or a table), as im2rec does", LIST, _list),
    "split": ("split into train, validation and test by patient, stratified, with a hash", SPLIT, _split),
    "pack": ("pack images into tar shards or RecordIO, also at a smaller size", PACK, _pack),
    "coco": ("turn COCO annotations into a table of labels", COCO, _coco),
    "nih": ("turn the NIH ChestX-ray14 table into a table of labels", NIH, _nih),
    "verify": ("hold a downloaded set against checksums, names and published counts", VERIFY, _verify),
}
