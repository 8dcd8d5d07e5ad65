"""On hosts that nothing was deployed to yet: what is refused, and what --dry says, both without changing anything."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers import INVENTORY, Site
from helpers import refused as ended_with
from hosts import ADDRESS, DATA, DATABASES, HOSTS, POSTGRES, PROXY, SPEC, wait_until

VICTIM = DATABASES[1]
# What PostgreSQL would take, and Patroni would not, or what would lose acknowledged writes: by name and value, what is said.
NOT_TAKEN = {
    ("logging_collector", "on"): "is decided by the journal",
    ("fsync", "off"): "should be on: else acknowledged writes may be lost in a crash",
    ("full_page_writes", "off"): "should be on: else acknowledged writes may be lost in a crash",
    ("max_connections", 20): "should be at least 25: below, Patroni uses a value of its own",
    ("wal_keep_size", 0): "should be at least 16MB: below, Patroni uses a value of its own",
    ("max_wal_senders", 2): "should be at least 3: below, Patroni uses a value of its own",
    ("recovery_min_apply_delay", "1h"): "is decided by Patroni, which says how replicas recover",
}

# Holds apt's locks for half a minute, of the lists and of packages.
FIRST_BOOT = """
import fcntl, time
held = [open(f"/var/lib/{name}", "w") for name in ("apt/lists/lock", "dpkg/lock-frontend", "dpkg/lock")]
for one in held: fcntl.lockf(one, fcntl.LOCK_EX)
time.sleep(30)
"""


def refused(
    site: Site,
    *sentences: str,
    options: tuple[str, ...] = ("-y",),
    inventory: str = INVENTORY,
    environment: dict[str, str] | None = None,
) -> None:
    """A deploy that says each sentence once, in the end, exits with an error, shows no traceback and changes nothing."""
    before = site.snapshot()
    run = site.deploy(*options, inventory=inventory, environment=environment)
    ended_with(run, *sentences)
    for sentence in sentences:
        assert run.output.count(sentence) == 1, (sentence, run.output)
    assert site.snapshot() == before
    assert not (site.folder / "secrets").exists()


@pytest.fixture
def another_inventory(blank: Site) -> Iterator[Callable[[str, str], str]]:
    """Another inventory beside the lab's, in which some text of the host `VICTIM` is another."""
    file = blank.folder / f".lab/{SPEC.name}/other.py"

    def write(old: str, new: str) -> str:
        text = (blank.folder / INVENTORY).read_text()
        assert old in text
        lines = [line.replace(old, new) if f"('{VICTIM}'" in line else line for line in text.splitlines()]
        file.write_text("\n".join(lines) + "\n")
        return str(file.relative_to(blank.folder))

    yield write
    file.unlink()


def test_dry_changes_nothing(blank: Site) -> None:
    before = blank.snapshot()
    run = blank.deploy("--dry")
    assert run.exit_code == 0, run.output
    for host in HOSTS:
        assert host in run.output
    assert "Install packages" in run.output
    assert blank.snapshot() == before
    assert not (blank.folder / "secrets").exists()


def test_an_operator_whose_clock_is_two_hours_ahead_makes_no_certificates_by_it(blank: Site, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import time\nright = time.time\ntime.time = lambda: right() + 7200\n")
    told = "the clock of this machine is 120 minutes ahead of the hosts'"
    refused(blank, told, environment={"PYTHONPATH": str(tmp_path)})


def test_wrong_settings_are_told_all_at_once(blank: Site) -> None:
    wrong = "durabilty = 'quorum'\ncertificate_days = 'long'\nfailover_timing = {'ttl': 5}\nsecrets_directory = 3"
    with blank.edited("group_data/all.py", wrong):
        refused(
            blank,
            "durabilty is not a setting (did you mean 'durability'?)",
            "certificate_days = 'long': should be a whole number",
            "secrets_directory = 3: ",
        )
    with blank.edited("group_data/postgres.py", "postgres_port = 70000\npostgres_roles = [{'name': 'A'}]"):
        refused(blank, "postgres_port = 70000: should be at most 65535", "postgres_roles[0][name] = 'A': should be")
    contradiction = "haproxy_read_port = haproxy_write_port"
    with (
        blank.edited("group_data/haproxy.py", contradiction),
        blank.edited("group_data/all.py", "failover_timing = {'ttl': 21, 'loop_wait': 20}"),
        blank.edited("group_data/postgres.py", f"postgres_parameters |= {dict([*NOT_TAKEN])!r}"),
    ):
        refused(
            blank,
            "haproxy_write_port and haproxy_read_port are both 5000",
            "failover timing: ttl = 21: must be at least",
            *(f"postgres_parameters[{name}] = {value!r}: {NOT_TAKEN[name, value]}" for name, value in NOT_TAKEN),
        )


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--limit", "nobody"), "--limit nobody: no host or group is called that"),
        (("--limit", DATABASES[0]), "a new cluster needs all its hosts"),
        (("--exclude", PROXY), "a new cluster needs all its hosts"),
        (("--serial",), "--serial: every phase of this deploy needs the one before it"),
    ],
)
def test_a_wrong_choice_of_hosts(blank: Site, options: tuple[str, ...], sentence: str) -> None:
    refused(blank, sentence, options=("-y", *options))


def test_a_host_whose_name_is_unknown(blank: Site, another_inventory: Callable[[str, str], str]) -> None:
    inventory = another_inventory(f"'ssh_hostname': '{ADDRESS[VICTIM]}'", "'ssh_hostname': 'nowhere.example'")
    refused(blank, f"{VICTIM}: nowhere.example port 22: ", inventory=inventory)


def test_a_host_that_is_off(blank: Site, another_inventory: Callable[[str, str], str]) -> None:
    """An address where nobody is."""
    free = SPEC.networks[0][200]
    inventory = another_inventory(f"'ssh_hostname': '{ADDRESS[VICTIM]}'", f"'ssh_hostname': '{free}'")
    refused(blank, f"{VICTIM}: {free} port 22", inventory=inventory)


def test_a_host_that_refuses_the_key(blank: Site, another_inventory: Callable[[str, str], str], tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "stranger"], check=True)
    inventory = another_inventory(f".lab/{SPEC.name}/id_ed25519", str(tmp_path / "stranger"))
    refused(blank, f"port 22 refuses to log in 'root' with {tmp_path}/stranger (ssh_user, ssh_key)", inventory=inventory)


def test_a_host_that_has_another_key_than_before(
    blank: Site, another_inventory: Callable[[str, str], str], tmp_path: Path
) -> None:
    keys = dict(line.split(" ", 1) for line in (blank.folder / f".lab/{SPEC.name}/known_hosts").read_text().splitlines())
    names = next(names for names in keys if VICTIM in names)
    other = next(key for who, key in keys.items() if who != names)
    (tmp_path / "known_hosts").write_text(f"{names} {other}\n")
    inventory = another_inventory(f".lab/{SPEC.name}/known_hosts", str(tmp_path / "known_hosts"))
    refused(blank, "port 22 shows another host key than", inventory=inventory)


def test_a_user_who_may_not_become_root(blank: Site, another_inventory: Callable[[str, str], str]) -> None:
    blank.on(VICTIM, "useradd -m ann; cp -r /root/.ssh /home/ann/; chown -R ann: /home/ann/.ssh")
    try:
        refused(
            blank,
            f"host {VICTIM}: ann has no sudo without a password",
            inventory=another_inventory("'ssh_user': 'root'", "'ssh_user': 'ann'"),
        )
    finally:
        blank.on(VICTIM, "userdel -r ann")


def test_a_system_that_is_not_supported(blank: Site) -> None:
    blank.on(VICTIM, "mv /etc/os-release /root/kept; printf 'ID=fedora\\nVERSION_ID=43\\n' > /etc/os-release")
    try:
        refused(blank, f"host {VICTIM}: runs fedora 43: should be Debian or Ubuntu")
    finally:
        blank.on(VICTIM, "mv /root/kept /etc/os-release")


@pytest.mark.parametrize(("host", "port"), [(VICTIM, 2379), (VICTIM, 8008), (PROXY, 5000)])
def test_a_port_that_somebody_else_has(blank: Site, host: str, port: int) -> None:
    # At the address that the cluster uses, which may be one of IPv6 alone.
    blank.on(host, f"systemd-run --quiet --unit=squatter python3 -m http.server --bind {ADDRESS[host]} {port}")
    try:
        wait_until(lambda: blank.on(host, f"ss -Hltn 'sport = :{port}'"), "it listens")
        refused(blank, f"{host}: python3 (squatter.service) already listens on port {port}: end it, or choose another port")
    finally:
        blank.on(host, "systemctl stop squatter; systemctl reset-failed squatter 2>/dev/null; true")


def test_a_data_directory_that_belongs_to_something_else(blank: Site) -> None:
    for content in ("precious", "PG_VERSION"):
        blank.on(VICTIM, f"mkdir -p {DATA}; echo {POSTGRES} > {DATA}/{content}")
        try:
            refused(blank, f"host {VICTIM}: {DATA} holds something that this tool did not put there")
            assert blank.on(VICTIM, f"ls {DATA}") == content
        finally:
            blank.on(VICTIM, "rm -r /var/lib/postgresql")


@pytest.mark.parametrize("place", ["/home/data", "/var/tmp/data"], ids=["home", "var-tmp"])
def test_data_that_a_link_leads_to_where_none_can_be(blank: Site, place: str) -> None:
    """What the services' sandbox hides, or a clean-up takes."""
    link = "/var/lib/postgresql"
    blank.on(VICTIM, f"mkdir -p {place}; ! test -e {link} || mv -T {link} /root/former; ln -s {place} {link}")
    try:
        told = f"host {VICTIM}: postgres_data_directory = {DATA!r} leads to {DATA.replace(link, place)}, which "
        refused(blank, told)
    finally:
        blank.on(VICTIM, f"rm -r {link} {place}; ! test -e /root/former || mv -T /root/former {link}")


def test_an_sshd_that_takes_two_sessions(blank: Site) -> None:
    narrow = "/etc/ssh/sshd_config.d/00-narrow.conf"
    blank.on(VICTIM, f"echo MaxSessions 2 > {narrow}; systemctl reload ssh")
    try:
        refused(blank, f"{VICTIM}: MaxSessions 2 in its sshd's configuration: should be at least 10")
    finally:
        blank.on(VICTIM, f"rm {narrow}; systemctl reload ssh")


def test_parameters_that_postgresql_does_not_take(blank: Site) -> None:
    """The last one here: packages are installed by then, and PostgreSQL's own program is asked. The next deploy goes on. One of
    the hosts has just been made, and its first boot is still at work with apt."""
    wrong = 'postgres_parameters |= {"log_timezone": "Europe/Berln", "ssl_dh_params_file": "/gone/dh.pem"}'
    blank.on(VICTIM, f"systemd-run --quiet --collect --unit=first-boot python3 -c {shlex.quote(FIRST_BOOT)}")
    with blank.edited("group_data/postgres.py", wrong):
        run = blank.deploy("-y")
    assert blank.on(VICTIM, "systemctl is-active first-boot || true") == "inactive", "it has not waited"
    ended_with(run, "the deploy stopped at 'PostgreSQL takes the parameters'")
    for host in DATABASES:
        for reason in (
            'invalid value for parameter "log_timezone": "Europe/Berln"',
            'DH parameters file "/gone/dh.pem": No such',
        ):
            lines = run.last_words.splitlines()
            assert [one for one in lines if f"{host}: PostgreSQL was not started here" in one and reason in one], run.output
    assert blank.on_all("pgrep -x patroni || ! pgrep -x postgres || echo runs") == dict.fromkeys(HOSTS, "")
