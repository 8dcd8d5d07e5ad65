"""Views to test with: the shop of clusters.py seen in good health, and the same with something different."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from clusters import cluster

from cluster import own_roles
from cluster.archive import Archived
from cluster.dynamic_config import postgres_parameters, wanted_config
from cluster.last_deploy import LastDeploy
from cluster.quorum import parse
from cluster.slots import ARCHIVE
from cluster.version import own
from health.backup_states import Backup, BackupRun, BackupState, Drill, Repository
from health.dcs import Configurations
from health.states import (
    Archiver,
    Connections,
    EntryState,
    EtcdState,
    Holder,
    OldestIds,
    PatroniState,
    PoolerState,
    PoolProcess,
    PostgresState,
    ProxyState,
    Sender,
    Server,
    Slot,
)
from health.view import ClusterView, HostView

SHOP = cluster()
BACKED_UP = cluster(backup=True, pooling=True)
SHARED = cluster(backup=True, pooling=True, two=True, proxy_address="10.0.0.77")  # with all that a cluster may have
DROPPING = cluster(backup=True, backup_when_stuck="drop")
VERSION = str(own())
DEPLOYED = LastDeploy(1_796_065_200, "0123456789abcdef")
DATABASES = ("db1", "db2", "db3")
RUNNING = {name: str(value) for name, value in postgres_parameters(SHOP).items()}
IDS = {"11": "db1", "22": "db2", "33": "db3"}
POSITION = 5_000_000
SYNC_REVISION = 90
VERIFIERS = {"pgquorum_probe": "0123456789abcdef"}
KEYS = {
    "leader": "db1",
    "initialize": "7500000000000000000",
    "config": json.dumps(wanted_config(SHOP)),
    "sync": json.dumps({"leader": "db1", "sync_standby": "db2,db3", "quorum": 1}),
    "status": json.dumps({"optime": POSITION}),
    "members/db1": json.dumps({"state": "running", "role": "primary", "timeline": 3}),
}
POOLS = ("pgquorum-pool@write-1", "pgquorum-pool@read-1")
BESIDE = ("pgquorum-wake-patroni", "pgquorum-confirm-quorum")
UNITS = {
    f"{name}.service": "not-found"
    for name in ("etcd", "patroni", "haproxy", "pgbackrest", "postgresql", "pgbouncer", "keepalived", *BESIDE, *POOLS)
}


NOT_ON_DATABASES = ("haproxy", "postgresql", "pgbackrest", "pgbouncer", "keepalived", "pgquorum-pool")


def etcd(name: str, **differs: Any) -> EtcdState:
    """A healthy member; db2 leads. The configuration in `keys` is confirmed."""
    own = next(id for id, member in IDS.items() if member == name)
    state = EtcdState("3.5.30", own, "22", 100, 40_000, 30_000, (), dict(IDS), quorum=True, keys=dict(KEYS), compaction="1h")
    changed = replace(state, **differs)
    if "configurations" in differs:
        return changed
    sync = parse(changed.keys.get("sync"), SYNC_REVISION)
    return replace(changed, configurations=Configurations((sync,) if sync else (), confirmed=SYNC_REVISION))


def postgres(name: str, **differs: Any) -> PostgresState:
    """db1 is the primary, with both others streaming and none of their slots idle."""
    primary = name == "db1"
    others = [other for other in DATABASES if other != "db1"]
    state = PostgresState(
        in_recovery=not primary,
        version="18.6 (Debian 18.6-1)",
        timeline=3,
        lsn=POSITION if primary else None,
        received=None if primary else POSITION,
        at_log_end=not primary,
        log_begins=0,
        replayed=None if primary else POSITION,
        replay_age=None if primary else 0.1,
        replay_paused=False,
        receiver=None if primary else "streaming",
        pending_restart=(),
        parameters=dict(RUNNING),
        oldest_transaction=0.0,
        oldest_ids=OldestIds("app", 150_000_000, 1_000, 400_000_000),
        horizon=None,
        connections=Connections(9, 92, (Holder("app", "10.0.0.9", 9),)),
        altered={},
        refused=(),
        overrides=(),
        subscriptions=(),
        unguarded=(),
        own_roles=own_roles.wanted(BACKED_UP),
        base_backups=0,
        backup_bytes=0,
        synchronous_standby_names='ANY 1 ("db2","db3")',
        synchronous_commit="on",
        base_standbys="*",
        archiver=Archiver(None, None, None, None, 0, None),
        senders=tuple(sender(other) for other in others) if primary else (),
        slots=tuple(Slot(other, "physical", True, "reserved", 0, None) for other in others) if primary else (),
    )
    return replace(state, **differs)


def sender(name: str, **differs: Any) -> Sender:
    return replace(Sender(name, "streaming", "quorum", 0, 0, 0.0, 0.0), **differs)


def patroni(name: str, **differs: Any) -> PatroniState:
    role = "primary" if name == "db1" else "replica"
    return replace(PatroniState("running", role, "4.1.5", 1.0, {}, pending_restart=False, paused=False), **differs)


def database(name: str, **differs: Any) -> HostView:
    """A database host in good health."""
    active = dict.fromkeys([unit for unit in UNITS if not unit.startswith(NOT_ON_DATABASES)], "active")
    units = UNITS | active | {"postgresql.service": "masked"}
    view = HostView(
        name, {}, 0.0, "shop", VERSION, None, units, {"/etc/etcd/tls/server.crt": 700}, etcd(name), patroni(name), postgres(name),
        last_deploy=DEPLOYED,
    )  # fmt: skip
    return replace(view, **differs)


def proxy(write: tuple[str, ...] = ("db1",), read: tuple[str, ...] = ("db2", "db3"), **differs: Any) -> HostView:
    """The HAProxy host, with these servers up."""

    def servers(up: tuple[str, ...]) -> tuple[Server, ...]:
        return tuple(Server(n, "UP" if n in up else "DOWN", "L7OK", 0) for n in DATABASES)

    view = HostView(
        name="proxy1",
        problems={},
        clock=0.0,
        cluster_name="shop",
        deployed_by=VERSION,
        last_deploy=DEPLOYED,
        units=UNITS | {"haproxy.service": "active"},
        proxy=ProxyState("3.2.5", {"write": servers(write), "read": servers(read)}),
    )
    return replace(view, **differs)


def pooler(*processes: PoolProcess, **differs: Any) -> HostView:
    """The same host with PgBouncer, which has these processes; without any, both in good health."""
    units = UNITS | dict.fromkeys((f"{name}.service" for name in ("haproxy", *POOLS)), "active") | {"pgbouncer.service": "masked"}
    known = processes or tuple(PoolProcess(name, "", "1.26.1", 300, 0, 0.0, 13, 4) for name in ("write-1", "read-1"))
    return replace(proxy(units=units, pooler=PoolerState(known, dict(VERIFIERS))), **differs)


def sharer(name: str, *interfaces: str, **differs: Any) -> HostView:
    """One of two such hosts, with the virtual address on these interfaces."""
    units = pooler().units | {"keepalived.service": "active"}
    return replace(pooler(name=name, units=units, entry=EntryState(interfaces)), **differs)


def unreachable(name: str, why: str = "unreachable: it does not answer") -> HostView:
    return HostView(name, {"host": why})


def blank(name: str) -> HostView:
    problems = {"etcd": "no such file", "patroni": "no such file", "postgres": "no such user", "haproxy": "no such file"}
    return HostView(name, problems, 0.0, units=dict(UNITS))


def view(**hosts: HostView) -> ClusterView:
    """The shop in good health, but for the hosts given."""
    well = {name: database(name) for name in DATABASES} | {"proxy1": proxy()}
    return ClusterView(well | hosts)


def with_keys(**keys: str | None) -> ClusterView:
    """The shop with other values under Patroni's keys in etcd; None takes a key away."""
    merged = {key: value for key, value in {**KEYS, **keys}.items() if value is not None}
    return view(**{name: database(name, etcd=etcd(name, keys=merged)) for name in DATABASES})


def backup(kind: str = "full", age: float = 3600.0, **differs: Any) -> Backup:
    """A backup that took a minute and ended so many seconds ago, at a clock of 1,000,000."""
    ended = 1_000_000 - int(age)
    wal = "000000030000000000000005"
    made = Backup(f"label-{ended}", kind, ended - 60, ended, age, 40_000_000, 5_000_000, wal, wal, damaged=False)
    return replace(made, **differs)


ARCHIVED = Repository("local", "", "000000030000000000000001", "000000030000000000000009")


def backups(*there: Backup, archived: Archived | None = None, history: tuple[int, str] = (1, ""), **differs: Any) -> BackupState:
    """What a keeper of these backups says, oldest first; nothing runs, and nothing has failed. With what there is `archived`."""
    runs = tuple(BackupRun(kind, running=False, failed=False, ended=None) for kind in ("full", "diff", "incr"))
    timers = {f"pgquorum-backup-{kind}.timer": "active" for kind in ("full", "incr")}
    place = replace(ARCHIVED, archived=archived, history=history)
    state = BackupState("2.60.0", there or (backup(),), runs, timers, (place,))
    return replace(state, **differs)


def archived(*there: tuple[int, int], timeline: int = 3) -> Archived:
    """An archive that has these segments of a timeline, from the first to the last of each pair."""
    return Archived({timeline: {number: 1_000_000.0 for first, last in there for number in range(first, last + 1)}})


def drill(age: float = 3600.0, **differs: Any) -> Drill:
    """A drill that has proven its backup and ended so many seconds ago, at the same clock."""
    return replace(Drill("label-996400", "keep1", True, 1_000_000 - age, age, (), 4.4, compared=True), **differs)


def keeper(**differs: Any) -> HostView:
    """The host that keeps the backups, in good health."""
    units = UNITS | {"pgbackrest.service": "active"}
    view = HostView("keep1", {}, 0.0, "shop", VERSION, units=units, backups=backups(), last_deploy=DEPLOYED)
    return replace(view, **differs)


def backed_up(archiver: Archiver | None = None, **hosts: HostView) -> ClusterView:
    """The shop with a host that keeps its backups, in good health but for what is given."""
    parameters = {name: str(value) for name, value in postgres_parameters(BACKED_UP).items()}
    archiving = archiver or Archiver("000000030000000000000009", 20.0, None, None, 0, None)
    keys = KEYS | {"config": json.dumps(wanted_config(BACKED_UP))}
    well: dict[str, HostView] = {}
    for name in DATABASES:
        state = postgres(name, parameters=parameters, archiver=archiving, verifiers=VERIFIERS)
        host = database(name, postgres=state, etcd=etcd(name, keys=keys))
        well[name] = replace(host, units=host.units | {"pgbackrest.service": "active"})
    return ClusterView(well | {"proxy1": pooler(), "keep1": keeper()} | hosts)


def unarchived(waiting: float, lost: tuple[str, ...] = (), most: int = 8) -> ClusterView:
    """The same, where so many GiB of log wait to be archived, and hosts keep 8 for that; a new slot is there on those that have
    `lost` what theirs kept."""
    gib = 1024**3
    now, archiver = 100 * gib, Archiver("A8", 1.0, None, None, int(waiting * 64), 100.0)
    view = backed_up(archiver)
    hosts: dict[str, HostView] = {}
    for name in DATABASES:
        state = view.hosts[name].postgres
        assert state
        retained = 0 if name in lost else int(waiting * gib)
        slot = Slot(ARCHIVE, "physical", False, "reserved", retained, most * gib - retained)
        position = {"lsn": now} if name == "db1" else {"received": now, "replayed": now}
        changed = replace(state, slots=(*state.slots, slot), **position)
        hosts[name] = replace(view.hosts[name], postgres=changed, etcd=etcd(name, archived_to=now - int(waiting * gib)))
    keys = view.hosts["db1"].etcd.keys if view.hosts["db1"].etcd else {}
    return backed_up(
        archiver, **{name: replace(one, etcd=replace(one.etcd, keys=keys)) for name, one in hosts.items() if one.etcd}
    )


def shared(**hosts: HostView) -> ClusterView:
    """The same with a second proxy host, and the virtual address on the first."""
    proxies = {"proxy1": sharer("proxy1", "eth0"), "proxy2": sharer("proxy2")}
    return backed_up(**(proxies | hosts))
