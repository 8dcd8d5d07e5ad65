"""Logical slots: for whom their consumers wait, what keeps them from surviving, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import views
from clusters import cluster

from agents.keys import Keys, Value
from agents.standby_slots import DROP_FORMER, StandbySlots, take_back
from cluster.dynamic_config import postgres_parameters
from cluster.errors import SettingsError
from cluster.quorum import Configuration
from cluster.slots import NEAR_BYTES, NOT_YET, STANDBYS_FIRST, consumers_wait_for
from cluster.topology import Cluster
from day2.faults import choose
from day2.faults.fault import FaultContext
from day2.faults.switchover import Switchover
from day2.procedures.steps import HandOver
from day2.procedures.switchover import target
from health.rules import findings
from health.rules.slots import lost_with
from health.states import Slot
from health.view import ClusterView

QUORUM = Configuration(7, "db1", frozenset({"db2", "db3"}), 1)
FAR = 10 * NEAR_BYTES


def test_consumers_wait_for_the_quickest_of_those_that_acknowledge() -> None:
    assert consumers_wait_for(QUORUM, {"db2": 100, "db3": 101}) == {"db3"}
    assert consumers_wait_for(QUORUM, {"db2": 100}) == {"db2"}


def test_with_durability_all_they_wait_for_all() -> None:
    assert consumers_wait_for(replace(QUORUM, quorum=0), {"db2": 1}) == {"db2", "db3"}


def test_where_nobody_acknowledges_they_wait_for_nobody() -> None:
    assert consumers_wait_for(replace(QUORUM, voters=frozenset(), quorum=0), {"db2": 1}) == frozenset()


def test_the_choice_is_kept_while_it_keeps_up_and_no_longer() -> None:
    assert consumers_wait_for(QUORUM, {"db2": FAR, "db3": FAR + 9}, frozenset({"db2"})) == {"db2"}
    assert consumers_wait_for(QUORUM, {"db2": 0, "db3": FAR}, frozenset({"db2"})) == {"db3"}
    assert consumers_wait_for(QUORUM, {"db3": 5}, frozenset({"db2"})) == {"db3"}
    assert consumers_wait_for(replace(QUORUM, voters=frozenset({"db3"}), quorum=0), {"db3": 5}, frozenset({"db2"})) == {"db3"}


@pytest.mark.parametrize("quorum", range(3))
def test_every_quorum_includes_one_that_consumers_waited_for(quorum: int) -> None:
    """Any `quorum` + 1 members without the leader: then a candidate with a quorum has what consumers have."""
    voters = frozenset({"a", "b", "c"})
    waited = consumers_wait_for(Configuration(1, "l", voters, quorum), {})
    assert len(waited) + quorum + 1 > len(voters)


class Psql:
    """Answers as PostgreSQL would."""

    def __init__(self, *, recovering: bool, flushed: dict[str, int], now: str | None = None) -> None:
        self.recovering, self.flushed, self.now, self.sent = recovering, flushed, now, list[str]()

    def ask(self, *statements: str) -> Any:
        self.sent += [s for s in statements if s.startswith("ALTER")]
        if statements == (DROP_FORMER,):
            self.sent.append("DROP")
            return []
        return {"recovering": self.recovering, "flushed": self.flushed, "set": self.now}


def keys(leader: str, mode: str = "quorum") -> Keys:
    sync = '{"leader": "db1", "sync_standby": "db2,db3", "quorum": 1}'
    return Keys(9, Value(leader, 3, 3), Value(sync, 8, 3), Value(f'{{"synchronous_mode": "{mode}"}}', 2, 2), None, None, None, {})


@pytest.mark.parametrize(
    ("leader", "recovering", "wanted"),
    [("db1", False, "db2"), ("db1", True, NOT_YET), ("db2", False, NOT_YET)],
    ids=["the primary", "one that is being promoted", "one that does not lead"],
)
def test_only_a_primary_says_for_whom(leader: str, recovering: bool, wanted: str) -> None:
    psql = Psql(recovering=recovering, flushed={"db2": 5})
    StandbySlots("db1", psql).settle(keys(leader))  # type: ignore[arg-type]
    assert [s for s in psql.sent if s != "DROP"] == [f"ALTER SYSTEM SET {STANDBYS_FIRST} = '{wanted}';"]


@pytest.mark.parametrize("recovering", [True, False])
def test_with_asynchronous_replication_consumers_wait_for_nobody_whatever_was_set_before(recovering: bool) -> None:
    psql = Psql(recovering=recovering, flushed={}, now=NOT_YET)
    StandbySlots("db1", psql).settle(keys("db1", "off"))  # type: ignore[arg-type]
    assert psql.sent[0] == f"ALTER SYSTEM SET {STANDBYS_FIRST} = '';"


@pytest.mark.parametrize(
    ("now", "ours"),
    [(NOT_YET, True), ("pg_sv02", False), ("", False), (None, False), ("mine", False)],
)
def test_without_slots_in_the_settings_what_was_set_for_them_is_taken_back(now: str | None, ours: bool) -> None:
    psql = Psql(recovering=False, flushed={}, now=now)
    take_back(psql)  # type: ignore[arg-type]
    assert psql.sent == [f"ALTER SYSTEM RESET {STANDBYS_FIRST};"] * ours


def test_for_whom_consumers_wait_is_said_by_hand_only_without_slots_in_the_settings() -> None:
    view = views.view(db1=views.database("db1", postgres=views.postgres("db1", altered={STANDBYS_FIRST: "db2"})))
    altered = [[f.rule for f in findings(view, of)].count("settings.altered") for of in (shop(), cluster(**BASE))]
    assert altered == [0, 1]


def test_what_is_set_already_is_not_set_again() -> None:
    psql = Psql(recovering=True, flushed={}, now=NOT_YET)
    StandbySlots("db3", psql).settle(keys("db1"))  # type: ignore[arg-type]
    assert psql.sent == ["DROP"]


@pytest.mark.parametrize(("leader", "recovering"), [("db1", True), ("db1", False), ("db2", False)])
def test_only_a_replica_of_another_one_drops_the_slots_that_were_its_own(leader: str, recovering: bool) -> None:
    psql = Psql(recovering=recovering, flushed={})
    StandbySlots("db1", psql).settle(keys(leader))  # type: ignore[arg-type]
    assert "DROP" not in psql.sent


BASE: dict[str, Any] = {"postgres_roles": [{"name": "app"}], "postgres_databases": [{"name": "shop", "owner": "app"}]}
ORDERS = [{"name": "orders", "database": "shop"}]


def shop(**settings: Any) -> Cluster:
    return cluster(**{**BASE, "postgres_slots": ORDERS, **settings})


def test_with_a_slot_the_parameters_are_those_it_needs() -> None:
    got = postgres_parameters(shop())
    assert (got["wal_level"], got["sync_replication_slots"], got["hot_standby_feedback"]) == ("logical", "on", "on")
    assert got[STANDBYS_FIRST] == NOT_YET
    assert STANDBYS_FIRST not in postgres_parameters(shop(durability="asynchronous")), "nothing there is promised to survive"
    assert "wal_level" not in postgres_parameters(cluster(**BASE))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"postgres_slots": ORDERS * 2}, "postgres_slots: 'orders' is there 2 times"),
        ({"postgres_slots": [{"name": "db1", "database": "shop"}]}, "'db1' is the name of db1's own slot"),
        ({"postgres_slots": [{"name": "pgquorum_x", "database": "shop"}]}, "'pgquorum_x' is a name that this tool keeps"),
        ({"postgres_slots": [{"name": "o", "database": "shp"}]}, "not in postgres_databases (did you mean 'shop'?)"),
        ({"postgres_slots": [{"name": "o"}]}, "postgres_slots[0][database] is needed and not set"),
        ({"postgres_parameters": {"wal_level": "replica"}}, "[wal_level] = 'replica': with postgres_slots it is 'logical'"),
        ({"postgres_parameters": {"hot_standby_feedback": False}}, "with postgres_slots it is 'on'"),
        ({"postgres_parameters": {"synchronized_standby_slots": "db2"}}, "durability"),
        ({"postgres_parameters": {"max_replication_slots": 4}, "postgres_slots": [*ORDERS, ORDERS[0] | {"name": "b"}]}, "need 5"),
        (
            {"postgres_parameters": {"max_wal_senders": 4}},
            "[max_wal_senders] = 4: 2 replicas, 1 postgres_slots and 2 for the copy of",
        ),
        ({"postgres_parameters": {"max_wal_senders": 3}, "postgres_slots": []}, "need 4: should be at least that"),
    ],
)
def test_a_slot_that_can_t_be_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError) as refused:
        shop(**settings)
    assert said in str(refused.value)


def test_senders_for_all_are_enough() -> None:
    assert shop(postgres_parameters={"max_wal_senders": 5}).postgres.slots
    assert cluster(postgres_parameters={"max_wal_senders": 4}).postgres_hosts


LOGICAL = Slot("orders", "logical", True, "reserved", 0, None, "shop", failover=True)
COPY = replace(LOGICAL, active=False, synced=True)


def seen(on_primary: Slot | None, **copies: Slot) -> ClusterView:
    def database(name: str, slot: Slot | None) -> Any:
        slots = views.postgres(name).slots + ((slot,) if slot else ())
        return views.database(name, postgres=views.postgres(name, slots=slots))

    return views.view(db1=database("db1", on_primary), **{name: database(name, copies.get(name)) for name in ("db2", "db3")})


def told(view: ClusterView) -> list[tuple[str, str]]:
    return [(f.rule, f.about) for f in findings(view, cluster(**BASE, postgres_slots=ORDERS)) if f.rule.startswith("slots.")]


def test_a_slot_that_every_replica_has_is_fine() -> None:
    view = seen(LOGICAL, db2=COPY, db3=COPY)
    assert told(view) == []
    assert list(lost_with(view, "db2")) == []


def test_a_slot_that_is_not_there_is_named() -> None:
    assert told(seen(None)) == [("slots.missing", "slots")]


@pytest.mark.parametrize(
    "copy",
    [None, replace(COPY, temporary=True), replace(COPY, synced=False), replace(COPY, wal_status="lost")],
    ids=["none", "not ready", "its own", "lost"],
)
def test_a_replica_without_a_good_copy_is_named_and_does_not_take_over(copy: Slot | None) -> None:
    view = seen(LOGICAL, db2=COPY, **({"db3": copy} if copy else {}))
    assert told(view) == [("slots.not-synced", "db3")]
    assert list(lost_with(view, "db2")) == []
    (text,) = lost_with(view, "db3")
    assert text.startswith("logical slot orders is not on db3 yet and would be lost")


def trial(view: ClusterView, name: str) -> Any:
    of = shop()
    return choose(name, FaultContext(None, of, None, view, of.timing))  # type: ignore[arg-type]


def test_a_switchover_as_a_test_loses_no_slot_either() -> None:
    """As `invoke switchover`, it goes to a replica that has them all, and is refused where none has. A failover does not ask."""
    assert target(seen(LOGICAL, db2=COPY), shop(), None) == trial(seen(LOGICAL, db2=COPY), "switchover").to == "db2"
    assert trial(seen(LOGICAL, db2=COPY), "switchover").blockers() == []
    (text,) = trial(seen(LOGICAL), "switchover").blockers()
    assert text.startswith("logical slot orders is not on db3 yet and would be lost")
    assert trial(seen(LOGICAL), "postgres-kill").blockers() == []


def test_a_switchover_whose_owner_accepts_that_goes_on() -> None:
    of, view = shop(), seen(LOGICAL)
    planned = (HandOver("db1", "db2"),)
    assert Switchover(FaultContext(None, of, None, view, of.timing), planned).blockers() == []  # type: ignore[arg-type]


def test_a_slot_that_postgresql_would_not_copy_keeps_everybody_from_taking_over() -> None:
    view = seen(replace(LOGICAL, failover=False), db2=COPY, db3=COPY)
    assert told(view) == [("slots.undeclared", "slots")]
    (text,) = lost_with(view, "db2")
    assert "pg_drop_replication_slot('orders')" in text and "postgres_slots" in text and "failover = true" in text


def test_one_that_its_consumer_has_lost_holds_nobody_up() -> None:
    view = seen(replace(LOGICAL, wal_status="lost"), db2=replace(COPY, wal_status="lost"))
    assert told(view) == [("slots.consumer-lost", "slots")]
    (text,) = (f.text for f in findings(view, cluster(**BASE, postgres_slots=ORDERS)) if f.rule == "slots.consumer-lost")
    assert text.endswith(
        "`select pg_drop_replication_slot('orders')`, then a deploy makes it anew, and its consumer begins with a copy"
    )
    assert list(lost_with(view, "db2")) == []


def test_a_replica_that_has_lost_its_own_slot_is_a_problem() -> None:
    for state in ("lost", "unreserved"):
        slots = (Slot("db2", "physical", False, state, 0, None), Slot("receiver", "physical", False, state, 0, None))
        view = views.view(db1=views.database("db1", postgres=views.postgres("db1", slots=slots)))
        found = [(f.rule, f.level) for f in findings(view, cluster()) if f.rule.startswith("slots.")]
        assert found == [("slots.lost", "problem"), ("slots.consumer-lost", "warning")]


def test_one_of_a_session_is_nobody_s_loss() -> None:
    assert list(lost_with(seen(replace(LOGICAL, failover=False, temporary=True)), "db2")) == []
