"""SCRAM-SHA-256 verifiers, made here so that a role's password never travels to a server.

RFC 5802 and RFC 7677; the text form is PostgreSQL's (src/common/scram-common.c, scram_build_secret).
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64encode

ITERATIONS = 4096


def verifier(password: str, salt_seed: str) -> str:
    """The value of pg_authid.rolpassword for `password`.

    The salt is derived from `salt_seed`, which must be unique to the role and cluster, so that the same password gives the
    same verifier in every run and a deploy can tell whether it has to change anything.
    """
    salt = hashlib.sha256(salt_seed.encode()).digest()[:16]
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, ITERATIONS)
    stored_key = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    encoded = [b64encode(part).decode() for part in (salt, stored_key, server_key)]
    return f"SCRAM-SHA-256${ITERATIONS}:{encoded[0]}${encoded[1]}:{encoded[2]}"
