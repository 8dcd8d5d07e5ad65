"""A replica that lags, alone and together with the loss of the two other hosts at the worst moment."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import views
from clusters import cluster
from test_faults import LAN, POWER, POWERED, Hosts, context, in_mode, larger, made, prediction

from cluster.errors import ClusterError
from cluster.topology import Host
from day2.faults import laggard
from day2.faults.lagging import BURST_KBYTES, KBYTES_PER_SECOND, MESSAGE_KBYTES, throttle
from day2.faults.processes import DatabaseKill
from day2.faults.voters import voters
from day2.faults.window import LAG_BYTES, Window
from day2.history.writes import Write, WriteOutcome
from day2.hosts.ssh import CommandResult
from day2.predictions.prediction import Effect

WINDOWS = ("lagging-then-stop", "lagging-then-crash", "lagging-then-restart", "lagging-then-off")
PRIMARY = cluster().host("db1")
WAL_SENDER_SECONDS = 10


class Refusing(Hosts):
    """Hosts where nothing works."""

    def run_all(self, commands: dict[str, str], stdin: str = "", seconds: float = 30) -> dict[str, CommandResult]:
        return {name: CommandResult(name, 1, problem="no such table") for name in commands}


class Broken(Window):
    """A window whose replica does not come back."""

    name = "broken"
    summary = "for this test"
    returns = False
    leaving_in_words = "breaks it"

    def leave(self) -> None:
        raise AssertionError("not to be called")

    def come_back(self) -> None:
        raise ClusterError("it does not come back")


def window(name: str, **of: Any) -> Window:
    fault = made(name, **of)
    assert isinstance(fault, Window)
    return fault


def test_only_what_postgresql_on_the_primary_sends_is_slow() -> None:
    (rule,) = [line for line in throttle(PRIMARY, 5433).inject.splitlines() if line.endswith("drop")]
    assert rule.startswith("ip saddr 10.0.0.1 tcp sport 5433 limit rate over ")
    six = Host("db1", PRIMARY.settings.model_copy(update={"address": "fd00::1"}))
    assert "\nip6 saddr fd00::1 tcp sport 5432 limit" in throttle(six, 5432).inject


def test_a_slow_stream_is_not_taken_for_a_dead_one() -> None:
    assert MESSAGE_KBYTES / KBYTES_PER_SECOND < 0.6 * WAL_SENDER_SECONDS
    assert BURST_KBYTES >= 64  # the largest packet


def test_a_throttle_and_other_harm_on_the_same_host_heal_by_timers_of_their_own() -> None:
    slow, other = throttle(PRIMARY, 5432), DatabaseKill(context()).host_script
    assert slow.timer != other.timer
    for host_script, foreign in ((slow, other), (other, slow)):
        for script in (host_script.injection, host_script.healing):
            assert f"timer={host_script.timer}\n" in script and f"timer={foreign.timer}\n" not in script
            assert script.index("timer=") < script.index("$timer")


def test_a_host_without_nft_and_a_cluster_without_a_replica_are_refused() -> None:
    assert "has no nft" in made("lagging-replica", answer=Hosts(1)).blockers()[0]
    lone = larger(1, etcd=1, durability="asynchronous")
    assert "nobody could take over" in made("lagging-replica", of=lone).blockers()[0]


def test_who_lags_is_one_that_no_write_waits_for() -> None:
    assert made("lagging-replica").host.name == "db2"
    assert made("lagging-replica", view=in_mode("synchronous")).host.name == "db2"  # writes wait for db3
    waiting = prediction("lagging-replica", of=larger(2, etcd=1))
    assert waiting.effect is Effect.KEEPS_RUNNING and waiting.within > MESSAGE_KBYTES / KBYTES_PER_SECOND
    assert prediction("lagging-replica", "asynchronous", of=larger(2, etcd=1)).within <= 1


def test_beside_another_fault_lags_one_that_is_no_target() -> None:
    for name, lags in (("host-off", "db2"), ("replica-off", "db3"), ("replicas-off", "db2")):
        (host,) = laggard(context(), made(name)).hosts
        assert host.name == lags


@pytest.mark.parametrize("name", WINDOWS)
def test_a_window_is_about_the_primary_the_one_that_leaves_and_the_one_that_lags(name: str) -> None:
    fault = window(name)
    assert [host.name for host in (fault.host, fault.leaving, fault.lagging)] == ["db1", "db2", "db3"]
    silent = {"db1", "db2"} if name == "lagging-then-off" else {"db1"}
    assert {host.name for host in fault.observers()} == {"db1", "db2", "db3", "proxy1"} - silent


@pytest.mark.parametrize("name", WINDOWS)
def test_a_window_is_refused_where_it_can_t_be_or_would_tell_nothing(name: str) -> None:
    assert "only the synchronous replica may lead" in window(name, view=in_mode("synchronous")).blockers()[0]
    assert "not promised to survive" in window(name, view=in_mode("asynchronous")).blockers()[0]
    assert "there is 1" in window(name, of=larger(2, etcd=1)).blockers()[0]
    assert "there are 3" in window(name, of=larger(4, etcd=3)).blockers()[0]
    assert "etcd would have 0 of its 1 members" in window(name, of=larger(3, etcd=1)).blockers()[0]
    assert window(name, answer=Hosts(1)).blockers() == [
        "db3 has no nft, which would drop the packets: install the package nftables"
    ]


def test_power_commands_are_needed_for_those_whose_power_is_cut() -> None:
    only_primary = cluster({"db1": POWER})
    for name in WINDOWS:
        found = window(name, of=only_primary).blockers()
        assert bool(found) == (name == "lagging-then-off")
        assert all("db2: no power_off and no power_on" in text for text in found)
        assert "db1: no power_off" in window(name, of=cluster()).blockers()[0]


def test_who_comes_back_by_itself_leads_and_else_nobody_does() -> None:
    for name in ("lagging-then-stop", "lagging-then-off"):
        said = prediction(name)
        assert said.effect is Effect.STOPS and said.hold > LAN.ttl + LAN.loop_wait
    for name in ("lagging-then-crash", "lagging-then-restart"):
        said = prediction(name)
        assert said.effect is Effect.FAILS_OVER and said.within > prediction("host-off").within
    assert not any(prediction(name).may_lose for name in WINDOWS)


def test_enough_lag_is_left_when_a_silent_host_is_given_up() -> None:
    silent = WAL_SENDER_SECONDS + LAN.loop_wait
    assert KBYTES_PER_SECOND * 1000 * silent < LAG_BYTES


def test_the_voters_are_read_from_patronis_own_text() -> None:
    assert voters(views.KEYS["sync"]) == ("db2", "db3")
    assert voters('{"leader": "db1", "sync_standby": null, "quorum": 0}') == ()
    assert voters(None) == ()


def test_the_fault_is_when_the_primary_was_lost_not_when_the_replica_left() -> None:
    fault = window("lagging-then-stop")
    fault._cut, fault._dead = 20.0, 21.0
    acknowledged = [Write(1, n, WriteOutcome.ACKNOWLEDGED, at - 0.1, at, "db1", 1) for n, at in enumerate((9.0, 20.4, 24.0))]
    assert fault.started_at(acknowledged, 5.0, 30.0) == 20.4
    assert fault.started_at(acknowledged[:1], 5.0, 30.0) == 20.0


def test_the_primary_gets_its_power_back_whatever_else_can_t_be_healed(tmp_path: Path) -> None:
    given = tmp_path / "given"
    switches = {"power_off": "false", "power_on": f"touch {given}"}
    fault = Broken(context(of=cluster(dict.fromkeys(POWERED, switches)), answer=Refusing()))
    with pytest.raises(ClusterError, match="db3: no such table; it does not come back"):
        fault.heal()
    assert given.exists()


def test_a_throttle_is_lifted_where_there_is_none(tmp_path: Path) -> None:
    nft = tmp_path / "nft"
    nft.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/said\ntest "$1" != list\n')
    nft.chmod(0o700)
    lift = throttle(PRIMARY, 5432).heal
    done = subprocess.run(["/bin/sh"], input=lift, text=True, env={"PATH": str(tmp_path)}, check=False)
    assert done.returncode == 0
    assert (tmp_path / "said").read_text() == "list table inet pgquorum_lag\n"
