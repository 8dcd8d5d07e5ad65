"""Connection strings: complete, verified, quoted; passwords only where they were asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
from clusters import cluster

from cluster.errors import ClusterError
from cluster.topology import Cluster
from cluster.vault import Vault
from day2.commands.connect import clients
from day2.hosts import dsn

SETTINGS = {"postgres_roles": [{"name": "app"}], "postgres_databases": [{"name": "orders", "owner": "app"}]}


@pytest.fixture
def shop(tmp_path: Path) -> Cluster:
    made = cluster(**SETTINGS, secrets_directory=str(tmp_path / "my secrets"))
    Vault(made, {}).save()
    return made


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
    with pytest.raises(ClusterError, match=said):
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
