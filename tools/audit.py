"""Holds the installed packages to the list of known vulnerabilities (pip-audit).

Status 1 where a package has one. Says how many packages could not be looked up: where the list cannot be reached, all.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any


def audit() -> list[dict[str, Any]]:
    """What pip-audit found, one entry a package: `vulns`, or `skip_reason` where it could not be looked up."""
    command = [
        sys.executable,
        "-m",
        "pip_audit",
        "--local",
        "--skip-editable",
        "--progress-spinner=off",
        "--format=json",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    try:
        return json.loads(done.stdout)["dependencies"]
    except (json.JSONDecodeError, KeyError):
        print(done.stderr.strip()[-500:], file=sys.stderr)
        return []


def main() -> int:
    """Prints a line for each known vulnerability, and the counts."""
    packages = audit()
    looked_up = [package for package in packages if "skip_reason" not in package]
    found = [(package, fault) for package in looked_up for fault in package["vulns"]]
    for package, fault in found:
        fixed = ", ".join(fault["fix_versions"]) or "no version"
        print(f"{package['name']} {package['version']}: {fault['id']}, fixed in {fixed}")
    print(f"audit: {len(looked_up)} of {len(packages)} packages looked up, {len(found)} known vulnerabilities")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
