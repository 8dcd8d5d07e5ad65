"""The secrets of a cluster: made once, kept from everybody else, never replaced by less."""

from __future__ import annotations

import datetime as dt
import json
import os
import stat
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from clusters import cluster
from cryptography import x509

from cluster import certificates, vault
from cluster.errors import ClusterError
from cluster.topology import Cluster
from cluster.vault import Vault, password_names, write_private


@pytest.fixture
def shop(tmp_path: Path) -> Cluster:
    return made(tmp_path)


def made(folder: Path, **settings: object) -> Cluster:
    said = {"secrets_directory": str(folder / "secrets"), "postgres_roles": [{"name": "app"}]} | settings
    return cluster(**said)  # type: ignore[arg-type]


def saved(shop: Cluster, environment: dict[str, str] | None = None) -> Vault:
    found = Vault(shop, environment or {})
    found.save()
    return found


def contents(found: Vault) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in found.directory.iterdir()}


def test_nothing_is_written_before_save(shop: Cluster, tmp_path: Path) -> None:
    Vault(shop, {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_only_the_owner_can_read_them(shop: Cluster, umask: int) -> None:
    old = os.umask(umask)
    try:
        found = saved(shop)
    finally:
        os.umask(old)
    assert stat.S_IMODE(found.directory.stat().st_mode) == 0o700
    assert stat.S_IMODE(found.directory.parent.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in found.directory.iterdir()} == {0o600}


@pytest.mark.parametrize("name", [".", "passwords.json", "db1-etcd.key"])
def test_secrets_that_others_can_read_are_refused(shop: Cluster, name: str) -> None:
    (saved(shop).directory / name).chmod(0o755)
    with pytest.raises(ClusterError, match="can be read by others"):
        Vault(shop, {})


@pytest.mark.parametrize(("above", "mode"), [("secrets", 0o777), ("secrets", 0o770), (".", 0o777)])
def test_secrets_in_whose_place_others_could_put_theirs_are_refused(shop: Cluster, tmp_path: Path, above: str, mode: int) -> None:
    saved(shop)
    (tmp_path / above).chmod(mode)
    with pytest.raises(ClusterError, match=rf"can be written to by others.* chmod go-w {(tmp_path / above).resolve()}$"):
        Vault(shop, {})
    (tmp_path / above).chmod(0o1777)  # as /tmp is
    Vault(shop, {})


def test_secrets_below_a_folder_of_somebody_elses_are_refused(
    shop: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(shop)
    theirs = tmp_path / "secrets"  # the nearest of those above, which are all the same user's
    if os.geteuid() == 0:
        theirs = tmp_path
        os.chown(tmp_path, 4321, -1)
        Vault(shop, {})  # root works in the folders of those who called it
    monkeypatch.setattr("os.geteuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(ClusterError, match=rf"^{theirs} belongs to somebody else.*secrets_directory.*chown {theirs}$"):
        Vault(shop, {})


def test_a_save_that_was_interrupted_is_begun_anew(shop: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    def write_three(path: Path, content: bytes, left: list[int] = [3]) -> None:  # noqa: B006
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        write_private(path, content)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("cluster.vault.write_private", write_three)
        Vault(shop, {}).save()
    saved(shop)
    assert Vault(shop, {}).save() == []


def test_passwords_are_long_and_all_different(shop: Cluster) -> None:
    passwords = Vault(shop, {}).all_secrets()
    assert len(set(passwords)) == len(passwords) == len(password_names(shop))
    assert min(map(len, passwords)) >= 32
    assert not set(passwords) & set(Vault(shop, {}).all_secrets())


def test_the_second_time_all_is_as_it_was_and_nothing_is_written(shop: Cluster) -> None:
    first = saved(shop)
    before = contents(first)
    second = Vault(shop, {})
    assert second.save() == []
    assert contents(second) == before
    assert second.cluster_id == first.cluster_id
    assert second.all_secrets() == first.all_secrets()
    assert (first.existed, second.existed) == (False, True)


def test_a_new_role_gets_a_password_and_a_removed_one_keeps_its(tmp_path: Path) -> None:
    first = saved(made(tmp_path))
    both = saved(made(tmp_path, postgres_roles=[{"name": "app"}, {"name": "reports"}]))
    assert both.password("role_app") == first.password("role_app")
    saved(made(tmp_path, postgres_roles=[]))
    again = Vault(made(tmp_path, postgres_roles=[{"name": "reports"}, {"name": "app"}]), {})
    assert again.password("role_reports") == both.password("role_reports")
    assert again.password("role_app") == first.password("role_app")


def test_a_password_from_the_environment_is_used_and_never_written(shop: Cluster) -> None:
    given = "from-outside-1234567890"
    found = saved(shop, {"PGQUORUM_PASSWORD_REPLICATION": given, "PGQUORUM_PASSWORD_ROLE_APP": given + "2"})
    assert found.password("replication") == given
    assert found.password("role_app") == given + "2"
    assert not any(given.encode() in content for content in contents(found).values())


def test_a_password_from_the_environment_wins_over_the_stored_one_which_stays(shop: Cluster) -> None:
    stored = saved(shop).password("probe")
    assert saved(shop, {"PGQUORUM_PASSWORD_PROBE": "x" * 20}).password("probe") == "x" * 20
    assert Vault(shop, {}).password("probe") == stored


@pytest.mark.parametrize("name", ["replication", "rewind", "role_app"])
def test_a_password_that_came_from_the_environment_is_not_made_anew_when_it_is_missing_there(shop: Cluster, name: str) -> None:
    """A run without the variable would change the password under the replicas and the applications."""
    variable = f"PGQUORUM_PASSWORD_{name.upper()}"
    found = saved(shop, {variable: "x" * 20})
    before = contents(found)
    with pytest.raises(ClusterError, match=variable):
        saved(shop)
    assert contents(found) == before


def test_no_other_password_is_offered_for_the_one_that_alone_opens_the_backups(tmp_path: Path) -> None:
    of = cluster(backup=True, secrets_directory=str(tmp_path))
    saved(of, {"PGQUORUM_PASSWORD_BACKUP_CIPHER": "x" * 20})
    with pytest.raises(ClusterError, match="without it nobody can read the backups") as refused:
        saved(of)
    assert "have a new one made" not in str(refused.value)


UNUSABLE = ["", "elevenchars", "with a space in it", 'with"quote-in-it', "with'quote-in-it", "a\\backslash-x", "línea-acentuada"]


@pytest.mark.parametrize("value", [*UNUSABLE, "tab\tin-the-middle", "line\nin-the-middle"])
def test_a_password_that_some_file_could_not_hold_is_refused_without_showing_it(shop: Cluster, value: str) -> None:
    with pytest.raises(ClusterError) as told:
        Vault(shop, {"PGQUORUM_PASSWORD_PROBE": value})
    assert str(told.value) == (
        "PGQUORUM_PASSWORD_PROBE (in the environment): should be at least 12 printable ASCII characters,"
        " without spaces, quotes or backslashes"
    )


@pytest.mark.parametrize("content", ["", "{", "[]", '{"probe": 1}'])
def test_a_password_file_that_cannot_be_read_stops_everything_and_is_left_alone(shop: Cluster, content: str) -> None:
    found = saved(shop)
    file = found.directory / "passwords.json"
    file.write_text(content)
    with pytest.raises(ClusterError, match=r"passwords\.json can't be read .*restore it from a backup"):
        Vault(shop, {})
    assert file.read_text() == content


@pytest.mark.parametrize("lost", ["etcd-ca.key", "etcd-ca.crt", "postgres-ca.key", "postgres-ca.crt"])
def test_an_authority_that_is_missing_beside_the_passwords_is_not_made_anew(shop: Cluster, lost: str) -> None:
    found = saved(shop)
    (found.directory / lost).unlink()
    with pytest.raises(ClusterError, match=f"{lost[:-4]}.key or .crt is missing beside passwords.json: restore"):
        Vault(shop, {})


@pytest.mark.parametrize("lost", ["db1-postgres.key", "db1-postgres.crt"])
def test_a_host_certificate_that_is_missing_is_made_anew_and_no_other(shop: Cluster, lost: str) -> None:
    found = saved(shop)
    (found.directory / lost).unlink()
    assert sorted(Vault(shop, {}).save()) == ["db1-postgres.crt", "db1-postgres.key"]


def test_a_new_host_gets_certificates_and_no_other_host_does(tmp_path: Path) -> None:
    saved(made(tmp_path))
    moved = cluster(
        {"db2": {"address": "10.0.0.22"}}, secrets_directory=str(tmp_path / "secrets"), postgres_roles=[{"name": "app"}]
    )
    written = Vault(moved, {}).save()
    assert {name.partition("-")[0] for name in written} == {"db2"}
    assert {name.rpartition(".")[0] for name in written} == {"db2-etcd", "db2-etcd-client", "db2-postgres"}


def test_another_name_of_haproxy_renews_the_servers_certificates(tmp_path: Path) -> None:
    saved(made(tmp_path))
    renamed = cluster(
        {"proxy1": {"ssh_hostname": "db.example"}}, secrets_directory=str(tmp_path / "secrets"),
        postgres_roles=[{"name": "app"}],
    )  # fmt: skip
    written = {name.rpartition(".")[0] for name in Vault(renamed, {}).save()}
    assert written == {"db1-postgres", "db2-postgres", "db3-postgres", "proxy1-haproxy", "proxy1-haproxy-client"}


def test_a_further_name_renews_what_clients_see_and_nothing_else(tmp_path: Path) -> None:
    saved(made(tmp_path))
    named = made(tmp_path, certificate_names=["db.example.com", "10.0.0.100", "*.example.org"])
    written = {name.rpartition(".")[0] for name in Vault(named, {}).save()}
    assert written == {"db1-postgres", "db2-postgres", "db3-postgres", "proxy1-haproxy"}
    certificate = x509.load_pem_x509_certificate((tmp_path / "secrets/shop/db1-postgres.crt").read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {"db.example.com", "*.example.org"} <= set(names.get_values_for_type(x509.DNSName))
    assert "10.0.0.100" in map(str, names.get_values_for_type(x509.IPAddress))


def test_a_certificate_is_renewed_near_its_end_and_the_authority_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = made(tmp_path, certificate_days=certificates.RENEW_DAYS + 30)
    hosts = set(contents(saved(shop))) - {
        f"{use}-ca.{kind}" for use in ("etcd", "postgres", "haproxy") for kind in ("key", "crt")
    }

    def in_days(days: int) -> list[str]:
        class Clock(dt.datetime):
            @classmethod
            def now(cls, tz: dt.tzinfo | None = None) -> dt.datetime:  # type: ignore[override]
                return dt.datetime.fromtimestamp(time.time(), tz) + dt.timedelta(days=days)

        monkeypatch.setattr(certificates, "dt", SimpleNamespace(datetime=Clock, timedelta=dt.timedelta, UTC=dt.UTC))
        return Vault(shop, {}).save()

    assert in_days(29) == []
    assert set(in_days(31)) == hosts - {"passwords.json", ".gitignore"}


def test_a_file_appears_complete_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "secret"
    write_private(target, b"old")

    def full(descriptor: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(vault.os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        write_private(target, b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]
    assert target.read_bytes() == b"old"


def test_two_clusters_share_nothing(tmp_path: Path) -> None:
    one, other = saved(made(tmp_path)), saved(made(tmp_path, cluster_name="other"))
    assert one.directory != other.directory
    assert one.cluster_id != other.cluster_id
    assert not set(one.all_secrets()) & set(other.all_secrets())
    assert one.authorities["etcd"].certificate != other.authorities["etcd"].certificate


def test_the_password_file_holds_the_identity(shop: Cluster) -> None:
    found = saved(shop)
    assert json.loads((found.directory / "passwords.json").read_text())["cluster_id"] == found.cluster_id


def test_no_secret_shows_in_what_a_traceback_would_print(shop: Cluster) -> None:
    found = Vault(shop, {})
    shown = repr(found) + repr(found.authorities) + repr(found.certificate("db1", "etcd"))
    assert "PRIVATE" not in shown
    assert not any(secret in shown for secret in found.all_secrets())
