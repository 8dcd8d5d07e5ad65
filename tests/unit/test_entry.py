"""The virtual address: which settings can't be, what keepalived is told on each host, and what of a host is in its way."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import views
from clusters import SECOND, cluster, hosts, problems

from cluster import entry, firewall, paths, timing
from cluster.building import RawHost, build
from cluster.connections import NO_PORT, used
from cluster.errors import ClusterError
from cluster.survey import HostSurvey, parse_survey, survey_command
from cluster.topology import Cluster
from cluster.vault import Vault
from day2.commands.look.status import proxies
from day2.hosts import dsn
from day2.hosts.interrupts import Interrupts
from day2.procedures import actions, removal, rolling
from day2.procedures.actions import Actions
from health.rules import findings
from health.view import ClusterView, HostView
from operations.managed import render

ADDRESS = "10.0.0.77"
SHARED = views.SHARED
SEEN = {
    name: HostSurvey(uid=0, networks=(("lo", "127.0.0.1/8"), ("ens3", f"{address}/24"), ("ens4", "192.0.2.1/24")))
    for name, address in (("proxy1", "10.0.0.9"), ("proxy2", "10.0.0.10"))
}


def shared(**settings: Any) -> Cluster:
    return cluster(two=True, **{"proxy_address": ADDRESS} | settings)


def refused(two: bool = True, **settings: Any) -> list[str]:
    return problems(hosts(two=two, **{"proxy_address": ADDRESS} | settings))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"proxy_address": "10.0.0"}, "proxy_address = '10.0.0': "),
        ({"proxy_address": "10.0.0.2"}, "proxy_address = '10.0.0.2': is the address of db2: should be one that no host has"),
        (
            {"proxy_address": "fd00::77"},
            "proxy_address = 'fd00::77': should be of the same kind as the hosts' addresses, IPv4 or IPv6",
        ),
        ({"two": False}, "proxy_address = '10.0.0.77': needs two hosts in group 'haproxy', between which it moves, or None"),
        (
            {"proxy_address_name": "*.example.com"},
            "proxy_address_name = '*.example.com': should be a name as in DNS, in lower-case letters, such as 'db.example.com'",
        ),
        ({"proxy_address_name": "10.0.0.77"}, "proxy_address_name = '10.0.0.77': should be a name as in DNS"),
        (
            {"proxy_interface": "eth0; reboot"},
            "proxy_interface = 'eth0; reboot': should be the name of a network interface, such as 'eth0'",
        ),
        (
            {"proxy_address": None, "proxy_interface": "eth0"},
            "proxy_interface = 'eth0': is of proxy_address, which is None: set both, or neither",
        ),
        ({"failover_timing": {"advert_ms": 95}}, "failover timing: advert_ms = 95: should be from 100 to 40000, in steps of 10"),
        (
            {"failover_timing": {"advert_ms": 105}},
            "failover timing: advert_ms = 105: should be from 100 to 40000, in steps of 10",
        ),
    ],
)
def test_what_can_not_be_is_refused(settings: dict[str, Any], said: str) -> None:
    (problem,) = refused(**settings)
    assert problem.startswith(said)


def test_without_the_address_nothing_of_it_is_there() -> None:
    plain = cluster(two=True)
    assert plain.entry_hosts == () and entry.names(plain) == ()
    assert "keepalived" not in plain.packages(plain.host("proxy1"))
    assert NO_PORT not in {one.port for one in used(plain)}
    assert firewall.vrrp_peers(plain, plain.host("proxy1")) is None
    assert paths.HAPROXY_CHECK_SOCKET not in render("haproxy/haproxy.cfg.j2", cluster=plain, host=plain.host("proxy1"))


def test_each_host_is_told_of_the_others_and_no_two_have_one_priority() -> None:
    of = shared()
    one, two = (entry.part(of, host, SEEN[host.name]) for host in of.entry_hosts)
    assert (one.source, one.peers, one.interface) == ("10.0.0.9", ("10.0.0.10",), "ens3")
    assert (two.source, two.peers) == ("10.0.0.10", ("10.0.0.9",))
    assert one.address == two.address == f"{ADDRESS}/32" and one.router == two.router == 77
    assert one.priority > two.priority


def test_an_interface_that_is_set_is_taken_as_it_is() -> None:
    of = shared(proxy_interface="ens4")
    assert entry.part(of, of.host("proxy1"), SEEN["proxy1"]).interface == "ens4"


def six(**settings: Any) -> Cluster:
    said = {"cluster_name": "shop", "client_networks": ["fd00::/64"], "proxy_address": "fd00::100", **settings}
    groups = {"db1": {"etcd", "postgres"}, "db2": {"postgres"}, "proxy1": {"haproxy"}, "proxy2": {"haproxy"}}
    return build({
        name: RawHost(frozenset(of), {"address": f"fd00::{n}", **said}) for n, (name, of) in enumerate(groups.items(), 1)
    })  # fmt: skip


def test_of_ipv6_it_is_alone_in_its_network_too_and_has_a_number_from_1_to_255() -> None:
    of = six()
    part = entry.part(of, of.host("proxy1"), HostSurvey(networks=(("eth0", "fd00::3/64"),)))
    assert (part.address, part.source, part.router) == ("fd00::100/128", "fd00::3", 255)
    peers = firewall.vrrp_peers(of, of.host("proxy1"))
    assert peers and not peers.v4 and [str(one) for one in peers.v6] == ["fd00::4/128"]


def test_keepalived_moves_the_address_for_haproxys_sake_alone_and_never_back() -> None:
    of = shared(failover_profile="standard")
    part = entry.part(of, of.host("proxy1"), SEEN["proxy1"])
    text = render("keepalived/keepalived.conf.j2", cluster=of, host=of.host("proxy1"), part=part, timing=timing)
    lines = [line.strip() for line in text.splitlines()]
    assert {"state BACKUP", "nopreempt", "enable_script_security", "advert_int 1.0", "vrrp_version 3"} <= set(lines)
    assert not any(line.startswith("weight") for line in lines)  # with one, nopreempt would keep the address where it is
    script = re.search(r"vrrp_script haproxy \{(.*?)\}", text, re.S)
    assert script and {"interval 1", "timeout 3", "fall 2"} <= {line.strip() for line in script[1].splitlines()}


def test_the_check_has_a_socket_of_haproxys_by_which_nothing_can_be_changed() -> None:
    text = render("haproxy/haproxy.cfg.j2", cluster=SHARED, host=SHARED.host("proxy1"))
    assert f"stats socket {paths.HAPROXY_CHECK_SOCKET} user keepalived_script mode 600 level user" in text
    assert paths.HAPROXY_CHECK_SOCKET in render("keepalived/check-haproxy.sh.j2", seconds=2)


def test_certificates_that_clients_see_bear_the_address_and_its_name(tmp_path: Path) -> None:
    of = shared(proxy_address_name="db.example.com", pooling=True, secrets_directory=str(tmp_path))
    from cryptography import x509

    vault = Vault(of, {})
    for host, use in (("db2", "postgres"), ("proxy1", "haproxy"), ("proxy2", "pgbouncer")):
        certificate = x509.load_pem_x509_certificate(vault.certificate(host, use).certificate)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert {"db.example.com", ADDRESS} <= {str(name.value) for name in names}, use
    assert "db.example.com" not in str(vault.certificate("db1", "etcd").certificate)


def judged(of: Cluster, **differs: HostSurvey) -> list[str]:
    return list(entry.problems(of, SEEN | differs))


def test_a_host_with_the_network_of_the_address_is_fit() -> None:
    assert judged(shared()) == []
    assert judged(cluster(two=True)) == []


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"proxy_address": "192.0.2.77"},
            "host proxy1: proxy_address = '192.0.2.77': is in none of the networks of ens3: should be in 10.0.0.0/24",
        ),
        (
            {"proxy_interface": "eth7"},
            "host proxy1: proxy_interface = 'eth7': it has no such interface with an address: should be one of ens3, ens4, lo",
        ),
        (
            {"proxy_interface": "ens4"},
            "host proxy1: proxy_address = '10.0.0.77': is in none of the networks of ens4: should be in 192.0.2.0/24",
        ),
    ],
)
def test_an_address_that_is_out_of_place_is_refused(settings: dict[str, Any], said: str) -> None:
    assert judged(shared(**settings))[0] == said


def test_an_interface_that_is_not_to_be_found_is_asked_for() -> None:
    (said,) = judged(shared(), proxy2=HostSurvey(uid=0, networks=(("ens3", "203.0.113.4/24"),)))
    assert said.startswith("host proxy2: its address 10.0.0.10 is on none of its interfaces (ens3)")
    assert said.endswith("set proxy_interface")


def test_an_address_that_somebody_else_has_is_refused_and_one_of_a_proxys_is_not() -> None:
    answered = replace(SEEN["proxy2"], answered=True)
    (said,) = judged(shared(), proxy2=answered)
    assert said.startswith("proxy_address = '10.0.0.77': something else on the network has it already, and answered proxy2")
    holding = replace(SEEN["proxy1"], networks=(*SEEN["proxy1"].networks, ("ens3", f"{ADDRESS}/32")))
    assert judged(shared(), proxy1=holding, proxy2=answered) == []
    assert list(entry.problems(shared(), {"proxy2": answered})) == []  # the other one, which this run leaves out, may have it


def test_the_survey_says_where_a_host_is_and_asks_for_the_address_on_proxies_alone() -> None:
    lines = ["uid 0", "network lo 127.0.0.1/8", "network ens3 10.0.0.9/24", "answered yes", "clock 5"]
    seen = parse_survey(lines, 5.0)
    assert seen.networks == (("lo", "127.0.0.1/8"), ("ens3", "10.0.0.9/24")) and seen.answered
    with_one, without = survey_command(shared()), survey_command(cluster(two=True))
    for address in ("10.0.0.9", SECOND["proxy2"]):
        assert f" {address}/" in with_one
    assert ADDRESS in with_one and "10.0.0.1/" not in with_one
    assert "/dev/udp//" in without and "in -)" in without  # a pattern that no host's addresses match


def test_clients_can_name_the_address_alone() -> None:
    of = shared(proxy_address_name="db.example.com")
    values = dsn.probe(of, by_address=True, read_only=True)
    assert (values["host"], values["hostaddr"], values["port"]) == ("db.example.com", ADDRESS, "5001")
    assert dsn.probe(shared(), by_address=True)["host"] == ADDRESS
    assert dsn.probe(of)["hostaddr"] == "10.0.0.9,10.0.0.10"
    with pytest.raises(ClusterError, match="--address: proxy_address = None, so there is no such address"):
        dsn.probe(cluster(two=True), by_address=True)


def rules(view: ClusterView) -> set[str]:
    return {found.rule for found in findings(view, SHARED) if found.level != "ok" and found.rule.startswith("entry.")}


def test_one_holder_is_well_and_of_hosts_that_are_left_out_nobody_knows() -> None:
    assert rules(views.shared()) == set()
    neither = views.shared(proxy1=views.sharer("proxy1"))
    assert rules(neither) == {"entry.no-holder"}
    assert rules(replace(neither, left_out=frozenset({"proxy2"}))) == set()


def test_where_one_does_not_answer_and_the_other_has_it_not_that_is_told() -> None:
    assert rules(views.shared(proxy1=views.unreachable("proxy1"))) == {"entry.no-holder"}
    there = views.shared(proxy1=views.unreachable("proxy1"), proxy2=views.sharer("proxy2", "ens3"))
    assert rules(there) == set()
    assert rules(views.shared(proxy1=views.unreachable("proxy1"), proxy2=views.unreachable("proxy2"))) == set()


def test_status_says_who_has_it() -> None:
    table = proxies(SHARED, views.shared())
    assert [str(column.header) for column in table.columns][-1] == f"has {ADDRESS}"
    assert list(table.columns[-1].cells) == ["yes", "no"]


def test_pools_are_restarted_where_the_address_is_not_and_it_moves_once() -> None:
    found = [str(step) for step in rolling.steps(views.shared(), SHARED, "pgbouncer", pending_only=False)]
    write, read = "pgquorum-pool@write-1.service", "pgquorum-pool@read-1.service"
    assert found == [
        f"restart {write} on proxy2",
        f"restart {read} on proxy2",
        f"move {ADDRESS} away from proxy1",
        f"restart {write} on proxy1",
        f"restart {read} on proxy1",
    ]


def test_keepalived_is_restarted_last_where_the_address_is_and_haproxy_is_reloaded_without_a_move() -> None:
    on_second = views.shared(proxy1=views.sharer("proxy1"), proxy2=views.sharer("proxy2", "ens3"))
    for view, order in ((views.shared(), ("proxy2", "proxy1")), (on_second, ("proxy1", "proxy2"))):
        found = [str(step) for step in rolling.steps(view, SHARED, "keepalived", pending_only=False)]
        assert found == [f"restart keepalived.service on {name}" for name in order]
    found = [str(step) for step in rolling.steps(views.shared(), SHARED, "haproxy", pending_only=False)]
    assert found == [f"reload haproxy.service on {name}" for name in ("proxy1", "proxy2")]


def test_a_proxy_that_is_taken_out_gives_up_the_address_first() -> None:
    first, *others = (str(step) for step in removal.steps(views.shared(), SHARED, "proxy1"))
    assert first == f"move {ADDRESS} away from proxy1"
    assert any("keepalived.service" in step for step in others)
    assert not any("move" in str(step) for step in removal.steps(views.shared(), SHARED, "proxy2"))


@pytest.mark.parametrize("profile", ["lan", "standard", "wan"])
def test_the_address_moves_within_seconds(profile: str) -> None:
    of = shared(failover_profile=profile).timing
    earliest, latest = of.entry_moves
    assert 0 < earliest < latest <= 4
    assert of.entry_leaves[0] < of.entry_leaves[1] <= 8
    assert profile != "lan" or latest <= 3


class Mover(Actions):
    """Actions on hosts that are seen like this, one look after the other, and the last one ever after."""

    def __init__(self, *seen: ClusterView) -> None:
        nothing: Any = None
        super().__init__(nothing, SHARED, nothing, Interrupts(lambda text: None))
        self._seen = list(seen)
        self.done: list[str] = []

    def view(self) -> ClusterView:
        return self._seen.pop(0) if len(self._seen) > 1 else self._seen[0]

    def systemctl(self, host: str, verb: str, unit: str) -> None:
        self.done.append(f"{host} {verb} {unit}")


NOBODY = views.shared(proxy1=views.sharer("proxy1"))
SECOND_HAS_IT = views.shared(proxy1=views.sharer("proxy1"), proxy2=views.sharer("proxy2", "ens3"))


def test_the_address_is_moved_by_a_new_start_of_keepalived_and_waited_for() -> None:
    mover = Mover(views.shared(), views.shared(), NOBODY, SECOND_HAS_IT)
    mover.move_address("proxy1", ADDRESS)
    assert mover.done == ["proxy1 restart keepalived.service"] and mover.view() is SECOND_HAS_IT
    there = Mover(SECOND_HAS_IT)
    there.move_address("proxy1", ADDRESS)
    assert there.done == []


@pytest.mark.parametrize(
    "other",
    [
        views.unreachable("proxy2"),
        views.sharer("proxy2", proxy=None, problems={"haproxy": "no answer"}),
        views.sharer("proxy2", units=views.UNITS),
    ],
)
def test_an_address_that_nobody_else_could_have_stays(other: HostView) -> None:
    mover = Mover(views.shared(proxy2=other))
    with pytest.raises(
        ClusterError, match=r"10\.0\.0\.77 can't leave proxy1: on no other proxy host do keepalived and HAProxy run"
    ):
        mover.move_address("proxy1", ADDRESS)
    assert mover.done == []


def test_an_address_that_does_not_move_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions, "MOVE_SECONDS", 0)
    with pytest.raises(ClusterError, match=r"10\.0\.0\.77 is on proxy1, 0 s after it had to leave proxy1"):
        Mover(views.shared()).move_address("proxy1", ADDRESS)
