"""One request to the Patroni on this host; its answer as JSON on stdout. Runs on the host, as root.

The argument has `url`, `tls`, `method`, `path`, `body` and `seconds`; the one line of input is `user:password`.
"""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import sys
from typing import Any


def ask(spec: dict[str, Any], credentials: str) -> dict[str, Any]:
    context = ssl.create_default_context(cafile=spec["tls"]["ca"])
    context.load_cert_chain(spec["tls"]["cert"], spec["tls"]["key"])
    connection = http.client.HTTPSConnection(spec["url"], timeout=spec["seconds"], context=context)
    headers = {"Authorization": f"Basic {base64.b64encode(credentials.encode()).decode()}"}
    connection.request(spec["method"], spec["path"], json.dumps(spec["body"]), headers)
    response = connection.getresponse()
    return {"status": response.status, "text": response.read().decode(errors="replace").strip()}


if __name__ == "__main__":
    try:
        print(json.dumps(ask(json.loads(sys.argv[1]), sys.stdin.buffer.readline().decode().strip())))
    except OSError as error:
        sys.exit(f"Patroni: {error}")
