"""Who holds what was acknowledged, told beforehand: who alone has it, who could lead with all of it, who can be spared."""

from __future__ import annotations

from dataclasses import replace

import views
from clusters import cluster

from cluster.quorum import Configuration
from health.dcs import Configurations
from health.rules import candidates, findings
from health.rules.holders import Alone, alone, last_copy, not_spared
from health.view import ClusterView, HostView

SHOP = cluster()
BOTH = Configuration(90, "db1", frozenset({"db2", "db3"}), 1)
ONE = Configuration(95, "db1", frozenset({"db2"}), 0)
MEGABYTE = 1024**2


def database(name: str, configurations: Configurations, **differs: object) -> HostView:
    return views.database(name, etcd=views.etcd(name, configurations=configurations), **differs)


def lagging(*lags: int, configurations: Configurations | None = None, **hosts: HostView) -> ClusterView:
    """The shop with db2 and db3 so many bytes behind."""
    noted = configurations or Configurations((BOTH,), confirmed=90)
    senders = tuple(views.sender(name, received_lag=lag) for name, lag in zip(("db2", "db3"), lags, strict=False))
    primary = {"postgres": views.postgres("db1", senders=senders)}
    behind = {
        name: {"postgres": views.postgres(name, received=views.POSITION - lag, replayed=views.POSITION - lag)}
        for name, lag in zip(("db2", "db3"), lags, strict=False)
    }
    seen = {name: database(name, noted, **differs) for name, differs in ({"db1": primary} | behind).items()}
    return views.view(**(seen | hosts))


def shrunk(*lags: int, complete: bool = True) -> ClusterView:
    """db3 has left, and nobody has confirmed that db2 has what only db3 had."""
    noted = Configurations((ONE, BOTH) if complete else (ONE,), complete=complete, confirmed=90)
    gone = database("db3", noted, postgres=None, patroni=views.patroni("db3", state="stopped"))
    return lagging(*lags, configurations=noted, db3=gone)


def leaderless(view: ClusterView) -> ClusterView:
    """The same without the primary's host, and the leader key gone."""
    hosts = {
        name: replace(host, etcd=replace(host.etcd, keys={k: v for k, v in host.etcd.keys.items() if k != "leader"}))
        for name, host in view.hosts.items()
        if host.etcd
    }
    return ClusterView({**view.hosts, **hosts, "db1": views.unreachable("db1")})


def said(view: ClusterView, about: str) -> list[tuple[str, str]]:
    return [(f.level, f.text) for f in findings(view, SHOP) if f.about == about]


def reasons(view: ClusterView, name: str) -> tuple[str, ...]:
    return next(one.reasons for one in candidates(view, SHOP) if one.name == name)


def test_who_alone_has_what_was_acknowledged() -> None:
    assert alone({"db2": 3000, "db3": 100}, BOTH) == Alone(("db3",), 2900)
    assert alone({"db3": 100}, BOTH) is None
    assert alone({"db2": 3000}, ONE) is None
    assert alone({"db2": 3000, "db3": 100}, Configuration(1, "db1", frozenset({"db2", "db3"}), 0)) is None


def test_while_one_voter_lags_the_other_must_not_be_stopped() -> None:
    view = lagging(3 * MEGABYTE, 100)
    assert said(view, "acknowledged") == [
        ("warning", f"db3 alone beside the primary has the last {3 * MEGABYTE - 100} bytes: do not stop it")
    ]
    assert reasons(view, "db2") == (f"has not all that db3 has, which may have been acknowledged: {3 * MEGABYTE - 100} bytes",)
    assert reasons(view, "db3") == ()


def test_what_a_busy_primary_writes_between_two_looks_is_no_news() -> None:
    view = lagging(100_000, 0)
    assert said(view, "acknowledged") == [] and reasons(view, "db2") == ()


def test_until_a_change_is_confirmed_the_one_that_left_is_needed() -> None:
    view = shrunk(50_000)
    assert said(view, "quorum") == [
        (
            "warning",
            "replicas have not caught up since the last change of voters (db2 by 50000 bytes), and db3 may have what nobody else"
            " has: do not lose it",
        )
    ]
    assert "another replica (db3) must confirm that, and none can" in reasons(view, "db2")[0]
    assert any("not possible now" in text for _, text in said(view, "failover"))
    assert reasons(shrunk(50_000, complete=False), "db2") != ()


def test_once_it_is_confirmed_it_is_not() -> None:
    noted = Configurations((replace(ONE, revision=95),), confirmed=95)
    gone = database("db3", noted, postgres=None, patroni=None, problems={"patroni": "refused"})
    view = lagging(50_000, configurations=noted, db3=gone)
    assert said(view, "quorum") == [("ok", "what was acknowledged is held by db2")]
    assert reasons(view, "db2") == ()


def test_where_nobody_may_lead_it_is_said_whom_to_bring_back() -> None:
    view = leaderless(shrunk(50_000))
    (way_out,) = [text for _, text in said(view, "failover") if text.startswith("bring back")]
    assert way_out.startswith("bring back db1 or db3: it may have acknowledged writes that nobody else has")
    assert "up to 50000 bytes" in way_out and "`invoke failover --accept-loss db2`" in way_out


def test_in_the_middle_of_an_ordinary_failover_nobody_has_to_be_brought_back() -> None:
    view = leaderless(lagging(0, 0))
    assert [text for _, text in said(view, "failover") if text.startswith("bring back")] == []


def test_a_replica_that_has_not_read_all_of_its_own_log_has_no_vote() -> None:
    noted = Configurations((BOTH,), confirmed=90)
    view = lagging(
        0, 0, db3=database("db3", noted, postgres=views.postgres("db3", at_log_end=False, received=None, receiver=None))
    )
    assert "another replica (db3) must confirm that" in reasons(view, "db2")[0]


def test_who_can_be_spared() -> None:
    since = views.POSITION
    assert not_spared(lagging(0, 5000), "db3", since) == ()
    assert not_spared(lagging(5000, 0), "db3", since) == ("db2 is 5000 bytes behind",)
    assert not_spared(lagging(5000, 0), "db3", since - 5000) == ()
    assert not_spared(lagging(5000, 0), "db2", since) == ()
    assert not_spared(shrunk(0), "db3", since) == ("the change of voters is not confirmed yet",)


def test_the_only_copy_does_not_go() -> None:
    """The other replica is no voter any more, so that it is not waited for."""
    alone = Configurations((Configuration(95, "db1", frozenset({"db3"}), 0),), confirmed=95)
    view = lagging(5000, 0, configurations=alone)
    assert not_spared(view, "db3", views.POSITION) == ()
    assert last_copy(view, views.SHOP, "db3") == (
        "db3 alone has what was acknowledged, besides the primary: db2 must confirm writes first"
    )
    assert last_copy(view, views.SHOP, "db2") == ""
    assert last_copy(lagging(0, 0), views.SHOP, "db3") == ""
