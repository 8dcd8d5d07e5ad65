"""Deploys that change a setting of a cluster at work: applied everywhere, without a restart, and without a client noticing."""

from __future__ import annotations

import json
import time

import psycopg
import pytest
from clients import Writers, statistics
from commands import invoke, status
from helpers import ENVIRONMENT, Site, refused
from hosts import DATABASES, HOSTS, wait_until
from test_20_first_deploy import secrets

pytestmark = pytest.mark.usefixtures("healed")

RELOAD = "select pg_reload_conf()"


def parameter(site: Site, name: str) -> dict[str, str]:
    return {host: site.psql(host, f"show {name}") for host in DATABASES}


def everywhere(value: str) -> dict[str, str]:
    return dict.fromkeys(DATABASES, value)


def dynamic_config(site: Site) -> dict[str, object]:
    return json.loads(site.on(DATABASES[0], "patronictl -c /etc/patroni/conf.d show-config | python3 -c '"
                              "import json,sys,yaml; print(json.dumps(yaml.safe_load(sys.stdin)))'"))  # fmt: skip


# Each in a way of writing that PostgreSQL takes and shows otherwise.
WRITTEN_OTHERWISE = """
postgres_parameters |= {
    "work_mem": "0x2400", "Random_Page_Cost": 1.5, "log_file_mode": "0640", "timezone": "Europe/Berlin", "datestyle": "iso, dmy",
}
"""


def test_a_parameter_and_a_timer_are_applied_at_once_and_nothing_restarts(site: Site, at_work: Writers) -> None:
    before, processes = site.postmasters(), site.processes()
    timer = 'failover_timing = {"ttl": 33}'
    with site.edited("group_data/postgres.py", WRITTEN_OTHERWISE), site.edited("group_data/all.py", timer):
        run = site.deployed()
        assert "waits for a restart" not in run.output
        assert parameter(site, "work_mem") == everywhere("9MB")
        assert parameter(site, "random_page_cost") == everywhere("1.5")
        assert parameter(site, "log_file_mode") == everywhere("0640")
        assert parameter(site, "timezone") == everywhere("Europe/Berlin")
        assert parameter(site, "datestyle") == everywhere("ISO, DMY")
        assert dynamic_config(site)["ttl"] == 33
        assert site.changes() == 0
        code, out, err = invoke(site, "config")
        assert code == 0, out + err
        # By hand, beside what the settings name: it stays. Over what they name: it is brought back.
        by_hand = "-p geqo=off -p work_mem=8MB"
        site.on(DATABASES[0], f"patronictl -c /etc/patroni/conf.d edit-config --force {by_hand}")
        wait_until(lambda: parameter(site, "work_mem") == everywhere("8MB"), "the change by hand has arrived")
        site.deployed()
        assert parameter(site, "work_mem") == everywhere("9MB")
        assert parameter(site, "geqo") == everywhere("off")
    run = site.deployed()
    assert parameter(site, "work_mem") == everywhere("4MB")
    assert parameter(site, "random_page_cost") == everywhere("4")  # PostgreSQL's own default again
    assert parameter(site, "log_file_mode") == everywhere("0600")
    assert parameter(site, "geqo") == everywhere("off")
    site.on(DATABASES[0], "patronictl -c /etc/patroni/conf.d edit-config --force -p geqo=null")
    assert dynamic_config(site)["ttl"] == 20
    assert site.changes() == 0
    assert (site.postmasters(), site.processes()) == (before, processes)


def test_what_needs_a_restart_is_told_for_every_member_and_nothing_restarts(site: Site, at_work: Writers) -> None:
    before, processes = site.postmasters(), site.processes()
    with site.edited("group_data/postgres.py", 'postgres_parameters["shared_buffers"] = "300MB"'):
        run = site.deployed()
        for host in DATABASES:
            assert f"{host} waits for a restart: shared_buffers" in run.output
        wait_until(lambda: {m.get("Pending restart") for m in site.members().values()} == {"*"}, "Patroni says so, too")
        assert parameter(site, "shared_buffers") == everywhere("256MB")
        again = site.deployed()
        assert again.output.count("waits for a restart: shared_buffers") == len(DATABASES)  # it does not forget
        assert site.changes() == 0
    assert "waits for a restart" not in site.deployed().output
    wait_until(lambda: {m.get("Pending restart") for m in site.members().values()} == {None}, "nothing waits any more")
    assert (site.postmasters(), site.processes()) == (before, processes)


@pytest.mark.parametrize(
    ("parameter", "reason"),
    [
        ("'log_timezone': 'Europe/Berln'", 'invalid value for parameter "log_timezone": "Europe/Berln"'),
        ("'shared_preload_libraries': 'pg_cron'", 'could not access file "pg_cron"'),
        pytest.param("'shared_buffers': '900GB'", "of shared memory, and the host has", marks=pytest.mark.long),
        pytest.param("'huge_pages': 'on'", "huge pages, and the host has 0", marks=pytest.mark.long),
    ],
)
def test_with_what_postgresql_would_not_start_is_refused_in_its_words_on_every_host(
    site: Site, parameter: str, reason: str
) -> None:
    before = site.snapshot()
    with site.edited("group_data/postgres.py", f"postgres_parameters |= {{{parameter}}}"):
        run = site.deploy("-y")
    refused(run, "nothing was changed")
    for host in DATABASES:
        assert [line for line in run.last_words.splitlines() if f"{host}: PostgreSQL would not start" in line and reason in line]
    assert site.snapshot() == before


def test_a_rolling_restart_stops_no_server_that_would_not_start_again(site: Site) -> None:
    before = site.postmasters()
    edit = "patronictl -c /etc/patroni/conf.d edit-config --force -p shared_preload_libraries"
    site.on(DATABASES[0], f"{edit}=pg_cron")
    try:
        wait_until(lambda: {m.get("Pending restart") for m in site.members().values()} == {"*"}, "Patroni has taken it")
        code, out, err = invoke(site, "rolling-restart", "--yes")
        assert code == 1 and 'could not access file "pg_cron"' in out and "nothing was stopped" in out, out + err
    finally:
        # PostgreSQL goes on saying that a restart is needed for a parameter that is only taken out.
        site.on(DATABASES[0], f"{edit}=\"''\"")
        wait_until(lambda: {m.get("Pending restart") for m in site.members().values()} == {None}, "nothing waits any more")
        site.on(DATABASES[0], f"{edit}=null")
    assert site.postmasters() == before


def test_a_new_role_and_its_database_are_made_and_no_secret_shows_meanwhile(site: Site) -> None:
    watch = (
        "cat > /root/patterns; while [ -e /root/patterns ]; do grep -lasFf /root/patterns /proc/[0-9]*/cmdline; sleep 0.02; done"
    )
    added = (
        'postgres_roles += [{"name": "reports", "connection_limit": 7, "member_of": ["app", "pg_monitor"]}]\n'
        'postgres_databases += [{"name": "reports", "owner": "reports"}]'
    )
    with site.edited("group_data/postgres.py", added):
        patterns = "\n".join(secrets(site)) + "\n"
        watchers = [site.watch(host, watch, patterns) for host in HOSTS]
        try:
            run = site.deployed("-vvv", "--diff")
        finally:
            site.on_all("rm /root/patterns")
            seen = [watcher.communicate(timeout=20)[0] for watcher in watchers]
        assert seen == [""] * len(HOSTS)
        assert not [secret for secret in secrets(site) if secret in run.output]
        password = site.vault.password("role_reports")
        with site.connect(5000, user="reports", dbname="reports", password=password) as connection:
            connection.execute("create table if not exists mine (n int)")
            limit, member, monitor = connection.execute(
                "select rolconnlimit, pg_has_role('app', 'member'), pg_has_role('pg_monitor', 'member')"
                " from pg_roles where rolname = current_user"
            ).fetchone()  # type: ignore[misc]
        assert (limit, member, monitor) == (7, True, True)
        # Dropped by hand, with what was in it: both come back, the database empty.
        for statement in ("drop database reports", "drop role reports"):
            site.psql(site.leader(), statement)
        gone = [(f["rule"], f["text"]) for f in status(site)["findings"] if f["rule"].endswith(".missing")]
        assert gone == [
            ("roles.missing", "role reports of the settings is not there: a deploy makes it"),
            ("databases.missing", "database reports of the settings is not there: a deploy makes it, empty"),
        ]
        site.deployed()
        assert not [rule for rule, _ in found(site) if rule.endswith(".missing")]
        with site.connect(5000, user="reports", dbname="reports", password=password) as connection:
            connection.execute("create table mine (n int)")
        code, out, err = invoke(site, "psql", "--role", "reports", "--database", "reports", "-c", "select current_user, 6*7")
        assert code == 0 and out.split()[-5:] == ["reports", "|", "42", "(1", "row)"], out + err
        assert site.changes() == 0
    # That the settings have another list of roles and databases is noted, no more.
    assert site.changes() == len(HOSTS)
    assert site.changes() == 0
    with site.connect(5000, user="reports", dbname="reports", password=password) as connection:
        connection.execute("table mine")  # taking it out of the settings dropped nothing


def refused_logins(site: Site, since: float) -> dict[str, str]:
    """What each database host has told of passwords that were wrong, of which there are none: no host is in it."""
    asked = f"journalctl --since @{since:.0f} --output cat | grep -F 'password authentication failed' || true"
    return {host: said for host, said in site.on_all(asked, DATABASES).items() if said}


# Of the system's roles, of what asks the REST API and HAProxy's statistics, and of a role of the settings.
CHANGED = ("REPLICATION", "REWIND", "REST_API", "PROBE", "HAPROXY_STATS", "ROLE_BILLING")


def test_a_password_that_changes_is_changed_on_both_sides_and_the_next_primary_is_followed(site: Site) -> None:
    other = {f"PGQUORUM_PASSWORD_{name}": f"another-{name.lower()}-0123456789" for name in CHANGED}
    billing = {"user": "billing", "dbname": "app", "password": other["PGQUORUM_PASSWORD_ROLE_BILLING"]}
    since = time.time()
    try:
        with Writers(site) as writers:
            with site.edited("group_data/postgres.py", 'postgres_roles += [{"name": "billing", "member_of": ["app"]}]'):
                run = site.deploy("-y", environment=other)
            assert run.exit_code == 0 and "verified" in run.output, run.output
            assert writers.failures == []
            assert refused_logins(site, since) == {}
            site.connect(5000, **billing).close()
            former = ENVIRONMENT["PGQUORUM_PASSWORD_HAPROXY_STATS"]
            assert [statistics(site, one) for one in (other["PGQUORUM_PASSWORD_HAPROXY_STATS"], former)] == [200, 401]
            old, new = site.leader(), site.replicas()[0]
            site.on(old, f"patronictl -c /etc/patroni/conf.d switchover --force --leader {old} --candidate {new}")
            wait_until(lambda: site.healthy() and site.leader() == new, "the new primary is followed")
            before = len(writers.acknowledged)
            wait_until(lambda: len(writers.acknowledged) > before + 100, "writes are acknowledged")
        assert writers.lost() == set()
    finally:
        site.deployed()
    assert refused_logins(site, since) == {}
    assert site.changes() == 0


def test_what_the_systems_roles_may_do_is_found_missing_and_given_back(site: Site, at_work: Writers) -> None:
    site.psql(site.leader(), "revoke execute on function pg_read_binary_file(text) from rewinder")
    site.psql(site.leader(), "alter role replicator password 'by-hand-by-hand'")
    code, out, _ = invoke(site, "verify", "--json")
    refused = [f for f in json.loads(out)["findings"] if f["rule"] == "roles.refused"]
    assert code == 1 and {f["about"] for f in refused} == set(DATABASES)
    assert any("permission denied for function pg_read_binary_file" in f["text"] for f in refused)
    assert any("password authentication failed" in f["text"] for f in refused)
    site.deployed()
    assert invoke(site, "verify")[0] == 0
    assert site.changes() == 0


def test_other_rights_of_the_systems_roles_are_named_and_taken_back(site: Site, at_work: Writers) -> None:
    leader = site.leader()
    for statement in (
        "alter role rewinder superuser bypassrls createrole createdb",
        "alter role replicator noreplication",
        "grant pg_read_all_data to pgquorum_probe",
        "grant rewinder to app",
        "alter role rewinder set work_mem = '1MB'",
        "alter role rewinder in database app set jit = off",
    ):
        site.psql(leader, statement)
    told = {f["text"] for f in status(site)["findings"] if f["rule"] == "roles.other-rights"}
    assert told == {
        "replicator lacks replication, by hand: a deploy puts that right",
        "rewinder has superuser, has createrole, has createdb, has bypassrls, has app as a member, has jit=off in database app,"
        " has work_mem=1MB, by hand: a deploy puts that right",
        "pgquorum_probe is a member of pg_read_all_data, by hand: a deploy puts that right",
    }
    run = site.deployed()
    assert "verified" in run.output
    attributes = "select rolname, rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolreplication from pg_roles"
    assert site.psql(leader, f"{attributes} where rolname in ('rewinder', 'replicator') order by 1").splitlines() == [
        "replicator|f|f|f|f|t",
        "rewinder|f|f|f|f|f",
    ]
    assert site.psql(leader, "select pg_has_role('pgquorum_probe', 'pg_read_all_data', 'member')") == "f"
    assert site.psql(leader, "select pg_has_role('app', 'rewinder', 'member')") == "f"
    assert site.psql(leader, "select count(*) from pg_db_role_setting where setrole = 'rewinder'::regrole") == "0"
    assert invoke(site, "verify")[0] == 0 and not [rule for rule, _ in found(site) if rule.startswith("roles.")]
    assert site.changes() == 0


@pytest.mark.parametrize(
    "parameter", ["session_preload_libraries", pytest.param("Local_Preload_Libraries", marks=pytest.mark.long)]
)
def test_without_a_library_that_every_session_loads_nothing_is_sent(site: Site, parameter: str) -> None:
    before = site.snapshot()
    with site.edited("group_data/postgres.py", f"postgres_parameters |= {{{parameter!r}: 'auto_explain, pg_cron'}}"):
        run = site.deploy("-y")
    refused(run, "nothing was changed")
    said = run.last_words.splitlines()
    for host in DATABASES:
        assert [line for line in said if f"{host}: postgres_parameters[" in line and "pg_cron.so, and no" in line]
    assert site.snapshot() == before
    site.connect(5000).close()


def test_a_library_that_is_there_is_loaded_by_every_new_session(site: Site) -> None:
    loaded = "'session_preload_libraries': 'auto_explain'"
    with site.deployed_with("group_data/postgres.py", f"postgres_parameters |= {{{loaded}}}"):
        for port in (5000, 5001):
            with site.connect(port) as connection:
                assert connection.execute("show auto_explain.log_min_duration").fetchone() == ("-1",)


def found(site: Site) -> list[tuple[str, str]]:
    """What `status` finds beside what is well: rule and host."""
    return [(f["rule"], f["about"]) for f in status(site)["findings"] if f["level"] != "ok"]


def test_what_was_set_by_hand_in_postgresql_is_named_and_keeps_no_deploy_from_its_end(site: Site) -> None:
    leader = site.leader()
    for statement in ("alter system set work_mem = '9MB'", "alter role app set synchronous_commit = off", RELOAD):
        site.psql(leader, statement)
    try:
        wait_until(lambda: site.psql(leader, "show work_mem") == "9MB", "it is in force")
        told = {f["rule"]: f for f in status(site)["findings"] if f["level"] != "ok"}
        assert told.keys() == {"settings.altered", "settings.overridden"} and told["settings.altered"]["about"] == leader
        reset = "`alter system reset work_mem` there, then `select pg_reload_conf()`"
        assert told["settings.altered"]["text"] == f"work_mem is 9MB by ALTER SYSTEM, over the settings: {reset}"
        code, out, _ = invoke(site, "config")
        (row,) = [line for line in out.splitlines() if line.startswith("work_mem ")]
        assert code == 1 and row.split() == ["work_mem", leader, "4MB", "9MB", "by", "ALTER", "SYSTEM"]
        assert "What ALTER SYSTEM has set no deploy takes back: `alter system reset NAME` on the host" in out
        assert "verified" in site.deployed().output
    finally:
        for statement in ("alter system reset work_mem", "alter role app reset synchronous_commit", RELOAD):
            site.psql(leader, statement)
    wait_until(lambda: found(site) == [], "nothing is left")


def test_a_value_or_a_file_that_postgresql_does_not_take_is_told_by_status_and_stops_no_server(site: Site) -> None:
    before = site.postmasters()
    edit = "patronictl -c /etc/patroni/conf.d edit-config --force -p log_timezone={} -p ssl_dh_params_file={}"
    site.on(DATABASES[0], edit.format("Europe/Berln", "/gone/dh.pem"))
    try:
        refused = [("settings.refused", host) for host in DATABASES for _ in range(2)]
        wait_until(lambda: sorted(found(site)) == refused, "every host is named, for each")
        reason = 'postgresql.conf: invalid value for parameter "log_timezone": "Europe/Berln". It may not start with that: '
        remedy = "`patronictl -c /etc/patroni/conf.d edit-config -p log_timezone=null` there"
        texts = {f["text"] for f in status(site)["findings"] if f["rule"] == "settings.refused" and "log_timezone" in f["text"]}
        assert texts and all(text.endswith(f"{reason}{remedy}") for text in texts), texts
        site.on(DATABASES[0], edit.format("null", "/gone/dh.pem"))  # which PostgreSQL itself only tells its log
        wait_until(lambda: sorted(found(site)) == refused[::2], "every host is named")
        code, out, err = invoke(site, "rolling-restart", "--yes")
        assert code == 2 and "there is no /gone/dh.pem that PostgreSQL's user could read" in out + err, out + err
    finally:
        site.on(DATABASES[0], edit.format("null", "null"))
    assert site.postmasters() == before
    wait_until(lambda: found(site) == [], "nothing is left")


def test_a_role_whose_password_was_changed_by_hand_gets_its_own_back(site: Site) -> None:
    limit = site.psql(site.leader(), "select rolconnlimit from pg_roles where rolname = 'app'")
    site.psql(site.leader(), "alter role app password 'by-hand-by-hand' connection limit 1")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        site.connect(5000)
    site.deployed()
    site.connect(5000).close()
    assert site.psql(site.leader(), "select rolconnlimit from pg_roles where rolname = 'app'") == limit != "1"
