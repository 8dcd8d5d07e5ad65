"""What somebody has changed on the hosts behind the tool's back is found and named, and a deploy brings it back."""

from __future__ import annotations

import json
import re
import shlex

import pytest
from commands import invoke, status
from helpers import Site
from hosts import ADDRESS, BINARIES, DATABASES, FAMILY, IN_URL, PROXY, SPEC, wait_until

from cluster import paths

pytestmark = pytest.mark.usefixtures("healed")


def refusals(site: Site) -> tuple[int, list[tuple[str, str]]]:
    """A preflight's exit code, and what it refuses: host or subject, and text."""
    code, out, _ = invoke(site, "preflight", "--json")
    document = json.loads(out)
    assert document["passed"] == (code == 0)
    return code, [(line["about"], line["text"]) for line in document["findings"] if line["level"] == "problem"]


def warnings(site: Site, *words: str) -> dict[str, list[str]]:
    """What verify warns of: host or subject to texts, each behind its rule."""
    _, out, _ = invoke(site, "verify", "--json", *words)
    found: dict[str, list[str]] = {}
    for finding in json.loads(out)["findings"]:
        if finding["level"] == "warning":
            found.setdefault(finding["about"], []).append(f"{finding['rule']}: {finding['text']}")
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


# For each file: a host that has it, what an edit by hand looks like there, what has its program read that, and what is told then.
DRIFTS = [
    (DATABASES[1], f"{paths.PATRONI_CONFIG}/patroni.yml", "# tuned by hand", "true", set[str]()),
    (
        PROXY,
        paths.HAPROXY_CONFIG,
        "backend by_hand\n    server pg-old 192.0.2.9:5432 disabled",
        "systemctl reload haproxy",
        {"routing.stranger: HAProxy knows pg-old, which is not in the inventory: deploy"},
    ),
    (PROXY, paths.KERNEL_SETTINGS, "# tuned by hand", "true", set[str]()),
]


@pytest.mark.parametrize(("host", "path", "line", "reload", "also"), DRIFTS)
def test_a_file_edited_by_hand_is_named_with_its_host_until_a_deploy(
    site: Site, host: str, path: str, line: str, reload: str, also: set[str]
) -> None:
    site.on(host, f"echo {shlex.quote(line)} >> {path}; {reload}")
    try:
        said = warnings(site)[host]
        named = [text for text in said if path in text]
        assert len(named) == 1 and "not as the deploy wrote it" in named[0] and also <= {*said}, said
        assert invoke(site, "verify")[0] == 0  # the service does not suffer from it
        code, out, _ = invoke(site, "verify", "--strict")
        assert code == 1
        assert f"warning  {host}: {path}" in out
    finally:
        site.deployed()
    assert line not in site.on(host, f"cat {path}")
    assert not [text for texts in warnings(site).values() for text in texts if path in text or text in also]
    assert site.changes() == 0


def test_who_is_none_of_the_cluster_s_is_named_with_what_takes_it_out(site: Site) -> None:
    """A member of Patroni's and one of etcd's on no host of the inventory, and a slot for nobody; HAProxy's: above."""
    leader, key = site.leader(), f"/service/{SPEC.name}/members/pg-old"
    member = {
        "api_url": "https://192.0.2.9:8008/patroni", "conn_url": "postgres://192.0.2.9:5432/postgres", "role": "replica",
        "state": "running", "tags": {"nostream": True}, "timeline": 1, "xlog_location": 1,
    }  # fmt: skip

    def told() -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = {}
        for one in status(site)["findings"]:
            if one["level"] != "ok":
                found.setdefault(one["rule"], {})[one["about"]] = one["text"]
        return found

    added = None
    try:
        site.etcdctl(leader, f"put {key} {shlex.quote(json.dumps(member))}")
        said = site.etcdctl(leader, "member add pg-old --learner --peer-urls=https://192.0.2.9:2380")
        added = re.match(r"Member *([0-9a-f]+) added", said)
        assert added, said
        site.psql(leader, "select pg_create_physical_replication_slot('pg_old', true)")
        found = told()
        assert found.keys() == {"patroni.stranger", "etcd.other-members", "slots.stranger"}, found
        assert found["patroni.stranger"].keys() == {"pg-old"} and found["etcd.other-members"].keys() == {*DATABASES}
        assert "put it back, and `invoke host.remove pg-old` if it is to leave" in found["patroni.stranger"]["pg-old"]
        assert "select pg_drop_replication_slot('pg_old')" in found["slots.stranger"]["slots"]
        for text in found["etcd.other-members"].values():
            assert "etcd's members are https://192.0.2.9:2380, " in text
            assert f"`etcdctl member remove {added[1]}` (docs/runbook.md, A stranger in etcd)" in text
    finally:
        site.etcdctl(leader, f"del {key}")
        if added:
            site.etcdctl(leader, f"member remove {added[1]}")
        site.psql(leader, "select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = 'pg_old'")
    wait_until(lambda: told() == {}, "nothing is left")


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


def test_what_a_first_start_that_failed_has_left_is_named_with_what_removes_it(site: Site) -> None:
    """Patroni, beside ours, begins a cluster of another name with a server that can't start; what that leaves is put where ours
    would have left it."""
    host, log = site.replicas()[0], site.cluster.postgres.wal_directory or "/var/lib/postgresql"
    data, scratch, scratch_log = site.cluster.postgres.data_directory, "/var/lib/postgresql/scratch", f"{log}/scratch-log"
    left = paths.of_failed_starts(data, site.cluster.postgres.wal_directory)
    tls = "/etc/patroni/tls"
    config = {
        "scope": "scratch",
        "namespace": "/scratch/",
        "name": "scratch",
        "restapi": {"listen": "127.0.0.1:9008", "connect_address": "127.0.0.1:9008"},
        "etcd3": {
            "hosts": [f"{IN_URL[one]}:2379" for one in DATABASES], "protocol": "https", "cacert": f"{tls}/etcd-ca.crt",
            "cert": f"{tls}/etcd-client.crt", "key": f"{tls}/etcd-client.key",
        },
        "bootstrap": {
            "dcs": {"postgresql": {"parameters": {"shared_preload_libraries": "not_there"}}},
            "initdb": ["data-checksums", {"waldir": scratch_log}],
        },
        "postgresql": {
            "listen": "127.0.0.1:5998", "connect_address": "127.0.0.1:5998", "data_dir": scratch, "bin_dir": BINARIES,
            "parameters": {"unix_socket_directories": ""},
            "authentication": {"superuser": {"username": "postgres"}, "replication": {"username": "replicator"}},
        },
    }  # fmt: skip

    def told() -> list[tuple[str, str]]:
        findings = status(site)["findings"]
        return [(one["about"], one["text"]) for one in findings if one["rule"] == "disks.failed-start"]

    try:
        site.on(host, f"cat >{scratch}.yml", stdin=json.dumps(config))
        said = site.on(host, f"timeout 50 runuser -u postgres -- patroni {scratch}.yml 2>&1 || true")
        assert 'could not access file "not_there"' in said and "Failed to bootstrap cluster" in said, said
        assert site.on(host, f"ls -d {scratch}* {scratch_log}*").split() == sorted(
            [f"{scratch}.failed", f"{scratch}.yml", f"{scratch_log}.failed"]
        )
        for was, is_now in zip([f"{scratch}.failed", f"{scratch_log}.failed"], left, strict=False):
            site.on(host, f"mv {was} {is_now}")
        ((about, text),) = told()
        assert about == host and text.startswith("left of a first start that has failed, and used by nobody")
        remedy = re.search("`(rm -r [^`]*)`", text)
        assert remedy and remedy[1].split()[2:] == left, text
        assert f"{host}: {text}" in invoke(site, "status")[1].replace("\n", " ")
        site.on(host, remedy[1])
        assert told() == []
    finally:
        site.on(host, f"rm -rf {scratch}* {scratch_log}* {' '.join(left)}")
        site.etcdctl(host, "del --prefix /scratch/")
    assert site.healthy() and site.changes() == 0
