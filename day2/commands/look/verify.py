"""`invoke verify`: every rule over one view, a client's write and read, and who could take over this minute."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from rich.console import Console
from rich.markup import escape

from cluster.errors import ClusterError
from cluster.topology import Cluster
from day2.hosts.client_probe import probe
from day2.hosts.dsn import open_vault
from day2.hosts.observe import CONNECT_SECONDS, observe
from day2.hosts.ssh import Fleet
from day2.ui.console import EXIT_OK, EXIT_PROBLEM, console, print_json
from day2.ui.findings import show_findings
from health.at_risk import at_risk, script, unknown
from health.collations import collations
from health.collations import script as collations_script
from health.finding import finding
from health.logins import login_script, logins
from health.rules import Candidate, Finding, candidates, findings, healthy
from health.rules.weaker_commits import keeps_promise
from health.view import ClusterView

FORMAT = "pgquorum verify 1"


def log_in(fleet: Fleet, cluster: Cluster, view: ClusterView, passwords: dict[str, str]) -> Iterator[Finding]:
    """What the system's own roles are told, from each PostgreSQL host that answers to the primary."""
    if view.leader in {host.name for host in cluster.postgres_hosts} and view.leader is not None:
        hosts = [h.name for h in cluster.postgres_hosts if view.hosts[h.name].postgres]
        answers = fleet.run_all(dict.fromkeys(hosts, "sh -s logins"), login_script(cluster, view.leader, passwords))
        for answer in answers.values():
            yield from logins(answer.host, view.leader, answer.output if answer.ok else f"the roles: {answer.problem}")


def acknowledged_alone(fleet: Fleet, cluster: Cluster, view: ClusterView) -> Iterator[Finding]:
    """What is at risk now, where something acknowledges sooner than the durability promises."""
    if view.leader is not None and view.primary and not keeps_promise(view, cluster):
        answer = fleet.run(view.leader, "sh -s risk", script(cluster))
        if answer.ok:
            yield at_risk(answer.output)
        else:
            yield unknown(answer.problem)


def sorting(fleet: Fleet, cluster: Cluster, view: ClusterView) -> Iterator[Finding]:
    """Whether all hosts whose PostgreSQL answers sort text alike."""
    hosts = [h.name for h in cluster.postgres_hosts if view.hosts[h.name].postgres]
    answers = fleet.run_all(dict.fromkeys(hosts, "sh -s collations"), collations_script(cluster))
    for name, answer in answers.items():
        if not answer.ok:
            yield finding("host.unseen", name, f"how it sorts text could not be seen: {answer.problem or answer.code}")
    yield from collations({name: answer.output for name, answer in answers.items()})


def judge(cluster: Cluster, through: str | None) -> tuple[tuple[Finding, ...], tuple[Candidate, ...]]:
    """What every rule finds, a client's write and read, and the logins of the system's roles; and who could take over. The client
    is on host `through`, where one is named."""
    vault = open_vault(cluster)
    passwords = {name: vault.password(name) for name in ("replication", "rewind")}
    with Fleet(cluster.hosts, CONNECT_SECONDS) as fleet, ThreadPoolExecutor() as beside:
        view = observe(fleet, cluster)
        entering = beside.submit(lambda: tuple(log_in(fleet, cluster, view, passwords)))
        alone = beside.submit(lambda: tuple(acknowledged_alone(fleet, cluster, view)))
        alike = beside.submit(lambda: tuple(sorting(fleet, cluster, view)))
        found: tuple[Finding, ...] = findings(view, cluster)
        if any(host.proxy is not None for host in view.hosts.values()):
            found += tuple(probe(cluster, vault.password("probe"), fleet, through))
        found += entering.result() + alone.result() + alike.result()
    return found, tuple(candidates(view, cluster))


def tell(out: Console, found: tuple[Finding, ...], able: tuple[Candidate, ...], *, fine: bool) -> None:
    """All of it, and the verdict, for a person."""
    show_findings(out, found)
    for one in able:
        said = "could take over now" if one.able else f"could not take over: {'; '.join(one.reasons)}"
        out.print(f"         [bold]{one.name}[/]: {escape(said)}", soft_wrap=True)
    out.print("[bold green]passed[/]" if fine else "[bold red]failed[/]")


def verify(cluster: Cluster, *, strict: bool, through: str | None, as_json: bool) -> int:
    """0 when no rule finds a problem (with `strict`, no warning either), else 1. Raises ClusterError for an unknown host."""
    if through and cluster.host(through, "--from") not in cluster.postgres_hosts:
        raise ClusterError(f"--from {through}: should be a PostgreSQL host, where psql is: the others have none")
    found, able = judge(cluster, through)
    fine = healthy(found) and not (strict and any(f.level == "warning" for f in found))
    if as_json:
        print_json(FORMAT, {"cluster": cluster.name, "passed": fine, "findings": found, "candidates": able})
    else:
        tell(console(), found, able, fine=fine)
    return EXIT_OK if fine else EXIT_PROBLEM
