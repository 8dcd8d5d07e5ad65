"""Connection strings: complete, verified, quoted; passwords only where they were asked for."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from clusters import cluster, hosts
from psycopg.conninfo import conninfo_to_dict

from cluster.building import build
from cluster.errors import ClusterError
from cluster.topology import Cluster
from cluster.vault import Vault
from day2.commands.connect import clients
from day2.commands.connect.formats import VARIABLES, written
from day2.hosts import dsn

SETTINGS = {"postgres_roles": [{"name": "app"}], "postgres_databases": [{"name": "orders", "owner": "app"}]}


@pytest.fixture
def shop(tmp_path: Path) -> Cluster:
    made = cluster(**SETTINGS, secrets_directory=str(tmp_path / "my secrets"))
    Vault(made, {}).save()
    return made


@pytest.mark.parametrize("way", [{"pooled": True}, {"by_address": True}])
def test_what_is_not_set_is_told_with_the_file_of_ones_own_inventory(
    shop: Cluster, way: dict[str, bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "inventories/orders/group_data").mkdir(parents=True)
    (tmp_path / "inventories/orders/group_data/haproxy.py").touch()
    ours = replace(shop, inventory="inventories/orders/inventory.py")
    with pytest.raises(ClusterError, match=r"set it in inventories/orders/group_data/haproxy\.py, and deploy"):
        dsn.application(ours, role="app", database="orders", read_only=False, **way)


def test_a_connection_string_goes_through_haproxy_with_tls_verified(shop: Cluster, tmp_path: Path) -> None:
    values = dsn.application(shop, role="app", database="orders", read_only=False)
    assert dsn.as_string(values) == (
        "host=proxy1 hostaddr=10.0.0.9 port=5000 dbname=orders user=app sslmode=verify-full channel_binding=require"
        f" sslrootcert='{tmp_path}/my secrets/shop/postgres-ca.crt'"
    )
    assert dsn.application(shop, role="app", database="orders", read_only=True)["port"] == "5001"


def test_the_string_alone_is_on_stdout_and_has_no_password_unasked(shop: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    password = Vault(shop, {}).password("role_app")
    clients.dsn(shop, role="app", database="orders", read_only=False, with_password=False)
    out, hints = capsys.readouterr()
    assert out.startswith("host=") and out.count("\n") == 1
    assert password not in out + hints
    clients.dsn(shop, role="app", database="orders", read_only=False, with_password=True)
    assert f"password={password}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("role", "database", "said"), [("ap", "orders", "did you mean 'app'"), ("app", "x", "postgres_databases")]
)
def test_unknown_names_are_refused(shop: Cluster, role: str, database: str, said: str) -> None:
    with pytest.raises(ClusterError, match=f"^--(role|database): .*{said}"):
        dsn.application(shop, role=role, database=database, read_only=False)


def test_secrets_by_name(shop: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    clients.secrets(shop, name="")
    assert "haproxy_stats\n" in capsys.readouterr().out
    clients.secrets(shop, name="haproxy_stats")
    assert capsys.readouterr().out == Vault(shop, {}).password("haproxy_stats") + "\n"
    with pytest.raises(ClusterError, match="haproxy_stats"):
        clients.secrets(shop, name="haproxy")


def test_before_the_first_deploy_there_are_no_secrets(tmp_path: Path) -> None:
    nothing = cluster(**SETTINGS, secrets_directory=str(tmp_path / "none"))
    with pytest.raises(ClusterError, match=r"deploy\.py"):
        clients.secrets(nothing, name="haproxy_stats")
    assert not (tmp_path / "none").exists()


def test_without_psql_it_is_said_how_to_get_it(shop: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ClusterError, match="postgresql-client"):
        clients.psql(shop, role="app", database="orders", read_only=False, command=None)


def two_proxies(tmp_path: Path) -> Cluster:
    inventory = hosts(**SETTINGS, secrets_directory=str(tmp_path))
    inventory["proxy2"] = replace(inventory["proxy1"], data=inventory["proxy1"].data | {"address": "10.0.0.10"})
    return build(inventory)


def values(tmp_path: Path, **more: str) -> dict[str, str]:
    return dsn.application(two_proxies(tmp_path), role=None, database=None, read_only=False) | more


@pytest.mark.parametrize("form", ["libpq", "uri"])
def test_what_libpq_takes_says_the_same_to_it_in_each_form(tmp_path: Path, form: str) -> None:
    wanted = values(tmp_path, password="it's :@/ so")
    assert conninfo_to_dict(written(form, wanted)) == wanted


def test_the_environment_says_the_same(tmp_path: Path) -> None:
    wanted = values(tmp_path, password="it's $HOME")
    done = subprocess.run(["sh", "-c", f"{written('env', wanted)}\nenv"], capture_output=True, text=True, check=True)
    there = dict(line.split("=", 1) for line in done.stdout.splitlines() if line.startswith("PG"))
    assert {VARIABLES[name]: value for name, value in wanted.items()}.items() <= there.items()


def test_the_forms_of_other_programs(tmp_path: Path) -> None:
    wanted = values(tmp_path, password="a:b/c")
    file = f"{tmp_path}/shop/postgres-ca.crt"
    assert written("jdbc", wanted) == (
        "jdbc:postgresql://10.0.0.9:5000,10.0.0.10:5000/orders?user=app&password=a:b/c&sslmode=verify-full"
        f"&channelBinding=require&sslrootcert={file}"
    )
    assert written("sqlalchemy", wanted) == (
        "postgresql+psycopg://app:a%3Ab%2Fc@/orders?host=proxy1,proxy2&port=5000,5000&hostaddr=10.0.0.9,10.0.0.10"
        f"&sslmode=verify-full&channel_binding=require&sslrootcert={file}"
    )
    assert written("pgpass", wanted) == "proxy1:5000:orders:app:a\\:b/c\nproxy2:5000:orders:app:a\\:b/c"


def test_jdbc_gets_an_address_of_ipv6_as_java_writes_it(tmp_path: Path) -> None:
    said = written("jdbc", values(tmp_path, hostaddr="fd0a::21,fd0a::22"))
    assert said.startswith("jdbc:postgresql://[fd0a:0:0:0:0:0:0:21]:5000,[fd0a:0:0:0:0:0:0:22]:5000/orders?")


def test_a_form_that_can_not_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match=r"--format url: should be one of .*did you mean 'uri'"):
        written("url", values(tmp_path))
    with pytest.raises(ClusterError, match="--with-password"):
        written("pgpass", values(tmp_path))


def test_without_names_it_is_the_first_database_and_its_owner(tmp_path: Path) -> None:
    roles = [{"name": "rw"}, {"name": "ro"}]
    databases = [{"name": "orders", "owner": "rw"}, {"name": "stock", "owner": "ro"}]
    made = cluster(postgres_roles=roles, postgres_databases=databases, secrets_directory=str(tmp_path))

    def chosen(role: str | None, database: str | None) -> tuple[str, str]:
        found = dsn.application(made, role=role, database=database, read_only=False)
        return found["user"], found["dbname"]

    assert chosen(None, None) == ("rw", "orders")
    assert chosen("ro", None) == ("ro", "stock")
    assert chosen(None, "stock") == ("ro", "stock")
    assert chosen("rw", "stock") == ("rw", "stock")
    with pytest.raises(ClusterError, match="no database in postgres_databases"):
        dsn.application(cluster(secrets_directory=str(tmp_path)), role=None, database=None, read_only=False)
