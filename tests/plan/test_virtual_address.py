"""The deploy of a cluster with a virtual address, of one without, and of one that does without from now on, in rehearsals."""

from __future__ import annotations

import re

import pytest
from conftest import BLANK_HOST, DATABASES, HOSTS, NO_DATABASES, PROXIES, SURVEY, Answers, Rehearsal, Stage

from cluster import paths

ADDRESS = "10.0.0.77"
START = "systemctl enable --now --quiet keepalived.service"
SETTING_UP = re.compile(r"mktemp /etc/keepalived|now --quiet keepalived|apt-get .*keepalived|useradd .*keepalived")
PRIMARY: Answers = [("db1", "dathasloginevt", [NO_DATABASES]), ("db1", "/config --fail", ["{}"])]
PLACES: Answers = [
    (name, SURVEY, [*BLANK_HOST, f"network eth9 {address}/24"]) for name, address in HOSTS.items() if name in PROXIES
]


def share(stage: Stage) -> None:
    stage.settings["proxy_address"] = ADDRESS
    stage.write("group_data/haproxy.py", f"proxy_address = {ADDRESS!r}\n")


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Rehearsal:
    """A deploy to blank hosts."""
    stage = Stage(tmp_path_factory.mktemp("entry"))
    share(stage)
    run = stage.rehearse("-y", answers=[*PLACES, *PRIMARY])
    assert run.exit_code == 0, run.output
    return run


def test_a_cluster_without_the_address_hears_nothing_of_it(first_deploy: Rehearsal) -> None:
    assert [c.command for c in first_deploy.commands if c.executing and SETTING_UP.search(c.command)] == []


def test_keepalived_begins_on_the_proxies_when_haproxy_runs(first: Rehearsal) -> None:
    assert {first.commands[n].host for n in first.executed(START)} == set(PROXIES)
    for host in PROXIES:
        (place,) = first.executed("apt-get -q", host)
        assert re.search(r"mask --runtime --quiet .*keepalived\.service", first.commands[place].command)
        # HAProxy's configuration names the user of the check.
        assert first.last("useradd", host) < first.first(f"mktemp {paths.HAPROXY_CONFIG}", host)
        assert first.last("systemctl enable --now --quiet haproxy.service", host) < first.first(START, host)
    assert not any(first.executed("keepalived", host) for host in DATABASES if first.executed("mktemp /etc/keepalived", host))


def test_each_proxy_has_it_on_its_own_interface(first: Rehearsal) -> None:
    for n in first.executed(f"mktemp {paths.KEEPALIVED_CONFIG}"):
        text = first.commands[n].stdin
        assert f"{ADDRESS}/32 dev eth9" in text
        assert f"unicast_src_ip {HOSTS[first.commands[n].host]}" in text


def test_an_address_outside_the_proxies_network_is_refused_before_anything_is_touched(stage: Stage) -> None:
    share(stage)
    elsewhere: Answers = [(name, SURVEY, [*BLANK_HOST, f"network eth9 {HOSTS[name]}/30"]) for name in PROXIES]
    run = stage.rehearse("-y", answers=elsewhere)
    assert run.exit_code != 0 and run.changed_nothing
    assert f"proxy_address = '{ADDRESS}': is in none of the networks of eth9: should be in 10.0.0.4/30" in run.output


def test_without_it_from_now_on_keepalived_ends_and_its_files_go(stage: Stage) -> None:
    run = stage.rehearse("-y", answers=[("proxy1", "keepalived.service.d", ["there"]), *PRIMARY])
    assert run.exit_code == 0, run.output
    end = run.first("disable --now --quiet keepalived.service", "proxy1")
    assert end < run.first(f"rm -f {paths.KEEPALIVED_CONFIG}", "proxy1")
    assert not run.executed("disable --now --quiet keepalived.service", "proxy2")
