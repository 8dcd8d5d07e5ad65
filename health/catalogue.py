"""Every condition that a rule can find: its id, its level, and what it means. docs/rules.md lists them for monitoring.

An id is `subject.condition`. It means one condition and has one level, and neither changes: alerts and tests hang on it.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Level = Literal["ok", "warning", "problem"]


class Condition(NamedTuple):
    """How bad it is, and what it means."""

    level: Level
    meaning: str


def _problem(meaning: str) -> Condition:
    return Condition("problem", meaning)


def _warning(meaning: str) -> Condition:
    return Condition("warning", meaning)


CATALOGUE: dict[str, Condition] = {
    # Hosts
    "host.unreachable": _problem("a host does not answer over SSH, or what was asked of it there failed"),
    "host.not-deployed": _problem("a host of the inventory has nothing of the cluster's on it"),
    "host.other-cluster": _problem("a host belongs to another cluster than the inventory's"),
    "host.unseen": _warning("a host could not say something that it was asked for"),
    "deploy.unfinished": _problem("a deploy has begun on a host and has never come to its end there"),
    "deploy.missed": _warning("a host was off, or left out, when settings were deployed to others"),
    "deploy.missing": _problem("no host that answers has been deployed to"),
    "clocks.apart": _warning("the clocks of the hosts differ"),
    "services.not-active": _problem("a unit of the cluster's does not run: etcd, Patroni, HAProxy, PgBouncer or keepalived"),
    "services.wake-not-active": _warning("pgquorum-wake-patroni does not run: Patroni sees a crash of PostgreSQL later"),
    "services.confirm-not-active": _warning("pgquorum-confirm-quorum does not run: a failover may need more members"),
    "services.guard-not-active": _warning("pgquorum-guard does not run: a primary whose host is gone is given up later"),
    "services.one-primary-not-active": _warning("pgquorum-one-primary does not run: HAProxy leaves an old primary later"),
    "services.packaged-postgresql": _warning("the packaged postgresql.service is active: only Patroni starts PostgreSQL"),
    "services.packaged-pgbouncer": _warning("the packaged pgbouncer.service is active beside the deploy's own units"),
    "certificates.expiring": _problem("a certificate ends within days"),
    "certificates.to-renew": _warning("a certificate is due to be renewed by a deploy"),
    "certificates.authority-ends": _warning("an authority of the cluster's ends within a year, and no deploy renews it"),
    "files.edited": _warning("a file that the deploy writes has been edited, or is gone"),
    "firewall.not-loaded": _warning("the packet filter of a host is not loaded, or not as the deploy has loaded it"),
    "disks.full": _problem("the disk under a directory of the cluster's has hardly any room left"),
    "disks.nearly-full": _warning("the disk under a directory of the cluster's has little room left"),
    "disks.failed-start": _warning("directories of a first start that has failed are left on a host"),
    # Hosts, before a deploy
    "host.unfit": _problem("a deploy would be refused, for what the survey of the hosts says"),
    "host.other-address": _problem("the address in the inventory is not one of the host's"),
    "host.few-sessions": _problem("the host's sshd allows fewer sessions of a connection than are needed"),
    "host.not-measured": _warning("the probe of the preflight did not run"),
    "ports.blocked": _problem("a host does not reach a port that it needs on another"),
    "ports.taken": _problem("something else already listens on a port"),
    "packages.not-running": _warning("another version of a program is installed than the one that runs"),
    "packages.old-libraries": _warning("programs run with libraries that were replaced after they had been started"),
    "packages.other-pgbackrest": _warning("hosts have different versions of pgBackRest, which do not talk to each other"),
    "packages.not-held": _warning("apt may upgrade a program of the cluster, at night too"),
    "packages.missing": _warning("a package is not in the host's package lists"),
    "packages.too-old": _problem("the version of a package is below what is relied on"),
    "packages.untested": _warning("a program is of a minor release that was not tested with this tool"),
    "packages.differ": _warning("the version of a package differs by host"),
    "disks.slow": _warning("the disk under a data directory is slow to sync"),
    "disks.small": _warning("etcd's data directory has less free space than twice its quota"),
    "memory.small": _warning("a host has little memory"),
    "clocks.unkept": _warning("nothing keeps the clock of a host right"),
    "watchdog.not-used": _warning("the primary's host has a watchdog, and Patroni does not use it"),
    "watchdog.missing": _warning("a database host has no watchdog"),
    "client.refused": _warning("a port of HAProxy refuses connections from the operator's machine"),
    "client.out-of-reach": _warning("a port of HAProxy can't be reached from the operator's machine"),
    "client.unnamed": _warning("the name of a HAProxy host does not resolve on the operator's machine"),
    # etcd
    "etcd.silent": _problem("an etcd member runs and does not answer"),
    "etcd.no-quorum": _problem("an etcd member is not in touch with a majority"),
    "etcd.other-members": _problem("etcd's members are not those of the inventory"),
    "etcd.alarm": _problem("etcd has raised an alarm, such as NOSPACE"),
    "etcd.never-compacted": _warning("etcd keeps all of its history and grows"),
    "etcd.outdated": _warning("an etcd member has not been restarted since its settings were written"),
    "etcd.nearly-full": _warning("etcd's database comes near its quota"),
    "etcd.leads-with-primary": _warning("the primary's host leads etcd, too"),
    # The primary
    "primary.split-brain": _problem("more than one PostgreSQL takes writes"),
    "primary.unknown": _problem("no etcd member answers, so nobody can say who leads"),
    "primary.no-leader": _problem("nobody holds the leader key"),
    "primary.unseen": _problem("the host of the leader key's holder could not be asked"),
    "primary.other-than-leader": _problem("the holder of the leader key is not the one that is out of recovery"),
    # Patroni
    "patroni.paused": _problem("the cluster is paused: nothing fails over by itself"),
    "patroni.silent": _problem("a Patroni runs and does not answer"),
    "patroni.cut-off": _problem("a Patroni has not reached etcd for longer than ttl"),
    "patroni.not-running": _problem("PostgreSQL is starting, stopping or down, as its Patroni says"),
    "patroni.stranger": _problem("a member of Patroni's is no PostgreSQL host of the inventory"),
    # Replicas
    "replication.silent": _problem("PostgreSQL on a replica does not answer"),
    "replication.not-streaming": _problem("a replica does not stream from the primary"),
    "replication.other-timeline": _problem("a replica is on another timeline than the primary"),
    "replication.blind": _problem("a member's Patroni can't look at its own replica, and so won't let it take over"),
    "replication.paused": _problem("the replay of a replica is paused"),
    "replication.lagging": _problem("a replica has more to replay than haproxy_read_max_lag"),
    "collations.differ": _warning("hosts sort text of a database by different versions of a library: `verify` alone looks"),
    "slots.lost": _problem("a replica's slot has lost write-ahead log, or is about to"),
    "slots.consumer-lost": _warning(
        "the slot of a consumer, no replica of the cluster's, has lost write-ahead log, or is about to"
    ),
    "slots.stranger": _warning("a slot is not in use, belongs to no host of the inventory, and holds back write-ahead log"),
    "slots.idle": _warning("a replication slot is not in use and holds back write-ahead log"),
    "slots.missing": _warning("a logical slot of the settings is not there"),
    "slots.undeclared": _warning("a logical slot would be lost by a switchover or failover"),
    "slots.not-synced": _warning("a replica does not have a logical slot yet, and it would be lost if that took over"),
    # The way there
    "routing.silent": _problem("a HAProxy runs and does not answer"),
    "routing.writes-astray": _problem("a HAProxy does not send writes to the leader alone"),
    "routing.writes-held": _problem("a HAProxy takes no new connections for writes: they wait"),
    "routing.reads-nowhere": _problem("a HAProxy sends reads to nobody"),
    "routing.reads-from-primary": _warning("a HAProxy sends reads to the primary: no replica is fit for them"),
    "routing.stranger": _warning("a HAProxy knows a server that is no PostgreSQL host of the inventory"),
    "routing.replica-unread": _problem("a HAProxy sends no reads to a replica"),
    "client.write-fails": _problem("a client's write through HAProxy fails"),
    "client.read-fails": _problem("a client's read through HAProxy fails"),
    "client.pooled-write-fails": _problem("a client's write through the pools of PgBouncer fails"),
    "client.pooled-read-fails": _problem("a client's read through the pools of PgBouncer fails"),
    "entry.no-holder": _problem("no proxy host has proxy_address: clients that come by it reach nobody"),
    "entry.two-holders": _problem("more than one proxy host has proxy_address: sessions that come by it break"),
    "entry.unseen": _warning("whether a proxy host has proxy_address could not be seen"),
    "pooling.silent": _problem("a process of PgBouncer runs and does not answer, or does not run"),
    "pooling.paused": _problem("a process of PgBouncer is paused, so that its clients wait"),
    "pooling.other-password": _warning("PgBouncer lets in a role by something else than the server does"),
    "pooling.waiting": _warning("clients of a pool have waited long for one of PostgreSQL's connections"),
    "pooling.nearly-full": _warning("a process of PgBouncer has nearly as many clients as pooling_max_clients"),
    "roles.refused": _problem("a role of the system's can't log in from a PostgreSQL host to the primary"),
    "roles.other-rights": _warning("a role of the system's has other rights than a deploy gives it"),
    "roles.missing": _warning("a role of the settings is not there"),
    "databases.missing": _warning("a database of the settings is not there"),
    "connections.nearly-full": _warning("few of PostgreSQL's connections are left for applications"),
    "locks.full": _problem("PostgreSQL's table of locks is full: nobody can log in, and the sessions that are in come to a stop"),
    "locks.nearly-full": _warning("few locks are left of those that PostgreSQL promises"),
    "transactions.not-frozen": _warning("a database still has very old transaction IDs: autovacuum does not come through"),
    "transactions.nearly-used-up": _problem("PostgreSQL will soon be out of transaction IDs, and take no more writes"),
    # What a write survives
    "durability.differs": _problem("the durability in force is not the one of the settings"),
    "durability.asynchronous": _warning("durability is asynchronous, as the settings say: a failover can lose writes"),
    "durability.nobody-synchronous": _problem("the primary waits for no replica"),
    "durability.nobody-confirms": _problem("no replica is there to confirm writes: they wait"),
    "durability.other-mode": _warning("a replica confirms writes in another way than the durability means"),
    "durability.other-count": _warning("writes wait for another number of replicas than the durability means"),
    "acknowledged.held-alone": _warning("only the primary and these replicas have the last acknowledged bytes"),
    "acknowledged.at-risk": _warning("this many transactions a failover would lose, because of a weaker synchronous_commit"),
    "quorum.unconfirmed": _warning("replicas have not caught up since the last change of voters"),
    # A failover, this minute
    "failover.unknown": _problem("no etcd member answers, so nobody can take over"),
    "failover.no-leader": _problem("nobody holds the leader key, and this is why nobody takes it"),
    "failover.paused": _problem("nobody takes over because the cluster is paused"),
    "failover.no-majority": _problem("without the leader's host etcd would have no majority"),
    "failover.no-candidate": _problem("no replica could take over, and this is why one of them could not"),
    "failover.loss-to-accept": _problem("nobody may lead without a host that is missing, unless its owner accepts a loss"),
    # Backups
    "backups.not-serving": _problem("pgBackRest does not run on a host that keeps backups, or is backed up"),
    "backups.silent": _problem("what backups there are could not be seen"),
    "backups.no-repository": _problem("a place where backups lie can't be read: it is away, or refuses the key"),
    "backups.none": _problem("there is no backup, and none is being made"),
    "backups.too-old": _problem("the newest backup is older than backup_max_age_hours"),
    "backups.failed": _problem("the last backup of a kind has failed, and none of that kind or a fuller one was made since"),
    "backups.damaged": _problem("the newest backup has pages with wrong checksums"),
    "backups.not-scheduled": _warning("a timer that begins backups does not run"),
    "backups.drill-failed": _problem("the last drill in a repository has not proven its backup, or came to no end"),
    "backups.not-proven": _warning("no drill has proven a backup for longer than backup_max_proven_days"),
    "backups.clone": _warning("a copy for a look at the past takes room on the host that keeps the backups"),
    "archive.failing": _problem("the primary fails to archive its write-ahead log"),
    "archive.lagging": _problem("write-ahead log waits longer to be archived than backup_max_archive_lag"),
    "archive.fills-disk": _problem("within a day the disk of the write-ahead log is full of what waits to be archived"),
    "archive.dropping": _problem("write-ahead log is given up that could not be archived, as backup_when_stuck says"),
    "archive.nearly-unkept": _warning("what waits to be archived comes near what replicas keep of it"),
    "archive.unkept": _problem("no replica has all that waits to be archived: a failover would leave a hole in the archive"),
    "archive.hole": _problem("write-ahead log is missing in the archive since the newest backup"),
    "restore.unfinished": _problem("a restore of the cluster is under way, or was interrupted"),
    # Settings
    "restart.pending": _warning("a setting waits for a restart of PostgreSQL"),
    "settings.not-as-deployed": _warning(
        "something that no deploy changes is not what was deployed, and a deploy would be refused"
    ),
    "settings.not-in-etcd": _warning("Patroni's configuration in etcd is not what the settings say"),
    "settings.refused": _problem("PostgreSQL does not take a line of its configuration, and may not start with it"),
    "settings.altered": _warning("ALTER SYSTEM has set a parameter on a host"),
    "settings.without-replica": _warning("a PostgreSQL that is started without a replica would not do what without_replica says"),
    "settings.overridden": _warning("a role, database, host or subscription acknowledges sooner than the durability promises"),
    "settings.unguarded": _warning("a database does not refuse sessions with a weaker synchronous_commit, as the settings say"),
    "settings.not-running": _warning("PostgreSQL runs with another value than the settings say"),
}

SUBJECTS = frozenset(rule.partition(".")[0] for rule in CATALOGUE)
