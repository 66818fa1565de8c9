"""Delete an endpoint and what it is made of: autoscaling and its alarm, endpoint, configuration, model. S3 keeps its
files.

examples:
    python launch/delete.py pneumonia --dry-run
    python launch/delete.py pneumonia --yes
    python launch/delete.py                       # which endpoints of this project are still running
"""

from __future__ import annotations

from thorax_launch.cli import flags
from thorax_launch.invocation import command


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 deleted (or listed), 1 an error, or the answer was no."""
    p = flags.script(__doc__)
    p.add_argument("name", nargs="?", help="of the endpoint; without it: list this project's endpoints")
    flags.add_place(p)
    p.add_argument("--dry-run", action="store_true", help="say what would be deleted, and end")
    p.add_argument("--yes", action="store_true", help="delete without asking")
    args = p.parse_args(arguments)

    def work() -> int:
        from thorax_launch.cli.aws import confirmed  # late: --help is instant
        from thorax_launch.sagemaker import deletion
        from thorax_launch.sagemaker.account import place

        settings = place(args.profile, args.region)
        if args.name:
            things = deletion.endpoint_parts(args.name, settings)
            print("\n".join(f"to delete: {thing.what}" for thing in things))
            if args.dry_run:
                return 0
            if not args.yes and not confirmed("delete all of it?"):
                return 1
            deletion.delete_all(things, settings)
        for left in deletion.running(settings):
            print(f"still running, billed by the hour: {left} ({command('delete')} {left})")
        return 0

    return flags.guarded(work)
