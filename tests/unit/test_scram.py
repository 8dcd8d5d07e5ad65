"""The verifier of a password, by the exchange that RFC 7677 prints and by libpq's own."""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b64decode, b64encode
from types import SimpleNamespace

import pytest
from psycopg import pq

from cluster import scram

FORM = re.compile(r"SCRAM-SHA-256\$(\d+):([^$]+)\$([^:]+):(.+)")
# The example of RFC 7677, section 3: user "user", password "pencil".
SALT = "W22ZaJ0SNY7soEsUEjb6gQ=="
AUTH_MESSAGE = (
    "n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
    f"s={SALT},i=4096,c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
)
CLIENT_PROOF = "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
SERVER_SIGNATURE = "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def with_salt(monkeypatch: pytest.MonkeyPatch, password: str, salt: bytes) -> str:
    """The verifier of a password with this very salt."""

    def sha256(data: bytes) -> object:
        return SimpleNamespace(digest=lambda: salt + bytes(16)) if data == b"seed" else hashlib.sha256(data)

    monkeypatch.setattr(scram, "hashlib", SimpleNamespace(sha256=sha256, pbkdf2_hmac=hashlib.pbkdf2_hmac))
    return scram.verifier(password, "seed")


def test_it_accepts_the_proof_that_the_rfc_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    match = FORM.fullmatch(with_salt(monkeypatch, "pencil", b64decode(SALT)))
    assert match
    assert match.group(1, 2) == ("4096", SALT)
    stored_key, server_key = b64decode(match[3]), b64decode(match[4])
    signature = hmac.digest(stored_key, AUTH_MESSAGE.encode(), "sha256")
    client_key = bytes(a ^ b for a, b in zip(b64decode(CLIENT_PROOF), signature, strict=True))
    assert hashlib.sha256(client_key).digest() == stored_key
    assert b64encode(hmac.digest(server_key, AUTH_MESSAGE.encode(), "sha256")).decode() == SERVER_SIGNATURE


@pytest.mark.parametrize("password", ["pencil", "a longer one: !#$%&()*+,-./:;<=>?@[]^_`{|}~"])
def test_it_is_what_libpq_makes(monkeypatch: pytest.MonkeyPatch, password: str) -> None:
    connection = pq.PGconn.connect_start(b"host=/nowhere")
    try:
        theirs = connection.encrypt_password(password.encode(), b"app", b"scram-sha-256").decode()
    finally:
        connection.finish()
    match = FORM.fullmatch(theirs)
    assert match
    assert with_salt(monkeypatch, password, b64decode(match[2])) == theirs


def test_it_is_the_same_in_every_run_and_different_for_every_role() -> None:
    assert scram.verifier("secret", "cluster:app") == scram.verifier("secret", "cluster:app")
    others = {scram.verifier("secret", "cluster:reports"), scram.verifier("other", "cluster:app")}
    assert len({*others, scram.verifier("secret", "cluster:app")}) == 3
    salts = {FORM.fullmatch(v)[2] for v in (scram.verifier("secret", "a:app"), scram.verifier("secret", "b:app"))}  # type: ignore[index]
    assert len(salts) == 2
