"""Programs that run with libraries which are not the installed ones any more."""

from __future__ import annotations

from pathlib import Path

import pytest
import views

from agents.parts import libraries
from health.rules import findings

LINE = "7f0000000000-7f0000001000 r-xp 00000000 00:2e 1234                       "


def process(folder: Path, pid: int, unit: str, program: str, *mapped: str, slice_: str = "/system.slice") -> None:
    at = folder / str(pid)
    at.mkdir()
    (at / "cgroup").write_text(f"0::{slice_}/{unit}\n")
    (at / "maps").write_text("".join(f"{LINE}{path}\n" for path in mapped))
    (at / "exe").symlink_to(program)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(libraries, "PROCESSES", tmp_path)
    (tmp_path / "self").mkdir()
    return tmp_path


def test_they_are_told_by_unit_and_nothing_else_that_is_gone(host: Path) -> None:
    ssl, libc = "/usr/lib/x86_64-linux-gnu/libssl.so.3", "/usr/lib/x86_64-linux-gnu/libc.so.6"
    process(host, 20, "patroni.service", "/usr/bin/python3.13", libc, f"{ssl}.dpkg-tmp (deleted)")
    process(host, 21, "patroni.service", "/usr/lib/postgresql/18/bin/postgres", libc, "/dev/zero (deleted)", "/SYSV0 (deleted)")
    process(host, 30, "haproxy.service", "/usr/sbin/haproxy", f"{libc} (deleted)", f"{ssl} (deleted)", f"{ssl} (deleted)")
    process(host, 40, "etcd.service", "/usr/bin/etcd", libc)
    process(host, 50, "ssh.service", "/usr/sbin/sshd", f"{libc} (deleted)")
    units = ["patroni.service", "haproxy.service", "etcd.service"]
    assert libraries.libraries({"units": units}) == {
        "patroni.service": ["libssl.so.3"],
        "haproxy.service": ["libc.so.6", "libssl.so.3"],
    }


def test_the_first_process_of_a_program_is_asked_by_its_number(host: Path) -> None:
    gone = "/usr/lib/libz.so.1 (deleted)"
    process(host, 100, "haproxy.service", "/usr/sbin/haproxy", gone)  # serves to their end who came before the reload
    process(host, 99, "haproxy.service", "/usr/sbin/haproxy")
    pool = "pgquorum-pool@write-1.service"
    process(host, 7, pool, "/usr/sbin/pgbouncer", gone, slice_=r"/system.slice/system-pgquorum\x2dpool.slice")
    assert libraries.replaced([pool, "haproxy.service"]) == {pool: ["libz.so.1"]}


def test_status_names_them_with_the_way_out() -> None:
    host = views.database("db2", libraries={"patroni.service": ["libssl.so.3"]})
    (found,) = [one for one in findings(views.view(db2=host), views.SHOP) if one.rule == "packages.old-libraries"]
    assert str(found).startswith("db2: patroni.service run with libraries of before an upgrade (libssl.so.3): `invoke reboot`")
