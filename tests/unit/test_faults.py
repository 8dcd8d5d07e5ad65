"""Faults: the whole list, chosen by name, each with what should come of it and what stands in its way; their scripts."""

from __future__ import annotations

import inspect
import json
import re
from dataclasses import replace
from typing import Any

import pytest
import views
from clusters import cluster, hosts
from repository import ROOT

from cluster.building import RawHost, build
from cluster.dynamic_config import wanted_config
from cluster.errors import ClusterError
from cluster.timing import PROFILES
from cluster.topology import Cluster
from day2.faults import FAULTS, choose
from day2.faults.base import BaseFault
from day2.faults.disk import disk_problems
from day2.faults.fault import FaultContext
from day2.hosts.ssh import CommandResult
from day2.predictions.prediction import Effect, Prediction
from health.view import ClusterView

LAN = PROFILES["lan"]
POWER = {"power_off": "ipmi off", "power_on": "ipmi on"}
POWERED = dict.fromkeys(("db1", "db2", "db3"), POWER)
ALL_POWERED = dict.fromkeys(("db1", "db2", "db3", "keep1"), POWER)
SHARED = cluster(ALL_POWERED | dict.fromkeys(("proxy1", "proxy2"), POWER), backup=True, two=True, proxy_address="10.0.0.77")
FAILS_OVER, KEEPS, STOPS = Effect.FAILS_OVER, Effect.KEEPS_RUNNING, Effect.STOPS
EFFECTS = {
    "host-off": FAILS_OVER,
    "host-off-etcd-leader": FAILS_OVER,
    "postgres-kill": FAILS_OVER,
    "postgres-stop": FAILS_OVER,
    "patroni-kill": KEEPS,
    "patroni-kill-masked": FAILS_OVER,
    "patroni-stop": FAILS_OVER,
    "partition": FAILS_OVER,
    "partition-databases": FAILS_OVER,
    "partition-haproxy": STOPS,
    "host-hang": FAILS_OVER,
    "etcd-member-kill": KEEPS,
    "etcd-leader-kill": KEEPS,
    "etcd-all-stop": KEEPS,
    "replica-off": KEEPS,
    "replicas-off": STOPS,
    "replicas-stop": STOPS,
    "haproxy-kill": KEEPS,
    "proxy-host-off": KEEPS,
    "proxy-hang": STOPS,
    "wal-disk-full": FAILS_OVER,
    "switchover": FAILS_OVER,
    "kill": FAILS_OVER,
    "lagging-replica": KEEPS,
    "lagging-then-stop": STOPS,
    "lagging-then-crash": FAILS_OVER,
    "lagging-then-restart": FAILS_OVER,
    "lagging-then-off": STOPS,
    "repository-off": KEEPS,
    "repository-full": KEEPS,
    "archive-hangs": KEEPS,
    "host-lost-for-good": FAILS_OVER,
}
# Those that need a host that keeps backups.
OF_REPOSITORY = {"repository-off", "repository-full", "archive-hangs", "host-lost-for-good"}
# Those that need a second proxy host.
OF_PROXIES = {"proxy-host-off", "proxy-hang"}
# Those whose steps are not all predicted: nobody fails, or who takes the key first may have to give it back.
LOOSE = {"switchover", "lagging-then-crash", "lagging-then-restart"}
# Those after which asynchronous replication may have lost something.
LOSING = {
    "host-off", "host-off-etcd-leader", "postgres-kill", "postgres-stop", "partition", "partition-databases", "host-hang",
    "replicas-off", "wal-disk-full", "kill", "host-lost-for-good", "lagging-then-crash", "lagging-then-restart",
}  # fmt: skip
MODES = ("quorum", "all", "synchronous", "asynchronous")
# Those for which asynchronous replication has no need of a replica.
UNAFFECTED = {"replicas-stop"}


class Hosts:
    """Hosts that give the same answer to every command."""

    def __init__(self, code: int | None = 0, output: str = "", problem: str = "") -> None:
        self._answer = (code, output, problem)

    def run(self, host: str, command: str, stdin: str = "", seconds: float = 30) -> CommandResult:
        return CommandResult(host, *self._answer)


def context(
    of: Cluster | None = None, view: ClusterView | None = None, answer: Hosts | None = None, *, by_address: bool = False
) -> FaultContext:
    fleet: Any = answer or Hosts()
    patroni: Any = None
    return FaultContext(fleet, of or cluster(POWERED), patroni, view or views.view(), LAN, by_address=by_address)


def made(name: str, **of: Any) -> BaseFault:
    if name in OF_REPOSITORY:
        of = {"of": cluster(ALL_POWERED, backup=True), "view": views.backed_up()} | of
    if name in OF_PROXIES:
        of = {"of": SHARED} | of
    fault = choose(name, context(**of))
    assert isinstance(fault, BaseFault)
    return fault


def in_mode(durability: str, without_replica: str = "wait") -> ClusterView:
    config = wanted_config(cluster(durability=durability, without_replica=without_replica))
    view = views.with_keys(config=json.dumps(config))
    if durability == "synchronous":
        senders = (views.sender("db2", sync_state="async"), views.sender("db3", sync_state="sync"))
        db1 = replace(view.hosts["db1"], postgres=views.postgres("db1", senders=senders))
        view = ClusterView({**view.hosts, "db1": db1})
    return view


def prediction(name: str, durability: str = "quorum", **of: Any) -> Prediction:
    without_replica = of.pop("without_replica", "wait")
    return made(name, view=in_mode(durability, without_replica), **of).prediction()


def larger(databases: int, etcd: int, durability: str = "quorum") -> Cluster:
    """A cluster of so many database hosts, on the first of which etcd runs too."""
    inventory = {name: raw for name, raw in hosts().items() if name == "proxy1"}
    inventory["proxy1"].data["durability"] = durability
    data = dict(inventory["proxy1"].data)
    for n in range(1, databases + 1):
        groups = {"postgres"} | ({"etcd"} if n <= etcd else set())
        inventory[f"db{n}"] = RawHost(frozenset(groups), data | POWER | {"address": f"10.0.0.{n}"})
    return build(inventory)


def test_every_fault_is_there_and_says_what_it_is() -> None:
    assert list(FAULTS) == list(EFFECTS)
    for name in FAULTS:
        fault = made(name)
        assert (fault.name, bool(fault.summary), bool(fault.hosts)) == (name, True, True)
        assert all(host.name in fault.describe() for host in fault.hosts)
        assert set(fault.observers()) <= set(fault.context.cluster.hosts)


def test_an_unknown_fault_is_refused() -> None:
    with pytest.raises(ClusterError, match=r"did you mean 'host-off'.*there are host-off, .*, host-lost-for-good$"):
        choose("hostoff", context())


@pytest.mark.parametrize("durability", MODES)
@pytest.mark.parametrize("name", EFFECTS)
def test_what_should_come_of_it(name: str, durability: str) -> None:
    said = prediction(name, durability)
    assert said.effect is (KEEPS if durability == "asynchronous" and name in UNAFFECTED else EFFECTS[name])
    assert said.within > 0 and said.why
    assert said.may_lose == (durability == "asynchronous" and name in LOSING)
    # What does not end the wait by itself is held long enough to see that nothing happens.
    assert (said.hold > 0) == (said.effect is not FAILS_OVER)
    for earliest, latest in (said.phases or {}).values():
        assert 0 <= earliest <= latest


@pytest.mark.parametrize("name", [name for name, effect in EFFECTS.items() if effect is FAILS_OVER and name not in LOOSE])
def test_the_phases_of_a_failover_come_in_their_order(name: str) -> None:
    phases = prediction(name).phases
    assert phases
    for end in (0, 1):
        order = [phases[key][end] for key in ("key_gone", "new_leader", "promoted", "first_write")]
        assert order == sorted(order)
        assert phases["first_write"][end] >= max(phases["routed"][end], phases["followed"][end])
    assert "followed" not in (prediction(name, "asynchronous").phases or {})


def test_nobody_waits_longer_for_a_lost_host_than_the_timers_say() -> None:
    off, both, crashed, killed = (prediction(n) for n in ("host-off", "host-off-etcd-leader", "postgres-kill", "kill"))
    assert LAN.ttl < off.within < LAN.ttl + 8
    assert LAN.election_ms / 1000 <= both.within - off.within <= 3 * LAN.election_ms / 1000
    assert crashed.within < LAN.loop_wait + 5 < killed.within < off.within


def test_an_unattended_primary_takes_writes_until_haproxy_hears_nothing() -> None:
    said = prediction("patroni-stop")
    assert said.phases
    assert said.within == said.phases["first_write"][1] - said.phases["old_out"][0]


def test_synchronous_replication_waits_for_the_one_replica_that_is_lost() -> None:
    assert made("replica-off", view=in_mode("synchronous")).host.name == "db3"
    assert prediction("replica-off", "synchronous").within > 10
    assert prediction("replica-off", "quorum").within <= 1
    assert prediction("replica-off", "asynchronous").within <= 1


def test_two_lost_replicas_cost_what_they_take_along() -> None:
    assert prediction("replicas-off").effect is STOPS
    apart = larger(4, etcd=1)
    assert prediction("replicas-off", of=apart).effect is KEEPS
    assert prediction("replicas-off", of=larger(5, etcd=5)).within <= 1
    assert prediction("replicas-off", of=larger(3, etcd=1)).effect is STOPS  # nobody is left to wait for
    alone = prediction("replicas-off", of=larger(3, etcd=1), without_replica="continue")
    assert alone.effect is KEEPS and alone.within > 10


@pytest.mark.parametrize("durability", ["quorum", "all", "synchronous"])
def test_without_a_replica_writes_wait_or_go_on_as_etcd_says(durability: str) -> None:
    waits, alone = (prediction("replicas-stop", durability, without_replica=choice) for choice in ("wait", "continue"))
    assert waits.effect is STOPS and "without_replica" in waits.why
    assert alone.effect is KEEPS and LAN.loop_wait < alone.within < waits.hold
    assert prediction("replica-off", durability).effect is KEEPS  # another one is left


def test_with_durability_all_writes_wait_for_whoever_is_lost() -> None:
    assert prediction("replica-off", "all").within > 10 > prediction("replica-off", "quorum").within
    assert prediction("host-off", "all").within > prediction("host-off", "quorum").within + LAN.loop_wait


@pytest.mark.parametrize("name", ["host-off", "partition", "kill", "patroni-stop"])
def test_where_the_only_replica_takes_over_writes_wait_for_the_old_primary_unless_it_goes_on_alone(name: str) -> None:
    two = larger(2, etcd=1)
    waits, alone = (prediction(name, of=two, without_replica=choice) for choice in ("wait", "continue"))
    assert waits.effect is STOPS and waits.phases and waits.hold > waits.phases["promoted"][1]
    assert alone.effect is FAILS_OVER and alone.within > prediction(name).within
    assert prediction("postgres-kill", of=two).effect is FAILS_OVER  # it starts again by itself


def test_with_etcd_elsewhere_the_primary_goes_on_without_its_replicas() -> None:
    assert prediction("partition-databases", of=larger(3, etcd=1)).effect is STOPS
    said = prediction("partition-databases", of=larger(3, etcd=1), without_replica="continue")
    assert said.effect is KEEPS and said.within > 10
    assert prediction("partition-databases", "asynchronous", of=larger(3, etcd=1)).within <= 1


def test_the_targets_of_each_fault() -> None:
    targets = {name: [host.name for host in made(name).hosts] for name in FAULTS}
    assert targets["etcd-leader-kill"] == ["db2"]
    assert targets["etcd-member-kill"] == ["db1"]
    assert targets["etcd-all-stop"] == ["db1", "db2", "db3"]
    assert targets["replica-off"] == ["db2"]
    assert targets["replicas-off"] == targets["replicas-stop"] == ["db2", "db3"]
    assert targets["haproxy-kill"] == ["proxy1"]
    assert targets["partition"] == ["db1"]


OWN_DISK = Hosts(output="Mounted on Avail\n/wal 1000\n/ 5000\n/ 5000\n/ 5000\n")


def test_nothing_stands_in_the_way_of_a_healthy_cluster() -> None:
    assert not any(made(name, answer=OWN_DISK).blockers() for name in FAULTS)


@pytest.mark.parametrize(("settings", "said"), [({}, ": no power_off and no power_on"), ({"power_off": "x"}, ": no power_on")])
@pytest.mark.parametrize("name", ["host-off", "host-off-etcd-leader"])
def test_a_host_without_a_switch_is_refused_and_both_ways_are_named(name: str, settings: dict[str, str], said: str) -> None:
    (text,) = made(name, of=cluster({"db1": settings})).blockers()
    assert said in text and "--fault kill" in text


def test_what_stands_in_the_way_is_told() -> None:
    two, lone = larger(2, etcd=1), larger(1, etcd=1, durability="asynchronous")
    pair = views.view()
    assert made("replicas-off", of=two).blockers() == ["needs 2 replicas, and there is 1"]
    assert any("etcd would have 0 of its 1 members" in text for text in made("host-off", of=two).blockers())
    assert any("nobody could take over" in text for text in made("postgres-kill", of=lone).blockers())
    assert made("partition", answer=Hosts(1)).blockers() == [
        "db1 has no nft, which would drop the packets: install the package nftables"
    ]
    assert made("partition", answer=Hosts(None, problem="unreachable")).blockers() == ["db1: unreachable"]
    silent = {n: views.database(n, etcd=views.etcd(n, quorum=False)) for n in views.DATABASES}
    assert made("etcd-leader-kill", view=ClusterView(pair.hosts | silent)).blockers() == [
        "etcd has no leader now (`invoke status`)"
    ]
    unsafe = views.with_keys(config='{"failsafe_mode": false}')
    assert "failsafe_mode is off" in made("etcd-all-stop", view=unsafe).blockers()[0]


def test_the_proxy_that_clients_come_through_is_struck() -> None:
    on_second = views.shared(proxy1=views.sharer("proxy1"), proxy2=views.sharer("proxy2", "eth0"))
    for name in (*sorted(OF_PROXIES), "haproxy-kill"):
        assert [host.name for host in made(name, of=SHARED, view=on_second, by_address=True).hosts] == ["proxy2"]
        assert [host.name for host in made(name, of=SHARED, view=on_second).hosts] == ["proxy1"]


def test_by_the_address_a_hung_proxy_is_left_and_one_that_is_killed_is_waited_for() -> None:
    hang, listed = (made("proxy-hang", view=views.shared(), by_address=by).prediction() for by in (True, False))
    assert (hang.effect, listed.effect) == (KEEPS, STOPS)
    assert hang.within > LAN.entry_leaves[1] and hang.unread and not listed.unread
    off = made("proxy-host-off", view=views.shared(), by_address=True).prediction()
    assert off.unread and off.phases == {"moved": LAN.entry_moves} and hang.phases == {"moved": LAN.entry_leaves}
    kill = made("haproxy-kill", of=SHARED, view=views.shared(), by_address=True).prediction()
    assert kill.within > made("haproxy-kill", of=SHARED, view=views.shared()).prediction().within


def test_where_there_is_one_proxy_alone_it_is_left_alone() -> None:
    for name in OF_PROXIES:
        assert "there is only one host in group haproxy" in made(name, of=cluster(POWERED)).blockers()[0]
    both = hosts({"proxy1": POWER, "proxy2": POWER}, two=True)
    both["proxy1"] = RawHost(frozenset({"haproxy", "etcd"}), both["proxy1"].data)
    both["proxy2"] = RawHost(frozenset({"haproxy", "etcd"}), both["proxy2"].data)
    assert made("proxy-host-off", of=build(both)).blockers() == ["proxy1 has etcd, too: that is lost with it"]


def test_a_disk_is_filled_only_where_that_harms_nothing_else() -> None:
    others = {"/", "/var/lib/etcd"}
    assert disk_problems("/wal/pg_wal", "/wal", 10**9, others) == []
    assert "others need too" in disk_problems("/var/lib/pg", "/", 10**9, others)[0]
    assert "100 GB free" in disk_problems("/wal/pg_wal", "/wal", 100 * 1024**3, others)[0]


def test_every_fault_that_is_written_can_be_chosen() -> None:
    def concrete(kind: type[BaseFault]) -> set[type[BaseFault]]:
        below = {one for child in kind.__subclasses__() for one in concrete(child)}
        ours = kind.__module__.startswith("day2.") and hasattr(kind, "name") and not inspect.isabstract(kind)
        return below | ({kind} if ours else set())

    assert concrete(BaseFault) == set(FAULTS.values()), "a class of day2/faults/ that is missing in _ALL"


def test_that_reads_find_no_server_is_predicted_where_the_cluster_can_not_serve_them() -> None:
    unread = {name for name in FAULTS if made(name).prediction().unread}
    assert unread == {"kill", "replicas-off", "haproxy-kill"}


def test_the_documentation_has_every_fault_with_its_effect_and_bound() -> None:
    text = (ROOT / "docs/proof.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[a-z].*?`) \| .*? \| (.*) \| ([\d.]+) s \|$", text, re.MULTILINE)
    told = {name: (effect, float(bound)) for names, effect, bound in rows for name in re.findall(r"`(\S+?)`", names)}
    assert set(told) == set(FAULTS)
    for name, (effect, bound) in told.items():
        said = prediction(name)
        assert effect.startswith(said.effect.value.split()[0]), name
        assert bound == pytest.approx(said.within, abs=0.05), name
