"""What is told of transaction IDs that are not reclaimed."""

from __future__ import annotations

import pytest
import views

from health.deployed import unmet
from health.finding import Finding
from health.rules import blocking, findings
from health.states import Horizon, OldestIds

MILLION = 1_000_000


def told(oldest: OldestIds, horizon: Horizon | None = None) -> list[Finding]:
    server = views.postgres("db1", oldest_ids=oldest, horizon=horizon)
    found = findings(views.view(db1=views.database("db1", postgres=server)), views.SHOP)
    return [one for one in found if one.rule.startswith("transactions.")]


@pytest.mark.parametrize(
    ("transactions", "multixacts", "begins", "rule"),
    [
        (200, 400, 400, None),  # where PostgreSQL itself begins
        (1073, 0, 400, None),
        (1074, 0, 400, "transactions.not-frozen"),
        (0, 1074, 400, "transactions.not-frozen"),
        (1599, 0, 1500, None),  # an owner who has it begin so late
        (1600, 0, 400, "transactions.nearly-used-up"),
        (1600, 0, 2000, "transactions.nearly-used-up"),
        (1074, 2100, 400, "transactions.nearly-used-up"),
    ],
)
def test_they_are_told_long_before_they_run_out(transactions: int, multixacts: int, begins: int, rule: str | None) -> None:
    oldest = OldestIds("app", transactions * MILLION, multixacts * MILLION, begins * MILLION)
    assert [found.rule for found in told(oldest)] == ([rule] if rule else [])


def test_the_database_is_named_and_what_has_kept_them_for_long_enough() -> None:
    oldest = OldestIds("app", 1700 * MILLION, 0, 400 * MILLION)
    (found,) = told(oldest, Horizon("prepared transaction x", 1650 * MILLION))
    assert "transaction ID of database app is 1,700,000,000 old, and at 2,144,483,648" in found.text
    assert "; prepared transaction x keeps what is up to 1,650,000,000 transactions old" in found.text
    (found,) = told(oldest, Horizon("process 4711 (client backend)", 150 * MILLION))
    assert "4711" not in found.text
    (found,) = told(OldestIds("app", 20 * MILLION, 1700 * MILLION, 400 * MILLION), Horizon("process 4711", 19 * MILLION))
    assert "the oldest multixact of database app" in found.text and "; process 4711 keeps" in found.text


def test_no_planned_change_and_no_deploy_waits_for_vacuum() -> None:
    found = told(OldestIds("app", 1700 * MILLION, 0, 400 * MILLION))
    assert [one.level for one in found] == ["problem"]
    assert blocking(found, views.SHOP) == () and unmet(found) == ()
