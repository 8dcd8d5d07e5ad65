"""pgBackRest in a new version, on all hosts at once: those of one version do not talk to those of another. And a reboot of
the host that keeps the backups."""

from __future__ import annotations

import json

import pytest
from clients import Writers
from commands import invoke
from helpers import Site
from hosts import DATABASES, wait_until
from keeping import HOST, ONLY_WITH_BACKUPS, archived, written
from newer_packages import bumped, offer, withdraw

pytestmark = [pytest.mark.long, ONLY_WITH_BACKUPS]
ALL = [*DATABASES, HOST]


def versions(site: Site) -> dict[str, str]:
    """By the program's own word; the one that serves is asked by the others in each `check`."""
    return {host: site.on(host, "runuser -u nobody -- pgbackrest version").split()[-1] for host in ALL}


def served_since(site: Site) -> dict[str, str]:
    return site.on_all("systemctl show -P ExecMainStartTimestampMonotonic pgbackrest", ALL)


def test_all_hosts_get_it_in_one_step_and_what_is_archived_arrives(joined: Site) -> None:
    old, before = versions(joined), served_since(joined)
    offer(joined, ["pgbackrest"], where=ALL)
    try:
        code, out, err = invoke(joined, "upgrade", "--yes", seconds=900)
        assert code == 0 and "write-ahead log is archived again when" in out, out + err
        assert versions(joined) == {host: bumped(version) for host, version in old.items()}
        after = served_since(joined)
        assert all(after[host] != before[host] for host in ALL)
        assert set(joined.on_all("apt-mark showhold | grep -x pgbackrest", ALL).values()) == {"pgbackrest"}
        code, out, err = invoke(joined, "backup.check")
        assert code == 0, out + err
        code, out, err = invoke(joined, "upgrade", "--back", "--yes", seconds=900)
        assert code == 0 and versions(joined) == old, out + err
        code, out, err = invoke(joined, "backup.check")
        assert code == 0, out + err
    finally:
        withdraw(joined, ALL)


def test_the_host_that_keeps_the_backups_is_rebooted_while_applications_write(joined: Site) -> None:
    boot = "cat /proc/sys/kernel/random/boot_id"
    before, postmasters = joined.on(HOST, boot), joined.postmasters()
    joined.on(HOST, "touch /run/reboot-required")
    with Writers(joined) as writers:
        code, out, err = invoke(joined, "reboot", "--yes", "--json", seconds=900)
    assert code == 0, out + err
    outcome = json.loads(out)
    assert [(step["kind"], step["host"]) for step in outcome["done"]] == [("reboot-host", HOST)]
    assert (outcome["writes"]["failed"], outcome["writes"]["indeterminate"], outcome["reads_broken"]) == (0, 0, 0)
    assert writers.lost() == set() and writers.tried == len(writers.acknowledged)
    assert joined.on(HOST, boot) != before and joined.postmasters() == postmasters
    name = written(joined)
    wait_until(lambda: archived(joined) >= name, "what was written is archived there again")
    code, out, err = invoke(joined, "backup.check")
    assert code == 0, out + err
