"""How the images that a bundle is scored on are read: as in its training, unless the user says otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from thorax.data.formats.channel import ReadOptions
from thorax.data.formats.read_settings import not_default, read_options
from thorax.serving.bundle import Bundle
from thorax.tracking.progress import say


def reading_as_trained(
    bundle: Bundle, settings: Sequence[str] = (), labels: Sequence[str] = (), other_set: bool = False
) -> ReadOptions:
    """The options of the bundle's training, with those of `settings` over them; a line names what is stored.

    So `where=Frontal/Lateral=Frontal` holds for scores as it did for training.

    Args:
        bundle: with its stored configuration; one of before has none of it.
        settings: NAME=VALUE, see `read_options`.
        labels: names of numbered labels; empty: those of the training.
        other_set: the images are of another set, with other columns and labels: nothing stored is used.

    Raises:
        ThoraxError: a setting is none.
    """
    stored = not_default(bundle.configuration)
    given = {setting.partition("=")[0].lstrip("-").replace("-", "_") for setting in settings}
    if shown := ", ".join(f"{k}={_text(v)}" for k, v in stored.items() if k not in given):
        if other_set:
            say(f"note: --map: another set than that of the training; its {shown} is not used")
        else:
            say(
                f"note: read as in the bundle's training: {shown}; --set NAME=VALUE says otherwise, --set NAME= nothing"
            )
    if other_set:
        stored = {}
    elif names := tuple(bundle.configuration.get("labels") or ()):
        stored["labels"] = names
    options = read_options(settings, stored)
    return replace(options, labels=tuple(labels)) if labels else options


def _text(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
