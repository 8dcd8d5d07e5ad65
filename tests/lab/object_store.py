"""A real object store on this machine, which the hosts of the lab reach at its first address: moto, which keeps versions, locks
objects and checks signatures.

It runs in an environment of its own beside the lab's images: the hosts have no network to get it from, and what it needs is more
than all that the tests need.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from helpers import Site
from hosts import DATA, DATABASES, SPEC, wait_until
from keeping import write_settings

from cluster import certificates

CACHE = Path("/var/cache/pgquorum-lab")
SERVER = Path(__file__).parent / "store_server"
ADDRESS, PORT = SPEC.gateways[0].partition("/")[0], 9443
BUCKET = "shop-backups"
# So many requests are needed for a user, and are answered whoever asks; all that follow need a key.
UNSIGNED = 3


def environment() -> Path:
    """Where the server's programs are, installed at the first call."""
    wanted = SERVER / "requirements.txt"
    place = CACHE / f"store-{hashlib.sha256(wanted.read_bytes() + sys.version.encode()).hexdigest()[:12]}"
    if not (place / "installed").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", place], check=True)
        install = [place / "bin/pip", "install", "--quiet", "--no-compile", "--require-hashes", "--requirement", wanted]
        subprocess.run(install, check=True)
        (place / "installed").touch()
    return place / "bin"


class ObjectStore:
    """One that runs: `ca` is the file of the authority that vouches for it, `keys` are those of a user of it."""

    def __init__(self, folder: Path, address: str = ADDRESS) -> None:
        self.programs, self.ca, self.address = environment(), folder / "store-ca.crt", address
        self._certify(folder)
        self._process = self._start(folder)
        wait_until(self._answers, "the object store answers")
        self.keys: dict[str, str] = json.loads(self.ask("new-key"))
        self.ask("make", BUCKET)

    def _certify(self, folder: Path) -> None:
        authority = certificates.make_authority("store authority")
        wanted = certificates.Wanted("store", (self.address,), 90)
        pair = certificates.make_certificate(wanted, authority)
        self.ca.write_bytes(authority.certificate)
        for name, content in (("store.crt", pair.certificate), ("store.key", pair.key)):
            (folder / name).write_bytes(content)

    def _start(self, folder: Path) -> subprocess.Popen[bytes]:
        listen = [self.address, str(PORT), str(folder / "store.crt"), str(folder / "store.key")]
        with (folder / "store.log").open("wb") as log:
            return subprocess.Popen(
                [self.programs / "python", SERVER / "serve.py", *listen], stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                env=os.environ | {"INITIAL_NO_AUTH_ACTION_COUNT": str(UNSIGNED)},
            )  # fmt: skip

    def _answers(self) -> bool:
        assert self._process.poll() is None, "the object store has ended"
        socket.create_connection((self.address, PORT), 2).close()
        return True

    def ask(self, what: str, *names: str) -> str:
        """What store_server/ask.py prints."""
        command = [self.programs / "python", SERVER / "ask.py", f"https://{self.address}:{PORT}", self.ca, what, *names]
        given = json.dumps(getattr(self, "keys", None))
        done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def objects(self) -> list[str]:
        """The names of all objects there are now, by the store's own word."""
        return self.ask("list", BUCKET).split()

    @property
    def entry(self) -> dict[str, Any]:
        """What the settings say of it."""
        where = {"endpoint": f"{self.address}:{PORT}", "bucket": BUCKET, "region": "us-east-1", "uri_style": "path"}
        return {"type": "s3", **where, "ca_file": str(self.ca)}

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """It takes connections, and says nothing."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        self._process.send_signal(signal.SIGCONT)
        self._process.terminate()
        self._process.wait(30)


@contextmanager
def stored(site: Site, folder: Path) -> Iterator[ObjectStore]:
    """An object store, whose key the operator has; when all is done the cluster is as it was before."""
    running = ObjectStore(folder)
    key = site.secrets / "repository-s3.json"
    key.touch(0o600)
    key.write_text(json.dumps(running.keys))
    try:
        yield running
        write_settings(site)
        site.heal()
        site.deployed()
        site.on_all(f"rm -rf {DATA}.before-* /var/lib/pgquorum-wal/pgquorum/pg_wal.before-*", DATABASES)
    finally:
        running.stop()
