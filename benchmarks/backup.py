"""Backups of a cluster of ten gigabytes: made, restored and proven, beside a plain copy of the same data over the same network
(pg_basebackup); and what a running one costs writes."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace

from cluster import paths
from lab import Lab

from . import rig

GIGABYTES = 10
ROUNDS = 3
SECONDS = 30  # of writes, each time
# Half a gigabyte of rows that are no two alike, and how many of those there are in a gigabyte.
ROWS = "insert into filling select g, md5(g::text), md5((-g)::text), md5((g * 7)::text) from generate_series(1, 3600000) g"
PARTS = 2
ARCHIVED = "select last_archived_wal >= pg_walfile_name(pg_current_wal_lsn() - 16777216) from pg_stat_archiver"
COPY = "/var/lib/postgresql/benchmark"
PREPARE = f"rm -rf {COPY} && install -d -m 700 -o postgres -g postgres {COPY} && sync"


def main(gigabytes: int = GIGABYTES, rounds: int = ROUNDS) -> None:
    figures: dict[str, list[float]] = {}

    def note(what: str, figure: float) -> None:
        print(f"{what:24} {figure:.1f}", file=sys.stderr, flush=True)
        figures.setdefault(what, []).append(figure)

    with rig.blank_lab(replace(rig.SPEC, backup=True)) as lab:
        rig.add_settings("backup", "backup_keep_full = 1\n")  # more of them need a larger disk, and tell nothing more
        rig.deploy()
        rig.pgbench(lab, (), "-i -q -s 10")
        _fill(lab, gigabytes)
        others = [host for host in lab.spec.hosts if host.kind == "database"][1:]
        for _ in range(rounds):
            for what, running in (("writes, no backup", nullcontext), ("writes, backup running", _backups)):
                with running():
                    note(what, _writes(lab))
            note("backup", rig.timed("invoke", "backup", "--type", "full"))
            for what, command in (("plain copy", _plain_copy(others[0].address)), ("restore", _restore())):
                _on(lab, others[1].name, PREPARE)
                note(what, _on(lab, others[1].name, command))
        _on(lab, others[1].name, f"rm -rf {COPY}")
        drill = json.loads(rig.answered("invoke", "backup.drill", "--json"))
    for what, each in figures.items():
        listed = " ".join(f"{one:.1f}" for one in each)
        print(f"{what:24} {listed}   median {statistics.median(each):.1f} {'a second' if 'writes' in what else 's'}")
    plain = statistics.median(figures["plain copy"])
    print(f"data: {drill['size'] / 1e9:.1f} GB")
    for what in ("backup", "restore"):
        print(f"{what} to plain copy, ratio of times: {statistics.median(figures[what]) / plain:.2f}")
    slower = statistics.median(figures["writes, backup running"]) / statistics.median(figures["writes, no backup"])
    print(f"writes with a backup running to those without, ratio: {slower:.2f}   goal: 0.90 at least")
    seconds = drill["ended"] - drill["began"]
    print(f"drill: {seconds:.0f} s, of which the restore {drill['restore_seconds']:.0f} s; RTO {drill['rto']:.0f} s")


def _fill(lab: Lab, gigabytes: int) -> None:
    """Writes so much, and waits after each part until it is archived: the disk of the log is smaller than all of it."""
    psql = "psql -XqAt -v ON_ERROR_STOP=1 -c"
    rig.as_application(lab, (), f"{psql} 'create table filling (id bigint, a text, b text, c text)'")
    for _ in range(gigabytes * PARTS):
        rig.as_application(lab, (), f"{psql} '{ROWS}'")
        until = time.monotonic() + 300
        while rig.as_application(lab, (), f"{psql} '{ARCHIVED}'").strip() != "t":
            if time.monotonic() > until:
                sys.exit("the archive does not keep up, so there is nothing to say of backups")
            time.sleep(1)


def _writes(lab: Lab) -> float:
    """How many transactions of pgbench there are in a second."""
    return rig.figure(rig.pgbench(lab, (), f"-n -N -c 8 -T {SECONDS}"))


@contextmanager
def _backups() -> Iterator[None]:
    """One full backup after the other; when the block is left, the last of them is waited for."""
    enough = threading.Event()
    failed: list[Exception] = []

    def make() -> None:
        while not enough.is_set():
            try:
                rig.timed("invoke", "backup", "--type", "full")
            except subprocess.CalledProcessError as error:
                failed.append(error)
                return

    thread = threading.Thread(target=make)
    thread.start()
    try:
        yield
    finally:
        enough.set()
        thread.join()
    if failed:
        sys.exit("a backup failed, so there is nothing to say of what it costs")


def _plain_copy(address: str) -> str:
    login = "PGPASSFILE=/var/lib/postgresql/.pgpass-patroni PGSSLMODE=require"
    pair = f"PGSSLCERT={paths.PATRONI_TLS}/server.crt PGSSLKEY={paths.PATRONI_TLS}/server.key"
    return (
        f"runuser -u postgres -- env {login} {pair} /usr/lib/postgresql/*/bin/"
        f"pg_basebackup -h {address} -U {paths.REPLICATION_ROLE} -X none --checkpoint=fast -D {COPY}"
    )


def _restore() -> str:
    return paths.pgbackrest(rig.SPEC.name, "postgres", f"restore --pg1-path={COPY} --type=none")


def _on(lab: Lab, host: str, command: str) -> float:
    """Seconds that a command took on a host."""
    began = time.monotonic()
    subprocess.run([*lab.ssh_command(host), command], check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began
