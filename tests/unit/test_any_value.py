"""Whatever stands in a setting or for a host's name: it is accepted, or refused by sentences. Nothing else."""

from __future__ import annotations

from typing import Any

from clusters import hosts
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cluster.building import RawHost, build
from cluster.errors import SettingsError
from cluster.layout import layout_of, note_for, parse_note
from cluster.settings import VARIABLES, HostSettings
from cluster.topology import Cluster

SETTINGS = sorted({variable for _, variables in VARIABLES.values() for variable in variables})
OF_A_HOST = sorted(HostSettings.model_fields)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=80), st.binary(max_size=9))
# Nearly right, which goes deepest.
WORDS = st.sampled_from((
    "quorum", "lan", "10.0.0.0/8", "fe80::1", "64MB", "0", "-1", "5min", "/var/lib/x", "..", "app", "a" * 64, "\x00", "1e999",
))  # fmt: skip
VALUES = st.recursive(
    SCALARS | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS | st.text(max_size=9), inner, max_size=3)
    | st.dictionaries(st.sampled_from(["name", "owner", "connection_limit", "member_of", "ttl", "work_mem"]), inner, max_size=4),
    max_leaves=6,
)  # fmt: skip


def accepted(inventory: dict[str, RawHost]) -> Cluster | None:
    """The cluster, or None where it was refused by sentences that can be printed."""
    try:
        return build(inventory)
    except SettingsError as refused:
        assert refused.problems and all(problem.strip() for problem in refused.problems)
        "\n".join(refused.problems).encode(errors="strict" if str(refused).isprintable() else "backslashreplace")
        return None


@settings(max_examples=600, deadline=None)
@given(st.sampled_from(SETTINGS), VALUES)
@example("postgres_parameters", {"work_mem": float("nan")})
def test_of_a_setting(name: str, value: Any) -> None:
    cluster = accepted(hosts(**{name: value}))
    if cluster:  # what is accepted can be noted and read again
        note = note_for(layout_of(cluster), None)
        assert parse_note(note.text) == note


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(OF_A_HOST), VALUES)
def test_of_a_host(name: str, value: Any) -> None:
    accepted(hosts({"db2": {name: value}}))


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=80) | st.from_regex(r"[a-z0-9.-]{1,80}", fullmatch=True))
def test_for_a_hosts_name(name: str) -> None:
    inventory = hosts()
    inventory[name] = inventory.pop("db2")
    accepted(inventory)
