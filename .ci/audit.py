"""Known vulnerabilities of what jobs install, by pip-audit; one line where no index of advisories can be reached."""

from __future__ import annotations

import json
import subprocess
import sys

from thorax_launch import locks

SECONDS = 120
VULNERABLE = "vulnerable: "
MEND = "; newer versions: make locks"


def audit(python: str) -> tuple[list[str], str]:
    """(a line for each package of a lock file that is vulnerable or unknown, why it could not be looked at or "")."""
    words = [sys.executable, "-m", "pip_audit", "--requirement", str(locks.file_of(python)), "--disable-pip"]
    words += ["--require-hashes", "--format", "json", "--progress-spinner", "off", "--timeout", "15"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=SECONDS, check=False)
        found = json.loads(done.stdout)["dependencies"]
    except subprocess.TimeoutExpired:
        return [], f"no answer in {SECONDS} s"
    except (ValueError, KeyError):
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        return [], lines[-1][:120] if lines else "no reason given"
    unknown = [one for one in found if "skip_reason" in one]
    if len(unknown) == len(found):  # the index answers, and knows none of them: it has no advisories
        return [], "the index knows none of the packages"
    lines = [f"{one['name']}: not looked at: {one['skip_reason']}" for one in unknown]
    for one in found:
        for bug in one.get("vulns", []):
            fixed = ", ".join(bug["fix_versions"]) or "no version"
            lines.append(f"{VULNERABLE}{one['name']} {one['version']}: {bug['id']}; fixed in {fixed}")
    return lines, ""


def main() -> int:
    """Exit code: 0 none known, or nobody could be asked; 1 some."""
    code = 0
    for python in locks.IMAGES:
        lines, skipped = audit(python)
        name = locks.file_of(python).name
        if skipped:
            print(f"pip-audit: {name} is skipped, no index of advisories can be reached ({skipped})")
            return code
        bad = [line for line in lines if line.startswith(VULNERABLE)]
        print("\n".join([*lines, f"pip-audit: {name}: {len(bad)} known vulnerabilities{MEND if bad else ''}"]))
        code = code or int(bool(bad))
    return code


if __name__ == "__main__":
    sys.exit(main())
