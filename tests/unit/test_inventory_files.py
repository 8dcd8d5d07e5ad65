"""The tasks read inventory and group_data themselves, the deploy lets pyinfra do it: both must see the same.

pyinfra runs in a process of its own, because importing its command line changes the sockets of the process.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from repository import ship

from cluster.command_line import _overrides
from cluster.errors import SettingsError
from cluster.inventory_files import find_inventory, load_cluster, read_hosts, settings_file

PYINFRA = """
import json, os, sys
from pyinfra.api import State
from pyinfra.context import ctx_state
from pyinfra_cli.cli import _set_override_data
from pyinfra_cli.inventory import make_inventory
ctx_state.set(State())
overrides = _set_override_data(json.loads(sys.argv[2]), *[None] * 5)
hosts = make_inventory(sys.argv[1], override_data=overrides, cwd=os.getcwd())
print(json.dumps({h.name: [sorted(h.groups), h.data.dict()] for h in hosts}, default=repr))
"""
HOSTS = "etcd = postgres = ['db1', ('db2', {'ssh_port': 2222})]\nhaproxy = [('proxy1', {'address': '10.0.0.9'})]\n"
LAYOUTS: dict[str, tuple[str, dict[str, str]]] = {
    "beside": (
        "inventory.py",
        {"inventory.py": HOSTS, "group_data/all.py": "cluster_name = 'a'\n", "group_data/postgres.py": "postgres_port = 1\n"},
    ),
    "in a folder of its own": (
        "inventories/prod.py",
        {
            "inventories/prod.py": HOSTS,
            "group_data/all.py": "cluster_name = 'demo'\ncertificate_days = 100\n",
            "inventories/group_data/all.py": "cluster_name = 'prod'\n",
            "inventories/group_data/etcd.py": "etcd_quota = '4GB'\n",
        },
    ),
    "a directory of its own, as init makes it": (
        "inventories/prod/inventory.py",
        {
            "inventories/prod/inventory.py": HOSTS,
            "inventory.py": HOSTS,
            "group_data/all.py": "cluster_name = 'demo'\ncertificate_days = 100\n",
            "inventories/prod/group_data/all.py": "cluster_name = 'prod'\n",
            "inventories/prod/group_data/etcd.py": "etcd_quota = '4GB'\n",
        },
    ),
    "a group_data file named after the inventory": (
        "inventories/prod.py",
        {
            "inventories/prod.py": HOSTS,
            "inventories/staging.py": HOSTS,
            "group_data/all.py": "cluster_name = 'demo'\n",
            "group_data/prod.py": "cluster_name = 'prod'\npostgres_port = 1\n",
            "group_data/staging.py": "cluster_name = 'staging'\n",
            "group_data/postgres.py": "postgres_port = 2\n",
        },
    ),
    "groups with data, and a host in several": (
        "inventory.py",
        {
            "inventory.py": "postgres = (['db1', ('db2', {'x': 'own'})], {'x': 'postgres', 'y': 1})\n"
            "etcd = (['db2', 'db1'], {'x': 'etcd', 'y': 2})\nhaproxy = ['proxy1']\n",
            "group_data/etcd.py": "y = 3\n",
            "group_data/haproxy.py": "x = 'file'\n",
        },
    ),
    "a group of all": (
        "inventory.py",
        {
            "inventory.py": "all = (['db1', 'db2', ('proxy1', {'z': 5}), 'spare'], {'x': 'all', 'y': 'all'})\n"
            "etcd = postgres = ['db1', 'db2']\nhaproxy = ['proxy1']\n",
            "group_data/all.py": "y = 'file'\nz = 0\n",
            "group_data/postgres.py": "x = 'postgres'\n",
        },
    ),
    "imports and helpers": (
        "inventory.py",
        {
            "inventory.py": "import os\nfrom pathlib import Path\n_spare = ['db9']\ncount = 3\n" + HOSTS,
            "group_data/all.py": "import os\nfrom ipaddress import ip_network\n_base = 5\ncluster_name = 'c' + os.sep[:0]\n",
            "group_data/unused.py": "x = 1\n",
        },
    ),
    "lists and dictionaries": (
        "inventory.py",
        {
            "inventory.py": HOSTS,
            "group_data/postgres.py": "postgres_parameters = {'work_mem': '4MB'}\npostgres_roles = [{'name': 'app'}]\n"
            "client_networks = ('10.0.0.0/8',)\n",
            "group_data/etcd.py": "postgres_parameters = {'jit': 'off'}\n",
        },
    ),
}  # fmt: skip


def by_pyinfra(project: Path, inventory: str, data: list[str]) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", PYINFRA, inventory, json.dumps(data)], cwd=project, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return {
        name: [groups, {k: v for k, v in values.items() if not k.startswith("_")}]
        for name, (groups, values) in json.loads(done.stdout).items()
    }


def by_us(inventory: str, data: list[str]) -> Any:
    hosts = read_hosts(Path(inventory), _overrides(tuple(data)))
    seen = {name: [sorted(h.groups - {"all"}), {k: v for k, v in h.data.items() if k[0] != "_"}] for name, h in hosts.items()}
    return json.loads(json.dumps(seen, default=repr))


@pytest.mark.parametrize("data", [[], ["cluster_name=other", "postgres_port=5433", "x=true"]], ids=["plain", "with --data"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_both_see_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str, data: list[str]) -> None:
    inventory, files = LAYOUTS[layout]
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    assert by_us(inventory, data) == by_pyinfra(tmp_path, inventory, data)


def test_both_see_the_same_as_it_is_shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ship(tmp_path))
    assert by_us("inventory.py", []) == by_pyinfra(tmp_path, "inventory.py", [])
    assert load_cluster().name == "demo"


def test_an_option_on_the_command_line_has_the_same_type_for_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "inventory.py").write_text(HOSTS)
    monkeypatch.chdir(tmp_path)
    texts = ("5", "007", "1.5", "True", "FALSE", "null", '["a", 1]', '{"a": 1}', "a=b", "", "10.0.0.1", "'x'")
    data = [f"v{n}={text}" for n, text in enumerate(texts)]
    assert by_us("inventory.py", data) == by_pyinfra(tmp_path, "inventory.py", data)


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({}, "inventory = 'inventory.py': there is no such file in "),
        ({"inventory.py": "etcd = [\n"}, "inventory.py, line 1: '[' was never closed"),
        ({"inventory.py": "etcd = [nobody]\n"}, "inventory.py: NameError: name 'nobody' is not defined"),
        ({"inventory.py": HOSTS, "group_data/all.py": "x = 1\ny = =\n"}, "all.py, line 2: invalid syntax"),
        ({"inventory.py": HOSTS, "group_data/all.py": "x = 1 / 0\n"}, "all.py: ZeroDivisionError: division by zero"),
    ],
)
def test_a_file_that_cannot_be_read_is_the_users_to_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], sentence: str
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError) as told:
        load_cluster()
    (problem,) = told.value.problems
    assert sentence in problem


@pytest.mark.parametrize("inventory", ["etcd = [['db1']]", "etcd = [1]", "etcd = [('db1',)]", "etcd = ('db1', 'db2')"])
def test_a_group_of_something_else_than_hosts_is_told_without_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inventory: str
) -> None:
    (tmp_path / "inventory.py").write_text(inventory + "\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError):
        load_cluster()


def test_a_name_is_the_file_in_the_directory_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ship(tmp_path))
    (tmp_path / "inventories/prod").mkdir(parents=True)
    (tmp_path / "inventories/prod/inventory.py").write_text((tmp_path / "inventory.py").read_text())
    assert load_cluster("prod").inventory == "inventories/prod/inventory.py"
    assert load_cluster().inventory == "inventory.py"
    for path in ("inventory.py", "inventories/prod.py", "./prod"):
        assert find_inventory(path) == Path(path)


def test_a_file_of_that_very_name_goes_first_as_for_pyinfra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "inventories/prod").mkdir(parents=True)
    for name in ("prod", "inventories/prod/inventory.py"):
        (tmp_path / name).write_text(HOSTS)
    assert find_inventory("prod") == Path("prod")


def test_a_name_that_none_is_called_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "inventories/prod").mkdir(parents=True)
    (tmp_path / "inventories/prod/inventory.py").write_text(HOSTS)
    with pytest.raises(SettingsError) as told:
        load_cluster("prd")
    looked_for = f"inventory = 'prd': there is no inventories/prd/inventory.py in {tmp_path}"
    assert told.value.problems == (f"{looked_for} (did you mean 'prod'?); `invoke init prd` makes it",)


@pytest.mark.parametrize("said", ["prod", "inventories/prod", "inventories/prod.py"])
def test_where_a_path_is_needed_its_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    """pyinfra takes no name, and config.py is what speaks before it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "inventories/prod").mkdir(parents=True)
    (tmp_path / "inventories/prod/inventory.py").write_text(HOSTS)
    with pytest.raises(SettingsError) as told:
        read_hosts(Path(said), {})
    assert told.value.problems == (f"inventory = {said!r}: there is no such file; the file is inventories/prod/inventory.py",)


def test_overrides_win_over_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ship(tmp_path))
    made = load_cluster("inventory.py", {"cluster_name": "other", "postgres_port": 6543})
    assert (made.name, made.postgres.port) == ("other", 6543)


def test_where_a_setting_is_to_be_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "inventories/orders/group_data").mkdir(parents=True)
    (tmp_path / "inventories/orders/group_data/haproxy.py").touch()
    assert str(settings_file("inventories/orders/inventory.py", "haproxy")) == "inventories/orders/group_data/haproxy.py"
    for inventory in ("inventories/orders.py", "inventory.py"):  # the settings are in the checkout's own
        assert str(settings_file(inventory, "haproxy")) == "group_data/haproxy.py"


@pytest.mark.parametrize("said", ["", " "])
def test_an_empty_name_is_no_inventory(said: str) -> None:
    with pytest.raises(SettingsError, match=r"  - the inventory's name is empty \(INVOKE_INVENTORY, .*: set it, or unset it$"):
        find_inventory(said)
