"""Which kernel runs on this host, and which would after a reboot, and the same of libraries. Runs on the host as root.

The argument names `units`. On stdout, as JSON: `running` and `built`, as uname tells release and version; `installed`, by release
the version of its package; `libraries`, by unit those that were replaced since it was started; `required`, whether a package has
asked for a reboot.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Collection
from pathlib import Path

from agents.debian import run
from agents.parts.libraries import replaced

REQUIRED = "/run/reboot-required"
PREFIX = "linux-image-"


def look(units: Collection[str]) -> dict[str, object]:
    """The document."""
    shown = run("dpkg-query", "--show", "--showformat=${Package} ${Version} ${db:Status-Status}\n", f"{PREFIX}[0-9]*").stdout
    rows = [line.split() for line in shown.splitlines()]
    return {
        "running": os.uname().release,
        "built": os.uname().version,
        "installed": {row[0][len(PREFIX) :]: row[1] for row in rows if row[2:] == ["installed"]},
        "libraries": replaced(units),
        "required": Path(REQUIRED).exists(),
    }


if __name__ == "__main__":
    print(json.dumps(look(json.loads(sys.argv[1])["units"])))
