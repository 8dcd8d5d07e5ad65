"""Drills of backups: what is proven, what is not, and that nothing of it is left, whoever is killed."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from clients import Writers
from commands import finish, invoke, start
from helpers import Site
from hosts import DATA, DATABASES, SPEC, wait_until
from keeping import HOST, ONLY_WITH_BACKUPS, archived, info, labels, rules, written

pytestmark = [pytest.mark.usefixtures("healed"), ONLY_WITH_BACKUPS]
UNIT, GUARD = "pgquorum-backup-drill.service", "pgquorum-hold-replay.service"
CLONE = "pgquorum-backup-clone.service"
PLACE = {HOST: "/var/lib/pgbackrest-drill", **dict.fromkeys(DATABASES, f"{DATA}-drill")}
SECONDS = 600  # a drill waits until the archive has what it is compared by, and for its turn on a busy machine
POSTGRES = f"pgrep -f -- '-D {PLACE[HOST]}/[c]opy/data'"  # and not whoever asks


def drill(site: Site, *words: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, document and words of a drill."""
    code, out, err = invoke(site, "backup.drill", "--json", *words, seconds=SECONDS)
    return code, json.loads(out) if out else {}, err


def paused(site: Site) -> set[str]:
    """The replicas whose replay is not going on, by PostgreSQL's own word and the kernel's."""
    stopped = "ps -o state= -p $(pgrep -f 'postgres: .*[s]tartup recovering')"
    asked = {host: site.psql(host, "select pg_get_wal_replay_pause_state()") for host in site.replicas()}
    return {host for host, state in asked.items() if state != "not paused" or site.on(host, stopped) == "T"}


def nothing_is_left(site: Site) -> bool:
    """No copy, no server on one, no timer, no order; results alone."""
    for host, place in PLACE.items():
        assert site.on(host, f"ls -A {place}") in ("", "results"), host
        assert site.on(host, f"pgrep -f -- '{place}/[c]opy' || true") == "", host
        assert site.on(host, f"systemctl list-units --all --plain --no-legend {GUARD}") == "", host
        assert site.on(host, f"systemctl show --property=ActiveState --value {UNIT}") in ("inactive", "failed"), host
    return paused(site) == set()


@pytest.fixture(scope="module", autouse=True)
def backed_up(joined: Site) -> Site:
    """The cluster with rows of an application's, and a backup without some of them."""
    wait_until(lambda: labels(joined), "the first full backup, which the deploy has begun")
    with joined.connect(5000) as connection:
        connection.execute("drop table if exists drilled")
        connection.execute("create table drilled (n int primary key, word text unique)")
        connection.execute("insert into drilled select n, md5(n::text) from generate_series(1, 20000) n")
    assert invoke(joined, "backup", "--type", "full")[0] == 0
    with joined.connect(5000) as connection:
        connection.execute("delete from drilled where n % 7 = 0")
        connection.execute("update drilled set word = word || 'x' where n % 5 = 0")
    return joined


def test_systemd_finds_nothing_wrong_with_what_a_drill_is_made_of(backed_up: Site) -> None:
    for host in (HOST, DATABASES[0]):
        done = backed_up.eyes(host).run(f"systemd-analyze verify --man=no {UNIT}")
        assert done.rc == 0 and "drill" not in done.stderr, done.stderr
        checked = backed_up.eyes(host).run("systemd-tmpfiles --dry-run --remove --boot /etc/tmpfiles.d/pgquorum-drill.conf")
        assert checked.rc == 0, checked.stderr
    done = backed_up.eyes(HOST).run(f"systemd-analyze verify --man=no {CLONE}")
    assert done.rc == 0 and "clone" not in done.stderr, done.stderr
    timer = backed_up.eyes(HOST).service("pgquorum-backup-drill.timer")
    assert timer.is_enabled and timer.is_running
    assert "pgquorum-backup-drill.timer" not in backed_up.on(DATABASES[0], "systemctl list-timers --all --no-legend")


def test_a_drill_proves_the_newest_backup_and_all_of_it_is_told(backed_up: Site) -> None:
    before = backed_up.postmasters()
    rows = backed_up.psql(backed_up.leader(), "select count(*) from drilled", "app")
    code, told, words = drill(backed_up, "--report", "drilled")
    assert code == 0 and told["passed"], words
    assert told["backup"] == labels(backed_up)[-1] and told["host"] == HOST
    assert told["size"] == info(backed_up)["backup"][-1]["info"]["size"]
    assert told["compared"]["with"] in backed_up.replicas()
    assert told["compared"]["rows"] > int(rows) and told["compared"]["left_out"] == 0
    assert told["recovered_to"] == told["target"]
    assert told["amcheck_complaints"] == [] and told["bad_blocks"] == 0 and told["blocks"] > 1000
    assert told["rto"] >= told["restore_seconds"] > 0 and told["rpo"] > 0
    code, out, _ = invoke(backed_up, "backup.list", "--json")
    (listed,) = [row for row in json.loads(out)["backups"] if row["label"] == told["backup"]]
    assert listed["drill"]["passed"] and listed["drill"]["compared"]
    assert told["backup"] in (backed_up.folder / "drilled/drill.html").read_text()
    assert nothing_is_left(backed_up)
    # The copy has begun a timeline of its own, and nobody has heard of it.
    assert archived(backed_up)[:8] == backed_up.psql(backed_up.leader(), "select pg_walfile_name(pg_current_wal_lsn())")[:8]
    assert backed_up.postmasters() == before
    assert rules(backed_up) & {"backups.drill-failed", "backups.not-proven", "replication.paused"} == set()


@pytest.mark.long
def test_a_drill_on_a_replica_s_host_is_noted_where_the_backups_are(backed_up: Site) -> None:
    host = backed_up.replicas()[0]
    code, told, words = drill(backed_up, "--host", host, "--set", labels(backed_up)[0])
    assert code == 0, words
    assert (told["host"], told["backup"]) == (host, labels(backed_up)[0])
    noted = json.loads(backed_up.on(HOST, f"cat $(ls -t {PLACE[HOST]}/results/*.json | head -n 1)"))
    assert noted["id"] == told["id"] and noted["passed"]
    assert nothing_is_left(backed_up)


@pytest.mark.parametrize(("words", "said"), [(("--host", "LEADER"), "is the primary"), (("--set", "none"), "no such backup")])
def test_what_can_not_be_drilled_is_refused(backed_up: Site, words: tuple[str, ...], said: str) -> None:
    named = [backed_up.leader() if word == "LEADER" else word for word in words]
    code, _, err = drill(backed_up, *named)
    assert code == 2 and said in err


def test_without_room_it_is_refused_before_anything_is_touched(backed_up: Site) -> None:
    """A small disk in the place of the host's, which is that of the machine under all labs."""
    small = f"-t tmpfs -o size=50m,mode=$(stat -c %a {PLACE[HOST]}),uid=$(stat -c %u {PLACE[HOST]}) tmpfs {PLACE[HOST]}"
    backed_up.on(HOST, f"mount {small}")
    try:
        code, _, err = drill(backed_up)
    finally:
        backed_up.on(HOST, f"umount {PLACE[HOST]}")
    assert code == 2 and "are free" in err and PLACE[HOST] in err


def test_the_copy_listens_on_nothing_and_is_gone_when_its_program_is_killed(backed_up: Site) -> None:
    """As the timer begins it; it is killed while PostgreSQL runs on the copy."""
    backed_up.on(HOST, f"systemctl start --no-block {UNIT}")
    server = wait_until(lambda: backed_up.on(HOST, POSTGRES).split()[0], "PostgreSQL runs on the copy", SECONDS)
    assert backed_up.on(HOST, f"nsenter -t {server} -n ss -Hltnu") == ""
    assert backed_up.on(HOST, f"ps -o user= -p {server}") == "pgbackrest"
    main = backed_up.on(HOST, f"systemctl show --property=MainPID --value {UNIT}")
    backed_up.on(HOST, f"kill -KILL {main}")
    wait_until(lambda: nothing_is_left(backed_up), "nothing of it is left")
    assert "backups.drill-failed" in rules(backed_up)


@pytest.mark.long
def test_ctrl_c_ends_it_and_leaves_nothing(backed_up: Site) -> None:
    run = start(backed_up, "backup.drill")
    wait_until(lambda: backed_up.on(HOST, POSTGRES), "PostgreSQL runs on the copy", SECONDS)
    run.send_signal(signal.SIGINT)
    assert finish(backed_up, run)[0] == 130
    wait_until(lambda: nothing_is_left(backed_up), "nothing of it is left")


@contextmanager
def locked(site: Site) -> Iterator[None]:
    """Somebody has a table locked: whoever reads it on a replica waits."""
    lock = "begin; lock table drilled in access exclusive mode; select pg_sleep(300)"
    leader = site.leader()
    holder = site.watch(leader, f"runuser -u postgres -- psql -XAtqd app -c '{lock}'", "")
    try:
        seen = "select count(*) from pg_locks where mode = 'AccessExclusiveLock' and relation = 'drilled'::regclass"
        for host in (leader, *site.replicas()):
            wait_until(lambda host=host: site.psql(host, seen, "app") == "1", f"{host} has the lock")  # type: ignore[misc]
            # A lock is written to the log, and stays in its buffers until somebody commits, which on an idle cluster nobody does.
            site.psql(leader, "select pg_logical_emit_message(true, 'pgquorum', '')", "app")
        yield
    finally:
        holder.kill()  # with its session, where the primary is gone by then
        holder.wait(60)
        end = "select pg_terminate_backend(pid) from pg_stat_activity where query like 'begin; lock table d%'"
        wait_until(lambda: site.psql(site.leader(), end) is not None, "the lock is given back")


@pytest.mark.parametrize("victim", ["the operator", "the program that has paused it"])
def test_a_replay_goes_on_whoever_is_killed_while_it_is_paused(backed_up: Site, victim: str) -> None:
    with locked(backed_up), backed_up.edited("group_data/backup.py", "backup_drill_pause = 20"):
        run = start(backed_up, "backup.drill")
        (host,) = wait_until(lambda: paused(backed_up), "the replay of a replica is paused", SECONDS)
        if victim == "the operator":
            run.kill()
        else:
            backed_up.on(host, "kill -KILL $(pgrep -f 'agents [h]old-replay')")
        wait_until(lambda: not paused(backed_up), "the replay goes on")
        code, _, err = finish(backed_up, run)
    assert code == (-signal.SIGKILL if victim == "the operator" else 2), err
    wait_until(lambda: nothing_is_left(backed_up), "nothing of it is left")


@pytest.mark.long
def test_what_there_was_no_time_for_is_told_as_not_compared(backed_up: Site) -> None:
    with locked(backed_up), backed_up.edited("group_data/backup.py", "backup_drill_pause = 20"):
        code, told, words = drill(backed_up)
    assert code == 0 and told["compared"]["left_out"] >= 1, words


@pytest.mark.long
def test_an_index_that_lies_fails_the_drill(backed_up: Site) -> None:
    """Rows are where the index does not look for them any more, which no checksum tells."""
    leader = backed_up.leader()
    lie = "create or replace function public.lie(n int) returns int immutable language sql as $$ select n + {} $$"
    backed_up.psql(leader, f"{lie.format(0)}; create index lying on drilled (public.lie(n)); {lie.format(1)}", "app")
    try:
        code, told, words = drill(backed_up)
        assert code == 1 and any("lying" in text for text in told["failures"]), words
        assert told["compared"]["differences"] == [] and told["bad_blocks"] == 0
    finally:
        backed_up.psql(leader, "drop index lying", "app")


def test_under_load_nothing_acknowledged_is_lost_and_no_replica_stays_paused(backed_up: Site) -> None:
    with Writers(backed_up) as writers:
        code, told, words = drill(backed_up)
        so_far = len(writers.acknowledged)
        wait_until(lambda: len(writers.acknowledged) > so_far + 100, "writes go on")
    assert code == 0 and told["compared"]["differences"] == [], words
    assert writers.lost() == set()
    assert nothing_is_left(backed_up)


@contextmanager
def flipped(site: Site, label: str) -> Iterator[str]:
    """A backup, in one of whose bundles a bit is another than it was."""
    bundle = site.on(HOST, f"ls -S /var/lib/pgbackrest/backup/{SPEC.name}/{label}/bundle/* | head -n 1")
    flip = f"import sys; f = open('{bundle}', 'r+b'); f.seek(0, 2); n = f.tell() // 2; f.seek(n); b = f.read(1)[0] ^ 1;"
    flip += " f.seek(n); f.write(bytes([b]))"
    site.on(HOST, f'python3 -c "{flip}"')
    try:
        yield bundle
    finally:
        site.on(HOST, f'python3 -c "{flip}"')


def test_a_flipped_bit_in_the_repository_fails_the_drill_until_it_is_as_it_was(backed_up: Site) -> None:
    assert invoke(backed_up, "backup", "--type", "full")[0] == 0
    label = labels(backed_up)[-1]
    with flipped(backed_up, label):
        code, out, err = invoke(backed_up, "backup.drill", seconds=SECONDS)
        assert code == 1 and f"{label} is not proven" in out, out + err
        code, out, _ = invoke(backed_up, "backup.list", "--json")
        (listed,) = [row for row in json.loads(out)["backups"] if row["label"] == label]
        assert listed["drill"]["passed"] is False and listed["drill"]["failures"]
        assert "backups.drill-failed" in rules(backed_up)
        assert nothing_is_left(backed_up)
    code, told, words = drill(backed_up)
    assert code == 0 and told["backup"] == label, words
    assert "backups.drill-failed" not in rules(backed_up)


@pytest.mark.long
def test_a_replica_that_stands_still_takes_over_when_the_primary_is_lost(backed_up: Site) -> None:
    """The other one is stopped, so that it is the only one that may. What it has not replayed by then it does."""
    old = backed_up.leader()
    with backed_up.edited("group_data/backup.py", "backup_drill_pause = 240"), locked(backed_up):
        run = start(backed_up, "backup.drill")
        (host,) = wait_until(lambda: paused(backed_up), "the replay of a replica stands still", SECONDS)
        (other,) = set(backed_up.replicas()) - {host}
        with backed_up.connect(5000) as connection:
            connection.execute("create table if not exists outlived (n int)")
            connection.execute("insert into outlived values (42)")
        try:
            backed_up.on(other, "systemctl stop patroni")
            backed_up.lab.off(old)
            wait_until(lambda: backed_up.leader(host) == host, "the one that stood still leads")
            # It has the leader key before it has replayed all that it has, and takes writes after that.
            with wait_until(lambda: backed_up.connect(5000), "it takes writes") as connection:
                assert connection.execute("select n from outlived").fetchall() == [(42,)]
        finally:
            backed_up.on(other, "systemctl start patroni")
        assert finish(backed_up, run)[0] == 2
    backed_up.heal()
    wait_until(lambda: nothing_is_left(backed_up), "nothing of it is left")


@pytest.fixture
def cloned(backed_up: Site) -> Iterator[str]:
    """A moment at which there was a table that is dropped now; in the end there is no clone."""
    backed_up.psql(backed_up.leader(), "create table cloned (n int); insert into cloned values (1)", "app")
    time.sleep(1)
    moment = backed_up.psql(backed_up.leader(), "set timezone = 'UTC'; select clock_timestamp()")
    time.sleep(1)
    backed_up.psql(backed_up.leader(), "drop table cloned", "app")
    yield moment
    invoke(backed_up, "backup.clone", "--remove")


def test_a_clone_shows_the_past_beside_the_cluster_until_it_is_removed(backed_up: Site, cloned: str) -> None:
    name = written(backed_up)  # the one who leads may have begun its timeline a moment ago
    wait_until(lambda: archived(backed_up) >= name, "what was written is archived")
    before = backed_up.postmasters()
    code, out, err = invoke(backed_up, "backup.clone", "--to", cloned, seconds=SECONDS)
    assert code == 0, out + err
    (line,) = [line.strip() for line in out.splitlines() if line.strip().startswith("ssh -t ")]
    asked = f'{line[:-1]} -XAtqc "select n from cloned"\''
    done = subprocess.run(asked, shell=True, cwd=backed_up.folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.strip() == "1", done.stdout + done.stderr
    assert "backups.clone" in rules(backed_up)
    listening = backed_up.on(HOST, "ss -Hltnp | grep postgres || true")
    assert listening == "", "nobody reaches it but by its socket"
    code, _, err = invoke(backed_up, "backup.clone", "--to", "latest")
    assert code == 2 and f"a clone of the cluster as it was at {cloned}" in err
    assert invoke(backed_up, "backup.clone", "--remove")[0] == 0
    assert nothing_is_left(backed_up) and "backups.clone" not in rules(backed_up)
    assert backed_up.on(HOST, f"pgrep -f -- '{PLACE[HOST]}/[c]lone' || true") == ""
    assert backed_up.postmasters() == before
    writes = backed_up.psql(backed_up.leader(), "select pg_walfile_name(pg_current_wal_lsn())")
    assert archived(backed_up)[:8] == name[:8] == writes[:8]
    assert backed_up.psql(backed_up.leader(), "select to_regclass('cloned')", "app") == ""


def test_a_link_in_the_place_of_a_clone_leads_root_nowhere(backed_up: Site) -> None:
    """Put there by the user whose place that is."""
    link, victim = f"{PLACE[HOST]}/clone", "/opt/victims"
    listed = f"cd / && find {victim} -printf '%p %U %m %y\\n' | sort"
    backed_up.on(
        HOST, f"mkdir -p {victim}/data {victim}/tablespaces; echo '{{}}' >{victim}/about.json; echo untouched >{victim}/data/file"
    )
    before = backed_up.on(HOST, listed)
    backed_up.on(HOST, f"runuser -u pgbackrest -- ln -s {victim} {link}")
    try:
        code, out, err = invoke(backed_up, "backup.clone", "--to", "latest")
        assert code != 0, out + err
        backed_up.on(HOST, f"systemctl start {CLONE} || true")
        wait_until(
            lambda: backed_up.on(HOST, f"systemctl show -P ActiveState {CLONE}") in ("failed", "inactive"), "its unit has ended"
        )
        code, out, err = invoke(backed_up, "backup.clone", "--remove")
        assert code == 0, out + err
        assert backed_up.on(HOST, listed) == before
        assert backed_up.on(HOST, f"ls -d {link} 2>/dev/null || true") == ""
    finally:
        backed_up.on(HOST, f"rm -rf {link} {victim}; systemctl reset-failed {CLONE} 2>/dev/null || true")


@pytest.mark.long
def test_a_clone_that_is_interrupted_leaves_nothing(backed_up: Site) -> None:
    process = start(backed_up, "backup.clone", "--to", "latest")
    wait_until(lambda: backed_up.on(HOST, f"ls {PLACE[HOST]}/clone/data/PG_VERSION"), "it is being restored")
    process.send_signal(signal.SIGINT)
    code, out, err = finish(backed_up, process, SECONDS)
    assert code == 130, out + err
    assert nothing_is_left(backed_up)
