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
    ("transactions", "multixacts", "rule"),
    [
        (200 * MILLION, 400 * MILLION, None),  # where PostgreSQL itself begins
        (1073 * MILLION, 0, None),
        (1074 * MILLION, 0, "transactions.not-frozen"),
        (0, 1074 * MILLION, "transactions.not-frozen"),
        (1600 * MILLION, 0, "transactions.nearly-used-up"),
        (1074 * MILLION, 2100 * MILLION, "transactions.nearly-used-up"),
    ],
)
def test_they_are_told_long_before_they_run_out(transactions: int, multixacts: int, rule: str | None) -> None:
    assert [found.rule for found in told(OldestIds("app", transactions, multixacts))] == ([rule] if rule else [])


def test_the_database_is_named_and_what_keeps_them() -> None:
    (found,) = told(OldestIds("app", 1700 * MILLION, 0), Horizon("prepared transaction x", 1650 * MILLION))
    assert "transaction ID of database app is 1,700,000,000 old, and at 2,144,483,648" in found.text
    assert "; prepared transaction x keeps what is up to 1,650,000,000 transactions old" in found.text
    (found,) = told(OldestIds("app", 0, 1700 * MILLION), Horizon("process 4711 (client backend)", 99 * MILLION))
    assert "the oldest multixact of database app" in found.text and "4711" not in found.text


def test_no_planned_change_and_no_deploy_waits_for_vacuum() -> None:
    found = told(OldestIds("app", 1700 * MILLION, 0))
    assert [one.level for one in found] == ["problem"]
    assert blocking(found, views.SHOP) == () and unmet(found) == ()
