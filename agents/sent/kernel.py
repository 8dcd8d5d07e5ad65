"""Which kernel runs on this host, and which would after a reboot. Runs on the host as root.

On stdout, as JSON: `running` and `built`, as uname tells release and version; `installed`, by release the version of its package;
`required`, whether a package has asked for a reboot.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from agents.debian import run

REQUIRED = "/run/reboot-required"
PREFIX = "linux-image-"


def look() -> dict[str, object]:
    """The document."""
    shown = run("dpkg-query", "--show", "--showformat=${Package} ${Version} ${db:Status-Status}\n", f"{PREFIX}[0-9]*").stdout
    rows = [line.split() for line in shown.splitlines()]
    return {
        "running": os.uname().release,
        "built": os.uname().version,
        "installed": {row[0][len(PREFIX) :]: row[1] for row in rows if row[2:] == ["installed"]},
        "required": Path(REQUIRED).exists(),
    }


if __name__ == "__main__":
    print(json.dumps(look()))
