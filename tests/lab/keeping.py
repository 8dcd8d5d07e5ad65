"""The host that keeps backups, as pgBackRest itself tells of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
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


# Makes the backups $2 (seconds by label) of the stanza $1 older, by what pgBackRest has noted of when they began and ended. The
# sum over its file is made anew, and seen to be the right one of what was there; it is encrypted as pgBackRest does it.
MAKE_OLDER = r"""
import hashlib, json, os, re, subprocess, sys
stanza, seconds = sys.argv[1], json.loads(sys.argv[2])
secret = re.search("(?m)^repo1-cipher-pass=(.*)$", open("/etc/pgbackrest/conf.d/cipher.conf").read())[1]

def total(lines):
    text = "{"
    for n, line in enumerate(lines):
        key, _, value = line.partition("=")
        if line.startswith("["):
            text += ("}," if n else "") + json.dumps(line[1:-1]) + ":{"
        else:
            text += ("" if text.endswith("{") else ",") + json.dumps(key) + ":" + value
    return hashlib.sha1((text + "}}").encode()).hexdigest()

for name in ("backup.info", "backup.info.copy"):
    get = ["pgbackrest", "--stanza=" + stanza, "--repo=1", "repo-get", f"backup/{stanza}/{name}"]
    *lines, mark, sum = filter(None, subprocess.run(get, check=True, capture_output=True, text=True).stdout.splitlines())
    assert mark == "[backrest]" and sum == 'backrest-checksum="' + total(lines) + '"', (name, mark, sum, lines)
    for n, line in enumerate(lines):
        label, _, value = line.partition("=")
        if label in seconds:
            about = json.loads(value)
            for key in ("backup-timestamp-start", "backup-timestamp-stop"):
                about[key] -= seconds[label]
            lines[n] = label + "=" + json.dumps(about, separators=(",", ":"))
    text = "".join(("\n" if n and line.startswith("[") else "") + line + "\n" for n, line in enumerate(lines))
    text += "\n[backrest]\nbackrest-checksum=\"" + total(lines) + "\"\n"
    file = f"/var/lib/pgbackrest/backup/{stanza}/{name}"
    put = ["openssl", "enc", "-aes-256-cbc", "-md", "sha1", "-pass", "env:SECRET", "-out", file]
    subprocess.run(put, check=True, input=text.encode(), stderr=subprocess.PIPE, env={**os.environ, "SECRET": secret})
"""


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


def in_repository(site: Site, below: str) -> list[str]:
    """The paths of the files in the repository below a directory of it."""
    said: dict[str, dict[str, Any]] = json.loads(as_keeper(site, f"--repo=1 --recurse --output=json repo-ls {below}"))
    return [path for path, about in said.items() if about["type"] == "file"]


def manifest(site: Site, label: str) -> dict[str, dict[str, Any]]:
    """What pgBackRest has noted of a backup: by section, what there is of each key."""
    found: dict[str, dict[str, Any]] = {}
    for line in as_keeper(site, f"--repo=1 repo-get backup/{SPEC.name}/{label}/backup.manifest").splitlines():
        if line.startswith("["):
            found[section := line[1:-1]] = {}
        elif line:
            key, value = line.rsplit("={", 1) if "={" in line else line.split("=", 1)
            found[section][key] = json.loads(f"{{{value}" if "={" in line else value)
    return found


@contextmanager
def older(site: Site, seconds: dict[str, int]) -> Iterator[None]:
    """Backups, by their labels, that were made so many seconds before they were. None is being made meanwhile."""

    def make(by: dict[str, int]) -> None:
        words = f"runuser -u pgbackrest -- python3 - {SPEC.name} '{json.dumps(by)}'"
        site.on(HOST, words, stdin=MAKE_OLDER)

    make(seconds)
    try:
        yield
    finally:
        make({label: -by for label, by in seconds.items()})


def drilled(site: Site) -> list[dict[str, Any]]:
    """What drills have left on the host that keeps the backups, the oldest first."""
    read = "for file in /var/lib/pgbackrest-drill/results/*.json; do [ ! -e $file ] || tr -d '\\n' <$file; echo; done"
    return [json.loads(line) for line in site.on(HOST, read).splitlines() if line]


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
