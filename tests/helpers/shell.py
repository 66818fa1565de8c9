"""One bash that lives on from command to command, as a person's does; background jobs and variables stay."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

LOOP = r"""
trap : INT
while IFS= read -r -d '' command <&9; do
  eval "$command" < /dev/null 9<&-
  printf '\n%s %d\n' "$MARK" $?
done
"""
MARK = "--the-command-has-ended--"


class Shell:
    """Runs commands in `folder`.

    Args:
        folder: where it begins.
        environment: of all its commands.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        commands, self._commands = os.pipe()
        self._bash = subprocess.Popen(
            ["bash", "--norc", "--noprofile", "-c", f"exec 9<&{commands} {commands}<&-\n{LOOP}"],
            cwd=folder,
            env={**environment, "MARK": MARK},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[commands],
            start_new_session=True,
        )
        os.close(commands)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Ends it, and what it started."""
        os.close(self._commands)
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._bash.pid, number)
            except ProcessLookupError:
                break
            time.sleep(0.1)
        self._bash.wait()
        assert self._bash.stdout
        self._bash.stdout.close()

    def run(self, command: str, interrupt: str | None = None, seconds: float = 900) -> tuple[str, int]:
        """Runs one command.

        Args:
            command: a line of bash, or several.
            interrupt: Ctrl-C as soon as the output holds this text.
            seconds: it may take.

        Returns:
            What it wrote, to both outputs, and its exit code.
        """
        assert self._bash.stdout
        os.write(self._commands, command.encode() + b"\0")
        text, end = "", time.monotonic() + seconds
        while True:
            if not select.select([self._bash.stdout], [], [], max(0.0, end - time.monotonic()))[0]:
                raise AssertionError(f"{command!r} takes longer than {seconds} s; until now it wrote:\n{text}")
            block = os.read(self._bash.stdout.fileno(), 65536)
            if not block:
                raise AssertionError(f"{command!r} ended the shell, after:\n{text}")
            text += block.decode("utf-8", "replace")
            if interrupt and interrupt in text:
                os.killpg(self._bash.pid, signal.SIGINT)
                interrupt, text = None, f"{text}^C\n"
            before, found, after = text.partition(f"\n{MARK} ")
            if found and after.endswith("\n"):
                return before, int(after)
