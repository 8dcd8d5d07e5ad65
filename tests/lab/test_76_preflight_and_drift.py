"""What somebody has changed on the hosts behind the tool's back is found and named, and a deploy brings it back."""

from __future__ import annotations

import json

import pytest
from commands import invoke
from helpers import Site
from hosts import ADDRESS, DATABASES, FAMILY, PROXY

from cluster import paths

pytestmark = pytest.mark.usefixtures("healed")


def refusals(site: Site) -> tuple[int, list[tuple[str, str]]]:
    """A preflight's exit code, and what it refuses: host or subject, and text."""
    code, out, _ = invoke(site, "preflight", "--json")
    document = json.loads(out)
    assert document["passed"] == (code == 0)
    return code, [(line["about"], line["text"]) for line in document["findings"] if line["level"] == "problem"]


def warnings(site: Site, *words: str) -> dict[str, list[str]]:
    """What verify warns of: host or subject to texts."""
    _, out, _ = invoke(site, "verify", "--json", *words)
    found: dict[str, list[str]] = {}
    for finding in json.loads(out)["findings"]:
        if finding["level"] == "warning":
            found.setdefault(finding["about"], []).append(finding["text"])
    return found


def test_a_port_that_a_firewall_eats_is_refused_with_both_ends(site: Site) -> None:
    """Between two replicas, where nobody needs it now: only who asks can know."""
    here, there = site.replicas()
    assert refusals(site) == (0, [])
    with site.firewall([there], f"{FAMILY} saddr {ADDRESS[here]} tcp dport 5432 drop"):
        code, found = refusals(site)
        assert code == 1
        [(about, text)] = found
        assert about == here
        assert f"can't reach port 5432 of {there}" in text and "firewall" in text
        code, out, _ = invoke(site, "preflight")
        assert code == 1
        assert f"problem  {here}: can't reach port 5432 of {there}" in out
        assert out.splitlines()[-1].startswith("not fit: a deploy goes on all the same")
    assert refusals(site) == (0, [])


# For each file: a host that has it, and what an edit by hand looks like there.
DRIFTS = [
    (DATABASES[1], f"{paths.PATRONI_CONFIG}/patroni.yml", "# tuned by hand"),
    (PROXY, paths.HAPROXY_CONFIG, "# tuned by hand"),
    (PROXY, paths.KERNEL_SETTINGS, "# tuned by hand"),
]


@pytest.mark.parametrize(("host", "path", "line"), DRIFTS)
def test_a_file_edited_by_hand_is_named_with_its_host_until_a_deploy(site: Site, host: str, path: str, line: str) -> None:
    site.on(host, f"echo '{line}' >> {path}")
    try:
        named = [text for text in warnings(site)[host] if path in text]
        assert len(named) == 1 and "not as the deploy wrote it" in named[0]
        assert invoke(site, "verify")[0] == 0  # the service does not suffer from it
        code, out, _ = invoke(site, "verify", "--strict")
        assert code == 1
        assert f"warning  {host}: {path}" in out
    finally:
        site.deployed()
    assert line not in site.on(host, f"cat {path}")
    assert not [text for texts in warnings(site).values() for text in texts if path in text]
    assert site.changes() == 0


def test_an_etcd_that_keeps_all_of_its_history_is_warned_of_until_a_deploy(site: Site) -> None:
    member = site.replicas()[0]
    site.on(member, f"sed -i /ETCD_AUTO_COMPACTION/d {paths.ETCD_CONFIG} && systemctl restart etcd")
    try:
        found = warnings(site)
        assert [about for about, texts in found.items() if any("keeps all of its history" in text for text in texts)] == [member]
    finally:
        site.deployed()
    assert not [text for texts in warnings(site).values() for text in texts if "history" in text]
    assert "ETCD_AUTO_COMPACTION_MODE=periodic" in site.on(member, "tr '\\0' '\\n' < /proc/$(pgrep -x etcd)/environ")
    site.etcdctl(member, "endpoint health --cluster")
    assert site.changes() == 0
