"""Print IAM policies with the least rights that the scripts need, for the settings' bucket, role, keys and network.

examples:
    python launch/iam.py launcher --role ARN --bucket BUCKET > launcher.json
    python launch/iam.py execution --role ARN --bucket BUCKET --prefix thorax > execution.json
    python launch/iam.py trust --role ARN --region eu-central-1 > trust.json
"""

from __future__ import annotations

import json
import sys

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
        if args.policy == "trust":
            document = policies.trust(settings)
        else:
            document = getattr(policies, args.policy)(settings, args.read)
        print(json.dumps(document, indent=2))
        return 0

    return flags.guarded(work)
