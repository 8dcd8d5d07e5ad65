"""The timers: what Patroni and etcd would change or refuse is told, and what a failover may cost at most is predicted."""

from __future__ import annotations

import pytest
from clusters import cluster

from cluster.dynamic_config import postgres_parameters
from cluster.timing import PROFILES, RETRY_SECONDS, WAL_SENDER_SECONDS, Timing

LAN = PROFILES["lan"]


def with_(**timers: int) -> Timing:
    return LAN.model_copy(update=timers)


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_keeps_the_rules(profile: str) -> None:
    timing = PROFILES[profile]  # type: ignore[index]
    assert timing.problems() == []
    assert timing.loop_wait + 2 * timing.retry_timeout <= timing.ttl
    assert timing.election_ms >= 5 * timing.heartbeat_ms


@pytest.mark.parametrize(
    ("timers", "sentence"),
    [
        ({"ttl": 19}, "ttl = 19: Patroni's minimum is 20 seconds"),
        ({"loop_wait": 0}, "loop_wait = 0: Patroni's minimum is 1 second"),
        ({"retry_timeout": 2}, "retry_timeout = 2: Patroni's minimum is 3 seconds"),
        (
            {"loop_wait": 11},
            "ttl = 20: must be at least loop_wait + 2 * retry_timeout = 11 + 2 * 5 = 21 seconds",
        ),
        ({"election_ms": 499}, "election_ms = 499: etcd needs at least 5 * heartbeat_ms = 500"),
    ],
)
def test_a_broken_rule_is_one_sentence(timers: dict[str, int], sentence: str) -> None:
    assert with_(**timers).problems() == [sentence]


def test_at_the_limit_all_is_well() -> None:
    assert with_(loop_wait=10).problems() == []
    assert with_(election_ms=500).problems() == []


@pytest.mark.parametrize("timing", PROFILES.values(), ids=PROFILES)
def test_what_is_predicted_is_never_under_what_must_pass(timing: Timing) -> None:
    assert timing.routed_seconds() >= timing.rise * timing.downinter_ms / 1000
    earliest, latest = timing.key_gone(etcd_leader_lost=False)
    assert timing.ttl - timing.loop_wait >= earliest > 0
    assert latest >= timing.ttl


@pytest.mark.parametrize("timing", PROFILES.values(), ids=PROFILES)
def test_losing_the_etcd_leader_too_costs_its_election_and_the_whole_ttl(timing: Timing) -> None:
    election = timing.election_ms / 1000
    earliest, latest = timing.key_gone(etcd_leader_lost=True)
    assert timing.ttl + election <= earliest < latest
    assert latest - timing.key_gone(etcd_leader_lost=False)[1] <= 3 * election


def test_haproxy_takes_a_server_out_after_so_many_failed_checks() -> None:
    timing = with_(inter_ms=1000, fastinter_ms=500, fall=3)
    assert timing.taken_out(0) == (1.0, 2.0)
    assert timing.taken_out(1) == (3.0, 5.0)
    assert with_(inter_ms=10_000, connect_ms=700).connect_check == 0.7
    assert with_(inter_ms=200, connect_ms=700).connect_check == 0.2


@pytest.mark.parametrize("timing", PROFILES.values(), ids=PROFILES)
def test_whoever_asked_the_lost_hosts_etcd_asks_another_before_the_leader_key_goes(timing: Timing) -> None:
    """So no failover waits for it, as long as no key goes before its time is over."""
    assert timing.etcd_left < timing.key_gone(etcd_leader_lost=False)[0]


def test_a_replica_leaves_a_member_of_etcd_after_a_round_and_its_share_of_the_timeout() -> None:
    assert LAN.etcd_left == pytest.approx(3 + 0.5 + 5 / 3)


@pytest.mark.parametrize("timing", PROFILES.values(), ids=PROFILES)
def test_haproxy_tries_for_some_seconds_whatever_it_waits_between(timing: Timing) -> None:
    between = min(timing.connect_ms / 1000, 1.0)
    assert RETRY_SECONDS <= timing.connect_retries * between < RETRY_SECONDS + between


def test_the_wal_sender_is_given_up_when_postgres_says_so() -> None:
    assert postgres_parameters(cluster())["wal_sender_timeout"] == f"{WAL_SENDER_SECONDS:g}s"


def test_haproxy_has_to_leave_a_dead_patroni_before_another_may_lead() -> None:
    """Without a watchdog this is what keeps clients off a primary that nobody looks after any more."""
    assert all(timing.problems() == [] for timing in PROFILES.values())
    (problem,) = PROFILES["lan"].model_copy(update={"inter_ms": 16_000}).problems()
    assert "HAProxy" in problem and "ttl - loop_wait" in problem
