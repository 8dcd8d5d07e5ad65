"""What notes that a configuration is confirmed: by whom, from when on, and not before replicas have what the primary had."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from stores import Store, sync

from agents import confirm_quorum
from agents.confirm_quorum import Confirmer, Look
from agents.keys import ClusterKeys
from agents.specification import Specification


class Primary:
    """A PostgreSQL that is seen in one state after the other; the last again and again."""

    def __init__(self, *looks: Look) -> None:
        self._looks = list(looks)

    def look(self) -> Look:
        return self._looks.pop(0) if len(self._looks) > 1 else self._looks[0]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SOON_SECONDS", "LATE_SECONDS", "AGAIN_SECONDS"):
        monkeypatch.setattr(f"agents.confirm_quorum.{name}", 0.0)


def store(leader: str = "db1", **values: object) -> Store:
    kept = Store()
    kept.put(leader=leader, config={"synchronous_mode": "quorum"}, **values)
    return kept


def confirmer(kept: Store, *looks: Look) -> Confirmer:
    return Confirmer("db1", ClusterKeys(kept, "shop", ("db1", "db2", "db3")), Primary(*looks))


def confirmed(kept: Store) -> int:
    return int(json.loads(kept.text("confirmed") or '{"revision": 0}')["revision"])


def test_a_configuration_is_confirmed_when_its_voters_have_what_the_primary_had() -> None:
    kept = store(sync=sync("db1", "db2", "db3", quorum=1))
    steps = confirmer(kept, Look(100, {"db2": 90, "db3": 95}), Look(200, {"db2": 90, "db3": 99}), Look(300, {"db3": 100}))
    steps.step()
    steps.step()
    assert confirmed(kept) == 0
    steps.step()
    assert confirmed(kept) == 2


def test_the_barrier_is_read_anew_for_each_configuration() -> None:
    kept = store(sync=sync("db1", "db2", "db3", quorum=1))
    steps = confirmer(kept, Look(100, {"db3": 50}), Look(200, {"db2": 150}), Look(300, {"db2": 199}), Look(400, {"db2": 200}))
    steps.step()
    shrunk = kept.put(sync=sync("db1", "db2", quorum=0))
    steps.step()
    steps.step()
    assert confirmed(kept) == 0
    steps.step()
    assert confirmed(kept) == shrunk


def test_where_the_primary_may_acknowledge_alone_there_is_nothing_to_wait_for() -> None:
    kept = store(sync=sync("db1", quorum=0))
    confirmer(kept, Look(100, {})).step()
    assert confirmed(kept) == 2


@pytest.mark.parametrize(
    "kept",
    [
        store("db2", sync=sync("db1", "db2", "db3", quorum=1)),  # another one leads
        store(sync=sync("db2", "db1", "db3", quorum=1)),  # the configuration is not its own yet
        store(sync=sync("db1", "db2", quorum=0), confirmed={"revision": 2, "by": "db1"}),  # done
        store(),  # replication is not synchronous
    ],
)
def test_otherwise_it_waits_for_a_change(kept: Store) -> None:
    with pytest.raises(AssertionError, match="wait for a change"):
        confirmer(kept, Look(100, {"db2": 100, "db3": 100})).step()


def test_a_server_in_recovery_confirms_nothing() -> None:
    kept = store(sync=sync("db1", quorum=0))
    confirmer(kept, Look(None, {})).step()
    assert confirmed(kept) == 0


def test_who_has_lost_the_leader_key_meanwhile_confirms_nothing() -> None:
    kept = store(sync=sync("db1", quorum=0))
    keys = ClusterKeys(kept, "shop", ("db1",))
    before = keys.read()
    kept.put(leader="db2")
    assert not keys.confirm(before, "db1")


@pytest.mark.parametrize(("logical_slots", "asked"), [(False, 2), (True, 0)])
def test_what_is_left_of_logical_slots_is_taken_back_once_as_soon_as_there_is_a_server(
    monkeypatch: pytest.MonkeyPatch, logical_slots: bool, asked: int
) -> None:
    """What it is there for it does all the same."""
    steps, tries = list[int](), list[tuple[str, ...]]()

    def step() -> None:
        steps.append(1)
        if len(steps) == 4:
            raise KeyboardInterrupt

    def take_back(session: object) -> None:
        tries.append(session)
        if len(tries) == 1:
            raise OSError("no server")

    for module in ("lock_table", "log_end"):
        monkeypatch.setattr(f"agents.{module}.watch", lambda specification: None)
    monkeypatch.setattr("agents.gate_server.start", lambda specification: None)
    monkeypatch.setattr(Specification, "etcd_tls", lambda self: None)
    for name, value in (("Etcd", object), ("ClusterKeys", object), ("StandbySlots", object), ("Timelines", object)):
        monkeypatch.setattr(confirm_quorum, name, lambda *given, made=value: made())
    monkeypatch.setattr(confirm_quorum, "Session", lambda specification: SimpleNamespace(leave=lambda: None))
    monkeypatch.setattr(confirm_quorum, "Confirmer", lambda *given: SimpleNamespace(step=step))
    monkeypatch.setattr(confirm_quorum, "take_back", take_back)
    of = Specification("db1", "shop", (), {"db1": "x", "db2": "y"}, "", "", "", 5432, "", logical_slots=logical_slots)
    with pytest.raises(KeyboardInterrupt):
        confirm_quorum.main(of)
    assert len(tries) == asked
