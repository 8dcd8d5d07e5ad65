"""What is done to hosts in a step: each waits until it has worked, or raises ClusterError. Undoing is the caller's."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from agents.sent import shipped
from cluster import paths
from cluster.errors import ClusterError
from cluster.layout import Note, latest, read_note
from cluster.topology import Cluster
from day2.hosts.interrupts import Interrupts
from day2.hosts.observe import observe
from day2.hosts.patroni_api import PatroniApi
from day2.hosts.psql import psql
from day2.hosts.ssh import Fleet
from health.finding import Finding
from health.questions import judge_question
from health.reading import refusals
from health.rules import blocking, candidates, findings
from health.rules.entry import holders_of
from health.rules.holders import last_copy, not_spared
from health.states import Server
from health.upgrades import Change, busy
from health.view import ClusterView

from .draining import drained, renew_pools
from .handover import hand_over, hand_over_held
from .hold import Hold, HoldGivenUpError
from .holding import Holding
from .packages import fetch, install

DRAIN_SECONDS = 10
RESTART_SECONDS = 120
HEALTHY_SECONDS = 120
SPARED_SECONDS = 60
CHECKPOINT_SECONDS = 600
# A large machine takes many minutes to look at its memory and disks. An answer while it goes down or comes up may never come.
REBOOT_SECONDS, ANSWER_SECONDS = 1800, 10
MOVE_SECONDS = 60
LOOK_SECONDS = 0.2
BOOT = "/proc/sys/kernel/random/boot_id"  # another one after each boot
SETTLE_SECONDS = 3
# HAProxy's checks have found by then that a replica has become the primary (Timing.read_fall of them, in every profile).
NOTICE_SECONDS = 30


class Actions:
    """Actions on one cluster, each with a deadline, none of which begins after Ctrl-C. `known`: what is wrong before the first of
    them, and keeps none of them from its end."""

    def __init__(
        self, fleet: Fleet, cluster: Cluster, patroni: PatroniApi, interrupts: Interrupts, known: Collection[Finding] = ()
    ) -> None:
        self.known = frozenset((found.rule, found.about) for found in known)
        self._fleet, self._cluster, self._patroni, self._interrupts = fleet, cluster, patroni, interrupts
        # When clients were last made to wait (monotonic), or None.
        self.held_at: float | None = None

    def check_interrupted(self) -> None:
        """Raises KeyboardInterrupt where that was asked for."""
        self._interrupts.check()

    def view(self) -> ClusterView:
        return observe(self._fleet, self._cluster)

    def restart_postgres(self, host: str) -> None:
        """Patroni restarts its PostgreSQL."""
        self._patroni.send(host, "POST", "/restart", {"timeout": RESTART_SECONDS}, RESTART_SECONDS)

    def systemctl(self, host: str, verb: str, unit: str) -> None:
        """`systemctl VERB UNIT`, and its end."""
        answer = self._fleet.run(host, f"systemctl {verb} {unit}", seconds=RESTART_SECONDS)
        if not answer.ok:
            raise ClusterError(f"{host}: systemctl {verb} {unit} failed: {answer.problem or answer.code}")

    def restart_together(self, hosts: Collection[str], unit: str) -> None:
        """`systemctl restart UNIT` on all hosts at once. Raises ClusterError with those where it failed."""
        answers = self._fleet.run_all(dict.fromkeys(hosts, f"systemctl restart {unit}"), seconds=RESTART_SECONDS)
        if failed := [f"{one.host}: {one.problem or one.code}" for one in answers.values() if not one.ok]:
            raise ClusterError(f"systemctl restart {unit} failed: {'; '.join(failed)}")

    def reboot(self, host: str) -> None:
        """Reboots `host`, and returns when it answers again. Raises ClusterError where it does not."""
        asked = self._fleet.run(host, f"cat {BOOT}")
        if not asked.ok:
            raise ClusterError(f"{host}: {asked.problem}; it was not rebooted")
        self._fleet.run(host, "systemctl reboot", seconds=ANSWER_SECONDS)  # it may be gone before it can answer
        deadline = time.monotonic() + REBOOT_SECONDS
        while time.monotonic() < deadline:
            self._interrupts.sleep(1)
            now = self._fleet.run(host, f"cat {BOOT}", seconds=ANSWER_SECONDS)
            if now.ok and now.output != asked.output:
                return
        raise ClusterError(f"{host}: not back within {REBOOT_SECONDS} s after its reboot: {now.problem or 'it has not rebooted'}")

    def fetch_packages(self, changes: Collection[Change], run: str, *, insist: bool) -> None:
        """Brings packages to their hosts, with what they replace."""
        fetch(self._fleet, changes, run, insist=insist)

    def install_packages(self, changes: Collection[Change]) -> None:
        """Installs packages that are on their hosts."""
        install(self._fleet, self._cluster, changes)

    def checkpoint(self, host: str) -> None:
        """PostgreSQL on `host` writes what it has in memory, which it would do when it stops."""
        psql(self._fleet, self._cluster, host, "checkpoint", CHECKPOINT_SECONDS)

    def hand_over(self, leader: str, to: str, hold: Hold | None = None) -> None:
        """Makes `to` the primary in place of `leader`, now, while what is in `hold` waits.

        Raises ClusterError with Patroni's refusal, and HoldGivenUpError when clients could not be made to wait.
        """
        if hold is None:
            hand_over(self._fleet, self._cluster, self._patroni, leader, to)
            return
        clients = Holding(self._fleet, self._cluster, hold, leader, self._interrupts)
        try:
            hand_over_held(self._fleet, self._cluster, self._patroni, leader, to, clients)
        finally:
            self.held_at = clients.began

    def reinitialize(self, host: str, *, repository: bool) -> None:
        """Has Patroni begin to make PostgreSQL's data on `host` anew, with `repository` in the ways that its configuration names,
        else by a copy from the primary."""
        self._patroni.send(host, "POST", "/reinitialize", {"force": True, "from_leader": not repository})

    def switch_over(self, leader: str, to: str, hold: Hold | None = None) -> None:
        """Makes `to` the primary in place of `leader`, as soon as it could take over; what is in `hold` waits while it does.

        No HAProxy gives it reads meanwhile: they would be cut when its checks find that it is a replica no more.
        Patroni declines, and changes nothing, when its own checks have not yet caught up with a candidate that was restarted
        a moment ago: it is asked again.
        """
        for last in (False, False, True):
            self.await_healthy(lambda view: any(one.name == to and one.able for one in candidates(view, self._cluster)))
            try:
                with self.drained(to, until_noticed=True):
                    self.hand_over(leader, to, hold)
                return
            except HoldGivenUpError:
                raise
            except ClusterError:
                now = self.view().leader
                if now == to:
                    return
                if last or now != leader:
                    raise
            self._interrupts.sleep(SETTLE_SECONDS)

    def move_etcd_leader(self, leader: str, to: str) -> None:
        """Makes the member on host `to` the leader of etcd, in place of the one on `leader`."""
        states = {name: view.etcd for name, view in self.view().hosts.items()}
        target = states[to]
        if target is None:
            raise ClusterError(f"{to}: its etcd member does not answer")
        host = self._cluster.host(leader)
        endpoint = f"https://{host.url_address}:{self._cluster.etcd.client_port}"
        answer = self._fleet.run(leader, f"{paths.etcdctl(endpoint)} move-leader {int(target.member_id):x}")
        if not answer.ok:
            raise ClusterError(f"{leader}: etcd refuses to move its leadership: {answer.problem}")

    def move_address(self, host: str, address: str) -> None:
        """Has another proxy host take the virtual address that `host` has; does nothing where that is so already. Raises
        ClusterError when there is no other that could, and nothing was done, or when none did."""
        view = self.view()
        if host not in holders_of(view, self._cluster):
            return
        others = [view.hosts[one.name] for one in self._cluster.entry_hosts if one.name != host]
        if not any(one.runs("keepalived") and one.proxy for one in others):
            raise ClusterError(f"{address} can't leave {host}: on no other proxy host do keepalived and HAProxy run")
        # One that ends says so, and another takes over at once; started anew, it leaves the address where it finds it.
        self.systemctl(host, "restart", "keepalived.service")
        deadline = time.monotonic() + MOVE_SECONDS
        while not (holders := holders_of(self.view(), self._cluster)) or host in holders:
            self._interrupts.check()
            if time.monotonic() > deadline:
                raise ClusterError(
                    f"{address} is on {' and '.join(holders) or 'no host'}, {MOVE_SECONDS} s after it had to leave {host}"
                )
            self._interrupts.sleep(LOOK_SECONDS)

    def remove_etcd_member(self, host: str) -> None:
        """Takes the member on `host` out of etcd, by way of one that has a quorum. Does nothing where it is none any more."""
        states = {name: view.etcd for name, view in self.view().hosts.items() if name != host and view.etcd and view.etcd.quorum}
        if not states:
            raise ClusterError(f"no other etcd member has a quorum, so {host} can't be taken out")
        through, state = next(iter(states.items()))
        found = [member for member, name in (state.members if state else {}).items() if name == host]
        endpoint = f"https://{self._cluster.host(through).url_address}:{self._cluster.etcd.client_port}"
        for member in found:
            answer = self._fleet.run(through, f"{paths.etcdctl(endpoint)} member remove {int(member):x}")
            if not answer.ok:
                raise ClusterError(f"{through}: etcd refuses to take {host} out: {answer.problem}")

    def forget(self, host: str, *, reachable: bool) -> None:
        """Writes the note of the cluster's layout anew without `host`, on every other host that answers; `host` itself, where it
        is `reachable`, keeps its marker under another name, which no deploy looks at."""
        others = [one.name for one in self._cluster.hosts if one.name != host]
        answers = self._fleet.run_all(dict.fromkeys(others, f"cat {paths.LAYOUT} 2>/dev/null || true"))
        last = latest(note for answer in answers.values() if answer.ok and (note := read_note(answer.output)))
        if last is not None:
            text = Note(last.revision + 1, last.layout.without(host)).text
            # In one step: half a note would be none.
            write = f"t=$(mktemp {paths.LAYOUT}.XXXXXX) && cat >$t && chmod 644 $t && mv -f $t {paths.LAYOUT}"
            answers = self._fleet.run_all({name: write for name, answer in answers.items() if answer.ok}, text)
        commands = {host: f"rm -f {paths.LAYOUT}; mv -f {paths.MARKER} {paths.REMOVED} 2>/dev/null || true"} if reachable else {}
        answers |= self._fleet.run_all(commands)
        failed = [f"{answer.host}: {answer.problem}" for answer in answers.values() if not answer.ok]
        if len(failed) == len(answers) or host in [answer.host for answer in answers.values() if not answer.ok]:
            raise ClusterError(f"that {host} is out could not be noted: {'; '.join(failed)}")

    @contextmanager
    def drained(self, host: str, *, until_noticed: bool = False, rebooted: bool = False) -> Iterator[None]:
        """No HAProxy gives `host` new reads in the block. Before it begins, those under way have some seconds to end, and the
        pools give up their connections to it, each after its transaction. `until_noticed`: the block makes it no replica
        any more, and HAProxy has noticed that at its end. `rebooted`: it reboots the host, with the HAProxy that may be there."""
        with drained(self._fleet, self._cluster, host, rebooted=rebooted):
            renew_pools(self._fleet, self._cluster)
            self._interrupts.wait(lambda: self._sessions(host) == 0, time.monotonic() + DRAIN_SECONDS)
            yield
            if until_noticed:
                self._interrupts.wait(lambda: not self._drains(host), time.monotonic() + NOTICE_SECONDS)

    def _sessions(self, host: str) -> int:
        return sum(server.sessions for server in self._readable(host))

    def _drains(self, host: str) -> bool:
        return any(server.status.startswith("DRAIN") for server in self._readable(host))

    def _readable(self, host: str) -> list[Server]:
        """What every HAProxy knows of `host` as a server of reads."""
        view = self.view()
        proxies = [view.hosts[one.name].proxy for one in self._cluster.haproxy_hosts]
        return [server for proxy in proxies if proxy for server in proxy.backends.get("read", ()) if server.name == host]

    def await_spared(self, host: str) -> None:
        """Returns when `host` can be stopped: all other voters have on their disks what the primary has written by now, and no
        change of voters waits to be confirmed. Raises ClusterError with who lags."""
        deadline, since = time.monotonic() + SPARED_SECONDS, None
        while True:
            self._interrupts.check()
            view = self.view()
            since = since or (view.primary.lsn if view.primary else None)
            against = not_spared(view, host, since or 0)
            if not against:
                return
            if time.monotonic() > deadline:
                raise ClusterError(f"{host} can't be spared now, and was left alone: {'; '.join(against)}")
            self._interrupts.sleep(LOOK_SECONDS)

    def refuse_last_copy(self, host: str) -> None:
        """Raises ClusterError when `host` alone has what was acknowledged, besides the primary."""
        if against := last_copy(self.view(), self._cluster, host):
            raise ClusterError(f"{against}; it was left alone")

    def refuse_unstartable(self, host: str) -> None:
        """Raises ClusterError, with PostgreSQL's reason, when its server on `host` would not start with what etcd has for it."""
        dcs = self.view().dcs
        parameters = dcs.config.get("postgresql", {}).get("parameters", {}) if dcs else {}
        command, source = shipped("judge", judge_question(self._cluster))
        answer = self._fleet.run(host, command, f"{source}{json.dumps(parameters)}\n")
        if against := refusals(answer.output if answer.ok else answer.problem):
            raise ClusterError(f"{host}: {'; '.join(against)}; nothing was stopped")

    def refuse_busy(self, host: str, view: ClusterView) -> None:
        """Raises ClusterError where a reboot of `host` would break off a backup or a drill."""
        if self._cluster.host(host) in self._cluster.pgbackrest_hosts and (going_on := [*busy(view)]):
            raise ClusterError(f"{host} is not rebooted: {'; '.join(going_on)}, and the same command goes on")

    def await_healthy(self, also: Callable[[ClusterView], bool] = lambda view: True, host: str = "") -> ClusterView:
        """The view once nothing is blocking and `also` holds. What was known to be wrong before is waited for on `host` alone,
        and no longer than for the rest. Raises ClusterError with what is still wrong."""
        deadline = time.monotonic() + HEALTHY_SECONDS
        while True:
            self._interrupts.check()
            view = self.view()
            found = blocking(findings(view, self._cluster), self._cluster)
            problems = [str(f) for f in found if (f.rule, f.about) not in self.known]
            late = time.monotonic() > deadline
            if not problems and also(view) and (late or not any(f.about == host for f in found)):
                return view
            if late:
                what = "; ".join(problems) or "the step has no effect"
                raise ClusterError(f"not healthy again within {HEALTHY_SECONDS} s: {what}")
            self._interrupts.sleep(LOOK_SECONDS)
