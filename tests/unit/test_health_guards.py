"""Guards and what belongs to them, as `status` tells of them."""

from __future__ import annotations

from dataclasses import replace

import views
from clusters import cluster

from health.finding import Finding
from health.rules.machines import guards
from health.view import ClusterView

FAST = cluster(fast_failover=True)
GUARD, ONE = "pgquorum-guard.service", "pgquorum-one-primary.service"


def found(view: ClusterView) -> list[Finding]:
    return list(guards(view, FAST))


def guarded() -> ClusterView:
    view = views.view()
    running = {name: replace(one, units=one.units | {GUARD: "active", ONE: "active"}) for name, one in view.hosts.items()}
    return replace(view, hosts=running)


def test_without_the_setting_nothing_is_asked() -> None:
    assert list(guards(views.view(), cluster())) == []


def test_where_they_run_a_host_is_given_up_soon() -> None:
    (one,) = found(guarded())
    assert (one.level, one.text) == ("ok", "a primary whose host is gone is given up within seconds")


def test_one_that_does_not_run_is_named_with_what_it_costs() -> None:
    view = guarded()
    db2, proxy = view.hosts["db2"], view.hosts["proxy1"]
    hosts = {**view.hosts, "db2": replace(db2, units=db2.units | {GUARD: "failed"})}
    hosts["proxy1"] = replace(proxy, units=proxy.units | {ONE: "not-found"})
    told = {(one.rule, one.about): one.text for one in found(replace(view, hosts=hosts))}
    assert told.keys() == {("services.guard-not-active", "db2"), ("services.one-primary-not-active", "proxy1")}
    assert "pgquorum-guard.service is failed: a primary whose host is gone" in told["services.guard-not-active", "db2"]


def test_a_host_that_is_off_is_told_by_others() -> None:
    view = guarded()
    hosts = {**view.hosts, "db3": views.unreachable("db3")}
    assert [one.level for one in found(replace(view, hosts=hosts))] == ["ok"]
