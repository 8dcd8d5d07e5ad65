"""What holds for all hosts is known by a digest, and a deploy that leaves out hosts that run does not change it."""

from __future__ import annotations

import json
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
from clusters import cluster

from cluster.layout import Layout, layout_of, note_for, parse_note
from cluster.shared import SETTINGS, changed, dial_command, digests, passwords, refusal, slots_left, unasked
from cluster.topology import Cluster
from cluster.vault import Vault

ROLES = {"postgres_roles": [{"name": "app"}], "postgres_databases": [{"name": "app", "owner": "app"}]}
CHANGED: dict[str, Any] = {
    "durability": "all",
    "without_replica": "continue",
    "weaker_commits": "mend",
    "failover_profile": "wan",
    "failover_timing": {"ttl": 25},
    "postgres_parameters": {"work_mem": "8MB"},
    "postgres_roles": [{"name": "app", "connection_limit": 5}],
    "postgres_databases": [],
    "postgres_slots": [{"name": "orders", "database": "app"}],
}


def shop(folder: Path, **settings: Any) -> Cluster:
    return cluster(**({"secrets_directory": str(folder)} | ROLES | settings))


def saved(of: Cluster, **passwords: str) -> Vault:
    vault = Vault(of, {f"PGQUORUM_PASSWORD_{name}": value for name, value in passwords.items()})
    vault.save()
    return vault


@pytest.mark.parametrize("name", SETTINGS)
def test_each_setting_is_told_by_its_name(tmp_path: Path, name: str) -> None:
    before, after = shop(tmp_path), shop(tmp_path, **{name: CHANGED[name]})
    vault = saved(before)
    assert changed(digests(before, vault), digests(after, Vault(after, {}))) == [name]
    assert changed(digests(before, vault), digests(before, Vault(before, {}))) == []


def test_so_are_passwords_and_authorities_which_nobody_can_try_out(tmp_path: Path) -> None:
    of = shop(tmp_path)
    noted = digests(of, saved(of))
    assert changed(noted, digests(of, Vault(of, {"PGQUORUM_PASSWORD_ROLE_APP": "a-password-of-its"}))) == ["password role_app"]
    file = tmp_path / "shop/etcd-ca.crt"
    file.write_bytes(file.read_bytes() * 2)
    assert changed(noted, digests(of, Vault(of, {}))) == ["etcd-ca.crt"]
    one, other = tmp_path / "one", tmp_path / "other"
    told = [digests(shop(folder), saved(shop(folder), REWIND="the-very-same-password")) for folder in (one, other)]
    assert told[0]["password rewind"] != told[1]["password rewind"]
    assert "the-very-same" not in json.dumps(told)


def test_an_older_copy_of_the_secrets_is_told_by_what_it_would_change(tmp_path: Path) -> None:
    deployed = digests(shop(tmp_path), saved(shop(tmp_path)))
    file = next(tmp_path.rglob("passwords.json"))
    kept = {name: value for name, value in json.loads(file.read_text()).items() if name != "role_app"}
    file.write_text(json.dumps(kept))  # as it was before the role was added
    now = digests(shop(tmp_path), Vault(shop(tmp_path), {}))
    (line,) = passwords(changed(deployed, now), "secrets/shop")
    assert (
        line.startswith("the password of role_app in secrets/shop is another one than what was deployed") and "older copy" in line
    )
    assert "or the last deploy had it from the environment (PGQUORUM_PASSWORD_ROLE_APP)" in line
    assert passwords(["durability"], "secrets/shop") == []


def test_of_what_was_not_noted_or_is_gone_nothing_is_said(tmp_path: Path) -> None:
    of, less = shop(tmp_path), shop(tmp_path, postgres_roles=[], postgres_databases=[])
    known = digests(of, saved(of))
    assert changed({}, known) == []
    assert changed({name: text for name, text in known.items() if name != "durability"}, known) == []
    assert changed(known, digests(less, Vault(less, {}))) == ["postgres_databases", "postgres_roles"]


def test_the_note_has_them_and_one_of_an_older_version_none() -> None:
    layout = layout_of(cluster(), {"durability": "ab"})
    note = note_for(layout, None)
    assert parse_note(note.text) == note
    older = json.loads(note.text)
    del older["shared"]
    assert parse_note(json.dumps(older)).layout == Layout(layout.settings, layout.hosts)
    assert note_for(layout, parse_note(json.dumps(older))).revision == note.revision + 1
    assert layout.without("db1").shared == layout.shared


def test_whoever_may_dial_them_asks_hosts_that_are_left_out() -> None:
    of = cluster(two=True)
    asked = {host.name: dial_command(of, host, {"db2", "proxy2"}) for host in of.hosts}
    assert "/dev/tcp/10.0.0.2/2379" in asked["db1"] and "/dev/tcp/10.0.0.10/5000" in asked["db1"]
    assert "/dev/tcp/10.0.0.2/8008" in asked["proxy1"] and "10.0.0.10" not in asked["proxy1"]
    assert "10.0.0.3" not in "".join(asked.values())
    assert dial_command(of, of.host("proxy1"), {"proxy2"}) == ""


def test_the_command_tells_who_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        here = cluster({"db2": {"address": "127.0.0.1"}}, patroni_port=server.getsockname()[1])
        command = dial_command(here, here.host("proxy1"), {"db2"})
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout == "db2\n"
    assert subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout == ""


def test_the_refusal_names_what_who_and_the_way() -> None:
    said = refusal(["durability", "password rewind"], {"db1"}, {"proxy1", "db2"})
    assert said == (
        "durability, password rewind: not as db1 were deployed with, and the same for all hosts; but db2, proxy1 run and are left"
        " out by --limit or --exclude: deploy to all"
    )


def test_the_last_slots_stay_while_a_host_is_away_that_would_not_start_with_its_copies(tmp_path: Path) -> None:
    none = shop(tmp_path)
    (said,) = slots_left(none, ["postgres_slots"], {"db3", "proxy1"})
    assert said.startswith("postgres_slots is empty, but was not, and db3 may have copies of the slots") and "host.remove" in said
    assert slots_left(none, ["postgres_slots"], {"proxy1"}) == []
    assert slots_left(none, ["durability"], {"db3"}) == []
    fewer = shop(tmp_path, postgres_slots=[{"name": "orders", "database": "app"}])
    assert slots_left(fewer, ["postgres_slots"], {"db3"}) == []
    assert slots_left(shop(tmp_path, postgres_parameters={"wal_level": "logical"}), ["postgres_slots"], {"db3"}) == []


def test_who_was_not_asked_about_parameters_is_told(tmp_path: Path) -> None:
    of = shop(tmp_path)
    (said,) = unasked(of, ["postgres_parameters"], {"db3", "proxy1"})
    assert said.startswith("db3: not asked whether PostgreSQL would start there")
    assert unasked(of, ["postgres_parameters"], {"proxy1"}) == unasked(of, ["durability"], {"db3"}) == []
