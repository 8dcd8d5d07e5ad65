"""What the first deploy leaves, and that the second leaves it alone."""

from __future__ import annotations

import re
import socket
import stat

import pytest
from helpers import ENVIRONMENT, INVENTORY, ODD, Deploy, Site
from hosts import ADDRESS, DATABASES, HOSTS, PROXY
from jinja2.utils import htmlsafe_json_dumps

from cluster.databases import wanted_roles


def test_it_succeeds_and_a_client_can_write(site: Site, first_deploy: Deploy) -> None:
    assert first_deploy.exit_code == 0
    assert re.search(r"verified: pg-sv\d+ leads, writes and reads pass through HAProxy", first_deploy.output)
    with site.connect(5000) as connection:
        connection.execute("create table if not exists first (n int)")
        connection.execute("insert into first values (1)")
        assert connection.execute("select count(*) > 0 from first").fetchone() == (True,)
    for port in (5000, 5001, 7000):
        socket.create_connection((ADDRESS[PROXY], port), 5).close()


def test_it_begins_on_the_first_host_by_name(site: Site) -> None:
    assert site.leader() == min(DATABASES)
    assert {member["TL"] for member in site.members().values()} == {1}


def test_a_second_run_changes_nothing(site: Site) -> None:
    assert site.changes() == 0
    before = site.snapshot()
    assert site.changes() == 0
    assert site.snapshot() == before


# A login shell that is no sh, and runs nothing in which fish or tcsh would read something in a way of its own.
PICKY = r"""#!/bin/bash
LC_ALL=C
case $2 in *[!\ -~]* | *!* | *\\\\* | *\\"'"*) echo "not in this shell: $2" >&2; exit 9 ;; esac
exec sh -c "$2"
"""


def test_so_does_one_as_a_user_who_may_become_root_and_has_another_shell(site: Site) -> None:
    site.on_all("cat >/usr/local/bin/picky; chmod 755 /usr/local/bin/picky", stdin=PICKY)
    site.on_all(
        "useradd -m -s /usr/local/bin/picky ben && cp -r /root/.ssh /home/ben/ && chown -R ben: /home/ben/.ssh"
        " && echo 'ben ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/ben"
    )
    try:
        assert site.changes("--ssh-user", "ben") == 0
    finally:
        site.on_all("kill $(pgrep -u ben); userdel -r ben; rm /etc/sudoers.d/ben /usr/local/bin/picky")


def test_dry_on_a_living_cluster_changes_nothing_and_says_so(site: Site) -> None:
    before = site.snapshot()
    run = site.deploy("--dry")
    assert run.exit_code == 0, run.output
    assert site.snapshot() == before
    assert "nothing would be changed: all is as the settings say" in run.output


def test_a_deploy_with_nothing_to_do_says_so_in_a_few_lines(site: Site) -> None:
    said = site.deployed().output.splitlines()
    assert said[-1] == "nothing was changed: all is as the settings say"
    # A slow operation, and what is worth a warning, have lines of their own.
    assert len(said) < 10, said


def secrets(site: Site) -> set[str]:
    """Every text that would betray a secret: passwords, as they are and as YAML and .pgpass have them, what PostgreSQL knows of
    them, and the lines of the keys."""
    vault = site.vault
    passwords = vault.all_secrets()
    written = {str(htmlsafe_json_dumps(password))[1:-1] for password in passwords} | {p.replace(":", "\\:") for p in passwords}
    keys = [line for file in site.secrets.glob("*.key") for line in file.read_text().splitlines() if "-----" not in line]
    return {*passwords, *written, *(role.verifier for role in wanted_roles(site.cluster, vault)), *keys}


def test_no_secret_is_in_all_that_pyinfra_said(site: Site, first_deploy: Deploy) -> None:
    assert not [secret for secret in secrets(site) if secret in first_deploy.output]
    assert len(first_deploy.output) > 10_000  # it did say a lot
    assert "/etc/haproxy/haproxy.cfg (new)" in first_deploy.output


def test_the_secrets_are_the_operators_alone(site: Site) -> None:
    files = list(site.secrets.iterdir())
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert stat.S_IMODE(site.secrets.stat().st_mode) == 0o700
    assert stat.S_IMODE(site.secrets.parent.stat().st_mode) == 0o700
    assert not [path for path in files for given in ENVIRONMENT.values() if given in path.read_text()]


# Where secrets are on a host, and what may read them beside root. The data directory of PostgreSQL, which holds the verifiers
# of passwords, is its own alone. Patroni writes the last one itself, where it runs a replica.
PGPASS = "/var/lib/postgresql/.pgpass-patroni"
SECRET_FILES = {
    **{host: {
        "/etc/etcd/tls/server.key": "etcd",
        "/etc/patroni/tls/server.key": "postgres",
        "/etc/patroni/tls/etcd-client.key": "postgres",
        "/etc/patroni/conf.d/secrets.yml": "postgres",
    } for host in DATABASES},
    PROXY: {
        "/etc/haproxy/tls/haproxy.pem": "root",
        "/etc/haproxy/tls/client.pem": "root",
        "/etc/haproxy/statistics-users.cfg": "root",
    },
}  # fmt: skip


def test_secrets_are_in_the_files_of_their_programs_and_nowhere_else_on_a_host(site: Site) -> None:
    """In no other file, not in the arguments or the environment of a process, in a unit, or in the journal."""
    canary = f"canary-{ODD[-8:]}"
    patterns = "\n".join([*secrets(site), canary]) + "\n"
    data = site.cluster.postgres.data_directory
    search = f"""
    umask 077; cat > /root/patterns
    for f in /tmp/canary /var/tmp/canary; do tail -n 1 /root/patterns > $f; done
    (exec -a "$(tail -n 1 /root/patterns)" sleep 60) >/dev/null 2>&1 & canary=$!
    echo "-- pgpass"; realpath -m {PGPASS}
    echo "-- files"
    find / -xdev \\( -path /proc -o -path /sys -o -path /usr -o -path "$(realpath -m {data})" -o -path /root/patterns \\) \\
      -prune -o -type f -print0 | xargs -0 grep -laFf /root/patterns
    find /tmp /run /dev/shm -type f -print0 2>/dev/null | xargs -0r grep -lasFf /root/patterns
    echo "-- arguments"; grep -lasFf /root/patterns /proc/[0-9]*/cmdline
    echo "-- environments"; grep -lasFf /root/patterns /proc/[0-9]*/environ
    echo "-- journal"; journalctl --no-pager -o verbose | grep -acFf /root/patterns
    echo "-- units"; systemctl show '*.service' | grep -acFf /root/patterns
    kill $canary; rm -f /root/patterns /tmp/canary /var/tmp/canary
    """
    for host, said in site.on_all(search, stdin=patterns).items():
        sections = dict(part.strip().partition("\n")[::2] for part in said.split("-- ")[1:])
        # What the search must find is what was put there for it to find, too.
        assert {*sections["files"].split()} - {sections["pgpass"]} == {*SECRET_FILES[host], "/tmp/canary", "/var/tmp/canary"}, (
            host
        )
        assert len(sections["arguments"].split()) == 1, host
        assert (sections["environments"], sections["journal"], sections["units"]) == ("", "0", "0"), host


@pytest.mark.parametrize("host", HOSTS)
def test_a_secret_file_is_for_root_and_its_program_alone(site: Site, host: str) -> None:
    """Which can't change it, but for what it writes itself."""
    for path, program in SECRET_FILES[host].items():
        mode = "600" if program == "root" else "640"
        assert site.on(host, f"stat -c '%a %U %G' {path}") == f"{mode} root {program}", path
    for folder, group in {(path.rpartition("/")[0], program) for path, program in SECRET_FILES[host].items()}:
        if folder != "/etc/haproxy":
            assert site.on(host, f"stat -c '%a %U %G' {folder}") in (f"750 root {group}", "700 root root"), folder
    if host in DATABASES:
        assert site.on(host, f"stat -c '%a %U' {site.cluster.postgres.data_directory}") == "700 postgres"
        assert site.on(host, f"stat -c '%a %U' {PGPASS} 2>/dev/null || echo '600 postgres'") == "600 postgres"


def test_no_draft_of_a_file_is_left(site: Site) -> None:
    left = site.on_all("ls -d /etc/{etcd,patroni,haproxy,pgquorum}/{,tls/,conf.d/}*.?????? 2>/dev/null | grep -v '\\.' || true")
    assert set(left.values()) == {""}
    assert (site.folder / INVENTORY).exists()
