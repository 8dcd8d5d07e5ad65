"""`invoke logs`: whose line it is, whether something is wrong, in which order, and how many."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import pytest
from clusters import cluster
from rich.console import Console

from cluster.errors import ClusterError
from day2.commands.begin.next_steps import next_steps
from day2.commands.look.logs import Line, is_of, is_wrong, last, logs, merged, once
from day2.hosts.ssh import Answer

LINES = {
    "patroni": Line(1, "db1", "patroni", "2026-11-28 02:50:40,199 INFO: no action. I am (db1), a secondary"),
    "postgres": Line(2, "db1", "patroni", "2026-11-28 02:50:44.534 UTC [5512] FATAL:  the database system is starting up"),
    "etcd": Line(3, "db1", "etcd", '{"level":"warn","msg":"prober detected unhealthy status"}'),
    "haproxy": Line(4, "proxy1", "haproxy", "[WARNING]  (519) : Server read/db2 is DOWN"),
}


@pytest.mark.parametrize("component", LINES)
def test_each_line_is_of_one_component(component: str) -> None:
    assert [name for name, line in LINES.items() if is_of(line, component)] == [component]
    assert all(is_of(line, "") for line in LINES.values())


def test_what_watches_over_patroni_is_patroni_s() -> None:
    assert is_of(Line(1, "db1", "pgquorum-wake-patroni", "PostgreSQL has ended, Patroni is told"), "patroni")


def test_what_is_wrong_is_told_by_the_line_or_by_systemd() -> None:
    assert {name: is_wrong(line) for name, line in LINES.items()} == {
        "patroni": False, "postgres": True, "etcd": True, "haproxy": True,
    }  # fmt: skip
    assert is_wrong(Line(1, "db1", "etcd", "etcd.service: Failed with result 'exit-code'.", priority=4))
    assert not is_wrong(Line(1, "db1", "patroni", "2026-11-28 02:50:06.314 UTC [5799] LOG:  starting PostgreSQL 18.6"))


def test_what_haproxy_says_twice_is_told_once() -> None:
    warning = LINES["haproxy"]
    again = Line(4.0001, "proxy1", "haproxy", "Server read/db2 is DOWN")
    other = Line(4.0002, "proxy2", "haproxy", "Server read/db2 is DOWN")
    later = Line(9, "proxy1", "haproxy", "Server read/db2 is UP")
    assert list(once([warning, again, other, later])) == [warning, other, later]


class Journals:
    hosts = ("db2", "db1")

    def run_all(self, commands: dict[str, str], seconds: float) -> dict[str, Answer]:
        return {host: Answer(host, 0, "\n".join(self.of(host)), "", 0.0) for host in commands}

    def of(self, host: str) -> Iterator[str]:
        for at, text in ((7, "b"), (7, "a"), (5, "z")):
            yield json.dumps({"MESSAGE": text, "__REALTIME_TIMESTAMP": str(at * 1_000_000), "_SYSTEMD_UNIT": "etcd.service"})


def test_lines_of_the_same_time_stay_in_the_order_they_were_written_in() -> None:
    found = [(line.at, line.host, line.text) for line in merged(Journals(), "journalctl", [])]  # type: ignore[arg-type]
    assert found == [(5, "db2", "z"), (5, "db1", "z"), (7, "db2", "b"), (7, "db2", "a"), (7, "db1", "b"), (7, "db1", "a")]


@pytest.mark.parametrize(("most", "left"), [(0, 4), (2, 2), (9, 4)])
def test_the_last_lines_are_shown_and_it_is_said_how_many_are_not(most: int, left: int) -> None:
    out = Console(file=io.StringIO(), width=200)
    assert last(out, list(LINES.values()), most) == list(LINES.values())[-left:]
    assert ("2 lines before these are left out" in out.file.getvalue()) == (left == 2)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("words", "said"), [({"component": "postgress"}, "did you mean 'postgres'"), ({"most": -1}, "--lines -1")]
)
def test_a_component_or_number_that_means_nothing_is_refused(words: dict[str, object], said: str) -> None:
    asked = {"host": "", "since": "", "follow": False, "component": "", "errors": False, "most": 0} | words
    with pytest.raises(ClusterError, match=said):
        logs(cluster(), **asked)  # type: ignore[arg-type]


def test_next_steps_fit_the_cluster_at_hand(capsys: pytest.CaptureFixture[str]) -> None:
    next_steps(cluster())
    own = capsys.readouterr().out
    assert "lab." not in own and "failover-test --fault kill" in own and "power_off" in own
    switches = {name: {"power_off": "invoke lab.off x", "power_on": "invoke lab.on x"} for name in ("db1", "db2", "db3")}
    next_steps(cluster(switches))
    lab = capsys.readouterr().out
    assert "invoke lab.down" in lab and "--fault kill" not in lab
