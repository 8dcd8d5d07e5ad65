"""What a deploy says in the end of what it has changed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from operations.ending import changes

NAMES = {"1": "Configure etcd", "2": "Start etcd", "3": "etcd has a quorum"}


def state(**done: dict[str, bool | None]) -> Any:
    """A run whose operations, by host, have changed something or not (None: it never came to that)."""

    def data(host: Any, identity: str) -> Any:
        said = done[host.name][identity]
        meta = SimpleNamespace(is_complete=lambda: said is not None, did_change=lambda: said)
        return SimpleNamespace(operation_meta=meta)

    class Hosts(SimpleNamespace):
        __hash__ = object.__hash__

    hosts = [Hosts(name=name) for name in done]
    return SimpleNamespace(
        inventory=SimpleNamespace(iter_activated_hosts=lambda: iter(hosts)),
        ops={host: done[host.name] for host in hosts},
        get_op_order=lambda: list(NAMES),
        get_op_meta=lambda identity: SimpleNamespace(names={NAMES[identity]}),
        get_op_data_for_host=data,
    )


def test_each_host_is_named_with_what_was_changed_on_it() -> None:
    ran = state(db2={"1": True, "2": True, "3": False}, db1={"1": True, "2": None}, proxy1={"3": False})
    assert changes(ran) == ["changed:", "  db1: Configure etcd", "  db2: Configure etcd, Start etcd"]


def test_that_nothing_was_changed_is_one_line() -> None:
    assert changes(state(db1={"1": False, "2": False}, db2={})) == ["nothing was changed: all is as the settings say"]
