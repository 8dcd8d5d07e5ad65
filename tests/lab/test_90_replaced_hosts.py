"""Hosts that come back blank, as after a new disk or in place of dead ones: a plain deploy makes them members again."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager

import pytest
from clients import Writers
from commands import invoke, verified
from helpers import INVENTORY, Site, refused
from hosts import ADDRESS, DATABASES, PROXY, SPEC, wait_until

from cluster import paths

pytestmark = pytest.mark.usefixtures("healed")


def test_a_replaced_database_host_and_proxy_join_again_even_when_the_deploy_is_interrupted(site: Site) -> None:
    """The database host is the first by name, on which an empty cluster would begin: this one is not empty."""
    first = min(DATABASES)
    if site.leader() == first:
        site.on(first, f"patronictl -c /etc/patroni/conf.d switchover --force --leader {first} --candidate {site.replicas()[0]}")
        wait_until(lambda: site.healthy() and site.leader() != first, "another leads")
    leader = site.leader()
    with site.connect(5000) as connection:
        connection.execute("create table before_replacement (n int primary key)")
        connection.execute("insert into before_replacement values (1)")
    identifier = site.psql(leader, "select system_identifier from pg_control_system()")
    site.replace_with_blank(first, PROXY)
    assert site.on(first, "command -v patroni etcd postgres || true") == ""

    run = site.pyinfra(INVENTORY, "deploy.py", "-y")
    wait_until(
        lambda: site.on(first, "test -d /etc/patroni && pgrep -x -f '.*/dpkg .*' || dpkg -s patroni | grep installed"), "half way"
    )
    output = site.interrupt(run)
    assert run.returncode == 130, output

    run_again = site.deployed()
    assert "verified" in run_again.output
    wait_until(site.healthy, "the cluster is whole")
    assert site.leader() == leader
    assert site.psql(first, "select system_identifier from pg_control_system()") == identifier
    wait_until(lambda: site.psql(first, "select n from before_replacement", "app") == "1", "the data is there")
    members = site.etcdctl(leader, "member list").splitlines()
    assert sorted(line.split(", ")[2] for line in members) == DATABASES
    assert {line.split(", ")[1] for line in members} == {"started"}
    assert site.changes() == 0


def members(site: Site) -> list[str]:
    """etcd's, by name."""
    return sorted(line.split(", ")[2] for line in site.etcdctl(site.leader(), "member list").splitlines())


def noted_hosts(site: Site, host: str) -> list[str]:
    return sorted(json.loads(site.on(host, f"cat {paths.LAYOUT}"))["hosts"])


@pytest.mark.parametrize("lost", [pytest.param(False, id="in order", marks=pytest.mark.long), pytest.param(True, id="lost")])
def test_a_host_that_is_taken_out_is_let_go_and_joins_anew(site: Site, lost: bool) -> None:
    primary, (stays, leaves) = site.leader(), site.replicas()
    code, _, err = invoke(site, "host.remove", primary, "--yes")
    assert code == 2 and f"{primary} is the primary: `invoke switchover` first" in err
    with Writers(site) as writers:
        if lost:
            site.lab.off(leaves)
            wait_until(lambda: site.psql(primary, "select count(*) from pg_stat_replication") == "1", "it is given up")
        code, out, err = wait_until(lambda: removed(site, leaves), "somebody else could take over")
        assert code == 0, out + err
        before = len(writers.acknowledged)
        wait_until(lambda: len(writers.acknowledged) > before + 100, "writes go on")
    assert writers.lost() == set()
    assert members(site) == sorted({primary, stays})
    assert all(noted_hosts(site, host) == sorted({primary, stays, PROXY}) for host in (primary, stays, PROXY))
    if lost:
        site.replace_with_blank(leaves)
    else:
        assert site.on(leaves, "systemctl is-enabled patroni etcd; systemctl is-active patroni etcd; true").split() == [
            "disabled", "disabled", "inactive", "inactive",
        ]  # fmt: skip
        postgres = site.cluster.postgres
        directories = (postgres.data_directory, postgres.wal_directory, site.cluster.etcd.data_directory)
        refused(site.deploy("-y"), *(f"host {leaves}: {directory}" for directory in directories))
        for directory in directories:
            assert directory in out
            site.on(leaves, f"rm -rf {directory}")
    site.deployed()
    wait_until(site.healthy, "the cluster is whole")
    assert members(site) == DATABASES and noted_hosts(site, leaves) == sorted([*DATABASES, PROXY])
    assert site.changes() == 0
    with site.connect(5000) as connection:
        connection.execute("drop table written")


def removed(site: Site, host: str) -> tuple[int, str, str] | None:
    """What `host.remove` says; None while it is refused because nobody else could take over yet."""
    code, out, err = invoke(site, "host.remove", host, "--yes")
    return None if "nobody could take over" in err else (code, out, err)


# The address that a host has instead: what it dials from is that one. SSH still comes by its own.
MOVE = r"""
set -e
device=$(ip -o addr show to OLD | awk '{print $2}')
ip addr del OLD/BITS dev $device
ip addr add NEW/BITS dev $device
ip addr add OLD/BITS dev $device preferred_lft 0
"""
BACK = r"""
device=$(ip -o addr show to OLD | awk '{print $2}')
ip addr del NEW/BITS dev $device
ip addr del OLD/BITS dev $device
ip addr add OLD/BITS dev $device
"""


def addresses(script: str, host: str, new: str) -> str:
    return script.replace("OLD", ADDRESS[host]).replace("NEW", new).replace("BITS", str(SPEC.networks[0].prefixlen))


@pytest.mark.long
def test_a_host_that_was_taken_out_joins_anew_at_another_address_by_a_name_of_63_characters(site: Site) -> None:
    primary, (stays, leaves) = site.leader(), site.replicas()
    name, address, network = f"{leaves}-".ljust(63, "x"), str(SPEC.networks[0][250]), SPEC.networks[0]
    url = f"[{address}]" if network.version == 6 else address
    directories = (site.cluster.postgres.data_directory, site.cluster.postgres.wal_directory, site.cluster.etcd.data_directory)
    wipe = f"rm -rf {' '.join(filter(None, directories))}"

    def called(name: str) -> AbstractContextManager[None]:
        """The inventory in which the host that left is called that, and is at the other address."""
        one = f"({name!r}, dict(about, address={address!r})) if known == {leaves!r} else (known, about)"
        return site.edited(
            INVENTORY, "\n".join(f"{group} = [{one} for known, about in {group}]" for group in ("etcd", "postgres"))
        )

    def taken_out(host: str) -> None:
        code, out, err = wait_until(lambda: removed(site, host), "somebody else could take over")
        assert code == 0, out + err
        site.on(leaves, wipe)

    def switched(to: str) -> None:
        code, out, err = invoke(site, "switchover", "--yes", "--to", to)
        assert code == 0, out + err
        wait_until(site.healthy, "the former primary streams")

    with called(f"{name}x"):
        refused(site.deploy("-y"), f"host {name}x: its name has 64 characters: should have at most 63")
    with Writers(site) as writers:
        taken_out(leaves)
        site.on(leaves, addresses(MOVE, leaves, address))
        try:
            with called(name):
                assert "verified" in site.deployed().output
                wait_until(site.healthy, "the cluster is whole")
                assert members(site) == sorted([primary, stays, name])
                assert f"https://{url}:2380" in site.etcdctl(primary, "member list")
                assert site.members(primary)[name]["Host"] == address
                sender = "select client_addr from pg_stat_replication where application_name = "
                assert site.psql(primary, f"{sender}'{name}'") == address
                slots = site.psql(primary, "select slot_name from pg_replication_slots where active").splitlines()
                assert name.replace("-", "_") in slots
                ask = f"openssl s_client -connect {url}:5432 -starttls postgres -CAfile /etc/patroni/tls/ca.crt"
                for verify in (f"-verify_hostname {name}", f"-verify_ip {address}"):
                    said = site.on(stays, f"{ask} -verify_return_error {verify} </dev/null 2>&1")
                    assert "Verification: OK" in said, said
                verified(site)
                assert name in invoke(site, "status")[1]
                assert site.changes() == 0
                switched(name)
                assert site.psql(leaves, "select pg_is_in_recovery()") == "f"
                verified(site)
                switched(primary)
                taken_out(name)
        finally:
            site.on(leaves, addresses(BACK, leaves, address))
        site.deployed()
        wait_until(site.healthy, "the cluster is whole")
        before = len(writers.acknowledged)
        wait_until(lambda: len(writers.acknowledged) > before + 100, "writes go on")
    assert writers.lost() == set()
    assert members(site) == DATABASES
    assert site.changes() == 0
    with site.connect(5000) as connection:
        connection.execute("drop table written")
