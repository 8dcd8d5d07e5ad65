"""The host that keeps backups, as pgBackRest itself tells of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from commands import status
from helpers import Site
from hosts import BINARIES, KEEPER, SPEC, wait_until

HOST = KEEPER or ""
LOCAL = {"type": "directory"}  # a repository on that host
# What is recovered without this tool, and where: beside the data of a replica.
SCRATCH, PORT = "/var/lib/postgresql/scratch", 5999
ONLY_WITH_BACKUPS = pytest.mark.skipif(
    KEEPER is None or "bookworm" in SPEC.suites, reason="no host for backups, or of a release whose pgBackRest is too old"
)


def write_settings(site: Site, **repositories: dict[str, Any]) -> None:
    """In place of what an earlier test has written."""
    file = site.folder / "group_data/backup.py"
    own = file.read_text().partition("\n# A test's.\n")[0]
    file.write_text(f"{own}\n# A test's.\nbackup_repositories = {repositories!r}\n" if repositories else own)


def as_keeper(site: Site, command: str) -> str:
    return site.on(HOST, f"runuser -u pgbackrest -- pgbackrest --stanza={SPEC.name} {command}", timeout=180)


def info(site: Site) -> dict[str, Any]:
    """What pgBackRest itself says of the backups."""
    (stanza,) = json.loads(as_keeper(site, "info --output=json"))
    return dict(stanza)


def labels(site: Site) -> list[str]:
    return [backup["label"] for backup in info(site)["backup"]]


def archived(site: Site) -> str:
    """The last file of the write-ahead log in the archive."""
    return str(info(site)["archive"][-1]["max"])


def written(site: Site) -> str:
    """The name of the file of the write-ahead log that the primary has just ended. An empty one PostgreSQL does not end."""
    site.psql(site.leader(), "select pg_logical_emit_message(true, 'test', 'something')")
    name = site.psql(site.leader(), "select pg_walfile_name(pg_current_wal_lsn())")
    site.psql(site.leader(), "select pg_switch_wal()")
    return name


def rules(site: Site) -> set[str]:
    return {finding["rule"] for finding in status(site)["findings"]}


def told(site: Site, *expected: str) -> bool:
    """That these rules complain. What is told instead is in the error."""
    findings = status(site)["findings"]
    assert {*expected} <= {one["rule"] for one in findings}, [f"{one['rule']} {one['about']}: {one['text']}" for one in findings]
    return True


def recovered(
    site: Site, host: str, query: str, database: str = "postgres", timeline: str = "current", repository: int | None = None
) -> str:
    """The answer to a query, by a server that pgBackRest and PostgreSQL alone have made of the newest backup and the archive, on
    `host`, beside the data there; of one repository alone, by pgBackRest's number, where that is named."""
    alone = f" --repo={repository}" if repository else ""
    restore = (
        f"pgbackrest --stanza={SPEC.name}{alone} --pg1-path={SCRATCH} --archive-mode=off --target-timeline={timeline} restore"
    )
    quiet = "-c config_file=$D/mine.conf -c hba_file=$D/mine.hba"
    start = f"""set -e; D={SCRATCH}; rm -rf $D; mkdir -m 700 $D; {restore}
    printf "listen_addresses = ''\\nport = {PORT}\\nunix_socket_directories = '$D'\\nhot_standby = off\\n" >$D/mine.conf
    echo 'local all all trust' >$D/mine.hba
    {BINARIES}/pg_ctl -D $D -o "{quiet}" -l $D/log --wait --timeout=120 start || {{ cat $D/log >&2; exit 1; }}
    """
    try:
        site.on(host, "runuser -u postgres -- bash", stdin=start, timeout=180)
        ask = f"runuser -u postgres -- psql -XAtq -h {SCRATCH} -p {PORT} -d {database} -c '{query}'"
        return wait_until(lambda: site.on(host, ask), "the restored server answers")
    finally:
        stop = f"{BINARIES}/pg_ctl -D {SCRATCH} -m immediate stop; rm -rf {SCRATCH}"
        site.on(host, f"runuser -u postgres -- bash -c '{stop}' || true")
