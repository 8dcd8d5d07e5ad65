"""`invoke preflight`: are the hosts good for this cluster? Asks, measures, and changes nothing."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor

from agents.sent import shipped
from cluster import pooling
from cluster.fitness import refusals
from cluster.sources import origins
from cluster.stores import asked_of, wrong
from cluster.survey import parse_survey, survey_command
from cluster.topology import Cluster, Host
from cluster.vault import Vault
from cluster.version import own
from day2.hosts.ssh import CommandResult, Fleet
from day2.ui.console import EXIT_OK, EXIT_PROBLEM, console, print_json
from day2.ui.findings import COLOURS, show_findings
from health.finding import Finding, finding, healthy, ok
from health.preflight import HostProbe, clocks, judge, parse_probe, probe_question, refuses

FORMAT = "pgquorum preflight 1"
CONNECT_SECONDS = 2.0
PROBE_SECONDS = 20
STORES_SECONDS = 60
# By whether a deploy is refused.
UNFIT = {
    True: "not fit: a deploy is refused",
    False: "not fit: a deploy goes on all the same, as it measures no host again that it has deployed",
}


def preflight(cluster: Cluster, *, as_json: bool) -> int:
    """Prints one line for each thing looked at; 1 when any is a problem, else 0. Says whether a deploy is refused for it.

    Raises ClusterError for broken secrets.
    """
    began = time.monotonic()
    found, refused = look(cluster)
    fit = healthy(found)
    if as_json:
        print_json(FORMAT, {"cluster": cluster.name, "passed": fit, "findings": found})
    else:
        out = console()
        show_findings(out, sorted(found, key=lambda one: list(COLOURS).index(one.level)))
        verdict = "[bold green]fit[/]" if fit else f"[bold red]{UNFIT[refused]}[/]"
        out.print(f"{verdict} ({time.monotonic() - began:.1f} s)")
    return EXIT_OK if fit else EXIT_PROBLEM


def look(cluster: Cluster) -> tuple[list[Finding], bool]:
    """Every verdict, over hosts that are all asked at once; one that does not answer is a problem. And whether a deploy is
    refused for any."""
    vault = Vault(cluster)  # in memory: nothing is written
    with Fleet(cluster.hosts) as fleet:
        answers = fleet.run_all({h.name: survey_command(cluster) for h in cluster.hosts})
        surveys = {name: parse_survey(a.output.splitlines(), a.at) for name, a in answers.items() if a.ok}
        rooted = [cluster.host(name) for name, survey in surveys.items() if survey.uid == 0]
        probes, failed = probe_all(fleet, cluster, rooted)
        elsewhere = [one for host in cluster.backup_hosts if host in rooted for one in stores(fleet, host, cluster, vault)]
    silent = {name: told(answer) for name, answer in answers.items() if not answer.ok}
    found = [finding("host.unreachable", name, why) for name, why in silent.items()]
    unfit = refusals(cluster, surveys, vault.cluster_id, vault.existed, own(), vault.trusted)
    found += [finding("host.unfit", "hosts", text) for text in unfit]
    if surveys:
        found.append(clocks({name: survey.clock_offset for name, survey in surveys.items()}))
    stands = {name for name, survey in surveys.items() if survey.belongs_to}
    needed = {name: origins(cluster, cluster.host(name), survey) for name, survey in surveys.items()}
    measured = judge(cluster, probes, stands, silent, needed, surveys)
    refused = not healthy([*found, *elsewhere]) or refuses(cluster, measured, surveys)
    return [*found, *failed, *elsewhere, *measured, *from_here(cluster, bool(stands), silent)], refused


def probe_all(fleet: Fleet, cluster: Cluster, hosts: list[Host]) -> tuple[dict[str, HostProbe], list[Finding]]:
    """What the probe saw, by host, and a warning for each host where it did not run."""
    probes, failed = {}, []
    with ThreadPoolExecutor(max(1, len(hosts))) as pool:
        answers = pool.map(
            lambda host: fleet.run(host.name, *shipped("probe", probe_question(cluster, host)), PROBE_SECONDS), hosts
        )
    for host, answer in zip(hosts, answers, strict=True):
        try:
            probes[host.name] = parse_probe(cluster, host, answer.output)
        except ValueError:
            text = f"could not be measured (is python3 installed?): {told(answer)}"
            failed.append(finding("host.not-measured", host.name, text))
    return probes, failed


def stores(fleet: Fleet, host: Host, cluster: Cluster, vault: Vault) -> list[Finding]:
    """Whether the repositories that lie elsewhere can be used, asked on the host that will, whatever was deployed there."""
    asked = asked_of(cluster, vault)
    if not asked:
        return []
    command, source = shipped("store", {})
    answer = fleet.run(host.name, command, source + json.dumps({"stores": asked, "files": {}}), STORES_SECONDS)
    found = [finding("backups.no-repository", host.name, text) for text in wrong(answer.output, answer.problem)]
    return found or [ok("backups", host.name, f"repositories that lie elsewhere answer, and take the key: {', '.join(asked)}")]


def told(answer: CommandResult) -> str:
    return answer.problem or f"exit code {answer.code}"


def from_here(cluster: Cluster, stands: bool, silent: Collection[str]) -> list[Finding]:
    """What an operator or an application on this machine would meet: the way to HAProxy, and its name. Nothing about hosts
    that are `silent` anyway."""
    found = []
    proxies = [host for host in cluster.haproxy_hosts if host.name not in silent]
    pools = [pooling.port(cluster, route) for route in pooling.ROUTES] if cluster.pooler_hosts else []
    ports = (cluster.haproxy.write_port, cluster.haproxy.read_port, *pools)
    for proxy in proxies:
        for port in ports:
            try:
                with socket.create_connection((proxy.address, port), timeout=CONNECT_SECONDS):
                    continue
            except ConnectionRefusedError:
                if stands:
                    found.append(finding("client.refused", proxy.name, f"port {port} refuses connections from here"))
            except OSError as error:
                text = f"port {port} can't be reached from here ({error}); SSH is enough"
                found.append(finding("client.out-of-reach", proxy.name, text))
        try:
            socket.getaddrinfo(proxy.name, None)
        except OSError:
            text = "its name does not resolve here: give applications hostaddr, or a DNS entry"
            found.append(finding("client.unnamed", proxy.name, text))
    well = [ok("client", "client", "HAProxy can be reached from here, by name and address")] if proxies else []
    return found or well
