"""A folder of images through an endpoint, real-time or asynchronous, to one table; a run that was stopped goes on."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from thorax.data.decoders import is_image
from thorax.errors import ThoraxError
from thorax.files import files_below, write_whole
from thorax.scoring.batch import read_outputs
from thorax.scoring.transform_outputs import SUFFIX
from thorax.text import counted
from thorax.tracking.progress import Progress
from thorax_launch.clients import Client, invoke

#: Images asked about at once; an asynchronous endpoint queues them.
CONCURRENT = 16


def images_in(data: Path, endpoint: str) -> list[str]:
    """Names of the images in a folder and below it, sorted.

    Raises:
        ThoraxError: it is no folder, or holds none.
    """
    if not data.is_dir():
        raise ThoraxError(f"--data {data} is not a folder; give a folder of images to ask endpoint {endpoint} about")
    names = [name for name in sorted(files_below(data)) if is_image(data / name)]
    if not names:
        raise ThoraxError(f"--data {data} holds no images")
    return names


def score_folder(client: Client, data: Path, out: Path, bundle: Path, endpoint: str) -> None:
    """Asks about every image in a folder and writes the table.

    Args:
        client: of the endpoint.
        data: folder of images.
        out: the table; answers are kept in OUT.answers/ until it is written.
        bundle: folder with bundle.json: labels and thresholds of what the endpoint serves.
        endpoint: its name.

    Raises:
        ThoraxError: no images, or not one answer; images that failed are listed in OUT.unreadable.csv.
    """
    names = images_in(data, endpoint)
    # of other images, another endpoint or bundle an answer would be wrong
    about = json.dumps([endpoint, str(data.resolve()), (bundle / "bundle.json").read_text(encoding="utf-8")])
    kept = out.with_name(f"{out.name}.answers") / hashlib.sha256(about.encode()).hexdigest()[:16]
    waiting = [name for name in names if not (kept / f"{name}{SUFFIX}").exists()]
    print(f"{counted(len(names), 'image')}, {len(names) - len(waiting):,} answered before", flush=True)

    def ask(name: str) -> str:
        try:
            response = invoke(client, (data / name).read_bytes(), name, "application/json")
        except (ThoraxError, OSError) as error:
            return str(error)
        place = kept / f"{name}{SUFFIX}"
        place.parent.mkdir(parents=True, exist_ok=True)
        write_whole(response.body, place, "answer")
        return ""

    answered = len(names) - len(waiting)
    with ThreadPoolExecutor(CONCURRENT) as pool:
        reasons = Progress(f"asking {endpoint}", len(names), start=answered).each(pool.map(ask, waiting))
        failed: Mapping[str, str] = {name: reason for name, reason in zip(waiting, reasons, strict=True) if reason}
    if len(failed) == len(names):
        raise ThoraxError(f"not one of the {len(names)} images was answered, e.g. {names[0]}: {failed[names[0]]}")
    read_outputs(kept, out, bundle=bundle, data=data, unanswered=failed)
    if not failed:
        shutil.rmtree(kept.parent)
