"""Print IAM policies with the least rights that the scripts need, for the settings' bucket, role, keys and network.

examples:
    python launch/iam.py launcher --role ARN --bucket BUCKET > launcher.json
    python launch/iam.py execution --role ARN --bucket BUCKET --prefix thorax > execution.json
    python launch/iam.py trust --role ARN --region eu-central-1 > trust.json
"""

from __future__ import annotations

import json
import re
import sys

from thorax.errors import ThoraxError
from thorax_launch.cli import flags

#: Characters of a managed policy, without white space, that AWS takes.
_LONGEST = 6144
#: Flags of one policy alone: the flag, the policy, why.
_ONLY = (
    ("topic", "execution", "endpoints tell topics in the role's name"),
    ("secret", "execution", "the job fetches it"),
    ("group", "launcher", "it is you who approves and rejects"),
    ("pipeline", "launcher", "it is you who stops its runs"),
)


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0, or 1 after an error. Asks nothing of AWS."""
    p = flags.script(__doc__)
    p.add_argument(
        "policy",
        choices=("launcher", "execution", "trust"),
        help="launcher: yours; execution: the jobs' role's; trust: who may take that role",
    )
    p.add_argument(
        "--read",
        action="append",
        default=[],
        metavar="S3_ADDRESS",
        help="images that lie in another place, which may be read there; may be repeated",
    )
    p.add_argument(
        "--topic",
        action="append",
        default=[],
        metavar="ARN",
        help="execution: an SNS topic of --success-topic or --error-topic; may be repeated",
    )
    p.add_argument(
        "--secret",
        action="append",
        default=[],
        metavar="PLACE",
        help="execution: a secret that jobs fetch, by name or ARN, as in --secret NAME=PLACE; may be repeated",
    )
    p.add_argument(
        "--group",
        action="append",
        default=[],
        metavar="NAME",
        help="launcher: the registry's group that it may change; may be repeated; default: every group",
    )
    p.add_argument(
        "--pipeline",
        action="append",
        default=[],
        metavar="NAME",
        help="launcher: a pipeline whose runs it may stop, besides those named thorax-*; may be repeated",
    )
    flags.add_settings(p, dry_run=False)
    args = p.parse_args(arguments)
    args.dry_run = True

    def work() -> int:
        from thorax_launch.cli import aws  # late: --help is instant
        from thorax_launch.sagemaker import policies

        resolved = aws.resolved(args, some_region="")  # a policy for another region would be useless
        if "stand-in" in resolved.origins["role"]:
            print("note: no role is set; the twelve zeros stand for your account: give --role ARN", file=sys.stderr)
        settings = resolved.settings
        for flag, policy, why in _ONLY:
            if getattr(args, flag) and args.policy != policy:
                raise ThoraxError(f"--{flag} is for the policy {policy}: {why}; leave it out")
        for name in (*args.group, *args.pipeline):
            if not re.fullmatch("[a-zA-Z0-9](-*[a-zA-Z0-9])*", name):
                raise ThoraxError(f"--group or --pipeline {name} must be a name: letters, digits and hyphens")
        secrets = [text.partition("=")[2] or text for text in args.secret]
        reach = policies.Reach(args.read, args.topic, secrets, args.group, args.pipeline)
        if args.policy == "trust":
            document = policies.trust(settings)
        else:
            document = getattr(policies, args.policy)(settings, reach)
        size = len(json.dumps(document, separators=(",", ":")))
        if size > _LONGEST:
            print(
                f"note: {size:,} characters are above AWS's {_LONGEST:,} of a managed policy: put it on a"
                " role as an inline policy (10,240), or leave out --read, --group and --pipeline",
                file=sys.stderr,
            )
        print(json.dumps(document, indent=2))
        return 0

    return flags.guarded(work)
