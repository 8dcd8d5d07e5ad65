"""`invoke preflight`: are the hosts good for this cluster? Asks, measures, and changes nothing."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from rich.markup import escape

from agents.sent import shipped
from cluster.fitness import HostSurvey, parse_survey, refusals, survey_command
from cluster.preflight import HostProbe, Line, clock_line, judge, parse_probe, probe_question
from cluster.topology import Cluster, Host
from cluster.vault import Vault
from cluster.version import own
from day2.hosts.ssh import Answer, Fleet
from day2.ui.console import BAD_NEWS, FINE, console, print_json

FORMAT = "pgquorum preflight 1"
CONNECT_SECONDS = 2.0
PROBE_SECONDS = 20
STYLES = {"ok": "green", "warning": "yellow", "refusal": "bold red"}


def preflight(cluster: Cluster, *, as_json: bool) -> int:
    """Prints one line for each thing looked at; 1 when any is a refusal, else 0. Raises ClusterError for broken secrets."""
    began = time.monotonic()
    lines = look(cluster)
    refused = any(line.level == "refusal" for line in lines)
    if as_json:
        print_json(FORMAT, {"cluster": cluster.name, "passed": not refused, "lines": lines})
    else:
        out = console()
        for line in sorted(lines, key=lambda line: list(STYLES).index(line.level)):
            out.print(f"[{STYLES[line.level]}]{line.level:8}[/] [bold]{line.about}[/]: {escape(line.text)}", soft_wrap=True)
        verdict = "[bold red]refused[/]" if refused else "[bold green]fit[/]"
        out.print(f"{verdict} ({time.monotonic() - began:.1f} s)")
    return BAD_NEWS if refused else FINE


def look(cluster: Cluster) -> list[Line]:
    """Every line, over hosts that are all asked at once; one that does not answer is a refusal."""
    vault = Vault(cluster)  # in memory: nothing is written
    with Fleet(cluster.hosts) as fleet:
        answers = fleet.run_all({h.name: survey_command(cluster) for h in cluster.hosts})
        surveys = {name: parse_survey(a.output.splitlines(), a.at) for name, a in answers.items() if a.ok}
        rooted = [cluster.host(name) for name, survey in surveys.items() if survey.uid == 0]
        probes, failed = probe_all(fleet, cluster, rooted)
    lines = [Line("refusal", name, told(a)) for name, a in answers.items() if not a.ok]
    problems = refusals(cluster, surveys, vault.cluster_id, vault.existed, own())
    lines += [Line("refusal", "hosts", text) for text in problems]
    if surveys:
        lines.append(clock_line({name: survey.clock_offset for name, survey in surveys.items()}))
    return [*lines, *failed, *judge(cluster, probes, deployed=deployed(surveys)), *from_here(cluster, deployed(surveys))]


def probe_all(fleet: Fleet, cluster: Cluster, hosts: list[Host]) -> tuple[dict[str, HostProbe], list[Line]]:
    """What the probe saw, by host, and a line for each host where it did not run."""
    probes, failed = {}, []
    with ThreadPoolExecutor(max(1, len(hosts))) as pool:
        answers = pool.map(
            lambda host: fleet.run(host.name, *shipped("probe", probe_question(cluster, host)), PROBE_SECONDS), hosts
        )
    for host, answer in zip(hosts, answers, strict=True):
        try:
            probes[host.name] = parse_probe(cluster, host, answer.output)
        except ValueError:
            failed.append(Line("warning", host.name, f"could not be measured (is python3 installed?): {told(answer)}"))
    return probes, failed


def deployed(surveys: Mapping[str, HostSurvey]) -> bool:
    return any(survey.belongs_to for survey in surveys.values())


def told(answer: Answer) -> str:
    return answer.problem or f"exit code {answer.code}"


def from_here(cluster: Cluster, stands: bool) -> list[Line]:
    """What an operator or an application on this machine would meet: the way to HAProxy, and its name."""
    lines = []
    for proxy in cluster.haproxy_hosts:
        for port in (cluster.haproxy.write_port, cluster.haproxy.read_port):
            try:
                with socket.create_connection((proxy.address, port), timeout=CONNECT_SECONDS):
                    continue
            except ConnectionRefusedError:
                if stands:
                    lines.append(Line("warning", proxy.name, f"port {port} refuses connections from here"))
            except OSError as error:
                lines.append(Line("warning", proxy.name, f"port {port} can't be reached from here ({error}); SSH is enough"))
        try:
            socket.getaddrinfo(proxy.name, None)
        except OSError:
            lines.append(
                Line("warning", proxy.name, "its name does not resolve here: give applications hostaddr, or a DNS entry")
            )
    return lines or [Line("ok", "client", "HAProxy can be reached from here, by name and address")]
