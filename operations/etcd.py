"""etcd: files, first start, joining a live cluster, and restarts one member at a time."""

from __future__ import annotations

import shlex
from collections.abc import Generator
from dataclasses import dataclass

from pyinfra import host, state
from pyinfra.api import FactBase, StringCommand, operation

from cluster import paths
from cluster.etcd_membership import Member, join_plan, parse_members

from .context import Run, warn
from .managed import Managed, data_directory, directory, render, secret, write
from .refusal import stop
from .services import Unit, UnitFact, first_start, or_journal

UNIT = "etcd.service"
HEALTHY_TRIES = 15  # a second apart: an election after the last restart must have time to end
WITHOUT_TRIES = 3  # where a member is left out of the run, most often because it is down: each takes 5 s then
TRUSTED = f"{paths.ETCD_TLS}/ca.crt"


def files(run: Run) -> list[Managed]:
    """Everything etcd reads on this host, but how it first joins."""
    pair = run.vault.certificate(run.host.name, "etcd")
    return [
        directory("/etc/etcd"),
        directory(paths.ETCD_TLS, "etcd", "750"),
        data_directory(run.cluster.etcd.data_directory, "etcd"),
        secret(f"{paths.ETCD_TLS}/server.key", pair.key, "etcd"),
        Managed(f"{paths.ETCD_TLS}/server.crt", pair.certificate.decode()),
        Managed(TRUSTED, run.vault.authorities["etcd"].certificate.decode()),
        Managed(paths.ETCD_CONFIG, render("etcd/etcd.env.j2", cluster=run.cluster, host=run.host)),
        Managed(paths.ETCD_UNIT, render("etcd/etcd.service.j2", cluster=run.cluster)),
    ]


@dataclass(frozen=True)
class Membership:
    """Whether this host has etcd data and, where it has none, the live member list (None when no quorum answers)."""

    has_data: bool = False
    members: list[Member] | None = None


class MembershipFact(FactBase[Membership]):
    """The Membership of this host, the member list as any of `endpoints` tells it.

    Where nobody listens, as on new hosts, etcdctl does not end before its time is over: so one has to answer curl first.
    """

    def command(self, data: str, endpoints: str) -> str:
        asked = f"{paths.curl(paths.ETCD_TLS)} --fail --output /dev/null --connect-timeout 2 --max-time 5"
        answers = " || ".join(f"{asked} {endpoint}/version" for endpoint in endpoints.split(","))
        listed = f"{paths.etcdctl(endpoints)} --command-timeout=5s member list --write-out=json"
        script = (
            f"if [ -d {data}/member ]; then echo data;"
            f" elif command -v etcdctl >/dev/null && {{ {answers}; }} 2>/dev/null; then {listed} 2>/dev/null; fi; true"
        )
        return f"sh -c {shlex.quote(script)}"

    def process(self, output: list[str]) -> Membership:
        listed = [line for line in output if line.startswith("{")]
        return Membership("data" in output, parse_members(listed[0]) if listed else None)


def _peer_url(run: Run) -> str:
    return f"https://{run.host.url_address}:{run.cluster.etcd.peer_port}"


def _endpoints(run: Run) -> str:
    return ",".join(f"https://{h.url_address}:{run.cluster.etcd.client_port}" for h in run.cluster.etcd_hosts)


def _membership(run: Run) -> Membership:
    found = host.get_fact(MembershipFact, data=run.cluster.etcd.data_directory, endpoints=_endpoints(run))
    return found or Membership()


def _unit() -> Unit:
    return host.get_fact(UnitFact, unit=UNIT, files=paths.ETCD_READS) or Unit()


def _trusts_as_before() -> bool:
    """Whether it has started before the file was written that says whom it trusts."""
    return (host.get_fact(UnitFact, unit=UNIT, files=(TRUSTED,)) or Unit()).restart_due


def _bootstrap_file(run: Run, state: str) -> Managed:
    return Managed(paths.ETCD_BOOTSTRAP, render("etcd/bootstrap.env.j2", cluster=run.cluster, state=state))


@operation()
def start(run: Run) -> Generator[StringCommand]:
    """Starts the member, in a new cluster together with all others: none is ready before a majority is."""
    unit = _unit()
    if unit.stale:
        yield StringCommand("systemctl daemon-reload")
    membership = _membership(run)
    if unit.active and not membership.has_data:
        # The package's lone member, which an interrupted installation has let start: it is none of ours.
        yield StringCommand(f"systemctl stop {UNIT}")
    elif unit.active and unit.enabled:
        return
    if not membership.has_data:
        if membership.members is not None:
            return  # join() does it, one member at a time
        if not run.new_cluster:
            yield from stop("this host has lost its etcd data and no majority of the other members answers: start those first")
            return
        yield from write(_bootstrap_file(run, "new"))
    yield or_journal(first_start(UNIT), UNIT)


@operation()
def join(run: Run) -> Generator[StringCommand]:
    """Adds this host to a live cluster, in place of its former self where its data is gone. For one host at a time."""
    membership = _membership(run)
    if membership.has_data or membership.members is None:
        return
    plan = join_plan(_peer_url(run), membership.members)
    etcdctl = paths.etcdctl(_endpoints(run))
    if plan.remove:
        yield StringCommand(f"{etcdctl} member remove {plan.remove}")
    if plan.add:
        yield StringCommand(f"{etcdctl} member add {run.host.name} --peer-urls={_peer_url(run)}")
    yield from write(_bootstrap_file(run, plan.state))
    yield or_journal(first_start(UNIT), UNIT)


@operation()
def restart_if_outdated(run: Run) -> Generator[StringCommand]:
    """Restarts the member when its settings were written after it started. For one host at a time.

    Not while any member is unhealthy: with one of three down, a restart would take the majority. Then the member goes on with
    what it has, and the deploy, too: the restart stays due. Whom it trusts does not wait: each step to another authority counts
    on the one before. A member that stops in order hands over the leadership first.
    """
    if not _unit().restart_due:
        return
    if state.is_executing and not _becomes_healthy(run):
        if _trusts_as_before():
            yield from stop(
                "a member of etcd is unhealthy, so this one is not restarted, which has to read whom it trusts: bring that one"
                " back, and deploy again"
            )
        else:
            warn(
                f"{run.host.name}: etcd waits for a restart, and goes on with its former settings: not all of its members are"
                " healthy. Deploy again when they are"
            )
        return
    yield or_journal(f"systemctl restart {UNIT}", UNIT)
    complaint = "{ echo 'etcd is not healthy after the restart' >&2; exit 1; }"
    yield or_journal(f"{_healthy_soon(run)} || {complaint}", UNIT)


def _becomes_healthy(run: Run) -> bool:
    whole = all(member.name in run.surveys for member in run.cluster.etcd_hosts)
    command = StringCommand(f"sh -c {shlex.quote(_healthy_soon(run, HEALTHY_TRIES if whole else WITHOUT_TRIES))}")
    worked, _ = host.run_shell_command(command, _sudo=host.data.get("_sudo", False))
    return worked


def _healthy_soon(run: Run, tries: int = HEALTHY_TRIES) -> str:
    """A command that waits until every member is healthy, and fails when that takes too long."""
    healthy = f"{paths.etcdctl(_endpoints(run))} endpoint health --command-timeout=5s >/dev/null 2>&1"
    return f"( i=0; until {healthy}; do i=$((i+1)); [ $i -lt {tries} ] || exit 1; sleep 1; done )"
