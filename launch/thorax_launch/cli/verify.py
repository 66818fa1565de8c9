"""Is a bundle as it was written? Every file is compared with its SHA-256, and the bundle with its signature.

Every load compares the weights and bundle.json; this command compares the code too, and says what was added.

examples:
    python launch/verify.py runs/NAME/model
    python launch/verify.py model.tar.gz --key-file KEY    # and signed with this key
    python launch/verify.py runs/NAME --sign --key-file KEY
    python launch/verify.py runs/NAME --seal               # files were changed on purpose: takes them as they are
"""

from __future__ import annotations

import argparse
from pathlib import Path

from thorax.console import guarded, script
from thorax.errors import ThoraxError
from thorax.serving.bundle_place import bundle_place
from thorax.text import counted


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 as it was written, 1 not (a line for each difference), 2 a wrong command line."""
    args = parser().parse_args(arguments)
    return guarded(lambda: verify(args))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = script(__doc__)
    p.add_argument("bundle", type=Path, help="a bundle's folder or model.tar.gz, a job's folder, or a job's name")
    p.add_argument("--key-file", type=Path, metavar="FILE", help="the secret key of its signature, 32 bytes or more")
    p.add_argument("--sign", action="store_true", help="once all files are as written, sign the bundle with --key-file")
    p.add_argument("--seal", action="store_true", help="write the hashes anew, of the files as they are now")
    return p


def verify(args: argparse.Namespace) -> int:
    """Verifies, after sealing and before signing where those are asked for.

    Raises:
        ThoraxError: there is no bundle, or it is not as it was written.
    """
    from thorax.serving import bundle_signature, bundle_verify  # torch takes a second: --help has none
    from thorax.serving.bundle import Bundle

    if args.sign and args.key_file is None:
        raise ThoraxError("--sign needs --key-file FILE; make one: `openssl rand -hex 32 > FILE`, and keep it secret")
    key = bundle_signature.key_of(args.key_file) if args.key_file else None
    place = bundle_place(args.bundle)
    if (args.sign or args.seal) and not place.is_dir():
        raise ThoraxError(f"{place} is no folder, and --sign and --seal write into one; unpack it first")
    if args.seal:
        print(f"sealed {counted(bundle_verify.seal(place), 'file')} as they are now: {place}")
    bundle = Bundle.load(place)
    count = bundle_verify.checked(bundle)
    found = bundle_verify.wrong(bundle, None if args.sign else key)
    for line in found:
        print(line)
    if found:
        raise ThoraxError(
            f"{place} is not as it was written ({counted(len(found), 'difference')}); take the bundle from the job"
            " again"
        )
    if not bundle.files:
        print(f"{place}: no hashes, it was made by an earlier version; `thorax verify {place} --seal` writes them")
        return 0
    if args.sign and key:
        print(f"signed: {bundle_signature.sign(place, key)}")
    signed = ", and signed with this key" if key else ""
    print(f"{place}: {counted(count, 'file')} as written{signed}; weights {bundle.version}")
    return 0
