"""What a deploy can't change under a living cluster: noted, compared, and told with the way that works."""

from __future__ import annotations

import pytest
from clusters import cluster

from cluster.components import COMPONENTS
from cluster.layout import FIXED, Layout, Note, Place, changes, latest, layout_of, note_for, parse_note, read_note

SHOP = layout_of(cluster())


def test_every_port_and_directory_of_a_component_is_fixed_or_is_said_to_be_free() -> None:
    """Applications alone know the ports of HAProxy and pools, and a directory that is copied into is found when the next copy is
    made. Backups go on at another port, and begin anew in another directory."""
    free = {"haproxy_write_port", "haproxy_read_port", "haproxy_stats_port", "postgres_wal_directory"}
    free |= {"backup_port", "backup_directory", "pooling_write_port", "pooling_read_port"}
    settings = {name for component in COMPONENTS for name in (*component.ports, *component.directories)}
    assert settings == (FIXED.keys() - {"postgres_version"}) | free


def test_a_note_is_read_as_it_was_written() -> None:
    note = Note(3, SHOP)
    assert parse_note(note.text) == note
    assert "\n" not in note.text.rstrip("\n")  # the survey has a line for it


DAMAGED = '{"revision": 1, "settings": {}, "hosts": {"db1": 3}}'


@pytest.mark.parametrize("text", ["", "{}", "[]", "nonsense", DAMAGED, '{"revision": "x", "settings": {}, "hosts": {}}'])
def test_what_is_no_note(text: str) -> None:
    with pytest.raises(ValueError):
        parse_note(text)
    assert read_note(text) is None


def test_the_note_that_was_written_last_counts() -> None:
    old, new = Note(1, SHOP), Note(2, SHOP.without("db3"))
    assert latest([new, old]) == latest([old, new]) == new
    assert latest([]) is None


def test_a_deploy_that_changes_nothing_leaves_the_note_as_it_is() -> None:
    assert note_for(SHOP, None).revision == 1
    assert note_for(SHOP, Note(7, SHOP)) == Note(7, SHOP)
    assert note_for(SHOP, Note(7, SHOP.without("db3"))) == Note(8, SHOP)


def test_nothing_is_said_of_what_is_as_it_was_or_new() -> None:
    assert list(changes(SHOP, SHOP)) == []
    assert list(changes(SHOP.without("db3"), SHOP)) == []


@pytest.mark.parametrize("name", sorted(FIXED))
def test_a_fixed_setting_is_refused_with_both_values(name: str) -> None:
    noted = Layout({**SHOP.settings, name: "as it was"}, SHOP.hosts)
    (said,) = changes(noted, SHOP)
    assert said.startswith(f"{name} = {SHOP.settings[name]!r}: the cluster lives with 'as it was'")


def test_a_setting_that_an_older_version_did_not_note_is_let_pass() -> None:
    older = {name: value for name, value in SHOP.settings.items() if name != "patroni_port"}
    assert list(changes(Layout(older, SHOP.hosts), SHOP)) == []


def test_a_host_does_not_leave_by_omission() -> None:
    (said,) = changes(SHOP, SHOP.without("db3"))
    assert said.startswith("host db3 (etcd, postgres) is not in the inventory any more") and "`invoke host.remove db3`" in said


def test_nor_does_it_leave_a_group() -> None:
    wanted = Layout(SHOP.settings, {**SHOP.hosts, "db3": Place(SHOP.hosts["db3"].address, ("postgres",))})
    (said,) = changes(SHOP, wanted)
    assert said.startswith("host db3 is not in group etcd any more") and "`invoke host.remove db3`" in said
    assert list(changes(wanted, SHOP)) == []  # it may join one


def test_another_address_is_refused() -> None:
    wanted = Layout(SHOP.settings, {**SHOP.hosts, "db3": Place("10.9.9.9", SHOP.hosts["db3"].groups)})
    (said,) = changes(SHOP, wanted)
    assert "host db3: address = '10.9.9.9': the cluster knows it by" in said and "`invoke host.remove db3`" in said
