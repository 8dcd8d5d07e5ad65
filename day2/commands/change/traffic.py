"""`invoke traffic.resume`: lets clients go on who are kept waiting at the proxies, whoever has left that so."""

from __future__ import annotations

import json

from rich.markup import escape

from agents.sent import shipped
from cluster.topology import Cluster
from day2.hosts.changing import changing
from day2.procedures.hold import program
from day2.ui.console import EXIT_OK, EXIT_PROBLEM, console


def resume(cluster: Cluster) -> int:
    """Resumes the pools that are paused and opens HAProxy's port for writes, on every proxy host; says where there was anything.

    1 when a host does not answer or refuses: the others are done then. Raises ClusterError while somebody changes the cluster.
    """
    out = console()
    failed = False
    with changing(cluster, "traffic.resume") as (fleet, _, _):
        for proxy in cluster.haproxy_hosts:
            command, source = shipped("hold", program(cluster, proxy, ""))
            answer = fleet.run(proxy.name, command, f"{source}release\n")
            said = [json.loads(line) for line in answer.output.splitlines()] if answer.ok else [{"problem": answer.problem}]
            if "problem" in said[-1]:
                failed = True
                out.print(f"[red]problem[/]  {proxy.name}: {escape(said[-1]['problem'])}", soft_wrap=True)
            else:
                out.print(f"{proxy.name}: {escape('; '.join(said[-1]['released']) or 'nobody was kept waiting')}", soft_wrap=True)
    return EXIT_PROBLEM if failed else EXIT_OK
