"""For an operator who reaches the hosts by SSH only: what has to go through HAProxy goes by way of a host (`--from`)."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from commands import invoke
from helpers import Site
from hosts import ADDRESS, DATABASES, FAMILY, HOSTS, PROXY, SPEC, wait_until
from proving import switch_over

pytestmark = pytest.mark.usefixtures("healed")


@contextmanager
def only_ssh(site: Site) -> Iterator[None]:
    """The hosts take nothing from this machine but SSH."""
    with site.firewall(HOSTS, f"{FAMILY} saddr {SPEC.gateways[0].partition('/')[0]} tcp dport != 22 drop"):
        with pytest.raises(TimeoutError):
            socket.create_connection((ADDRESS[PROXY], 5000), 2)
        yield


def test_verify_fails_from_here_and_passes_from_a_host(site: Site) -> None:
    with only_ssh(site):
        code, out, _ = invoke(site, "verify", "--json")
        assert code == 1
        problems = [finding for finding in json.loads(out)["findings"] if finding["level"] == "problem"]
        assert [finding["about"] for finding in problems] == [PROXY, PROXY]
        for host in DATABASES:
            code, out, _ = invoke(site, "verify", "--from", host, "--json")
            assert code == 0, out
        assert invoke(site, "verify", "--from", PROXY)[0] == 2  # it has no psql


def test_a_preflight_says_that_ssh_is_enough(site: Site) -> None:
    with only_ssh(site):
        code, out, _ = invoke(site, "preflight")
    assert code == 0, out
    assert out.count("SSH is enough") == 2


def test_a_switchover_is_measured_by_way_of_a_host(site: Site) -> None:
    old, (wanted, way) = site.leader(), site.replicas()
    with only_ssh(site):
        trial = switch_over(site, "--to", wanted, "--from", way)
    assert trial["writes"]["acknowledged"] > 100
    assert site.leader() == wanted
    wait_until(site.healthy, f"{old} streams")


@pytest.mark.parametrize("component", ["haproxy", pytest.param("postgres", marks=pytest.mark.long)])
def test_so_is_a_rolling_restart(site: Site, component: str) -> None:
    way = site.replicas()[0]
    with only_ssh(site):
        code, out, err = invoke(site, "rolling-restart", "--yes", "--component", component, "--from", way, "--json")
    assert code == 0, out + err
    outcome = json.loads(out)
    assert outcome["left"] == [] and outcome["reads"] > 0 and outcome["reads_refused"] == []
    assert outcome["writes"]["acknowledged"] > 0 and outcome["writes"]["lost"] == []


def test_no_failover_test_goes_by_way_of_the_host_that_it_takes_away(site: Site) -> None:
    leader, started = site.leader(), site.postmasters()
    code, _, err = invoke(site, "failover-test", "--yes", "--from", leader)
    assert code == 2
    assert f"--from {leader}" in err and "choose another" in err
    assert all(host.power for host in site.lab.status())
    assert (site.leader(), site.postmasters()) == (leader, started)


@pytest.mark.parametrize("words", [["verify"], ["switchover", "--yes"], ["rolling-restart", "--yes"], ["failover-test", "--yes"]])
def test_a_host_that_nobody_knows_is_refused(site: Site, words: list[str]) -> None:
    leader, started = site.leader(), site.postmasters()
    code, _, err = invoke(site, *words, "--from", "pg-sv1")
    assert code == 2
    assert "pg-sv01" in err
    assert (site.leader(), site.postmasters()) == (leader, started)
