"""Takes a ClusterView: one SSH round trip to every host at the same time."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable
from typing import Any

from agents.sent import shipped
from cluster import paths
from cluster.certificates import days_left
from cluster.dynamic_config import postgres_parameters
from cluster.quorum import parse, promotion
from cluster.topology import Cluster, Host
from health.view import (
    UNITS,
    ClusterView,
    Configurations,
    EtcdState,
    HostView,
    PatroniState,
    PostgresState,
    ProxyState,
    Salvage,
    Sender,
    Server,
    Slot,
)

from .ssh import Answer, Fleet

# A host that answers does so in well under a second; the others must not keep a status waiting for long.
CONNECT_SECONDS = 2
ANSWER_SECONDS = 6


def observe_once(cluster: Cluster) -> ClusterView:
    """A view over connections made for it alone. A host that does not answer is part of the view, not an error."""
    with Fleet(cluster.hosts, CONNECT_SECONDS) as fleet:
        return observe(fleet, cluster)


def observe(fleet: Fleet, cluster: Cluster) -> ClusterView:
    """A view over a fleet's connections."""
    began = time.monotonic()
    commands = {}
    source = ""
    for host in cluster.hosts:
        commands[host.name], source = shipped("collector", questions(cluster, host))
    answers = fleet.run_all(commands, source, ANSWER_SECONDS)
    hosts = {name: host_view(answer) for name, answer in sorted(answers.items())}
    return ClusterView(hosts, time.monotonic() - began)


def questions(cluster: Cluster, host: Host) -> dict[str, dict[str, Any]]:
    """What to ask a host for, by its roles: the argument of remote/collector.py."""
    asked: dict[str, dict[str, Any]] = {
        "units": {"names": list(UNITS)},
        "marker": {"path": paths.MARKER},
        "edited": {"path": paths.MANIFEST},
        "operator": {"path": paths.LOCK},
    }
    directories = []
    if host in cluster.etcd_hosts:
        asked["etcd"] = etcd_question(cluster, host)
        directories.append(paths.ETCD_TLS)
    if host in cluster.postgres_hosts:
        asked["patroni"] = {"url": f"{host.url_address}:{cluster.postgres.patroni_port}", "tls": tls(paths.PATRONI_TLS)}
        asked["postgres"] = postgres_question(cluster)
        asked["salvage"] = {"path": paths.salvage(cluster.postgres.data_directory)}
        directories.append(paths.PATRONI_TLS)
    if host in cluster.haproxy_hosts:
        asked["haproxy"] = {"socket": paths.HAPROXY_SOCKET}
        directories.append(paths.HAPROXY_TLS)
    asked["certificates"] = {"directories": directories}
    return asked


def etcd_question(cluster: Cluster, host: Host) -> dict[str, Any]:
    """How to reach the etcd member on `host` from there, and where Patroni's keys are in it."""
    return {
        "url": f"{host.url_address}:{cluster.etcd.client_port}",
        "tls": tls(paths.ETCD_TLS),
        "prefix": f"/service/{cluster.name}/",
        "ours": f"/pgquorum/{cluster.name}/",
    }


def postgres_question(cluster: Cluster) -> dict[str, Any]:
    """How to reach PostgreSQL from its own host."""
    psql = f"{paths.postgres_binaries(cluster.postgres.version)}/psql"
    return {
        "psql": psql,
        "sockets": paths.POSTGRES_SOCKETS,
        "port": cluster.postgres.port,
        "parameters": list(postgres_parameters(cluster)),
    }


def tls(directory: str) -> dict[str, str]:
    return {"ca": f"{directory}/ca.crt", "cert": f"{directory}/server.crt", "key": f"{directory}/server.key"}


def host_view(answer: Answer) -> HostView:
    """What a collector's answer says."""
    if not answer.ok:
        why = answer.problem if answer.code is None else f"the collector failed: {answer.problem or answer.code}"
        return HostView(answer.host, {"host": why})
    try:
        document = json.loads(answer.output)
    except ValueError:
        return HostView(answer.host, {"host": f"unexpected output, where only JSON should be: {answer.output[:80]!r}"})
    problems: dict[str, str] = {}

    def part(name: str, parse: Callable[[Any], Any]) -> Any:
        said = document.get(name)
        if said is None:
            return None
        if "problem" in said:
            problems[name] = " ".join(said["problem"].split())
            return None
        try:
            return parse(said["is"]) if said["is"] is not None else None
        except (KeyError, TypeError, ValueError) as error:
            problems[name] = f"an answer that is not understood ({type(error).__name__}: {error})"
            return None

    return HostView(
        name=answer.host,
        problems=problems,
        clock=document["time"] - answer.at,
        cluster_name=part("marker", lambda marker: marker["cluster"]),
        deployed_by=part("marker", lambda marker: marker.get("version")),
        edited=tuple(part("edited", list) or ()),
        operator=part("operator", str),
        units=part("units", dict) or {},
        certificates=part("certificates", certificate_days) or {},
        etcd=part("etcd", etcd_state),
        patroni=part("patroni", lambda said: patroni_state(said, document["time"])),
        postgres=part("postgres", postgres_state),
        proxy=part("haproxy", proxy_state),
        salvage=part("salvage", lambda found: tuple(Salvage(**one) for one in found)) or (),
    )


def etcd_state(said: dict[str, Any]) -> EtcdState:
    """From etcd's JSON, where 64-bit numbers are strings and zeros are left out."""
    status = said["status"]
    return EtcdState(
        version=status["version"],
        member_id=status["header"]["member_id"],
        leader_id=status.get("leader", "0"),
        revision=int(status["header"].get("revision", 0)),
        database_size=int(status.get("dbSize", 0)),
        in_use=int(status.get("dbSizeInUse", 0)),
        alarms=tuple(error for error in status.get("errors", []) if "alarm" in error.lower()),
        members={member["ID"]: member.get("name", "") for member in said["members"]},
        quorum=said["quorum"],
        compaction=said["compaction"],
        keys=said["keys"],
        configurations=configurations(said["configurations"]),
    )


def configurations(said: dict[str, Any]) -> Configurations:
    """What etcd says of the configurations of synchronous replication. Raises ValueError for what can't be understood."""
    notes = said["notes"]
    parsed = [parse(value, revision) for value, revision in said["values"]]
    promoted = notes.get("promoted")
    return Configurations(
        known=tuple(one for one in itertools.takewhile(bool, parsed) if one),
        complete=said["complete"],
        confirmed=int(json.loads(notes["confirmed"][0])["revision"]) if "confirmed" in notes else 0,
        promoted=promotion(*promoted) if promoted else None,
    )


def patroni_state(said: dict[str, Any], now: float) -> PatroniState:
    return PatroniState(
        state=said["state"],
        role=said["role"],
        version=said.get("patroni", {}).get("version", ""),
        dcs_age=now - said.get("dcs_last_seen", 0),
        tags=said.get("tags", {}),
        pending_restart=bool(said.get("pending_restart")),
        paused=bool(said.get("pause")),
    )


def postgres_state(said: dict[str, Any]) -> PostgresState:
    return PostgresState(**{
        **said,
        "pending_restart": tuple(said["pending_restart"]),
        "senders": tuple(Sender(**sender) for sender in said["senders"]),
        "slots": tuple(Slot(**slot) for slot in said["slots"]),
    })  # fmt: skip


def certificate_days(found: dict[str, str]) -> dict[str, int]:
    return {path: days_left(pem.encode()) for path, pem in found.items()}


def proxy_state(said: dict[str, Any]) -> ProxyState:
    backends: dict[str, list[Server]] = {}
    for row in said["servers"]:
        check = " ".join(filter(None, (row["check_status"], row["last_chk"])))
        server = Server(row["svname"], row["status"], check, int(row["scur"] or 0))
        backends.setdefault(row["pxname"], []).append(server)
    return ProxyState(said["version"], {name: tuple(servers) for name, servers in backends.items()})
