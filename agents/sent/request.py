"""One request to the Patroni on this host; its answer as JSON on stdout. Runs on the host, as root.

The argument has `url`, `tls`, `method`, `path`, `body` and `seconds`; the one line of input is `user:password`.
"""

from __future__ import annotations

import base64
import json
import sys
from typing import Any

from agents import https


def ask(spec: dict[str, Any], credentials: str) -> dict[str, Any]:
    """Status and text of the answer, whatever it is. Raises OSError, and ValueError for what is no HTTP."""
    tls, seconds = https.tls_context(**spec["tls"]), spec["seconds"]
    headers = {"Authorization": f"Basic {base64.b64encode(credentials.encode()).decode()}"}
    try:
        with https.request(
            spec["url"], spec["path"], spec["body"], tls, seconds, method=spec["method"], headers=headers
        ) as answer:
            return {"status": 200, "text": answer.read().decode(errors="replace").strip()}
    except https.StatusError as error:
        return {"status": error.status, "text": error.text}


if __name__ == "__main__":
    try:
        print(json.dumps(ask(json.loads(sys.argv[1]), sys.stdin.buffer.readline().decode().strip())))
    except (OSError, ValueError) as error:
        sys.exit(f"Patroni: {error}")
