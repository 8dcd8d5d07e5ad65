"""What a plan costs applications is said before it runs, and held against nobody afterwards."""

from __future__ import annotations

from typing import Any

import proofs
import pytest
import views
from clusters import cluster

from day2.commands.change import measuring
from day2.procedures import removal, rolling
from day2.procedures.costs import costs
from day2.procedures.steps import RestartPostgres

SHOP = cluster()


def told(component: str, **how: Any) -> list[str]:
    plan = rolling.steps(views.shared(), views.SHARED, rolling.component_of(component), pending_only=False)
    return list(costs(views.shared(), views.SHARED, plan))


def test_a_restart_that_no_application_feels_costs_nothing() -> None:
    assert [told(component) for component in ("postgres", "patroni", "etcd", "haproxy", "pgbackrest")] == [[]] * 5


def test_a_restart_that_moves_the_virtual_address_cuts_who_comes_by_it() -> None:
    (one,) = told("keepalived")
    assert one.startswith("the sessions that come by 10.0.0.77 are cut, in mid-transaction, too: restart keepalived.service on")
    pools, moved = told("pgbouncer")
    assert "sends its clients away" in pools and moved.endswith("move 10.0.0.77 away from proxy1")


def test_a_proxy_host_that_is_removed_takes_the_address_along() -> None:
    (one,) = costs(views.shared(), views.SHARED, removal.steps(views.shared(), views.SHARED, "proxy1"))
    assert one.endswith("move 10.0.0.77 away from proxy1")


@pytest.mark.parametrize("lowered", [True, False])
def test_a_primary_that_is_restarted_in_its_place_answers_no_write_meanwhile(lowered: bool) -> None:
    plan = (RestartPostgres("db1", drained=not lowered),)
    assert (
        list(costs(views.view(), SHOP, plan)) == ["no write is answered while PostgreSQL is restarted where it leads"] * lowered
    )
    felt = measuring.Outcome("shop", plan, pooled=True, writes=proofs.write_check(failed=3), reads=9)
    assert bool(felt.failures) is not lowered


def test_where_there_is_one_server_its_restart_is_no_failure() -> None:
    plan = (RestartPostgres("db1", drained=False),)
    refused: dict[str, Any] = {"writes": proofs.write_check(failed=3), "reads": 9, "reads_refused": ["nobody"]}
    assert measuring.Outcome("shop", plan, only="db1", pooled=True, **refused).failures == ()
    assert measuring.Outcome("shop", plan, **refused).failures == ("1 reads found no server: nobody",)


def test_what_nobody_could_measure_is_no_failure() -> None:
    assert measuring.Outcome("shop", (), unmeasured="nobody led when it began").failures == ()
    assert measuring.Outcome("shop", ()).failures == ("the writes could not be counted: port 5000 leads to nobody",)
