"""Print IAM policies with the least rights that the scripts need, for the settings' bucket, role, keys and network.

examples:
    python launch/iam.py launcher --role ARN --bucket BUCKET > launcher.json
    python launch/iam.py execution --role ARN --bucket BUCKET --prefix thorax > execution.json
    python launch/iam.py trust --role ARN --region eu-central-1 > trust.json
"""

from __future__ import annotations

import json
import sys

from thorax.errors import ThoraxError
from thorax_launch.cli import flags


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
        if args.topic and args.policy != "execution":
            raise ThoraxError(
                "--topic is for the policy execution: endpoints tell topics in the role's name; leave it out"
            )
        if args.secret and args.policy != "execution":
            raise ThoraxError("--secret is for the policy execution: the job fetches it; leave it out")
        secrets = [text.partition("=")[2] or text for text in args.secret]
        if args.policy == "trust":
            document = policies.trust(settings)
        elif args.policy == "execution":
            document = policies.execution(settings, args.read, args.topic, secrets)
        else:
            document = policies.launcher(settings, args.read)
        print(json.dumps(document, indent=2))
        return 0

    return flags.guarded(work)
