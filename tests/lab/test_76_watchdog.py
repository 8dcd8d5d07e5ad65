"""A watchdog that a database host has: made usable for Patroni, and its use told. No lab has a real one: a file stands for the
device, which Patroni takes with the driver that its own tests use."""

from __future__ import annotations

import json

from commands import invoke
from helpers import Site
from hosts import wait_until

DEVICE, SETTINGS = "/dev/watchdog", "/etc/patroni/conf.d/patroni.yml"


def told(site: Site) -> list[str]:
    _, out, _ = invoke(site, "verify", "--json")
    return [f["text"] for f in json.loads(out)["findings"] if f["rule"].startswith("watchdog")]


def test_it_is_given_to_patroni_by_a_deploy_and_verify_says_whether_it_is_used(site: Site) -> None:
    leader = site.leader()
    try:
        site.on(leader, f"touch {DEVICE}")
        [text] = told(site)
        assert "is root's, so Patroni can't open it: deploy" in text
        site.deployed()
        assert site.on(leader, f"stat -c %U {DEVICE}") == "postgres"
        [text] = told(site)
        assert text.startswith(f"Patroni does not have {DEVICE}")
        site.on(leader, f"sed -i 's/^  mode: automatic/&\\n  driver: testing/' {SETTINGS}; systemctl reload patroni")
        wait_until(lambda: told(site) == ["Patroni's: it resets the host if that hangs"], "Patroni uses it")
    finally:
        site.on(leader, f"rm -f {DEVICE}")
        site.deployed()


def test_a_session_of_postgres_takes_no_shared_memory_with_it(site: Site) -> None:
    says = "busctl get-property org.freedesktop.login1 /org/freedesktop/login1 org.freedesktop.login1.Manager RemoveIPC"
    assert {site.on(host, says) for host in (site.leader(), *site.replicas())} == {"b false"}
