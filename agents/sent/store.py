"""Whether a repository elsewhere answers, is who it should be, and takes the key: asked on the host that will use it, before
anything is changed there.

The input is a JSON object: `stores`, by the name of each repository what cluster/stores.py says of it, its keys with it; and
`files`, the SHA-256 of what the host would have about them, by path. The answer is one by the names of repositories: a sentence
about what is wrong, empty where nothing is. Where the host has all those files already none is asked;
without any, all are.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import re
import shutil
import ssl
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from agents import https, ssh_keys

SECONDS = 10.0
PRIVATE = "/run"  # where a key may lie for a moment: in memory
ENDPOINT = re.compile(r"(\[.*\]|[^:]+)(?::(\d+))?")
EMPTY = hashlib.sha256(b"").hexdigest()
# What stores answer, by their own codes: what is wrong, to be put behind the name of the bucket, the region or the like.
SAID = {
    "InvalidAccessKeyId": "it does not know the key",
    "SignatureDoesNotMatch": "the key's secret is another one",
    "AccessDenied": "the key may not list bucket {bucket}",
    "NoSuchBucket": "there is no bucket {bucket}",
    "PermanentRedirect": "bucket {bucket} is at another endpoint",
    "AuthorizationHeaderMalformed": "the region is not {region}",
    "RequestTimeTooSkewed": "the clock of this host is another one than the store's",
}


def s3(spec: dict[str, Any]) -> str:
    """Lists the bucket, as pgBackRest will."""
    host, port = ENDPOINT.fullmatch(spec["endpoint"]).groups("")  # type: ignore[union-attr]
    server = f"{spec['bucket']}.{host}" if spec["uri_style"] == "host" else host
    path = "/" if spec["uri_style"] == "host" else f"/{spec['bucket']}"
    named = server + (f":{port}" if port else "")
    query = urlencode(
        sorted({"list-type": "2", "max-keys": "1", "prefix": spec["path"].lstrip("/") + "/"}.items()), quote_via=quote
    )
    context = ssl.create_default_context(cadata=spec["authorities"]) if spec["authorities"] else ssl.create_default_context()
    head = signed(spec, named, path, query, time.gmtime())
    try:
        with https.request(f"{server}:{port or 443}", f"{path}?{query}", None, context, SECONDS, headers=head) as answer:
            answer.read()
    except https.StatusError as error:
        code = re.search(r"<Code>(\w+)</Code>", error.text)
        why = SAID.get(code[1], code[1]) if code else f"it answers with status {error.status}"
        return why.format(**spec)
    except ssl.SSLCertVerificationError as error:
        known = "ca_file does not" if spec["authorities"] else "this host does not"
        return f"{known} vouch for the certificate of {server}: {error.verify_message}"
    except (OSError, ValueError) as error:
        return f"no answer from {server}, port {port or 443}: {getattr(error, 'strerror', None) or error}"
    return ""


def signed(spec: dict[str, Any], server: str, path: str, query: str, now: time.struct_time) -> dict[str, str]:
    """The headers of a GET by the key (AWS Signature Version 4)."""
    at, day = time.strftime("%Y%m%dT%H%M%SZ", now), time.strftime("%Y%m%d", now)
    headers = {"host": server, "x-amz-content-sha256": EMPTY, "x-amz-date": at}
    names = ";".join(sorted(headers))
    canonical = "\n".join(["GET", quote(path), query, *(f"{name}:{headers[name]}" for name in sorted(headers)), "", names, EMPTY])
    scope = f"{day}/{spec['region']}/s3/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", at, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{spec['keys']['key_secret']}".encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    credential = f"{spec['keys']['key']}/{scope}"
    headers["authorization"] = f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature={signature}"
    return {"Host": headers.pop("host"), **headers}


def sftp(spec: dict[str, Any]) -> str:
    """Compares the server's own key; where the host has OpenSSH's sftp, logs in by ours, and looks at the directory."""
    server, port = spec["host"].strip("[]"), str(spec["port"])
    try:
        keys = ssh_keys.host_keys(server, int(port), SECONDS)
    except (OSError, ValueError, struct.error) as error:
        return f"no answer from {server}, port {port}: {getattr(error, 'strerror', None) or error}"
    prints = {kind: fingerprint(key) for kind, key in keys.items()}
    own = [kind for kind, said in prints.items() if said == spec["host_key"]]
    if not own:
        return f"host_key is {spec['host_key']}, but {server} has {', '.join(sorted(prints.values())) or 'none that it shows'}"
    if not shutil.which("sftp"):
        return ""  # pgBackRest does not need it: it will tell
    called = server if port == "22" else f"[{server}]:{port}"
    lines = [f"{called} {kind} {base64.b64encode(keys[kind]).decode()}\n" for kind in own]
    with tempfile.TemporaryDirectory(dir=PRIVATE) as place:
        key, known = Path(place, "key"), Path(place, "known")
        descriptor = os.open(key, os.O_WRONLY | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(spec["keys"]["private_key"].rstrip("\n") + "\n")
        known.write_text("".join(lines))
        options = ["BatchMode=yes", "IdentitiesOnly=yes", f"UserKnownHostsFile={known}", "StrictHostKeyChecking=yes"]
        asked = [part for one in options for part in ("-o", one)]
        login = ["sftp", "-q", "-F", "none", "-i", str(key), "-P", port, *asked, "-b", "-", f"{spec['user']}@{spec['host']}"]
        code, _, said = run(login, f"ls {spec['path']}\n")
    if code == 0:
        return ""
    words = [line.strip() for line in said.splitlines() if line.strip()]
    if any("Permission denied (" in line for line in words):
        return f"{server} does not take the key of user {spec['user']}"
    return f"{spec['path']} is no directory of {spec['user']}'s there: {words[-1] if words else 'sftp fails without a word'}"


def fingerprint(key: bytes) -> str:
    """The SHA-256 of a key as ssh-keygen writes it."""
    digest = hashlib.sha256(key).digest()
    return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"


def run(command: list[str], given: str = "") -> tuple[int, str, str]:
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=3 * SECONDS, check=False)
    return done.returncode, done.stdout, done.stderr


KINDS = {"s3": s3, "sftp": sftp}


def as_it_is(files: dict[str, str]) -> bool:
    """Whether the host has these files with that content."""

    def digest(path: Path) -> str:
        return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""

    return all(digest(Path(path)) == wanted for path, wanted in files.items())


def look(asked: dict[str, Any]) -> dict[str, str]:
    """The document."""
    told: dict[str, str] = {}
    if asked["files"] and as_it_is(asked["files"]):
        return told
    for name, spec in asked["stores"].items():
        try:
            told[name] = KINDS[spec["kind"]](spec)
        except subprocess.TimeoutExpired as error:
            told[name] = f"{error.cmd[0]} has no answer within {error.timeout:g} s"
        except (OSError, ValueError) as error:
            told[name] = str(error)
    return told


if __name__ == "__main__":
    print(json.dumps(look(json.loads(sys.stdin.read()))))
