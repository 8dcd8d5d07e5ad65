"""Clusters in which something is wrong (BROKEN) or worth knowing (WORTH_KNOWING), each with how it is told."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import views
from clusters import cluster

from cluster import own_roles
from cluster.layout import Note, layout_of
from cluster.own_roles import OwnRole
from health.backup_states import BackupRun, Clone, Repository
from health.states import (
    Archiver,
    Connections,
    Disk,
    Holder,
    LockHolder,
    LockTable,
    Override,
    PoolerState,
    PoolProcess,
    ProxyState,
    RefusedSetting,
    Server,
    Slot,
    Subscription,
)
from health.view import ClusterView

BACKENDS = proxied.backends if (proxied := views.proxy().proxy) else {}
HOLDER = LockHolder(4711, "app shop local idle", 5_110, 60.0)
STRANGER = Server("db9", "DOWN", "L4CON", 0)


def primary(**differs: Any) -> ClusterView:
    return views.view(db1=views.database("db1", postgres=views.postgres("db1", **differs)))


def config(**settings: object) -> str:
    return json.dumps(json.loads(views.KEYS["config"]) | settings)


GIVEN_UP = "log that is given up"  # of a cluster whose owner has chosen that
MORE_RIGHTS = own_roles.wanted(views.SHOP)
MORE_RIGHTS["rewinder"] = OwnRole(
    ("login", "superuser", "password"),
    expires=True,
    member_of=(("pg_monitor", "postgres"), ("pg_use_reserved_connections", "postgres")),
    members=(("app", "postgres"),),
)
INTERRUPTED = {"to": "0/5F6ADF0", "host": "db1", "began": "noon"}
HELD = json.dumps({"who": "root@ops", "since": "noon"})
OUT_OF_LOCKS = "psql: error: connection to server on socket failed: FATAL:  out of shared memory"
BROKEN = {
    "a pool that does not run": (
        views.backed_up(proxy1=views.pooler(units=views.pooler().units | {"pgquorum-pool@read-1.service": "failed"})),
        "proxy1: pgquorum-pool@read-1.service is failed",
    ),
    "a pool that does not answer": (
        views.backed_up(proxy1=views.pooler(PoolProcess("write-1", "no answer within 2.2 s"))),
        "proxy1: pgquorum-pool@write-1.service does not answer: no answer within 2.2 s",
    ),
    "pools of which nothing is seen": (
        views.backed_up(proxy1=views.pooler(pooler=None, problems={"pgbouncer": "no such user"})),
        "proxy1: PgBouncer could not be asked: no such user",
    ),
    "an address that nobody has": (
        views.shared(proxy1=views.sharer("proxy1")),
        "entry: no proxy host has 10.0.0.77: clients that come by it reach nobody (docs/runbook.md, The address)",
    ),
    "an address that two have": (
        views.shared(proxy2=views.sharer("proxy2", "eth0")),
        "entry: proxy1 and proxy2 both have 10.0.0.77: sessions that come by it break (docs/runbook.md, The address)",
    ),
    "a proxy whose keepalived does not run": (
        views.shared(proxy2=views.sharer("proxy2", units=views.sharer("proxy2").units | {"keepalived.service": "failed"})),
        "proxy2: keepalived.service is failed",
    ),
    "a disk that is full": (
        views.view(db1=views.database("db1", disks=(Disk("/data", 100 * 1024**3, 4 * 1024**3),))),
        "db1: 4.0 GiB are free of 100.0 on the disk of /data (docs/runbook.md, A disk fills up)",
    ),
    "a host that gives nothing to be backed up": (
        views.backed_up(keep1=views.keeper(units=views.keeper().units | {"pgbackrest.service": "failed"})),
        "keep1: pgbackrest.service is failed",
    ),
    "backups that can't be seen": (
        views.backed_up(keep1=views.keeper(backups=None, problems={"pgbackrest": "no answer within 2.2 s"})),
        "keep1: what backups there are could not be seen: no answer within 2.2 s",
    ),
    "a repository that refuses the key": (
        views.backed_up(
            keep1=views.keeper(backups=replace(views.backups(), repositories=(Repository("local", "it does not know the key"),)))
        ),
        "keep1: repository local can't be read: it does not know the key",
    ),
    "no backup": (
        views.backed_up(keep1=views.keeper(backups=replace(views.backups(), backups=()))),
        "keep1: there is no backup: `invoke backup`",
    ),
    "an old backup": (
        views.backed_up(keep1=views.keeper(backups=views.backups(views.backup(age=31 * 3600.0)))),
        "keep1: the newest backup is 31 hours old; backup_max_age_hours is 30: `invoke backup`",
    ),
    "a backup that failed": (
        views.backed_up(keep1=views.keeper(backups=views.backups(runs=(BackupRun("incr", False, True, 1_000_000),)))),
        "keep1: the last backup of type incr has failed, or was cut off: `invoke logs --component pgbackrest`",
    ),
    "a drill that failed": (
        views.backed_up(keep1=views.keeper(backups=views.backups(drills=(views.drill(passed=False, failures=("zst error",)),)))),
        "keep1: the last drill has not proven label-996400 (on keep1): zst error: docs/runbook.md, A drill fails",
    ),
    "a backup of damaged pages": (
        views.backed_up(keep1=views.keeper(backups=views.backups(views.backup(damaged=True)))),
        "keep1: the backup label-996400 has pages with wrong checksums",
    ),
    "a file that can't be archived": (
        views.backed_up(Archiver("A8", 90.0, "A9", 5.0, 1, 60.0)),
        "db1: archiving A9 has failed 5 s ago; the last that got there is A8: `invoke backup.check` says why",
    ),
    "files that wait to be archived": (
        views.backed_up(Archiver("A8", 400.0, None, None, 25, 390.0)),
        "db1: 25 files wait to be archived, the first since 390 s; the last that got there is A8; backup_max_archive_lag is 300",
    ),
    "a disk that what waits to be archived fills": (
        views.backed_up(Archiver("A8", 400.0, None, None, 25, 400.0, room=10 * 1024**3)),
        "db1: in 2.8 hours its disk is full of write-ahead log that waits to be archived, and PostgreSQL stops",
    ),
    GIVEN_UP: (
        views.backed_up(Archiver("A8", 1.0, None, None, 256, 200.0)),
        "db1: 4.0 GiB of write-ahead log wait, and the oldest is given up (backup_when_stuck is drop): nothing goes back",
    ),
    "log that no replica keeps for the archive": (
        views.unarchived(9, lost=("db2", "db3")),
        "db1: no replica has all of the 9.0 GiB of write-ahead log that are not archived (max_slot_wal_keep_size): if db1",
    ),
    "a hole in the archive": (
        views.backed_up(keep1=views.keeper(backups=views.backups(archived=views.archived((5, 7), (10, 12)), history=(3, "")))),
        "keep1: 000000030000000000000008 to 000000030000000000000009 is missing in the archive: nothing goes back to a moment",
    ),
    "a restore that was interrupted": (
        views.backed_up(db1=views.database("db1", etcd=views.etcd("db1", restore=INTERRUPTED))),
        "restore: a restore to 0/5F6ADF0 on db1, begun at noon, is under way or was interrupted:"
        " `invoke restore --to '0/5F6ADF0'` goes on with it, --cancel calls it off",
    ),
    "no lock is left": (
        views.view(db1=views.database("db1", postgres=None, problems={"postgres": OUT_OF_LOCKS})),
        "db1: the table of locks is full, and PostgreSQL lets nobody in (docs/runbook.md, The table of locks is full)",
    ),
    "a host that a deploy has left half done": (
        views.view(db3=views.database("db3", problems={"edited": "no such file"})),
        "deploy: has never come to its end on db3: `pyinfra inventory.py deploy.py` goes on from there",
    ),
    "a host that does not answer": (views.view(db3=views.unreachable("db3")), "db3: unreachable: it does not answer"),
    "a host of another cluster": (
        views.view(db3=views.database("db3", cluster_name="blog")),
        "db3: belongs to cluster 'blog', not to 'shop'",
    ),
    "a blank host": (views.view(db3=views.blank("db3")), "db3: nothing is deployed on it: run `pyinfra"),
    "a unit that is down": (
        views.view(db3=views.database("db3", units=views.UNITS | {"etcd.service": "failed", "patroni.service": "active"})),
        "db3: etcd.service is failed",
    ),
    "a Patroni that can't look at its own replica": (
        views.view(db2=views.database("db2", patroni=views.patroni("db2", blind=True))),
        "db2: Patroni can't look at its own PostgreSQL by a replication connection, and won't let it take over: `invoke logs`",
    ),
    "two primaries": (
        views.view(db2=views.database("db2", postgres=views.postgres("db2", in_recovery=False))),
        "primary: SPLIT BRAIN: db1 and db2 both take writes",
    ),
    "a leader whose host lets nobody look": (
        views.view(db1=views.unreachable("db1", "ben has no sudo without a password")),
        "primary: db1 holds the leader key, and what its PostgreSQL does could not be seen (why: see db1)",
    ),
    "a leader that does not lead": (
        views.with_keys(leader="db2"),
        "primary: db2 holds the leader key, but db1 is out of recovery",
    ),
    "no leader": (views.with_keys(leader=None), "primary: nobody holds the leader key"),
    "no etcd": (
        views.view(**{n: views.database(n, etcd=None, problems={"etcd": "refused"}) for n in views.DATABASES}),
        "primary: no etcd member answers, so nobody can say who leads",
    ),
    "an etcd member that is down": (
        views.view(db3=views.database("db3", etcd=None, problems={"etcd": "refused"})),
        "db3: etcd does not answer: refused",
    ),
    "etcd without a quorum": (
        views.view(db1=views.database("db1", etcd=views.etcd("db1", quorum=False))),
        "db1: etcd has no quorum",
    ),
    "an etcd alarm": (
        views.view(db1=views.database("db1", etcd=views.etcd("db1", alarms=("alarm:NOSPACE ",)))),
        "db1: etcd alarm: alarm:NOSPACE",
    ),
    "a stranger in etcd": (
        views.view(db1=views.database("db1", etcd=views.etcd("db1", members={"11": "db1", "99": "old"}))),
        "db1: etcd's members are db1, old; the inventory has db1, db2, db3: put old back, and `invoke host.remove old` if it is"
        " to leave; if it is none of your hosts, `etcdctl member remove 63` (docs/runbook.md, A stranger in etcd); a deploy adds"
        " db2, db3",
    ),
    "a stranger in Patroni": (
        views.with_keys(**{"members/db9": json.dumps({"role": "replica", "state": "running"})}),
        "db9: is a replica of this cluster, and no PostgreSQL host of the inventory",
    ),
    "a stranger that leads": (
        views.with_keys(leader="db9", **{"members/db9": json.dumps({"role": "primary", "state": "running"})}),
        "db9: is a primary of this cluster, and no PostgreSQL host of the inventory",
    ),
    "a value that PostgreSQL does not take": (
        views.view(
            db1=views.database(
                "db1", postgres=views.postgres("db1", refused=(RefusedSetting("log_timezone", "Europe/Berln", "/f", "not so"),))
            )
        ),
        "db1: PostgreSQL does not take log_timezone = 'Europe/Berln' in /f: not so. It may not start with that: take it out",
    ),
    "writes to nobody": (views.view(proxy1=views.proxy(write=())), "proxy1: port 5000 leads to nobody; the leader is db1"),
    "writes to two": (
        views.view(proxy1=views.proxy(write=("db1", "db2"))),
        "proxy1: port 5000 leads to db1 and db2; the leader is db1",
    ),
    "a replica without reads": (views.view(proxy1=views.proxy(read=("db2",))), "db3: gets no reads from proxy1"),
    "no reads at all": (
        views.view(proxy1=views.proxy(write=(), read=())),
        "proxy1: port 5001 leads to nobody",
    ),
    "new connections that wait": (
        views.view(proxy1=views.proxy(proxy=replace(views.proxy().proxy, held=("writes",)), hold=HELD)),
        "proxy1: port 5000 takes no new connections, and they wait (root@ops, since noon): `invoke traffic.resume` lets them in",
    ),
    "a pool that somebody has paused by hand": (
        views.backed_up(proxy1=views.pooler(PoolProcess("write-1", "", "1.26.1", 300, 9, 8.0, 0, 0, paused=True))),
        "proxy1: write-1 is paused, and its clients wait: `invoke traffic.resume` lets them go on",
    ),
    "HAProxy down": (
        views.view(proxy1=views.proxy(proxy=None, problems={"haproxy": "refused"})),
        "proxy1: HAProxy does not answer: refused",
    ),
    "a replica that does not stream": (
        views.view(db2=views.database("db2", postgres=views.postgres("db2", receiver=None))),
        "db2: is not streaming from the primary",
    ),
    "a replica that was away for longer than the primary keeps its log": (
        views.view(
            db1=views.database("db1", postgres=views.postgres("db1", log_begins=views.POSITION)),
            db2=views.database("db2", postgres=views.postgres("db2", receiver=None, received=4_999_999, replayed=4_999_998)),
        ),
        "db2: is not streaming from the primary, which has no more of the log what it needs next: `invoke reinit db2`",
    ),
    "a replica on an old timeline": (
        views.view(db2=views.database("db2", postgres=views.postgres("db2", timeline=2))),
        "db2: is on timeline 2, the primary on 3",
    ),
    "a paused replay": (
        views.view(db2=views.database("db2", postgres=views.postgres("db2", replay_paused=True))),
        "db2: has its replay paused",
    ),
    "a replica that lags": (
        views.view(
            db1=views.database(
                "db1",
                postgres=views.postgres("db1", senders=(views.sender("db2", replayed_lag=2**25), views.sender("db3"))),
            )
        ),
        "db2: is 33554432 bytes behind; haproxy_read_max_lag is 16777216",
    ),
    "a paused cluster": (
        views.with_keys(config=config(pause=True)),
        "pause: the cluster is paused: nothing fails over by itself until `invoke resume`",
    ),
    "a Patroni that is cut off": (
        views.view(db2=views.database("db2", patroni=views.patroni("db2", dcs_age=60))),
        "db2: Patroni has not reached etcd for 60 s",
    ),
    "another durability than promised": (
        views.with_keys(config=config(synchronous_mode=False)),
        "durability: is asynchronous, the settings say quorum",
    ),
    "a choice that was not applied": (
        views.with_keys(config=config(synchronous_mode_strict=False)),
        "durability: is quorum, alone without a replica, the settings say quorum: deploy",
    ),
    "nobody there to confirm": (
        views.view(db1=views.database("db1", postgres=views.postgres("db1", synchronous_standby_names="ANY 1 (*)", senders=()))),
        "durability: no replica is there to confirm writes: they wait until db2 or db3 streams",
    ),
    "only a base backup, which PostgreSQL takes for a replica": (
        views.view(
            db1=views.database(
                "db1",
                postgres=views.postgres(
                    "db1", synchronous_standby_names="*", senders=(views.sender("pg_basebackup", sync_state="sync"),)
                ),
            )
        ),
        "durability: no replica is there to confirm writes",
    ),
    "waiting for somebody who is gone": (
        views.view(
            db1=views.database(
                "db1",
                postgres=views.postgres(
                    "db1", synchronous_standby_names='ANY 1 ("db3")', senders=(views.sender("db2", sync_state="async"),)
                ),
            )
        ),
        "durability: no replica is there to confirm writes",
    ),
    "nobody synchronous": (
        views.view(db1=views.database("db1", postgres=views.postgres("db1", synchronous_standby_names=""))),
        "durability: no replica is synchronous",
    ),
    "a lost slot": (
        views.view(
            db1=views.database("db1", postgres=views.postgres("db1", slots=(Slot("db2", "physical", False, "lost", 0, None),)))
        ),
        "slots: slot db2 is lost",
    ),
    "a certificate at its end": (
        views.view(db1=views.database("db1", certificates={"/etc/etcd/tls/server.crt": 3})),
        "db1: /etc/etcd/tls/server.crt ends in 3 days",
    ),
}

WORTH_KNOWING = {
    "log that replicas keep for the archive no longer than a while": (
        views.unarchived(7),
        "db1: 7.0 GiB of write-ahead log are not archived, and replicas keep 8.0 GiB (max_slot_wal_keep_size): beyond",
    ),
    "a proxy that does not say whether it has the address": (
        views.shared(proxy2=views.sharer("proxy2", entry=None, problems={"keepalived": "no answer within 2.2 s"})),
        "proxy2: whether it has 10.0.0.77 could not be seen: no answer within 2.2 s",
    ),
    "clients that wait for a connection": (
        views.backed_up(proxy1=views.pooler(PoolProcess("write-1", "", "1.26.1", 300, 17, 5.4, 13, 13))),
        "proxy1: 17 clients of write-1 wait for one of its 13 connections, the first for 5 s (docs/runbook.md, A pool is full)",
    ),
    "a pool with nearly as many clients as it takes": (
        views.backed_up(proxy1=views.pooler(PoolProcess("read-1", "", "1.26.1", 900, 0, 0.0, 13, 2))),
        "proxy1: read-1 has 900 clients of 1000: raise pooling_max_clients or pooling_processes",
    ),
    "a role with another password in the pools": (
        views.backed_up(proxy1=views.pooler(pooler=PoolerState((), views.VERIFIERS | {"app": "other"}))),
        "proxy1: app: PgBouncer's file does not have what the server lets them in by",
    ),
    "PgBouncer by its package's unit": (
        views.backed_up(proxy1=views.pooler(units=views.pooler().units | {"pgbouncer.service": "active"})),
        "proxy1: pgbouncer.service is active: the deploy runs PgBouncer by units of its own, so mask it",
    ),
    "backups that nobody has proven": (
        views.backed_up(keep1=views.keeper(backups=views.backups(drills=(views.drill(age=16 * 86_400.0),)))),
        "keep1: for 16 days no drill has proven a backup; backup_max_proven_days is 15: `invoke backup.drill`",
    ),
    "a clone that may be forgotten": (
        views.backed_up(keep1=views.keeper(backups=views.backups(clone=Clone("latest", "/b-drill/clone", 7200.0, "inactive")))),
        "keep1: a clone of the cluster as it was at latest is in /b-drill/clone since 2.0 hours (its server is inactive):"
        " `invoke backup.clone --remove` deletes it",
    ),
    "backups that nothing begins": (
        views.backed_up(keep1=views.keeper(backups=views.backups(timers={"pgquorum-backup-incr.timer": "inactive"}))),
        "keep1: pgquorum-backup-incr.timer is inactive: a deploy starts it",
    ),
    "a clock that differs": (views.view(db3=views.database("db3", clock=-4.0)), "db3: its clock is 4.0 s behind"),
    "the packaged service": (
        views.view(db3=views.database("db3", units=views.database("db3").units | {"postgresql.service": "active"})),
        "db3: postgresql.service is active",
    ),
    "nobody who tells Patroni of a crash": (
        views.view(db3=views.database("db3", units=views.database("db3").units | {"pgquorum-wake-patroni.service": "failed"})),
        "db3: pgquorum-wake-patroni.service is failed: Patroni sees a crash of PostgreSQL up to 3 s later",
    ),
    "a full etcd": (
        views.view(db1=views.database("db1", etcd=views.etcd("db1", database_size=2 * 1024**3))),
        "db1: etcd's database has reached 100% of etcd_quota",
    ),
    "a pending restart": (
        views.view(
            db2=views.database(
                "db2",
                patroni=views.patroni("db2", pending_restart=True),
                postgres=views.postgres("db2", pending_restart=("max_connections",)),
            )
        ),
        "db2: max_connections waits for `invoke rolling-restart`",
    ),
    "an idle slot": (
        views.view(
            db1=views.database(
                "db1", postgres=views.postgres("db1", slots=(Slot("cdc", "logical", False, "reserved", 77, None),))
            )
        ),
        "slots: slot cdc is not in use and holds back 77 bytes of WAL",
    ),
    "a slot whose consumer has lost changes": (
        primary(slots=(Slot("cdc", "logical", False, "lost", 0, None, database="app", failover=True),)),
        "slots: slot cdc is lost: its consumer has lost changes: `select pg_drop_replication_slot('cdc')`, then its",
    ),
    "a slot whose consumer is about to lose write-ahead log": (
        primary(slots=(Slot("receiver", "physical", True, "unreserved", 77, None),)),
        "slots: slot receiver is unreserved: its consumer is about to lose changes: get it going, at once",
    ),
    "a slot of nobody's": (
        views.view(
            db1=views.database(
                "db1", postgres=views.postgres("db1", slots=(Slot("db9", "physical", False, "reserved", 77, None),))
            )
        ),
        "slots: slot db9 is not in use and holds back 77 bytes of WAL, for no host of the inventory; drop it",
    ),
    "a parameter set by hand over the settings": (
        primary(altered={"log_checkpoints": "off"}, parameters=views.RUNNING | {"log_checkpoints": "off"}),
        "db1: log_checkpoints is off by ALTER SYSTEM, over the settings: `alter system reset log_checkpoints` there",
    ),
    "a host that would go on alone": (
        views.view(db3=views.database("db3", postgres=views.postgres("db3", base_standbys=None))),
        "db3: started while no replica is there it would acknowledge, and durability and without_replica say otherwise: deploy",
    ),
    "a host that was off when something was deployed": (
        views.view(proxy1=views.proxy(last_deploy=replace(views.DEPLOYED, at=views.DEPLOYED.at - 60, settings="others"))),
        "deploy: that of 2026-11-30 19:00 (UTC) has left out proxy1: `pyinfra inventory.py deploy.py` brings what is missing",
    ),
    "settings that no deploy would take": (
        views.view(db1=views.database("db1", layout=Note(2, layout_of(cluster(postgres_port=5431))))),
        "settings: not as deployed: postgres_port = 5432: the cluster lives with 5431, and can't be changed: the hosts know each",
    ),
    "a parameter set by hand": (
        views.view(db2=views.database("db2", postgres=views.postgres("db2", altered={"jit": "off"}))),
        "db2: jit is off by ALTER SYSTEM, on this host alone",
    ),
    "a role whose writes may be lost": (
        primary(overrides=(Override("app", None, "synchronous_commit=off"),)),
        'settings: role app has synchronous_commit = off: what it writes may be lost in a failover (`alter role "app" reset syn',
    ),
    "a database whose writes may be lost": (
        primary(overrides=(Override(None, "shop", "synchronous_commit=local"),)),
        'settings: database shop has synchronous_commit = local: what it writes may be lost in a failover (`alter database "sh',
    ),
    "one role in one database, and everybody": (
        primary(overrides=(Override("app", "shop", "synchronous_commit=off"), Override(None, None, "synchronous_commit=off"))),
        "settings: role app in database shop has synchronous_commit = off",
    ),
    "a subscription that tells its publisher too early": (
        primary(subscriptions=(Subscription("feed", "shop", "off"),)),
        "settings: subscription feed in database shop has synchronous_commit = off: a failover may lose changes that its",
    ),
    "a host where nothing waits for a replica": (
        primary(altered={"synchronous_commit": "local"}),
        "db1: has synchronous_commit = local by ALTER SYSTEM: what is written there may be lost in a failover or a crash (`alter",
    ),
    "a host that waits for no disk": (
        primary(altered={"fsync": "off"}),
        "db1: has fsync = off by ALTER SYSTEM: what is written there may be lost in a failover or a crash (`alter system",
    ),
    "a host that does not say all": (
        views.view(db1=views.database("db1", problems={"disks": "no answer within 5 s"})),
        "db1: disks could not be seen: no answer within 5 s",
    ),
    "a house that is nearly full": (
        primary(connections=Connections(90, 92, (Holder("app", "10.0.0.9", 88), Holder("ops", "local", 2)))),
        "db1: 90 of 92 connections are open: 88 of app from 10.0.0.9, 2 of ops from local (connection_limit in postgres_roles",
    ),
    "a disk that fills up": (
        views.view(proxy1=views.proxy(disks=(Disk("/var/log", 100 * 1024**3, 14 * 1024**3),))),
        "proxy1: 14.0 GiB are free of 100.0 on the disk of /var/log",
    ),
    "a role of the tool's that may do more than it has to": (
        primary(own_roles=MORE_RIGHTS),
        "roles: rewinder has superuser, expires, is a member of pg_monitor, has app as a member, by hand: a deploy puts",
    ),
    "a role of the settings that somebody has dropped": (
        primary(missing_roles=("app",)),
        "roles: role app of the settings is not there: a deploy makes it",
    ),
    "a database of the settings that somebody has dropped": (
        primary(missing_databases=("shop",)),
        "databases: database shop of the settings is not there: a deploy makes it, empty",
    ),
    "a session with nearly all locks": (
        views.view(db1=views.database("db1", locks=LockTable(2.0, 5_120, 6_400, (HOLDER,)))),
        "db1: 5120 locks are held, and PostgreSQL promises 6400; 5110 of 5120 were held 2 s ago by process 4711",
    ),
    "a stranger in HAProxy": (
        views.view(proxy1=views.proxy(proxy=ProxyState("3.2.5", {**BACKENDS, "read": (*BACKENDS["read"], STRANGER)}))),
        "proxy1: HAProxy knows db9, which is not in the inventory: deploy",
    ),
    "both leaders on one host": (
        views.view(**{n: views.database(n, etcd=views.etcd(n, leader_id="11")) for n in views.DATABASES}),
        "etcd: db1 is PostgreSQL's and etcd's leader at once",
    ),
    "a certificate to renew": (
        views.view(db1=views.database("db1", certificates={"/etc/etcd/tls/server.crt": 40})),
        "db1: /etc/etcd/tls/server.crt ends in 40 days",
    ),
    "an authority at its end": (
        views.view(db1=views.database("db1", certificates={"/etc/patroni/tls/etcd-ca.crt": 10})),
        "db1: /etc/patroni/tls/etcd-ca.crt ends in 10 days, and all that it has signed (docs/runbook.md, A new cert",
    ),
}
