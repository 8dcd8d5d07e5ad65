"""What apt may upgrade, and what an upgrade has not restarted, on a real cluster."""

from __future__ import annotations

import json

from commands import invoke, status
from helpers import Site
from hosts import DATABASES, PROXY, wait_until
from newer_packages import LIST, bumped, offer, withdraw


def found(site: Site, rule: str) -> list[str]:
    """The hosts of which a rule tells something."""
    return [finding["about"] for finding in status(site)["findings"] if finding["rule"] == rule]


def test_packages_are_released_on_one_host_and_held_again(site: Site) -> None:
    host = site.replicas()[0]
    held = site.on(host, "apt-mark showhold")
    assert "patroni" in held and found(site, "packages.not-held") == []
    code, out, err = invoke(site, "packages.release", "--host", host)
    assert code == 0 and f"{host}: released" in out and "invoke packages.hold" in out, out + err
    try:
        assert site.on(host, "apt-mark showhold") == ""
        assert found(site, "packages.not-held") == [host]
    finally:
        assert invoke(site, "packages.hold")[0] == 0
    assert site.on(host, "apt-mark showhold") == held
    assert found(site, "packages.not-held") == []


def test_an_upgrade_of_all_that_there_is_leaves_what_is_held_alone(site: Site) -> None:
    """The owner's own `apt-get upgrade`, with a newer Patroni to be had, whose package would restart PostgreSQL on every host."""
    before, version = site.postmasters(), "dpkg-query -W -f '${Version}' patroni"
    there = site.on_all(version, DATABASES)
    offered = f"-o Dir::Etc::SourceList={LIST} -o Dir::Etc::SourceParts=/dev/null -o APT::Get::List-Cleanup=0"
    try:
        offer(site, ["patroni"], where=DATABASES)
        site.on_all(f"apt-get -q {offered} update", DATABASES)
        candidates = site.on_all("apt-cache policy patroni | sed -n 's/^ *Candidate: //p'", DATABASES)
        assert candidates == {host: bumped(old) for host, old in there.items()}
        site.on_all("apt-get -q -y upgrade", DATABASES)
        assert site.on_all(version, DATABASES) == there and site.postmasters() == before
    finally:
        withdraw(site, DATABASES)


def test_a_package_that_is_installed_again_by_hand_restarts_nothing_elsewhere(site: Site) -> None:
    host, before = site.replicas()[0], site.postmasters()
    site.on(host, "DEBIAN_FRONTEND=noninteractive apt-get -q -y install --reinstall patroni", timeout=180)
    wait_until(site.healthy, "the cluster is whole")
    assert [name for name, started in site.postmasters().items() if started != before[name]] == [host]
    # apt takes it for a wish to have it at whatever version there is.
    assert found(site, "packages.not-held") == [host]
    assert invoke(site, "packages.hold")[0] == 0
    assert "patroni" in site.on(host, "apt-mark showhold") and site.changes() == 0


def test_another_apt_at_work_is_waited_for(site: Site) -> None:
    """As after a deploy that was interrupted while it installed, or beside a host's own upgrades."""
    host = site.replicas()[0]
    lock = "import fcntl, time; held = open('/var/lib/dpkg/lock-frontend', 'w'); fcntl.lockf(held, fcntl.LOCK_EX); time.sleep(30)"
    site.on(host, f'apt-mark unhold patroni; systemd-run --quiet --collect --unit=another-apt python3 -c "{lock}"')
    wait_until(lambda: "lock" in site.on(host, "dpkg --configure -a 2>&1 || true"), "dpkg is locked", 20)
    code, out, err = invoke(site, "packages.hold")
    assert code == 0 and f"{host}: held" in out, out + err
    assert site.on(host, "systemctl is-active another-apt || true") == "inactive", "it has not waited"
    assert "patroni" in site.on(host, "apt-mark showhold")


def test_a_host_of_another_cluster_is_refused_by_name(site: Site) -> None:
    code, _, err = invoke(site, "packages.release", "--host", "pg-sv99")
    assert code == 2 and "pg-sv99" in err


def test_a_program_that_an_upgrade_has_not_restarted_is_named_until_it_is(site: Site) -> None:
    """As after an upgrade of HAProxy's package: dpkg has another version than the one that runs."""
    database = "/var/lib/dpkg/status"
    other = "/^Package: haproxy$/,/^$/s/^Version: [0-9.]*/Version: 99.0/"
    site.on(PROXY, f"cp -a {database} {database}.kept; sed -i '{other}' {database}")
    try:
        assert found(site, "packages.not-running") == [PROXY]
        code, out, _ = invoke(site, "packages.list", "--json")
        (row,) = [row for row in json.loads(out)["packages"] if row["package"] == "haproxy"]
        assert code == 1 and row["installed"].startswith("99.0") and row["runs"][0] == "3" and row["held"]
    finally:
        site.on(PROXY, f"mv {database}.kept {database}")
    code, out, err = invoke(site, "packages.list")
    assert code == 0 and "keeps it" in out and "may upgrade" not in out, out + err


def test_a_library_that_was_replaced_is_told_until_its_program_is_started_anew(site: Site) -> None:
    library = site.on(PROXY, "readlink -f $(ldd /usr/sbin/haproxy | awk '/libcrypto/ {print $3}')")
    site.on(PROXY, f"cp -p {library} {library}.new && mv {library}.new {library}")

    def told() -> list[str]:
        found = [one for one in status(site)["findings"] if one["rule"] == "packages.old-libraries"]
        assert {one["about"] for one in found} <= {PROXY}
        return [one["text"] for one in found]

    (text,) = told()
    assert text.startswith("haproxy.service run with libraries of before an upgrade (libcrypto.so.3)")
    code, out, err = invoke(site, "reboot", "--dry")
    assert code == 0 and "libcrypto.so.3" in out + err
    site.on(PROXY, "systemctl reload haproxy")
    wait_until(lambda: not told(), "it runs with the new one")
