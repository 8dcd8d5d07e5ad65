"""A guard: when it gives a leader up, and what a promise is worth. Three of them share an etcd in memory."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from stores import Store, sync

from agents import guard as module
from agents.etcd import EtcdError
from agents.fence import Kept, table
from agents.guard import Guard
from agents.log_position import Look, understood
from agents.promises import Notes
from agents.specification import Specification
from agents.terms import Terms
from cluster.fencing import Fence, Sighting

HOSTS = ("db1", "db2", "db3")
ADDRESSES = {name: f"10.0.0.{n}" for n, name in enumerate(HOSTS, 11)}
QUORUM = {"synchronous_mode": "quorum", "synchronous_mode_strict": True}


@dataclass
class Table:
    """A table of the packet filter, in memory."""

    rules: tuple[tuple[str, ...], tuple[int, ...]] | None = None
    log: list[str] = field(default_factory=list)

    def put(self, addresses: Sequence[str], ports: Sequence[int]) -> None:
        self.rules = tuple(addresses), tuple(ports)
        self.log.append("put")

    def remove(self) -> None:
        self.rules = None
        self.log.append("remove")

    def there(self) -> bool:
        return self.rules is not None


class Postgres:
    """A server that says what it is told to say; `seen` has what stood when it was asked."""

    def __init__(self, fence: Table) -> None:
        self.now: Look | None = Look(primary=False, timeline=3, lsn=900, started=17)
        self.seen: list[bool] = []
        self._fence = fence

    def look(self) -> Look | None:
        self.seen.append(self._fence.there())
        return self.now


class Host:
    """A guard with what it stands on."""

    def __init__(self, name: str, etcd: Store, folder: Path) -> None:
        self.silent: frozenset[str] = frozenset()
        self.primaries: set[str] = set()
        self.fence, self.shun = Table(), Table()
        self.postgres = Postgres(self.fence)
        self.folder, self.name, self.etcd = folder, name, etcd
        folder.mkdir(exist_ok=True)
        self.begin()

    def begin(self) -> None:
        patroni = {name: f"{address}:8008" for name, address in ADDRESSES.items()}
        spec = Specification(
            self.name, "shop", ("10.0.0.11:2379",), patroni, "", "psql", "/run", 5432, "", addresses=ADDRESSES, knock=(2380,)
        )
        notes, kept = Notes(self.etcd, "shop", HOSTS), Kept(self.folder / "fence.json")  # type: ignore[arg-type]
        postgres, leads = self.postgres, lambda name: name in self.primaries
        self.guard = Guard(spec, notes, lambda: self.silent, postgres, leads, self.fence, self.shun, kept)  # type: ignore[arg-type]
        self.guard.restore()

    def step(self) -> float:
        return self.guard.step()


class Site:
    def __init__(self, folder: Path) -> None:
        self.etcd = Store()
        self.etcd.put(config=QUORUM, leader="db1")
        self.etcd.put(sync=sync("db1", "db2", "db3", quorum=1))
        self.read_to_the_end(*HOSTS)
        self.hosts = {name: Host(name, self.etcd, folder / name) for name in HOSTS}

    def read_to_the_end(self, *names: str, started: int = 17) -> None:
        """Their servers have read all of their logs."""
        self.etcd.put(**{f"log_end_{name}": str(started) for name in names})

    def lose(self, name: str, *, seen_by: Sequence[str] = ()) -> None:
        for one in self.hosts.values():
            if one.name != name and one.name not in seen_by:
                one.silent = frozenset({name})

    def steps(self, *names: str, rounds: int = 4) -> None:
        for _ in range(rounds):
            for name in names:
                self.hosts[name].step()

    @property
    def leader(self) -> str | None:
        return self.etcd.text("leader")

    def note(self, name: str) -> Any:
        _, found = self.etcd.read([f"/pgquorum/shop/guard/{name}"])
        (value,) = found.values()
        return json.loads(value.text) if value else None

    def ask(self, candidate: str) -> Fence:
        """It takes the leader key, and asks for promises."""
        term = self.etcd.put(leader=None) and self.etcd.put(leader=candidate)
        fence = Fence(term, candidate, tuple(name for name in HOSTS if name != candidate))
        assert Notes(self.etcd, "shop", HOSTS).ask(fence)  # type: ignore[arg-type]
        return fence


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setattr("agents.terms.YOUNG_SECONDS", 0.0)
    return Site(tmp_path)


def test_a_leader_that_all_others_miss_is_given_up(site: Site) -> None:
    site.lose("db1")
    site.steps("db2", "db3")
    assert site.leader is None
    assert site.note("yielded") == site.note("given_up") == {"term": 2, "host": "db1", "lease": 0}
    for name in ("db2", "db3"):
        assert site.hosts[name].shun.rules == (("10.0.0.11",), (2379, 8008))


def test_whoever_waits_for_the_lost_host_is_freed_before_the_key_goes(site: Site) -> None:
    site.lose("db1")
    site.steps("db2", rounds=3)
    assert site.leader == "db1" and site.hosts["db2"].shun.rules is None
    site.steps("db3", rounds=1)
    site.steps("db2", rounds=3)
    assert site.leader == "db1" and site.hosts["db2"].shun.rules and site.hosts["db3"].shun.rules is None
    site.steps("db3", "db2", rounds=2)
    assert site.leader is None


def test_one_that_sees_it_keeps_it(site: Site) -> None:
    site.lose("db1", seen_by=["db3"])
    site.steps("db2", "db3")
    assert site.leader == "db1"
    assert site.note("sightings/db3") == {"host": "db1", "term": 2, "silent": False, "ready": False}
    assert site.hosts["db2"].shun.rules is None


def test_what_was_missed_is_told_no_more_when_it_is_back(site: Site) -> None:
    site.lose("db1", seen_by=["db3"])
    site.steps("db2", "db3")
    site.hosts["db2"].silent = frozenset()
    site.steps("db2", "db3")
    site.steps("db2", "db3")
    assert site.note("sightings/db3") is None


@pytest.mark.parametrize(
    "differs",
    [
        {"config": {**QUORUM, "pause": True}},
        {"config": {"synchronous_mode": True}},
        {"config": {}},
        {"sync": sync("db1", "db2", "db3", quorum=2)},
        {"sync": sync("db3", "db1", "db2", quorum=1)},
    ],
)
def test_what_is_left_to_the_lease(site: Site, differs: dict[str, Any]) -> None:
    site.etcd.put(**differs)
    site.lose("db1")
    site.steps("db2", "db3")
    assert site.leader == "db1" and not any(one.shun.rules for one in site.hosts.values())


def test_a_switchover_under_way_is_left_alone(site: Site) -> None:
    site.etcd.put_if((), {"/service/shop/failover": '{"leader":"db1","member":"db2"}'})
    site.lose("db1")
    site.steps("db2", "db3")
    assert site.leader == "db1"


def test_one_that_was_done_once_is_none_under_way(site: Site) -> None:
    """Patroni leaves its key there, with nothing in it."""
    site.etcd.put_if((), {"/service/shop/failover": "{}"})
    site.lose("db1")
    site.steps("db2", "db3")
    assert site.leader is None


def test_a_leader_that_is_new_is_waited_for(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.terms.YOUNG_SECONDS", 1000.0)
    site.lose("db1")
    site.steps("db2", "db3")
    assert site.leader == "db1"


def test_nobody_is_given_up_again_soon(site: Site) -> None:
    site.lose("db1")
    site.steps("db2", "db3")
    site.etcd.put(leader="db1")
    site.steps("db2", "db3")
    assert site.leader == "db1"


def test_terms_are_counted_by_what_this_host_has_seen() -> None:
    terms = Terms(1000.0)
    terms.see(5, 0, 1000.0)
    assert "less than 60 s" in terms.refusal(1050.0)
    assert terms.refusal(1061.0) == ""
    terms.see(9, 5, 1100.0)
    assert "given up less than 600 s ago" in terms.refusal(1300.0)
    assert terms.refusal(1701.0) == ""
    terms.see(9, 0, 1710.0)  # an owner has taken the note away
    assert terms.refusal(1711.0) == ""
    again = Terms(2000.0)
    again.see(9, 5, 2000.0)  # started anew, it does not know when that was
    assert "600 s" in again.refusal(2100.0)


def test_a_change_in_between_keeps_the_leader(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """All is compared when the key is taken away."""
    site.lose("db1")
    take_away = Notes.take_away

    def late(self: Notes, *args: Any) -> bool:
        site.etcd.put(sync=sync("db1", "db2", quorum=0))
        return take_away(self, *args)

    monkeypatch.setattr(Notes, "take_away", late)
    site.steps("db2", "db3", rounds=2)
    assert site.leader == "db1"


def test_a_promise_is_given_behind_the_fence(site: Site) -> None:
    fence = site.ask("db2")
    one = site.hosts["db3"]
    one.step()
    assert site.note("promises/db3") == {"term": fence.term, "timeline": 3, "lsn": 900, "started": 17}
    assert one.fence.rules == (("10.0.0.11",), (5432,))
    assert one.postgres.seen[0] is True
    assert json.loads((one.folder / "fence.json").read_text())["bound"] == fence.term


def test_a_candidate_promises_itself_nothing(site: Site) -> None:
    site.ask("db2")
    site.steps("db2")
    assert site.note("promises/db2") is None and site.hosts["db2"].fence.rules is None


@pytest.mark.parametrize("now", [None, Look(primary=True, timeline=3, lsn=900, started=17)])
def test_who_can_not_promise_tries_again(site: Site, now: Look | None) -> None:
    fence = site.ask("db2")
    one = site.hosts["db3"]
    one.postgres.now = now
    assert one.step() == module.SOON_SECONDS
    assert site.note("promises/db3") is None
    one.postgres.now = Look(primary=False, timeline=3, lsn=950, started=18)
    assert one.step() == module.SOON_SECONDS and site.note("promises/db3") is None  # it reads its log yet
    site.read_to_the_end("db3", started=18)
    one.step()
    assert site.note("promises/db3")["lsn"] == 950 and fence.term == site.note("promises/db3")["term"]


def test_a_fence_that_was_flushed_in_the_middle_is_no_promise(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.ask("db2")
    one = site.hosts["db3"]
    look = one.postgres.look

    def flushed() -> Look | None:
        one.fence.rules = None
        return look()

    monkeypatch.setattr(one.postgres, "look", flushed)
    one.step()
    assert site.note("promises/db3") is None


def test_who_is_let_through_needs_no_promise_any_more(site: Site) -> None:
    """A host that comes later would keep a fence for nothing: its server begins on the new timeline."""
    site.ask("db2")
    site.steps("db3", rounds=1)
    site.etcd.put(promoted={"name": "db2", "timeline": 4})
    assert site.hosts["db1"].step() == module.IDLE_SECONDS
    assert site.note("promises/db1") is None and site.hosts["db1"].fence.rules is None


def test_a_request_of_a_term_that_is_over_is_not_heard(site: Site) -> None:
    site.ask("db2")
    site.etcd.put(leader=None)
    site.etcd.put(leader="db2")
    site.steps("db3")
    assert site.note("promises/db3") is None and site.hosts["db3"].fence.rules is None


def test_a_fence_outlives_the_host(site: Site) -> None:
    site.ask("db2")
    one = site.hosts["db3"]
    one.step()
    one.fence.rules = None  # as the kernel begins
    one.begin()
    assert one.fence.rules == (("10.0.0.11",), (5432,))
    one.step()
    assert one.fence.rules


def test_a_fence_that_somebody_flushed_is_put_up_again(site: Site) -> None:
    site.ask("db2")
    one = site.hosts["db3"]
    one.step()
    one.fence.rules = None
    one.step()
    assert one.fence.rules


def test_a_fence_goes_when_the_new_primary_is_followed(site: Site) -> None:
    """And not on a timeline that another may have begun."""
    site.ask("db2")
    one = site.hosts["db3"]
    one.step()
    assert one.step() == module.BUSY_SECONDS and one.fence.rules
    one.postgres.now = Look(primary=False, timeline=4, lsn=950, started=17)
    one.step()
    assert one.fence.rules
    site.etcd.put(promoted={"name": "db2", "timeline": 5})
    one.step()
    assert one.fence.rules
    one.postgres.now = Look(primary=False, timeline=5, lsn=990, started=17)
    one.step()
    assert one.fence.rules is None and not (one.folder / "fence.json").exists()
    assert one.step() == module.IDLE_SECONDS


def test_a_former_primary_that_leads_again_is_heard_and_who_has_only_won_the_key_is_not(site: Site) -> None:
    site.ask("db2")
    one = site.hosts["db3"]
    one.step()
    site.etcd.put(leader=None)
    site.etcd.put(leader="db1")
    one.step()
    assert one.fence.rules
    one.primaries.add("db1")
    one.step()
    assert one.fence.rules is None


def test_a_fence_without_a_promise_goes_when_nobody_asks_any_more(site: Site) -> None:
    """As in a switchover, where another host's promise was enough."""
    site.ask("db2")
    one = site.hosts["db3"]
    one.postgres.now = None
    one.step()
    assert one.fence.rules
    site.etcd.put(promoted={"name": "db2", "timeline": 4})
    one.step()
    assert one.fence.rules is None and not (one.folder / "fence.json").exists()


def test_a_promise_outlives_a_request_that_came_to_nothing(site: Site) -> None:
    site.ask("db2")
    one = site.hosts["db3"]
    one.step()
    one.postgres.now = None
    site.ask("db1")
    one.step()
    assert one.fence.rules == (("10.0.0.12",), (5432,))
    site.etcd.put(leader=None)
    one.step()
    assert one.fence.rules
    one.begin()
    one.step()
    assert one.fence.rules


def test_rules_that_the_kernel_did_not_take_are_no_promise(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Although those of an earlier term stand."""
    site.ask("db2")
    one = site.hosts["db1"]
    one.step()
    before = one.fence.rules

    def fails(*_: Any) -> None:
        raise OSError("nft does not come to an end")

    fence = site.ask("db3")
    with monkeypatch.context() as broken:
        broken.setattr(one.fence, "put", fails)
        for _ in range(2):
            with pytest.raises(OSError, match="nft"):
                one.step()
    assert one.fence.rules == before and site.note("promises/db1")["term"] != fence.term
    one.step()
    assert one.fence.rules == (("10.0.0.12",), (5432,)) and site.note("promises/db1")["term"] == fence.term


def test_a_server_that_was_at_its_end_only_after_it_was_asked_promises_nothing_yet(site: Site) -> None:
    fence = site.ask("db2")
    one = site.hosts["db3"]
    look = one.postgres.look

    def meanwhile() -> Look | None:
        site.read_to_the_end("db3")
        return look()

    one.postgres.look = meanwhile  # type: ignore[method-assign]
    one.step()
    assert site.note("promises/db3") is None
    one.postgres.look = look  # type: ignore[method-assign]
    one.step()
    assert site.note("promises/db3")["term"] == fence.term


def test_nobody_promises_against_a_host_that_it_does_not_know(site: Site) -> None:
    term = site.etcd.put(leader=None) and site.etcd.put(leader="db2")
    Notes(site.etcd, "shop", HOSTS).ask(Fence(term, "db2", ("db1", "db3", "db4")))  # type: ignore[arg-type]
    site.steps("db3")
    assert site.note("promises/db3") is None


def test_a_note_that_can_not_be_understood_lets_nobody_be_heard(site: Site) -> None:
    one = site.hosts["db3"]
    (one.folder / "fence.json").write_text("{")
    one.begin()
    assert one.fence.rules == (("10.0.0.11", "10.0.0.12"), (5432,))
    one.step()
    assert one.fence.rules
    one.primaries.add("db1")
    one.step()
    assert one.fence.rules is None


def test_one_duty_that_fails_keeps_none_of_the_others(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.lose("db1")
    one = site.hosts["db2"]

    def fails(*_: Any) -> bool:
        raise OSError("no nft")

    monkeypatch.setattr(one.guard, "_lower", fails)
    with pytest.raises(OSError, match="no nft"):
        one.step()
    assert site.note("sightings/db2")["silent"] is True


def test_a_new_candidate_gets_a_fence_of_its_own(site: Site) -> None:
    site.ask("db2")
    site.steps("db1", rounds=1)
    fence = site.ask("db3")
    site.steps("db1", rounds=1)
    assert site.hosts["db1"].fence.rules == (("10.0.0.12",), (5432,))
    assert site.note("promises/db1")["term"] == fence.term


def test_shunning_ends_when_the_host_is_heard(site: Site) -> None:
    site.lose("db1")
    site.steps("db2", "db3")
    assert site.hosts["db2"].shun.rules
    site.hosts["db2"].silent = frozenset()
    site.steps("db2")
    assert site.hosts["db2"].shun.rules is None


def test_what_was_told_before_etcd_failed_is_told_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.lose("db1")
    one = site.hosts["db2"]
    one.step()
    site.etcd.leases.clear()
    site.etcd.put_if((), {}, delete=["/pgquorum/shop/guard/sightings/db2"])
    one.step()
    assert site.note("sightings/db2")["silent"] is True

    def fails(*_: Any, **__: Any) -> bool:
        raise EtcdError("no lease")

    notes = Notes(site.etcd, "shop", HOSTS)  # type: ignore[arg-type]
    with monkeypatch.context() as broken:
        broken.setattr(site.etcd, "put_if", fails)
        with pytest.raises(EtcdError):
            notes.tell("db3", Sighting("db1", 2, silent=True))
    notes.tell("db3", Sighting("db1", 2, silent=True))
    assert site.note("sightings/db3")["silent"] is True


def test_what_postgres_says_of_itself() -> None:
    assert understood("t|1795996800123456\n7713925776617369726|2|1/48EB8|postgres\n") == Look(
        False, 2, (1 << 32) + 0x48EB8, 1795996800123456
    )
    assert understood("f|1\n77|4|0/10|\n").primary is True
    with pytest.raises(ValueError, match="unpack"):
        understood("")


def test_the_rules_of_a_table() -> None:
    text = table("pgquorum_fence", ["10.0.0.11", "fd00::12"], [5432])
    assert text.startswith("table inet pgquorum_fence\ndelete table inet pgquorum_fence\ntable inet pgquorum_fence {\n")
    assert "    ip daddr 10.0.0.11 tcp dport { 5432 } reject with tcp reset\n" in text
    assert "    ip6 saddr fd00::12 tcp sport { 5432 } drop\n" in text
    inward = text[text.index("chain input") :]
    assert inward.index("iif lo accept") < inward.index("drop")  # or nobody here would hear that he is refused
