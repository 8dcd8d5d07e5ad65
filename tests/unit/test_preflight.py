"""What a preflight makes of the answers of the probe, and the probe itself, run here."""

from __future__ import annotations

import dataclasses
import json
import socket
import subprocess
import sys

import pytest
from clusters import cluster

from agents.sent import probe, shipped
from cluster.sources import origins, sources
from cluster.survey import HostSurvey, parse_survey
from cluster.topology import Cluster
from health.preflight import HostProbe, few_sessions, judge, parse_probe, probe_question, refuses, too_old

OLD = "3.5.16-4"
GOOD_PACKAGES = {"postgresql-18": "18.1-1", "patroni": "4.1.3-1", "etcd-server": "3.5.28-1", "haproxy": "3.2.1-1"}


def good(of: Cluster, name: str) -> HostProbe:
    """A host about which there is nothing to say."""
    host = of.host(name)
    asked = probe_question(of, host)
    names = {h.address: h.name for h in of.hosts}
    targets = [(names[address], port) for address, port in asked["connect"]]
    return HostProbe(
        name=name,
        free=dict.fromkeys(asked["directories"], 100 * 1024**3),
        sync_p99=dict.fromkeys(asked["directories"], 0.002),
        reached=dict.fromkeys(targets, "refused"),
        addresses=("127.0.0.1", host.address),
        memory=8 * 1024**3,
        packages={package: {"installed": None, "candidate": GOOD_PACKAGES[package]} for package in asked["packages"]},
        active=("chrony.service",),
        needrestart=False,
        watchdog=True,
    )


def lines(deployed: tuple[str, ...] = (), **changes: dict[str, object]) -> list[tuple[str, str, str]]:
    """The lines that are not ok, when the hosts named in `changes` (`db1`, ...) differ from good ones."""
    of = cluster()
    probes = {h.name: dataclasses.replace(good(of, h.name), **changes.get(h.name, {})) for h in of.hosts}
    return [(line.level, line.about, line.text) for line in judge(of, probes, deployed) if line.level != "ok"]


def test_good_hosts_give_nothing_but_ok() -> None:
    assert lines() == []


def test_a_port_that_a_firewall_eats_is_refused_with_both_ends() -> None:
    of = cluster()
    reached = {**good(of, "db1").reached, ("db2", 2380): "no answer"}
    assert lines(db1={"reached": reached}) == [
        ("problem", "db1", "can't reach port 2380 of db2 (no answer): let it through the firewall")
    ]


@pytest.mark.parametrize(
    ("living", "sessions", "refused"),
    [((), 10, True), (("db2",), 10, True), (("db1",), 10, False), (("db1", "db2"), 10, False), (("db1",), 3, True)],
)
def test_a_deploy_is_refused_for_what_is_measured_on_new_hosts_alone(
    living: tuple[str, ...], sessions: int, refused: bool
) -> None:
    of = cluster()
    probes = {h.name: good(of, h.name) for h in of.hosts}
    probes["db1"] = dataclasses.replace(probes["db1"], reached={**probes["db1"].reached, ("db2", 2380): "no answer"})
    marker = '{"cluster": "shop"}'
    surveys = {h.name: HostSurvey(marker=marker if h.name in living else "", ssh_sessions=sessions) for h in of.hosts}
    assert refuses(of, judge(of, probes, living), surveys) is refused


def test_an_sshd_with_too_few_sessions_is_refused() -> None:
    (line,) = lines(db1={"ssh_sessions": 2})
    assert line == ("problem", "db1", "MaxSessions 2 in its sshd's configuration: should be at least 10")
    assert lines(db1={"ssh_sessions": 10}) == []


@pytest.mark.parametrize(("sessions", "proxies", "refused"), [(4, 1, False), (3, 1, True), (4, 2, True), (None, 1, False)])
def test_a_living_host_whose_sshd_was_narrowed_is_refused(sessions: int | None, proxies: int, refused: bool) -> None:
    of = cluster(two=proxies == 2)
    lives = HostSurvey(marker='{"cluster": "shop"}', ssh_sessions=sessions)
    said = few_sessions(of, {"db1": lives, "db2": HostSurvey(ssh_sessions=1)})  # the second is new: the probe tells
    assert said == ([f"db1: MaxSessions {sessions} in its sshd's configuration: should be at least 10"] if refused else [])
    assert [parse_survey([f"ssh_sessions{said}"], 0.0).ssh_sessions for said in ("", " ", " 3")] == [None, None, 3]


@pytest.mark.parametrize("key", ["maxsessions", "MaxSessions"])
def test_sshds_limit_is_read_as_each_of_its_versions_writes_it(key: str) -> None:
    assert probe.sessions_of(f"port 22\n{key} 2\nusepam yes\nlast") == 2
    assert probe.sessions_of("port 22") is probe.sessions_of("") is None
    assert parse_survey([f"ssh_sessions {key} 2"], 0.0).ssh_sessions == 2


def ports(silent: set[str], **changes: dict[str, object]) -> list[tuple[str, str]]:
    """The verdicts on ports, when the hosts `silent` do not answer and nobody reaches them."""
    of = cluster()
    probes = {}
    for name in (h.name for h in of.hosts if h.name not in silent):
        one = good(of, name)
        reached = {
            (target, port): "No route to host" if target in silent else said for (target, port), said in one.reached.items()
        }
        probes[name] = dataclasses.replace(one, **{"reached": reached, **changes.get(name, {})})
    return [(line.rule, line.text) for line in judge(of, probes, silent=silent) if line.rule.startswith("ports")]


def test_a_host_that_is_down_is_not_said_again_for_each_of_its_ports() -> None:
    assert ports({"db3"}) == [("ports", "every host that could be asked reaches the ports it needs on every other that is up")]


def test_a_firewall_is_told_although_another_host_is_down() -> None:
    reached = {**good(cluster(), "db1").reached, ("db2", 2380): "no answer"}
    assert [rule for rule, _ in ports({"proxy1"}, db1={"reached": reached})] == ["ports.blocked"]


def test_a_host_that_only_the_operator_does_not_reach_is_judged_by_its_ports() -> None:
    reached = {**good(cluster(), "db1").reached, ("db3", 2380): "no answer"}
    blocked = ("ports.blocked", "can't reach port 2380 of db3 (no answer): let it through the firewall")
    assert blocked in ports({"db3"}, db1={"reached": reached})


@pytest.mark.parametrize("silent", [{"db1", "db2", "db3", "proxy1"}, {"db2", "db3", "proxy1"}])
def test_nothing_is_well_with_ports_that_nobody_reached(silent: set[str]) -> None:
    assert ports(silent) == []


def test_a_port_that_is_taken_is_refused_before_the_first_deploy_of_its_host_only() -> None:
    taken = {**good(cluster(), "db1").reached, ("db1", 5432): "connected"}
    assert [line[:2] for line in lines(db1={"reached": taken})] == [("problem", "db1")]
    assert lines(deployed=("db1",), db1={"reached": taken}) == []
    assert [line[:2] for line in lines(deployed=("db2", "db3"), db1={"reached": taken})] == [("problem", "db1")]


@pytest.mark.parametrize(
    ("listeners", "who"),
    [
        (((80, "nginx.service", "nginx"), (5432, "other.service", "python3")), "python3 (other.service)"),
        (((5432, "", "python3"),), "something"),  # of whom systemd knows no unit
        ((), "something"),
    ],
)
def test_whoever_has_a_port_is_named(listeners: tuple[tuple[int, str, str], ...], who: str) -> None:
    taken = dataclasses.replace(good(cluster(), "db1"), reached={**good(cluster(), "db1").reached, ("db1", 5432): "connected"})
    found = judge(cluster(), {"db1": taken}, surveys={"db1": HostSurvey(listeners=listeners)})
    (said,) = (one.text for one in found if one.rule == "ports.taken")
    assert said == f"{who} already listens on port 5432: end it, or choose another port"


def test_an_address_of_another_host_is_refused() -> None:
    [(level, about, text)] = lines(db2={"addresses": ("127.0.0.1", "10.9.9.9")})
    assert (level, about) == ("problem", "db2") and "10.9.9.9" in text


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"sync_p99": {"etcd_data_directory": 0.03}, "free": {"etcd_data_directory": 10**12}}, "sync p99 30.0 ms"),
        ({"free": {"etcd_data_directory": 10**6, "postgres_data_directory": 10**12}}, "twice etcd_quota"),
        ({"memory": 2**29}, "512 MiB"),
        ({"active": ()}, "nothing keeps them on db3"),
        ({"watchdog": False}, "none on db3"),
        ({"active": ("chrony.service", "postgresql.service")}, "postgresql.service is active"),
    ],
)
def test_what_makes_a_bad_host_is_a_warning(change: dict[str, object], word: str) -> None:
    [(level, _, text)] = lines(db3=change)
    assert level == "warning" and word in text


def test_a_package_that_is_too_old_is_refused_with_the_floor() -> None:
    packages = {**good(cluster(), "db1").packages, "patroni": {"installed": "3.3.2-1", "candidate": "4.1.5-1"}}
    [(level, about, text)] = lines(db1={"packages": packages})
    assert (level, about) == ("problem", "db1") and "3.3.2-1" in text and "4.1.3" in text


def test_a_package_that_is_nowhere_is_a_warning() -> None:
    assert [line[:2] for line in lines(db1={"packages": {}})] == [("warning", "db1")] * 3


@pytest.mark.parametrize(
    ("package", "version", "answer"),
    [
        ("etcd-server", "3.5.27-1", True),
        ("etcd-server", "3.5.28-1", False),
        ("etcd-server", "3.6.8-1", True),
        ("etcd-server", "3.6.9-1", False),
        ("etcd-server", "3.4.40-1", True),
        ("haproxy", "2.2.9-2", True),
        ("haproxy", "2.6.12-1+deb12u3", False),
        ("patroni", "2:4.1.3-1.pgdg13+1", False),
        ("postgresql-18", "18.0-1", False),
    ],
)
def test_floors(package: str, version: str, answer: bool) -> None:
    assert too_old(package, version) is answer


def test_a_program_that_nobody_has_tried_is_a_warning() -> None:
    packages = {**good(cluster(), "db1").packages, "etcd-server": {"installed": "3.7.1-1", "candidate": "3.7.1-1"}}
    warnings = [line for line in lines(db1={"packages": packages}) if "differs" not in line[2]]
    assert warnings == [("warning", "db1", "etcd-server 3.7.1-1 was not tested with this tool: 3.5 were")]


def test_what_a_source_will_bring_is_told_and_not_judged_by_what_the_distribution_has() -> None:
    of = cluster()
    survey = HostSurvey(system="debian", codename="trixie", mirror="http://mirror.example.com/debian")
    old = {"postgresql-18": {"installed": None, "candidate": None}, "patroni": {"installed": None, "candidate": "4.0.7-3"}}
    probes = {"db1": dataclasses.replace(good(of, "db1"), packages=good(of, "db1").packages | old)}
    needed = {"db1": sources(of, of.host("db1"), survey)}
    found = [line for line in judge(of, probes, needed=needed) if line.rule.startswith("packages")]
    assert {line.level for line in found} == {"ok"}
    texts = [line.text for line in found]
    project = "https://apt.postgresql.org/pub/repos/apt trixie-pgdg) is added on db1, for PostgreSQL 18 and Patroni alone"
    assert any(project in text for text in texts)
    assert any("http://mirror.example.com/debian forky) is added on db1, for etcd alone" in t for t in texts)
    there = {"db1": [dataclasses.replace(one, there="/etc/apt/sources.list") for one in needed["db1"]]}
    assert "packages.too-old" in {line.rule for line in judge(of, probes, needed=there)}


def test_the_probe_itself_measures_and_leaves_nothing(tmp_path) -> None:
    of = cluster()
    host = of.host("db1")
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        argument = probe_question(of, host)
        argument["connect"] = [list(listening.getsockname()), list(bound.getsockname())]
        argument["directories"] = {"etcd_data_directory": str(tmp_path / "not" / "yet")}
        command, source = shipped("probe", argument)
        words = ["sh", "-c", command.replace("python3", sys.executable, 1)]
        done = subprocess.run(words, input=source, text=True, capture_output=True, check=True)
    said = json.loads(done.stdout)
    assert said["connect"] == ["connected", "refused"]
    assert said["directories"]["etcd_data_directory"]["sync_p99"] > 0
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="zip"):
        parse_probe(of, host, done.stdout)


def test_a_package_that_is_a_file_is_judged_by_its_name() -> None:
    files = {f"etcd-server_{OLD}_amd64.deb": "0" * 64, "etcd-client_3.5.30-2_amd64.deb": "0" * 64}
    of = cluster(etcd_source="files", etcd_files=files)
    survey = HostSurvey(system="debian", codename="forky")
    found = judge(of, {"db1": good(of, "db1")}, {"db1"}, needed={"db1": origins(of, of.host("db1"), survey)})
    (line,) = [one.text for one in found if one.level == "problem"]
    assert line == f"etcd-server {OLD} is too old: should be at least 3.5.28 or 3.6.9"
