"""A rehearsal of the deploy: pyinfra's real command line and the real deploy.py, on hosts that do nothing and are recorded."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest
from repository import ROOT

from cluster import own_roles, pooling
from cluster.building import RawHost, build
from cluster.dynamic_config import postgres_parameters, wanted_config
from cluster.topology import Cluster
from cluster.vault import Vault
from cluster.version import own

DATABASES = [f"@fake/db{n}" for n in (1, 2, 3)]
PROXIES = ["@fake/proxy1", "@fake/proxy2"]
HOSTS = {name: f"10.0.0.{n}" for n, name in enumerate([*DATABASES, *PROXIES], 1)}
KEEPER = "@fake/keep1"
WITH_KEEPER = f'backup = [("{KEEPER}", {{"address": "10.0.0.8"}})]\n'
INVENTORY = f"""
def _host(name, address):
    return name, {{"address": address}}
etcd = postgres = [_host(name, address) for name, address in {[(name, HOSTS[name]) for name in DATABASES]}]
haproxy = [_host(name, address) for name, address in {[(name, HOSTS[name]) for name in PROXIES]}]
"""
SETTINGS = "cluster_name = 'shop'\nclient_networks = ['10.0.0.0/24']\n"
# What a server that was just made says of its roles and databases (cluster/databases.py).
NO_DATABASES = json.dumps({
    "roles": {}, "databases": {}, "rewind": [], "logical": False, "slots": [], "open": [], "shut_out": [],
    "pooler": None, "own_roles": {},
    "overrides": [], "altered": None, "connectable": ["postgres"], "with_login_trigger": [],
})  # fmt: skip
ROLES = "postgres_roles = [{'name': 'app'}]\npostgres_databases = [{'name': 'app', 'owner': 'app'}]\n"
PASSWORDS = ("REPLICATION", "REWIND", "REST_API", "HAPROXY_STATS", "PROBE", "ROLE_APP")
GIVEN = {f"PGQUORUM_PASSWORD_{name}": f"rehearsed-{name.lower()}-0123456789" for name in PASSWORDS}
CIPHER = {"PGQUORUM_PASSWORD_BACKUP_CIPHER": "rehearsed-backup-cipher-0123456789"}  # where a host keeps backups

# Pattern of the host's name, of the command, the answer; and whether only while executing, or only before (rehearse.py).
Answers = list[tuple[str, str, list[str] | None] | tuple[str, str, list[str] | None, bool]]
PATIENCE = 600  # seconds, on a busy machine
SURVEY = "os-release"
JUDGE = '^python3 .*"binaries"'
BLANK_HOST = ["system debian", "system_version 14", "codename forky", "uid 0", "init systemd", f"free_bytes {10**12}"]
# How the last phase sees the cluster once it runs: what the collector on each host says.
IDS = {str(n): name for n, name in enumerate(DATABASES, 1)}
SYNC = json.dumps({"leader": DATABASES[0], "sync_standby": ",".join(DATABASES[1:]), "quorum": 1})
POSITION = 5_000_000


def healthy(cluster: Cluster) -> Answers:
    """What the last phase asks for, when all is well."""
    collected = [(f"^{name}$", '^python3 .*"units"', [json.dumps(said)]) for name, said in document(cluster).items()]
    return [
        *collected,
        (".", "^sh -s logins", []),
        (".", "^sh -s", ["probe passed"]),
        (".", JUDGE, [json.dumps({"refused": []})]),
    ]


def document(cluster: Cluster) -> dict[str, dict[str, Any]]:
    """What the collector says on each host, but for what nobody misses."""
    active = {f"{name}.service": "active" for name in ("etcd", "patroni", "pgquorum-wake-patroni", "pgquorum-confirm-quorum")}
    patroni = {"state": "running", "role": "", "dcs_last_seen": time.time()}
    parts: dict[str, dict[str, Any]] = {
        name: {"units": active, "etcd": etcd_part(cluster, number), "patroni": patroni, "postgres": postgres_part(cluster, name)}
        for number, name in IDS.items()
    }
    servers = [
        {
            "pxname": backend,
            "svname": name,
            "status": "UP" if name in up else "DOWN",
            "check_status": "",
            "last_chk": "",
            "scur": "0",
        }
        for backend, up in (("write", DATABASES[:1]), ("read", DATABASES[1:]))
        for name in DATABASES
    ]
    said = {"version": "3.2.5", "servers": servers, "held": []}
    proxy: dict[str, Any] = {"units": {"haproxy.service": "active"}, "haproxy": said, "hold": None}
    if cluster.pooler_hosts:
        proxy["units"] |= {process.unit: "active" for process in pooling.processes(cluster)}
        idle = {"version": "1.26.1", "clients": 0, "pools": [], "paused": False}
        proxy["pgbouncer"] = {"processes": {process.name: idle for process in pooling.processes(cluster)}, "users": {}}
    parts |= dict.fromkeys(PROXIES, proxy)
    if cluster.entry_hosts:
        proxy["units"] |= {"keepalived.service": "active"}
        parts |= {name: {**proxy, "keepalived": {"interfaces": ["eth0"] * (name == PROXIES[0])}} for name in PROXIES}
    if cluster.backup_hosts:
        parts[KEEPER] = {"units": {"pgbackrest.service": "active"}, "pgbackrest": backup_part()}
        active["pgbackrest.service"] = "active"
    return {
        name: {"time": time.time(), "marker": {"is": {"cluster": "shop"}}} | {part: {"is": said} for part, said in of.items()}
        for name, of in parts.items()
    }


def etcd_part(cluster: Cluster, number: str) -> dict[str, Any]:
    return {
        "status": {"header": {"member_id": number, "revision": "100"}, "version": "3.5.30", "leader": "2"},
        "members": [{"ID": id, "name": name} for id, name in IDS.items()],
        "quorum": True,
        "compaction": "1h",
        "outdated": False,
        "keys": {
            "leader": DATABASES[0],
            "initialize": "1",
            "config": json.dumps(wanted_config(cluster)),
            "sync": SYNC,
            "status": json.dumps({"optime": POSITION}),
        },
        "configurations": {"notes": {"confirmed": ['{"revision": 90}', 91]}, "values": [[SYNC, 90]], "complete": True},
    }


def postgres_part(cluster: Cluster, name: str) -> dict[str, Any]:
    replica = name != DATABASES[0]
    lags = dict.fromkeys(("received_lag", "replayed_lag", "received_seconds", "replayed_seconds"), 0)
    senders = [{"name": other, "state": "streaming", "sync_state": "quorum", **lags} for other in DATABASES[1:]]
    return {
        "in_recovery": replica, "version": "18.6", "timeline": 1, "lsn": None if replica else POSITION,
        "received": POSITION if replica else None, "replayed": POSITION if replica else None, "replay_age": None,
        "at_log_end": replica, "log_begins": 0,
        "replay_paused": False, "receiver": "streaming" if replica else None, "pending_restart": [],
        "parameters": {key: str(value) for key, value in postgres_parameters(cluster).items()},
        "oldest_transaction": 0.0, "base_backups": 0, "backup_bytes": 0, "synchronous_commit": "on",
        "base_standbys": "*" if cluster.waits_without_replica else None,
        "oldest_ids": {"database": "app", "transactions": 1814, "multixacts": 0, "reclaimed_at": 400000000}, "horizon": None,
        "connections": {"used": 9, "limit": 92, "holders": []}, "altered": {}, "refused": [], "overrides": [],
        "subscriptions": [], "unguarded": [], "missing_roles": [], "missing_databases": [],
        "own_roles": {role: asdict(one) for role, one in own_roles.wanted(cluster).items()},
        "archiver": {
            "archived_wal": "000000010000000000000003", "archived": 10.0, "failed_wal": None, "failed": None,
            "waiting": 0, "oldest": None,
        },
        "synchronous_standby_names": f'ANY 1 ("{DATABASES[1]}","{DATABASES[2]}")',
        "senders": [] if replica else senders, "slots": [],
    }  # fmt: skip


def backup_part() -> dict[str, Any]:
    """While the first backup is being made."""
    runs = {
        kind: {"ActiveState": "inactive", "ExecMainStartTimestamp": "", "ExecMainExitTimestamp": ""}
        for kind in ("full", "diff", "incr")
    }
    timers = {f"pgquorum-backup-{kind}.timer": "active" for kind in ("full", "incr")}
    making = runs | {"full": {"ActiveState": "activating", "ExecMainStartTimestamp": "", "ExecMainExitTimestamp": ""}}
    said = {"local": {"is": [{"name": "shop"}]}}
    return {"version": "pgBackRest 2.60.0", "repositories": said, "runs": making, "timers": timers, "drills": [], "archives": {}}


@dataclass(frozen=True)
class Command:
    """One command that pyinfra gave to a host."""

    host: str
    command: str
    stdin: str = field(repr=False)
    executing: bool

    @property
    def digest(self) -> str:
        """The hash of its input: of the file that it writes."""
        return hashlib.sha256(self.stdin.encode()).hexdigest()


@dataclass(frozen=True)
class Rehearsal:
    """What came of one run. `commands` are in the order in which the hosts got them."""

    exit_code: int
    output: str
    commands: list[Command]

    def executed(self, pattern: str, host: str = "") -> list[int]:
        """The places, in the order of the run, of the commands of the execute phase that contain `pattern`."""
        return [n for n, c in enumerate(self.commands) if c.executing and pattern in c.command and host in c.host]

    def first(self, pattern: str, host: str = "") -> int:
        return min(self.executed(pattern, host))

    def last(self, pattern: str, host: str = "") -> int:
        return max(self.executed(pattern, host))

    @property
    def changed_nothing(self) -> bool:
        return not any(c.executing for c in self.commands)


class Stage:
    """A checkout with hosts that do nothing: the real deploy by links, an inventory and settings of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings: dict[str, Any] = {}  # those of a test, which the cluster has at last
        self.keeps_backups = False
        for name in ("agents", "cluster", "health", "operations", "reach", "templates", "files", "deploy.py", "config.py"):
            (folder / name).symlink_to(ROOT / name)
        for name in ("pyproject.toml", "CHANGELOG.md"):  # which tests change
            shutil.copy(ROOT / name, folder)
        (folder / "group_data").mkdir()
        (folder / "secrets/shop/@fake").mkdir(parents=True)  # the connector's name is a part of the hosts' names here
        for directory in ("secrets/shop", "secrets/shop/@fake"):
            (folder / directory).chmod(0o700)
        self.write("inventory.py", INVENTORY)
        self.write("group_data/all.py", SETTINGS)
        self.write("group_data/postgres.py", ROLES)

    def keep_backups(self) -> None:
        """Adds a host for backups."""
        self.keeps_backups = True
        self.write("inventory.py", INVENTORY + WITH_KEEPER)

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def rehearse(
        self, *arguments: str, answers: Answers | None = None, operation: str = "deploy.py", inventory: str = "inventory.py"
    ) -> Rehearsal:
        """Runs pyinfra with some arguments; hosts say what `answers` have, else that they are blank and, at last, healthy."""
        said = [*(answers or []), (".", SURVEY, BLANK_HOST), *healthy(self.cluster())]
        self.write("answers.json", json.dumps(said))
        self.write("record.jsonl", "")
        done = subprocess.run(
            [sys.executable, str(Path(__file__).with_name("rehearse.py")), "answers.json", "record.jsonl",
             inventory, operation, *arguments],
            cwd=self.folder, env=os.environ | GIVEN | CIPHER, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=PATIENCE
        )  # fmt: skip
        record = (self.folder / "record.jsonl").read_text().splitlines()
        return Rehearsal(done.returncode, done.stdout, [Command(**json.loads(line)) for line in record])

    def cluster(self) -> Cluster:
        """The cluster that is deployed, but for its roles."""
        settings = {
            "cluster_name": "shop",
            "client_networks": ["10.0.0.0/24"],
            "secrets_directory": str(self.folder / "secrets"),
            **self.settings,
        }
        groups = {name: {"etcd", "postgres"} if name in DATABASES else {"haproxy"} for name in HOSTS}
        hosts = {name: RawHost(frozenset(groups[name]), {"address": HOSTS[name], **settings}) for name in HOSTS}
        kept = {KEEPER: RawHost(frozenset({"backup"}), {"address": "10.0.0.8", **settings})} if self.keeps_backups else {}
        return build(hosts | kept)

    def deployed_before(self) -> Vault:
        """The secrets of an earlier deploy, saved where the next one looks for them."""
        vault = Vault(self.cluster(), {})
        vault.save()
        return vault


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


@pytest.fixture(scope="session")
def first_deploy(tmp_path_factory: pytest.TempPathFactory) -> Rehearsal:
    """A deploy to blank hosts, with all that pyinfra can be made to say about it."""
    primary: Answers = [
        (
            "db1",
            "dathasloginevt",
            [NO_DATABASES],
        ),
        ("db1", "/config --fail", ["{}"]),
    ]
    run = Stage(tmp_path_factory.mktemp("first")).rehearse("-y", "-vvv", "--diff", answers=primary)
    assert run.exit_code == 0, run.output
    return run


def on_disk(path: str, digest: str, owner_and_mode: str) -> list[str]:
    """What a host says of a file that is there, as operations/managed.py asks for it."""
    return [f"owner {path} {owner_and_mode}", f"hash {path} {digest}"]


def living(vault: Vault, version: str | None = str(own())) -> list[str]:
    """The survey of a host that belongs to the cluster with these secrets, deployed by a version (None: it notes none)."""
    marker = {"cluster": "shop", "id": vault.cluster_id, "deployed_from": "ann@desk:/home/ann/pg"}
    noted = marker | ({"version": version} if version else {})
    return [*BLANK_HOST, f"marker {json.dumps(noted)}", "postgres_data cluster"]
