"""On a living cluster: what is refused leaves it, and the secrets, exactly as they were."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from commands import at_terminal, finish, invoke, start
from helpers import END_SLEEP, INVENTORY, Deploy, Site, refused
from hosts import ADDRESS, DATABASES, HOSTS, PATIENCE, POSTGRES, PROXY, SPEC, wait_until

from cluster import paths
from cluster.version import own

pytestmark = pytest.mark.usefixtures("healed")


@contextmanager
def slow_run(site: Site) -> Iterator[subprocess.Popen[str]]:
    """A deploy that has gone through all phases and takes its time at the end."""
    slow = "from pyinfra.operations import server\nserver.shell(name='Take a while', commands=['sleep 600'])"
    with site.edited("deploy.py", slow):
        run = site.pyinfra(INVENTORY, "deploy.py", "-y")
        try:
            wait_until(lambda: site.on(DATABASES[0], "pgrep -f 'sleep [6]00'"), "the run is at work")
            yield run
        finally:
            run.kill()
            run.wait()
            site.on_all(END_SLEEP)


@pytest.fixture
def second_checkout(site: Site, tmp_path: Path) -> Iterator[Site]:
    """Another checkout, of somebody who has the same lab and the same secrets."""
    folder = shutil.copytree(site.folder, tmp_path / "second")
    yield Site(site.lab, folder)


def test_without_its_secrets_the_cluster_is_left_alone_and_none_are_made(site: Site) -> None:
    before = site.snapshot(HOSTS)
    (site.folder / "secrets").rename(site.folder / "elsewhere")
    try:
        run = site.deploy("-y")
        assert not (site.folder / "secrets").exists()
    finally:
        (site.folder / "elsewhere").rename(site.folder / "secrets")
    refused(run, f"are missing here for the cluster '{SPEC.name}' that lives on", str(site.folder), "or from a backup", "pg_dump")
    assert run.output.count("are missing here") == 1
    assert site.snapshot(HOSTS) == before
    assert site.changes() == 0


@pytest.mark.parametrize("above", ["secrets", "."], ids=["the folder of the secrets", "the one above"])
def test_secrets_in_whose_place_others_could_put_theirs_are_not_used(site: Site, above: str) -> None:
    """By no deploy, and no task that has them."""
    folder = (site.folder / above).resolve()
    before, mode = site.snapshot(), stat.S_IMODE(folder.stat().st_mode)
    folder.chmod(0o777)
    try:
        run = site.deploy("-y")
        tasks = [start(site, *words) for words in (("verify",), ("preflight",), ("dsn", "--format", "pgpass", "--with-password"))]
        for task in tasks:
            task.wait(PATIENCE)
    finally:
        folder.chmod(mode)
    sentence = f"{folder} can be written to by others, who could put their own secrets in the place of the cluster's"
    refused(run, sentence)
    for task in tasks:
        code, out, err = finish(site, task)
        assert code not in (0, 130) and sentence in out + err, out + err
    assert site.snapshot() == before
    assert site.changes() == 0


def test_with_the_secrets_of_another_cluster_it_is_left_alone_too(site: Site) -> None:
    before = site.snapshot()
    passwords = site.secrets / "passwords.json"
    kept = passwords.read_text()
    passwords.write_text(json.dumps(json.loads(kept) | {"cluster_id": "another"}))
    try:
        refused(site.deploy("-y"), "are not those of the cluster")
    finally:
        passwords.write_text(kept)
    assert {host: before[host] for host in HOSTS} == {host: found for host, found in site.snapshot().items() if host in HOSTS}


def test_hosts_of_a_cluster_of_another_name_are_left_alone(site: Site) -> None:
    """Also when the others of the inventory are blank: none of them is touched."""
    before = site.snapshot()
    run = site.deploy("-y", "--data", "cluster_name=other")
    refused(run, *(f"host {host}: belongs to cluster '{SPEC.name}', not to 'other'" for host in HOSTS))
    site.on(PROXY, "mv /etc/pgquorum/cluster.json /root/")
    try:
        run = site.deploy("-y", "--data", "cluster_name=other")
        refused(run, *(f"host {host}: belongs to cluster '{SPEC.name}', not to 'other'" for host in DATABASES))
    finally:
        site.on(PROXY, "mv /root/cluster.json /etc/pgquorum/")
    assert site.snapshot() == before


@contextmanager
def noted(site: Site, host: str, version: str | None) -> Iterator[None]:
    """A host that notes another version as the one that deployed it last, or none; what it notes then is put back."""
    change = f"d.update(version={version!r})" if version else "d.pop('version')"
    program = f"import json; p = '{paths.MARKER}'; d = json.load(open(p)); {change}; open(p, 'w').write(json.dumps(d) + chr(10))"
    site.on(host, f"cp -p {paths.MARKER} /root/marker && python3 -", program)
    try:
        yield
    finally:
        site.on(host, f"mv /root/marker {paths.MARKER}")


def markers(site: Site) -> dict[str, str]:
    return site.on_all(f"cat {paths.MARKER}; stat -c '%a %U %.Y' {paths.MARKER}")


def test_an_older_checkout_than_the_one_that_deployed_a_host_is_refused_and_touches_nothing(site: Site) -> None:
    with noted(site, PROXY, "99.0.0"), site.edited("group_data/postgres.py", 'postgres_parameters["work_mem"] = "7MB"'):
        before, notes = site.snapshot(), markers(site)
        refused(site.deploy("-y"), f"hosts were deployed by 99.0.0 ({PROXY}), and this checkout is older, {own()}")
        refused(site.deploy("-y", "--data", "downgrade_from=98.0.0"), "or insist with --data downgrade_from=99.0.0")
        code, out, _ = invoke(site, "preflight")
        assert code == 1
        assert f"hosts were deployed by 99.0.0 ({PROXY})" in out
        assert f"note     hosts were deployed by 99.0.0 ({PROXY}), this is {own()}" in invoke(site, "status")[1]
        assert (site.snapshot(), markers(site)) == (before, notes)
    assert site.changes() == 0


@pytest.mark.long
def test_who_insists_deploys_an_older_checkout_and_the_host_notes_that_one(site: Site) -> None:
    with noted(site, PROXY, "99.0.0"):
        run = site.deployed("--data", "downgrade_from=99.0.0")
        assert f"what 99.0.0 has put there stays there where {own()} does not know it" in run.output
        assert json.loads(site.on(PROXY, f"cat {paths.MARKER}"))["version"] == str(own())
        assert site.changes() == 0
    assert site.changes() == 0


@pytest.mark.long
def test_an_upgrade_that_changes_only_the_version_changes_only_the_note_of_it(site: Site) -> None:
    with noted(site, DATABASES[0], None):
        before = site.snapshot(HOSTS)
        assert "hosts were deployed by a version before 0.2.0" in site.deploy("--dry").output
        assert site.changes() == 1
        assert site.snapshot(HOSTS) == before
        assert json.loads(site.on(DATABASES[0], f"cat {paths.MARKER}"))["version"] == str(own())
        assert site.changes() == 0


def test_a_second_run_at_the_same_time_is_refused_and_told_who_is_at_work(site: Site, second_checkout: Site) -> None:
    before = site.snapshot()
    with slow_run(site) as first:
        run = second_checkout.deploy("-y")
        assert first.poll() is None
    refused(run, "is changing this cluster (deploy, since ", f"from {site.folder})", "wait until that has ended")
    assert site.snapshot() == before
    # The lock went with the process that held it.
    assert second_checkout.changes() == 0


def test_a_dry_run_needs_no_lock(site: Site) -> None:
    with site.locked():
        run = site.deploy("--dry")
    assert run.exit_code == 0, run.output


def out_of_reach(host: str) -> str:
    return f"{host} can't be reached: nothing was changed. Mend it, or leave it out with --exclude"


def test_a_host_that_is_dead_is_named_and_the_others_are_left_alone(site: Site) -> None:
    dead = site.replicas()[0]
    others = [host for host in HOSTS if host != dead]
    site.lab.off(dead)
    try:
        # Patroni writes the synchronous replicas into postgresql.conf by itself: not in the midst of the comparison.
        waits_for = "show synchronous_standby_names"
        wait_until(lambda: dead not in site.psql(site.leader(others[0]), waits_for), "no commit waits for the dead host")
        before = site.snapshot(others)
        with site.edited("group_data/postgres.py", 'postgres_parameters["work_mem"] = "7MB"'):
            run = site.deploy("-y")
        refused(run, out_of_reach(dead), f"  - {dead}: {ADDRESS[dead]} port 22")
        assert run.output.count(out_of_reach(dead)) == 1
        assert site.snapshot(others) == before
        assert site.psql(site.leader(others[0]), "show work_mem") == "4MB"
    finally:
        site.lab.on(dead)
    wait_until(site.healthy, "the host is back")


def missed(site: Site) -> list[str]:
    """What status says of hosts that have missed a deploy."""
    return [one["text"] for one in json.loads(invoke(site, "status", "--json")[1])["findings"] if one["rule"] == "deploy.missed"]


def test_a_dead_host_may_be_left_out_and_gets_later_what_it_has_missed(site: Site) -> None:
    dead, network = site.replicas()[1], "10.99.0.0/16"
    on_it = f"grep -qF {network} /etc/patroni/conf.d/patroni.yml && echo yes || echo no"
    others = [host for host in DATABASES if host != dead]
    networks = [*map(str, SPEC.networks), network]
    with (
        site.edited(f".lab/{SPEC.name}/group_data/all.py", f"client_networks = {networks!r}"),
        site.edited("group_data/postgres.py", 'postgres_parameters["work_mem"] = "7MB"'),  # the same for all hosts
    ):
        site.lab.off(dead)
        try:
            # At a terminal pyinfra itself would ask whether to go on without it.
            run = Deploy(*at_terminal(site, "pyinfra", INVENTORY, "deploy.py"))
            refused(run, out_of_reach(dead))
            assert run.output.count(out_of_reach(dead)) == 1 and "continue?" not in run.output, run.output
            site.deployed("--exclude", dead)
        finally:
            site.lab.on(dead)
        wait_until(site.healthy, "the host is back")
        wait_until(lambda: site.psql(dead, "show work_mem") == "7MB", "Patroni there has what holds for all hosts")
        assert site.on_all(on_it, [*others, dead]) == {**dict.fromkeys(others, "yes"), dead: "no"}
        assert [f"has left out {dead}:" in text for text in missed(site)] == [True]
        site.deployed()
        assert site.on(dead, on_it) == "yes" and missed(site) == []
    site.deployed()
    assert site.on_all(on_it, DATABASES) == dict.fromkeys(DATABASES, "no")
    assert site.changes() == 0


def test_what_holds_for_all_hosts_is_not_changed_on_some_while_the_others_run(site: Site) -> None:
    before, one = site.snapshot(), DATABASES[0]
    others = ", ".join(sorted(host for host in HOSTS if host != one))
    because = f"not as {one} were deployed with, and the same for all hosts; but {others} run and are left out by --limit"
    with site.edited("group_data/postgres.py", 'postgres_parameters["work_mem"] = "7MB"'):
        refused(site.deploy("-y", "--limit", one), f"postgres_parameters: {because}", "nothing was changed")
    with site.edited("group_data/all.py", 'failover_timing = {"ttl": 33}'):
        refused(site.deploy("-y", "--limit", one), f"failover_timing: {because}", "nothing was changed")
    assert site.snapshot() == before
    assert site.changes("--limit", one) == 0  # what is each host's own may be brought to one alone


@contextmanager
def squatter(site: Site, host: str, port: int) -> Iterator[None]:
    """A program of nobody's that has a port of the cluster's on a host."""
    site.on(host, f"systemd-run --quiet --unit=squatter python3 -m http.server {port}")
    try:
        wait_until(lambda: site.on(host, f"ss -Hltn 'sport = :{port}'"), "it listens")
        yield
    finally:
        site.on(host, "systemctl stop squatter; systemctl reset-failed squatter 2>/dev/null; true")


def test_a_port_that_is_taken_on_a_host_that_lives_is_named_with_who_has_it(site: Site) -> None:
    with squatter(site, PROXY, 6432), site.edited("group_data/haproxy.py", "pooling = True"):
        before = site.snapshot()
        said = f"host {PROXY}: pooling_write_port = 6432: python3 (squatter.service) listens there already: end it, or choose"
        refused(site.deploy("-y"), said, "nothing was changed")
        code, out, _ = invoke(site, "preflight", "--json")
        assert code == 1
        assert any(said in one["text"] for one in json.loads(out)["findings"] if one["rule"] == "host.unfit"), out
        assert site.snapshot() == before
    assert site.changes() == 0


def test_an_sshd_that_takes_too_few_sessions_is_named_with_how_many_are_needed(site: Site) -> None:
    host, own = DATABASES[1], "/etc/ssh/sshd_config.d/00-few.conf"
    site.on(host, f"echo 'MaxSessions 2' >{own}; systemctl reload ssh")
    try:
        before = site.snapshot()
        said = f"{host}: MaxSessions 2 in its sshd's configuration: should be at least 10"
        refused(site.deploy("-y"), said, "nothing was changed")
        code, out, _ = invoke(site, "preflight")
        assert code == 1 and said in out, out
        assert site.snapshot() == before
    finally:
        site.on(host, f"rm {own}; systemctl reload ssh")
    assert site.changes() == 0


def test_a_program_that_does_not_start_fails_the_run_with_its_last_words(site: Site) -> None:
    """And the next run mends it."""
    broken = site.replicas()[0]
    try:
        with site.edited("templates/patroni/patroni.service.j2", "[Service]\nExecStartPre=/bin/sh -c 'echo out of luck; exit 1'"):
            site.on(broken, "systemctl stop patroni")
            runs = [site.deploy("-y") for _ in range(2)]
    finally:
        site.deployed()
    for run in runs:
        refused(run, "the deploy stopped at ", f"  - {broken}: ", "out of luck")
    wait_until(site.healthy, "the host is back")
    assert site.changes() == 0


def test_a_host_whose_network_dies_half_way_ends_the_run_and_is_named(site: Site) -> None:
    dead = site.replicas()[0]
    others = [host for host in HOSTS if host != dead]
    with slow_run(site) as run:
        site.lab.cut(dead)
        try:
            site.on_all(END_SLEEP, others)
            output, _ = run.communicate(timeout=PATIENCE)
        finally:
            site.lab.heal(dead)
    refused(Deploy(run.returncode or 0, output), f"  - {dead}: the connection was lost: ", "the same command goes on")
    wait_until(site.healthy, "the host is back")
    assert site.changes() == 0


def test_ctrl_c_ends_the_run_with_an_error_and_releases_the_lock(site: Site) -> None:
    with slow_run(site) as run:
        output = site.interrupt(run)
    assert run.returncode == 130, output
    assert "the same command again mends it" in output.splitlines()[-1] and "Traceback" not in output, output
    assert site.changes() == 0


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("etcd_data_directory=/var/lib/etcd/other", "etcd_data_directory = '/var/lib/etcd/other': the cluster lives with"),
        ("etcd_client_port=12379", "etcd_client_port = 12379: the cluster lives with 2379"),
        ("postgres_port=5433", "postgres_port = 5433: the cluster lives with 5432"),
        ("patroni_port=9008", "patroni_port = 9008: the cluster lives with 8008"),
        pytest.param("etcd_peer_port=12380", "etcd_peer_port = 12380: the cluster lives with 2380", marks=pytest.mark.long),
        pytest.param(
            "postgres_data_directory=/var/lib/postgresql/other",
            "postgres_data_directory = '/var/lib/postgresql/other': the cluster lives with",
            marks=pytest.mark.long,
        ),
        pytest.param(
            f"postgres_version={35 - POSTGRES}",
            f"postgres_version = {35 - POSTGRES}: the cluster lives with {POSTGRES}",
            marks=pytest.mark.long,
            id="postgres_version",
        ),
    ],
)
def test_what_a_living_cluster_can_not_take_is_refused(site: Site, setting: str, sentence: str) -> None:
    before = site.snapshot()
    refused(site.deploy("-y", "--data", setting), sentence)
    assert site.snapshot() == before


def test_no_host_leaves_by_omission_and_none_moves(site: Site) -> None:
    before, leader, elsewhere = site.snapshot(), site.leader(), str(SPEC.networks[0][250])
    for edit, sentence in (
        (f"postgres = [one for one in postgres if one[0] != {leader!r}]", f"host {leader} is not in group postgres any more"),
        (f"etcd = [one for one in etcd if one[0] != {leader!r}] + haproxy", f"host {leader} is not in group etcd any more"),
        (
            f"for group in (etcd, postgres): dict(group)[{leader!r}].update(address={elsewhere!r})",
            f"host {leader}: address =",
        ),
    ):
        with site.edited(INVENTORY, edit):
            refused(site.deploy("-y"), sentence, f"`invoke host.remove {leader}`")
    assert site.snapshot() == before


@pytest.mark.long
def test_a_quota_that_etcds_database_has_outgrown_is_refused(site: Site) -> None:
    member, value = DATABASES[0], "/root/value"

    def told() -> dict[str, int]:
        (own,) = json.loads(site.etcdctl(member, "--write-out=json endpoint status"))
        return {"size": own["Status"]["dbSize"], "revision": own["Status"]["header"]["revision"]}

    before = site.snapshot()
    site.on(member, f"head -c 900000 /dev/urandom | base64 --wrap 0 >{value}")
    try:
        for number in range(60):
            site.etcdctl(member, f"put big/{number} <{value}")
        assert 64 * 1024**2 < told()["size"] < 128 * 1024**2
        refused(site.deploy("-y", "--data", "etcd_quota=64MB"), "etcd_quota = 67108864: etcd's database on ", "should be more")
        assert site.changes("--data", "etcd_quota=2GB") == 0
    finally:
        site.etcdctl(member, f"del --prefix big/ >/dev/null; rm {value}")
        site.etcdctl(member, f"compact {told()['revision']}")
        for one in DATABASES:
            site.etcdctl(one, "defrag")
    assert site.snapshot() == before
