"""What a program on a host has to know of its cluster: a JSON file that the deploy writes. Nothing in it is secret."""

from __future__ import annotations

import json
import ssl
from dataclasses import dataclass, field
from pathlib import Path

from agents import https

# Who listens on a host's own sockets as PostgreSQL's superuser.
DATABASE = "postgres"


@dataclass(frozen=True)
class Specification:
    """`name`: this member. `etcd`: where its members are asked, the nearest first, as host:port. `patroni`: each member's name
    to where its REST API is. `tls`: the directory of Patroni's certificates. `psql`, `sockets`, `port`, `wal`: this host's
    PostgreSQL, and where its write-ahead log is. `logical_slots`: whether there are consumers of logical slots. `archives`:
    whether write-ahead log is archived; `archive_command`: the program that archives a file of it, which reads
    `archive_config`. `wal_disk`: where the log is when it is not in the data directory. `addresses`: of each member, where there
    are guards (guard.py), else empty; `knock`: ports of theirs that a guard may try. `waits_alone`: whether a server that Patroni
    has told nothing waits for a replica (operations/without_replica.py). `file`: where this was read.
    """

    name: str
    cluster: str
    etcd: tuple[str, ...]
    patroni: dict[str, str]
    tls: str
    psql: str
    sockets: str
    port: int
    wal: str
    logical_slots: bool = False
    archives: bool = False
    archive_command: str = ""
    archive_config: str = ""
    wal_disk: str = ""
    addresses: dict[str, str] = field(default_factory=dict)
    knock: tuple[int, ...] = ()
    waits_alone: bool = False
    file: str = ""

    @classmethod
    def read(cls, file: str) -> Specification:
        """Raises OSError, and ValueError or TypeError for a file that is none of the deploy's."""
        fields = json.loads(Path(file).read_text(encoding="utf-8"))
        return cls(**{**fields, "etcd": tuple(fields["etcd"]), "knock": tuple(fields.get("knock", ())), "file": file})

    def as_now(self) -> Specification:
        """As the deploy has written it last: a member may have come since this was read. The same where that can't be read."""
        try:
            return Specification.read(self.file)
        except (OSError, ValueError, KeyError, TypeError):
            return self

    def etcd_tls(self) -> ssl.SSLContext:
        """The certificates for etcd. Raises OSError."""
        return https.tls_context(f"{self.tls}/etcd-ca.crt", f"{self.tls}/etcd-client.crt", f"{self.tls}/etcd-client.key")

    def patroni_tls(self) -> ssl.SSLContext:
        """The certificates for Patroni's REST API. Raises OSError."""
        return https.tls_context(f"{self.tls}/ca.crt", f"{self.tls}/server.crt", f"{self.tls}/server.key")
