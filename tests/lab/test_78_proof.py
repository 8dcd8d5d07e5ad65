"""The matrix of faults in its short form: each does what was said, nothing is lost, and where something must be, it is found."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from commands import finish, invoke, start
from helpers import Site
from hosts import DATABASES, HOSTS, wait_until
from proving import FEW_WRITERS, as_promised, run

pytestmark = pytest.mark.usefixtures("healed")

# Those that the other files have no test of; `make prove` runs them all, often.
SHORT = ("postgres-kill", "patroni-kill-masked", "partition-haproxy", "etcd-leader-kill", "wal-disk-full")
OTHERS = ("postgres-stop", "patroni-kill", "etcd-all-stop", "replicas-off", "haproxy-kill")


def traces(site: Site) -> str:
    """What faults use on hosts and must not leave there."""
    script = (
        "nft list tables | grep -v 'inet pgquorum$'; systemctl list-units --all 'pgquorum-heal*' --no-legend;"
        " ls /run/systemd/system/*.d 2>/dev/null | grep fault;"
        " for p in /proc/[0-9]*/stat; do awk '$3 == \"T\"' $p 2>/dev/null; done;"
        " find /var/lib/pgquorum-wal -maxdepth 2 -name '*fill*' 2>/dev/null; true"
    )
    return "".join(site.on_all(script, HOSTS).values())


@pytest.mark.parametrize("faults", [SHORT, pytest.param(OTHERS, marks=pytest.mark.long)], ids=["some", "others"])
def test_every_fault_of_the_short_form_does_what_was_said_and_loses_nothing(
    site: Site, tmp_path: Path, faults: tuple[str, ...]
) -> None:
    proof = run(site, "--fault", ",".join(faults), folder=tmp_path)
    assert [trial["fault"] for trial in proof["trials"]] == list(faults)
    assert set(proof["versions"]) == {"postgresql", "patroni", "etcd", "haproxy"}
    for trial in proof["trials"]:
        as_promised(trial)
        assert trial["writes"]["acknowledged"] > 200, trial["fault"]
    assert traces(site) == ""
    assert site.healthy()
    page = (tmp_path / "report.html").read_text()
    assert all(name in page for name in faults) and "<svg" in page
    assert "src=" not in page and 'href="http' not in page
    assert faults[-1] in (tmp_path / "report.txt").read_text()
    if "wal-disk-full" not in faults:
        return
    # PostgreSQL's own word for what was called a full disk.
    full = "journalctl -u patroni --no-pager | grep -m 1 'No space left on device' || true"
    assert any(site.on_all(full, DATABASES).values())
    # Each time PostgreSQL was killed, Patroni was told, and saw it then rather than at its next round.
    told = site.on_all("journalctl -u pgquorum-wake-patroni --no-pager -o cat | grep -c 'Patroni is told' || true", DATABASES)
    assert sum(map(int, told.values())) > 0, told


@pytest.mark.long
def test_asynchronous_replication_loses_writes_and_the_loss_is_found(site: Site, tmp_path: Path) -> None:
    """This proves that the checker can fail."""
    with site.deployed_with("group_data/all.py", 'durability = "asynchronous"'):
        old = site.leader()
        proof = run(site, "--fault", "partition-databases", folder=tmp_path)
        (trial,) = proof["trials"]
        lost = trial["writes"]["lost"]
        assert lost["count"] > 0
        assert f"{lost['count']:,}" in (tmp_path / "report.txt").read_text()
        assert proof["durability"] == "asynchronous" and proof["verdict"] != "passed"
        # In PostgreSQL's own words: the table that was kept lacks the first of the lost.
        leader = site.leader()
        assert leader != old
        find = "select max(relname) from pg_class where relname ~ '^evidence_' and relkind = 'r'"
        table = site.psql(leader, find, "pgquorum")
        writer, first, _ = lost["ids"][0]
        query = f"select count(*) from {table} where writer = {writer} and number = {first}"
        assert site.psql(leader, query, "pgquorum") == "0"
        site.psql(leader, f"drop table {table}", "pgquorum")
        wait_until(site.healthy, "the cluster is whole")
    assert site.changes() == 0


@pytest.mark.long
def test_faults_at_random_can_be_repeated_by_their_seed(site: Site) -> None:
    quick = "postgres-kill,patroni-kill,etcd-leader-kill,haproxy-kill,switchover"
    first, second = (run(site, "--soak", "0.6", "--seed", "5", "--fault", quick)["trials"] for _ in "ab")
    names = [[trial["fault"] for trial in trials] for trials in (first, second)]
    least = min(map(len, names))
    assert least and names[0][:least] == names[1][:least]
    assert all(trial["writes"]["lost"]["count"] == 0 and trial["healthy_again"] for trial in first + second)


def test_ctrl_c_mends_a_partition_and_keeps_what_was_found_before(site: Site, tmp_path: Path) -> None:
    words = ("failover-test", "--yes", *FEW_WRITERS, "--fault", "etcd-member-kill,partition", "--report", str(tmp_path))
    running = start(site, *words)
    cut = "nft list tables | grep -c pgquorum_fault || true"
    wait_until(lambda: "1" in site.on_all(cut, DATABASES).values(), "the host is cut off", seconds=200)
    running.send_signal(signal.SIGINT)
    code, out, _ = finish(site, running)
    assert code == 130 and "interrupted" in out
    assert traces(site) == ""
    kept = json.loads((tmp_path / "report.json").read_text())
    assert [trial["fault"] for trial in kept["trials"]] == ["etcd-member-kill"] and kept["stopped"] == "interrupted"
    wait_until(site.healthy, "the cluster is whole")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--fault", "host-of"], "host-off"),
        (["--fault", "host-off,,nothing"], "nothing"),
        (["--repeat", "0"], "--repeat 0"),
        (["--soak=-1"], "--soak -1"),
        (["--soak", "1", "--repeat", "2"], "--soak"),
        (["--seed", "3"], "--seed"),
        (["--writers", "0"], "--writers 0"),
        (["--report", "/proc/nowhere"], "--report /proc/nowhere"),
    ],
)
def test_a_test_that_can_t_be_run_is_refused_before_anything_is_touched(site: Site, words: list[str], said: str) -> None:
    leader, started = site.leader(), site.postmasters()
    code, out, err = invoke(site, "failover-test", "--yes", *words)
    assert (code, out) == (2, "")
    assert said in err
    assert (site.leader(), site.postmasters()) == (leader, started)
