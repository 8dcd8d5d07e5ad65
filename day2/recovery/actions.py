"""What is done to hosts in a step of a restore: each waits until it has worked, or raises ClusterError."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from agents.sent import shipped
from cluster import paths
from cluster.errors import ClusterError
from cluster.recovery import Archive, Target, archive_of
from cluster.topology import Cluster
from day2.hosts.interrupts import Interrupts
from day2.hosts.observe import observe
from day2.hosts.psql import psql
from day2.hosts.ssh import Fleet
from health.rules import findings
from health.view import ClusterView

from .arrival import Arrival, missed_target
from .logs import Log, ends, lacking, log_of
from .notes import LAST, NOTE, etcd, key, notes
from .plan import Restore, awaited, furthest_of, read_by
from .words import arrived, last_words, settings, why

LOOK_SECONDS = 1.0
# For the restored server to archive by itself what it has written.
ARCHIVES_SECONDS = 60
ANSWER_SECONDS = 60
LOG_SECONDS = 120  # of which a host takes 90 at most to read its own
ARCHIVED_SECONDS = 180
# For each repository's archive to be looked at, which gives up by itself before (agents/sent/archive.py).
ARCHIVE_SECONDS = 960
# What depends on the size of the data is waited for as long as it takes, as long as it goes on.
STOP_SECONDS = DELETE_SECONDS = 3700.0
LEADS_SECONDS = 300
HEALTHY_SECONDS = 24 * 3600
ARCHIVED = "select last_archived_wal from pg_stat_archiver"
# The keys of Patroni's that say who led, who may vote, and how far they were. `initialize` and `config` stay.
COURSE = ("leader", "optime/leader", "status", "sync", "failsafe", "failover", "history")
OURS = ("confirmed", "promoted", "accepted_loss", "archived", "written")


class RestoreActions:
    """`tell` is called with what goes on, in words."""

    def __init__(self, fleet: Fleet, cluster: Cluster, interrupts: Interrupts, tell: Callable[[str], None]) -> None:
        self._fleet, self._cluster, self._interrupts, self._tell = fleet, cluster, interrupts, tell

    def view(self) -> ClusterView:
        return observe(self._fleet, self._cluster)

    def check_interrupted(self) -> None:
        """Raises KeyboardInterrupt where that was asked for."""
        self._interrupts.check()

    # Notes in etcd

    def note(self, restore: Restore) -> None:
        """Writes into etcd, in place of the last note, which restore is under way and what it has come to; and on the hosts that
        it holds, which have it should etcd be lost."""
        etcd(self._fleet, self._cluster, f"put {key(self._cluster, NOTE)} {shlex.quote(restore.text)}")
        with suppress(ClusterError):  # etcd's is what counts
            self._do("keep_note", self._members(restore.hosts), text=restore.text)

    def noted_on_hosts(self) -> Restore | None:
        """The restore that hosts are held for, as the one tells that has come furthest; None for none."""
        return furthest_of(self._do("read_note", [one.name for one in self._cluster.postgres_hosts]).values())

    def noted_done(self, restore: Restore) -> None:
        """Notes in etcd that a restore is done and where it went, and removes the note of one that is under way."""
        etcd(self._fleet, self._cluster, f"put {key(self._cluster, LAST)} {shlex.quote(restore.text)}")
        etcd(self._fleet, self._cluster, f"del {key(self._cluster, NOTE)}")

    def noted_off(self) -> None:
        """Removes the note of a restore that is under way: it was called off."""
        etcd(self._fleet, self._cluster, f"del {key(self._cluster, NOTE)}")

    def pass_over(self, timeline: int) -> None:
        """As the promotion gate notes it of a server that nobody has followed: who is promoted next begins a later one. A later
        one that it has noted stays."""
        there = notes(self._fleet, self._cluster).get("promoted")
        if there and int(json.loads(there)["timeline"]) >= timeline:
            return
        noted = json.dumps({"name": "a restore that was called off", "timeline": timeline})
        etcd(self._fleet, self._cluster, f"put {key(self._cluster, 'promoted')} {shlex.quote(noted)}")

    def forget_course(self, host: str) -> None:
        """Takes out of etcd what would keep the new leader from leading, or let another one think that it should."""
        system = self._do("identify", [host])[host]["system"]
        patroni = f"/service/{self._cluster.name}"
        for name in COURSE:
            etcd(self._fleet, self._cluster, f"del {patroni}/{name}")
        for name in OURS:
            etcd(self._fleet, self._cluster, f"del {key(self._cluster, name)}")
        etcd(self._fleet, self._cluster, f"del --prefix {patroni}/members/")
        etcd(self._fleet, self._cluster, f"put {patroni}/initialize {system}")

    # The servers that were

    def end_archive(self, host: str, number: int | None = None) -> None:
        """A marker is committed, behind which nothing is, and archived: in all repositories, or in the one with that number."""
        query = (
            "set synchronous_commit = local; select pg_current_xact_id(); select pg_walfile_name(pg_current_wal_lsn());"
            " select pg_switch_wal()"
        )
        name = self._psql(host, query).split()[1]
        deadline = time.monotonic() + ARCHIVED_SECONDS
        while (self._psql(host, ARCHIVED) if number is None else self._archived_in(number)) < name:
            if time.monotonic() > deadline:
                raise ClusterError(
                    f"{host}: {name} did not get to the archive within {ARCHIVED_SECONDS} s (`invoke backup.check`)"
                )
            self._interrupts.sleep(LOOK_SECONDS)

    def _archived_in(self, number: int) -> str:
        """The last file of the write-ahead log in one repository; empty for none."""
        (keeper,) = self._cluster.backup_hosts
        command = paths.pgbackrest(self._cluster.name, paths.BACKUP_USER, f"--repo={number} --output=json info")
        answer = self._fleet.run(keeper.name, command, seconds=ANSWER_SECONDS)
        if not answer.ok:
            raise ClusterError(f"{keeper.name}: {answer.problem}")
        archives = [one["max"] for stanza in json.loads(answer.output) for one in stanza.get("archive", ()) if one.get("max")]
        return str(archives[-1]) if archives else ""

    def hold(self, hosts: tuple[str, ...], id: str) -> None:
        """Patroni is not started on these hosts until it is released."""
        self._do("hold", hosts, id=id)

    def stop(self, host: str) -> None:
        """Patroni and PostgreSQL are down there."""
        self._do("stop", [host], seconds=STOP_SECONDS)

    def archive_left(self, hosts: tuple[str, ...], away: tuple[str, ...] = ()) -> tuple[int, ...]:
        """All that the servers have is archived, but in the repositories that are away: also what was for a primary to archive
        that is gone, and the file in which the log ends, which one that crashed has marked for nobody. Where that ends
        (recovery/logs.py)."""
        archive = self.archive(away=dict.fromkeys(away, "away"))
        logs = self.logs(hosts)
        self.archive_marked(hosts, archive.system, away, lacking(archive, logs))
        return ends(logs, archive.system)

    def archive_marked(self, hosts: tuple[str, ...], system: str, away: tuple[str, ...], also: Mapping[str, list[str]]) -> None:
        """What servers of that `system` identifier have marked as to be archived is, and `also` what is named for each."""
        # By the files that archive to one alone: what pgBackRest is told of all of them would wait for those that are away.
        there = [one.name for one in self._cluster.repositories if one.name not in away]
        # Where the settings have the oldest given up when much waits, pgBackRest would say that it has archived what it has not.
        all_of_it = "--reset-archive-push-queue-max"
        each = [[f"--config={paths.archive_config(name)}", "--no-archive-async", all_of_it] for name in there]
        pushes = each if away else [[all_of_it]]
        for host in hosts:  # one after the other: a repository takes one archiver at a time
            spec = {"system": system, "pushes": pushes, "keep_marks": bool(away), "also": also.get(host, [])}
            self._do("archive_rest", [host], seconds=STOP_SECONDS, **spec)

    def set_aside(self, host: str, suffix: str) -> None:
        """No data is there any more under its name."""
        self._do("set_aside", [host], seconds=DELETE_SECONDS, suffix=suffix)

    def put_back(self, host: str, suffix: str) -> None:
        """The old data is in its place."""
        self._do("put_back", [host], seconds=DELETE_SECONDS, suffix=suffix)

    def clear(self, host: str) -> None:
        """Nothing is there of what was restored, and no server runs with it."""
        self._do("put_back", [host], seconds=DELETE_SECONDS, suffix="")  # ends that server
        self.set_aside(host, "")

    # The one that will be

    def fetch(self, host: str, label: str, timeline: int, options: tuple[str, ...]) -> None:
        """The backup is in the data directory. It goes on when the connection ends, and one that does is waited for."""
        said = self._do("look", [host])[host]
        if said["active"] != "active" or said["doing"] != f"fetch {label}":
            self._do("fetch", [host], seconds=DELETE_SECONDS, label=label, timeline=timeline, options=list(options))
        while True:
            said = self._do("look", [host])[host]
            if said["active"] == "active" and said["sub"] == "exited":
                return
            if said["active"] not in ("active", "activating"):
                raise ClusterError(f"{host}: backup {label} could not be restored: {last_words(said['said'])}")
            self._interrupts.sleep(LOOK_SECONDS)

    def recover(self, host: str, restore: Restore, target: Target) -> Arrival:
        """PostgreSQL was at the target, is on its new timeline, and stopped."""
        spec: dict[str, Any] = {"settings": self._settings(restore), "taken": list(restore.taken), "timeline": restore.timeline}
        said = self._do("look", [host])[host]
        if said["active"] != "active":  # what an earlier try has left in the data directory is at no place that is known
            self.fetch(host, restore.label, restore.timeline, restore.options)
            said = self._do("look", [host])[host]
        if said["doing"] != "recover":
            self._do("recover", [host], **spec)
        told, promoted = "", 0.0
        while True:
            said = self._do("look", [host])[host]
            server = said["server"]
            if server and not server["recovering"]:
                promoted = promoted or time.monotonic()
                # It was started to archive nothing where a repository was away; that may have been an earlier call.
                if restore.away or (server["waiting"] and time.monotonic() > promoted + ARCHIVES_SECONDS):
                    self.archive_marked((host,), self.identify(host)["system"], restore.away, {})
                if restore.away or not server["waiting"]:
                    break
            if said["active"] not in ("active", "activating", "deactivating"):
                raise ClusterError(f"{host}: PostgreSQL did not get there: {why(said['said'])}")
            if said["said"] and (line := str(said["said"][-1])) != told:
                told = line
                self._tell(line)
            self._interrupts.sleep(LOOK_SECONDS)
        arrival = arrived(server)
        if wrong := missed_target(restore, target, arrival):
            raise ClusterError(f"{host}: PostgreSQL is not where it should be: {wrong}")
        self._do("finish", [host], seconds=STOP_SECONDS)
        return arrival

    def _settings(self, restore: Restore) -> dict[str, Any]:
        """PostgreSQL's, as they are in etcd (recovery demands some of them), but for who may come in, and where it goes."""
        dcs = self.view().dcs
        return settings(self._cluster, (dcs.config.get("postgresql", {}).get("parameters") if dcs else None) or {}, restore)

    def lead(self, host: str) -> None:
        """Starts Patroni on `host`, and returns when that leads and takes writes. Raises ClusterError."""
        self._do("release", [host])
        self._start(host)
        deadline = time.monotonic() + LEADS_SECONDS
        while (view := self.view()).leader != host or view.writable != (host,):
            if time.monotonic() > deadline:
                raise ClusterError(f"{host} does not lead after {LEADS_SECONDS} s (`invoke logs --host {host}`)")
            self._interrupts.sleep(LOOK_SECONDS)

    def start(self, hosts: tuple[str, ...]) -> None:
        """Patroni runs there, or is about to: where there is no data, it copies it. Raises ClusterError for those on which it
        could not be started, once it is on the others: writes may wait for one of them."""
        failed = []
        for host in self._members(hosts):
            try:
                self._do("release", [host])
                self._start(host)
            except ClusterError as error:
                failed.append(str(error))
        if failed:
            raise ClusterError("; ".join(failed))

    def _members(self, hosts: Iterable[str]) -> list[str]:
        """Those of the hosts that are in the cluster still: one that was lost meanwhile may have been taken out."""
        there = {one.name for one in self._cluster.postgres_hosts}
        return [host for host in hosts if host in there]

    def _start(self, host: str) -> None:
        answer = self._fleet.run(host, "systemctl start --no-block patroni.service", seconds=ANSWER_SECONDS)
        if not answer.ok:
            raise ClusterError(f"{host}: Patroni could not be started: {answer.problem}")

    def await_replicas(self) -> None:
        """No rule finds a problem that the restore has made."""
        deadline, told = time.monotonic() + HEALTHY_SECONDS, ""
        while problems := awaited(findings(self.view(), self._cluster)):
            if (first := str(problems[0])) != told:
                told = first
                self._tell(first)
            if time.monotonic() > deadline:
                raise ClusterError(f"not healthy after {HEALTHY_SECONDS} s: {'; '.join(map(str, problems))}")
            self._interrupts.sleep(LOOK_SECONDS)

    def let_none_expire(self) -> None:
        """By the next full backup none of those expires that lead back."""
        directory, user = paths.BACKUP_BEGUN, paths.BACKUP_USER
        # By its owner: what that has put in the place of the file is written with its rights.
        note = shlex.quote(f"echo PGBACKREST_EXPIRE_AUTO=n >{directory}/full{paths.EXPIRES_NONE}")
        keep = f"{{ [ -d {directory} ] || install -d -o {user} {directory}; }} && runuser -u {user} -- sh -c {note}"
        for host in self._cluster.backup_hosts:
            answer = self._fleet.run(host.name, keep)
            if not answer.ok:
                raise ClusterError(f"{host.name}: its backups could not be kept from expiring: {answer.problem}")

    def begin_backup(self) -> None:
        """A full backup is begun; how long that takes is not waited for."""
        for host in self._cluster.backup_hosts:
            answer = self._fleet.run(host.name, "systemctl start --no-block pgquorum-backup@full.service")
            if not answer.ok:
                raise ClusterError(f"{host.name}: no backup could be begun: {answer.problem}")

    # Asking hosts

    def survey(self) -> dict[str, dict[str, Any]]:
        """What data there is, by database host."""
        return self._do("survey", [one.name for one in self._cluster.postgres_hosts], seconds=DELETE_SECONDS)

    def archive(self, repository: str = "", as_of: str = "", away: Mapping[str, str] | None = None) -> Archive:
        """What there is to go back to: in the named repository, as it was at a moment, or else in all of them, as they are. Those
        that are known to be away, each with the reason, are not asked."""
        (host,) = self._cluster.backup_hosts
        silent = {} if repository else dict(away or {})
        wanted = [one for one in self._cluster.repositories if repository in ("", one.name) and one.name not in silent]
        command, source = shipped("archive", {})
        options = {one.name: read_by(one.number, as_of) for one in wanted}
        asked = json.dumps({"stanza": self._cluster.name, "user": paths.BACKUP_USER, "repositories": options})
        self._tell("looking at all that the archive has; of a large one elsewhere that takes minutes")
        answer = self._fleet.run(host.name, command, source + asked, ARCHIVE_SECONDS * max(1, len(options)))
        if not answer.ok:
            raise ClusterError(f"{host.name}: {answer.problem}")
        return archive_of({**json.loads(answer.output), **{name: {"problem": why} for name, why in silent.items()}})

    def logs(self, hosts: Iterable[str], *, to_the_end: bool = True) -> dict[str, Log]:
        """What write-ahead log there is on these hosts, of those that have any; of which that can't be seen is told. Not
        `to_the_end` of servers that write it: which timelines it has come along is known all the same."""
        said = self._do("log", [*hosts], seconds=LOG_SECONDS, to_the_end=to_the_end)
        for host, problem in ((host, one.get("problem")) for host, one in said.items()):
            if problem:
                self._tell(f"{host}: {problem}: what it alone has is not archived")
        return {host: log_of(one) for host, one in said.items() if one and "problem" not in one}

    def last_ended(self, host: str, names: list[str], options: list[str]) -> float | None:
        """When the last transaction ended that is in the archive's files with these names, the newest first; None where there is
        none in them, or that can't be seen. They are read on that host."""
        try:
            said = self._do("last_ended", [host], seconds=LOG_SECONDS, names=names, options=options)[host]
        except ClusterError as error:
            self._tell(f"when the last transaction in the archive ended can't be seen: {error}")
            return None
        return None if said is None else float(said)

    def identify(self, host: str) -> dict[str, Any]:
        """The `system` identifier and the `timeline` of the data there."""
        return dict(self._do("identify", [host])[host])

    def _psql(self, host: str, query: str) -> str:
        return psql(self._fleet, self._cluster, host, query)

    def _do(
        self, deed: str, hosts: tuple[str, ...] | list[str], *, seconds: float = ANSWER_SECONDS, **more: Any
    ) -> dict[str, Any]:
        """A deed of agents/sent/restore.py on each of the hosts at once; what they answer."""
        spec = {**self._spec(), **more}
        command, source = shipped("restore", {"do": deed})
        answers = self._fleet.run_all(dict.fromkeys(hosts, command), source + json.dumps(spec), seconds)
        failed = [f"{answer.host}: {answer.problem or answer.code}" for answer in answers.values() if not answer.ok]
        if failed:
            raise ClusterError("; ".join(failed))
        return {name: json.loads(answer.output) for name, answer in answers.items()}

    def _spec(self) -> dict[str, Any]:
        postgres = self._cluster.postgres
        return {
            "data": postgres.data_directory,
            "wal": f"{postgres.wal_directory}/pg_wal" if postgres.wal_directory else "",
            "binaries": paths.postgres_binaries(postgres.version),
            "stanza": self._cluster.name,
            "port": postgres.port,
            "note": paths.RESTORING,
            "drop_in": paths.HOLD_PATRONI,
        }
