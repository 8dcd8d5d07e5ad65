"""What runs on hosts to upgrade packages: apt and dpkg are stood in for by scripts that note what they are asked."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agents import debian, repack
from agents.sent import fetch, install, upgradable

Script = Callable[[str, str], None]


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Script:
    """Puts a program of that name and shell text before those of the machine."""
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")

    def put(name: str, text: str) -> None:
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)

    return put


SIMULATED = """\
NOTE: This is only a simulation!
Inst libpq5 [18.6-3] (18.7-1 shop:stable [amd64]) []
Inst postgresql-18 [18.6-3] (18.7-1 shop:stable [amd64])
Inst newcomer (1:2.0-1 shop:stable [all])
Conf libpq5 (18.7-1 shop:stable [amd64])"""


def test_what_apt_would_do_is_read_with_what_comes_along(script: Script) -> None:
    script("apt-get", f"cat <<'END'\n{SIMULATED}\nEND")
    assert debian.simulate(["apt-get"], {"postgresql-18": "18.7-1"}) == (
        [("libpq5", "18.6-3", "18.7-1"), ("postgresql-18", "18.6-3", "18.7-1"), ("newcomer", None, "1:2.0-1")],
        "",
    )


def test_what_would_be_removed_or_does_not_fit_together_is_why_not(script: Script) -> None:
    script("apt-get", "echo 'Remv patroni [4.1.5-2]'; echo 'Inst a (1 b [all])'")
    assert debian.simulate(["apt-get"], {"a": "1"}) == ([], "it would remove patroni")
    script("apt-get", "echo 'Reading package lists...'; echo 'E: Unable to correct problems' >&2; exit 100")
    assert debian.simulate(["apt-get"], {"a": "1"}) == ([], "E: Unable to correct problems")
    script(
        "apt-get",
        "printf 'E: Reached two conflicting assignments:\\n   1. a is selected\\n   2. a is not\\nN: more\\n' >&2; exit 100",
    )
    assert debian.simulate(["apt-get"], {"a": "1"})[1] == "E: Reached two conflicting assignments: 1. a is selected 2. a is not"


def test_lists_that_somebody_else_reads_are_waited_for(script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    script(
        "apt-get", f"[ -e {tmp_path}/free ] || {{ touch {tmp_path}/free; echo 'E: lock /var/lib/apt/lists/lock' >&2; exit 100; }}"
    )
    assert debian.refresh(["apt-get"]) == ""
    script("apt-get", "echo 'E: Failed to fetch http://gone' >&2; exit 100")
    assert debian.refresh(["apt-get"]) == "E: Failed to fetch http://gone"


POLICY = """\
patroni:
  Installed: 4.1.5-2
  Candidate: 4.1.6-1
  Version table:
     4.1.6-1 500
nowhere:
  Installed: 1
  Candidate: (none)"""


def test_candidates(script: Script) -> None:
    script("apt-cache", f"cat <<'END'\n{POLICY}\nEND")
    assert debian.candidates(["patroni", "nowhere"]) == {"patroni": "4.1.6-1"}


def test_a_kept_file_counts_as_long_as_it_is_as_it_was_noted(tmp_path: Path) -> None:
    file = tmp_path / "a_1_all.deb"
    file.write_bytes(b"as it was")
    debian.write_note(tmp_path, {"a": {"files": {"1": {"name": file.name, "sha256": debian.digest(file)}}}})
    assert debian.kept(tmp_path, "a", "1") == file
    assert debian.kept(tmp_path, "a", "2") is None and debian.kept(tmp_path, "b", "1") is None
    file.write_bytes(b"cut o")
    assert debian.kept(tmp_path, "a", "1") is None


@pytest.mark.parametrize("text", ["", "[]", "{broken"])
def test_a_note_that_is_none_is_as_if_there_were_none(tmp_path: Path, text: str) -> None:
    (tmp_path / debian.NOTE).write_text(text)
    assert debian.read_note(tmp_path) == {}


def test_what_runs_is_compared_with_when_its_packages_were_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: Script
) -> None:
    monkeypatch.setattr(upgradable, "INFO", str(tmp_path))
    for name, when in (("etcd-server.list", 1000.9), ("etcd-server-extra.list", 9000.0), ("etcd-client.list", 9000.0)):
        (tmp_path / name).write_text("")
        os.utime(tmp_path / name, (when, when))
    program = {"packages": ["etcd-server", "etcd-client"], "running": ["etcd-server"], "units": ["etcd.service"]}
    for started, due in (("@999", True), ("@1000", False), ("@1001", False)):
        script("systemctl", f"echo 'ActiveState=active\nExecMainStartTimestamp={started}'")
        assert upgradable.due(program) is due
    script("systemctl", "echo 'ActiveState=failed\nExecMainStartTimestamp=@1'")
    assert not upgradable.due(program)  # what does not run is started with what is there


def test_haproxy_tells_itself_since_when_the_process_that_serves_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upgradable, "INFO", str(tmp_path))
    monkeypatch.setattr("time.time", lambda: 2000.0)
    (tmp_path / "haproxy.list").write_text("")
    os.utime(tmp_path / "haproxy.list", (1000, 1000))
    program = {"packages": ["haproxy"], "running": ["haproxy"], "units": ["haproxy.service"], "socket": "/run/admin.sock"}
    for uptime, due in ((1500, True), (500, False)):
        said = f"Name: HAProxy\nUptime_sec: {uptime}\nMaxconn: 9"
        monkeypatch.setattr("agents.proxies.HAProxy.ask", lambda self, command, said=said: said)
        assert upgradable.due(program) is due


def test_a_server_of_postgres_tells_itself_since_when_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upgradable, "INFO", str(tmp_path))
    (tmp_path / "postgresql-18:amd64.list").write_text("")
    os.utime(tmp_path / "postgresql-18:amd64.list", (1000, 1000))
    pid = tmp_path / "postmaster.pid"
    program = {"packages": ["postgresql-18"], "running": ["postgresql-18"], "units": [], "pid_file": str(pid)}
    assert not upgradable.due(program)
    pid.write_text("4711\n/data\n900\n5432\n")
    assert upgradable.due(program)
    pid.write_text("4711\n/data\n1100\n5432\n")
    assert not upgradable.due(program)


@pytest.fixture
def policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("POLICY", "OWNERS"):
        monkeypatch.setattr(install, name, tmp_path / name)
    text = install.TEXT.replace(str(debian.LOCK), f"{tmp_path}/LOCK")
    monkeypatch.setattr(install, "TEXT", text.replace("/usr/sbin/policy-rc.d.before-pgquorum", f"{tmp_path}/OWNERS"))
    monkeypatch.setattr(debian, "LOCK", tmp_path / "LOCK")
    return tmp_path / "POLICY"


def asked(policy: Path) -> int:
    return subprocess.run([policy, "etcd.service", "restart"], check=False).returncode


def test_no_package_restarts_anything_meanwhile_and_the_owner_s_word_counts_again_afterwards(policy: Path) -> None:
    policy.write_text("#!/bin/sh\nexit 104\n")
    policy.chmod(0o755)
    with debian.alone(), install.nothing_restarted():
        assert asked(policy) == 101
    assert asked(policy) == 104 and not (policy.parent / "OWNERS").exists()


def test_nor_is_anything_left_where_the_owner_has_said_nothing(policy: Path) -> None:
    with pytest.raises(OSError), install.nothing_restarted():
        raise OSError
    assert {path.name for path in policy.parent.iterdir()} <= {"bin"}


def test_what_a_killed_one_has_left_forbids_as_long_as_apt_goes_on_and_is_mended_by_the_next(policy: Path) -> None:
    owners = policy.parent / "OWNERS"
    owners.write_text("#!/bin/sh\nexit 104\n")
    owners.chmod(0o755)
    policy.write_text(install.TEXT)
    policy.chmod(0o755)
    with debian.alone() as lock:
        apt = subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=(lock,))
    assert asked(policy) == 101  # the lock has gone with this program, but apt has it, too
    apt.communicate()
    assert asked(policy) == 104
    owners.unlink()
    assert asked(policy) == 0
    with debian.alone(), install.nothing_restarted():
        assert asked(policy) == 101
    assert not policy.exists()


def installing(tmp_path: Path, versions: dict[str, str]) -> dict[str, Any]:
    (tmp_path / "haproxy.cfg").write_text("the deploy's\n")
    (tmp_path / "manifest").write_text(f"{debian.digest(tmp_path / 'haproxy.cfg')}  {tmp_path}/haproxy.cfg\n")
    return {
        "apt": ["apt-get"], "directory": str(tmp_path), "versions": versions, "hold": f"echo held >>{tmp_path}/asked",
        "manifest": str(tmp_path / "manifest"),
    }  # fmt: skip


def test_what_is_there_already_is_not_installed_again(tmp_path: Path, policy: Path, script: Script) -> None:
    script("dpkg-query", "echo -n '2 installed'")
    script("dpkg", "true")
    script("apt-get", f'echo "apt-get $*" >>{tmp_path}/asked')
    install.install(installing(tmp_path, {"a": "2"}))
    assert (tmp_path / "asked").read_text() == "held\n"


def test_packages_are_held_again_whatever_comes_of_it(tmp_path: Path, policy: Path, script: Script) -> None:
    file = tmp_path / "a_2_all.deb"
    file.write_text("a package")
    files = {"2": {"name": file.name, "sha256": debian.digest(file)}}
    debian.write_note(tmp_path, {"a": {"component": "etcd", "old": "1", "new": "2", "run": "noon", "files": files}})
    script("dpkg-query", "echo -n '1 installed'")
    script("dpkg", f'echo "dpkg $*" >>{tmp_path}/asked')
    script("apt-get", f"echo \"apt-get $*\" >>{tmp_path}/asked; echo 'E: no room' >&2; exit 100")
    with pytest.raises(OSError, match="E: no room"):
        install.install(installing(tmp_path, {"a": "2"}))
    first, second, third = (tmp_path / "asked").read_text().splitlines()
    assert first == "dpkg --configure -a" and third == "held" and not policy.exists()
    assert second.endswith(f"install {file}") and "--allow-change-held-packages" in second and "--no-remove" in second


def test_a_package_that_changes_what_the_deploy_has_written_is_told_before_anything_is_restarted(
    tmp_path: Path, policy: Path, script: Script
) -> None:
    script("dpkg-query", "echo -n '2 installed'")
    script("dpkg", f"echo default >{tmp_path}/haproxy.cfg")
    with pytest.raises(OSError, match=r"^a package has changed what the deploy has written \(.*/haproxy.cfg\)"):
        install.install(installing(tmp_path, {"a": "2"}))


def test_a_file_that_is_not_as_it_was_kept_is_not_installed(tmp_path: Path, policy: Path, script: Script) -> None:
    script("dpkg-query", "echo -n '1 installed'")
    with pytest.raises(OSError, match=r"^a 2 is not in .* as it was kept there$"):
        install.install(installing(tmp_path, {"a": "2"}))


needs_dpkg = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="no dpkg-deb on this machine")


def made(folder: Path, package: str, version: str) -> Path:
    """A package with nothing in it."""
    control = folder / "made" / "DEBIAN" / "control"
    control.parent.mkdir(parents=True, exist_ok=True)
    fields = {
        "Package": package,
        "Version": version,
        "Architecture": "all",
        "Maintainer": "us <us@example.com>",
        "Description": "x",
    }
    control.write_text("".join(f"{name}: {value}\n" for name, value in fields.items()))
    subprocess.run(["dpkg-deb", "--build", folder / "made", folder], check=True, capture_output=True)
    return folder / f"{package}_{version}_all.deb"


@pytest.fixture
def archive(tmp_path: Path, script: Script, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An archive that has `a` in versions 2 and 3, an apt that has kept version 1 of it, and the directory for an upgrade."""
    archive, cache, directory = (tmp_path / name for name in ("archive", "cache", "kept"))
    for folder in (archive, cache, directory):
        folder.mkdir()
    made(cache, "a", "1")
    made(archive, "a", "2")
    made(archive, "a", "3")
    monkeypatch.setattr(debian, "LOCK", tmp_path / "LOCK")
    monkeypatch.setattr(repack, "APT_CACHE", str(cache))
    monkeypatch.setattr(fetch, "APT_CACHE", str(cache))
    script("apt-get", f'for one; do :; done; cp {archive}/$(echo "$one" | tr = _)_all.deb .')
    script("apt-cache", "echo ' a | 2 | here'; echo ' a | 3 | here'")
    return directory


def fetching(directory: Path, old: str, new: str, **differs: Any) -> None:
    change = {"component": "etcd", "package": "a", "old": old, "new": new}
    fetch.fetch({"apt": ["apt-get"], "directory": str(directory), "run": "noon", "insist": False, "changes": [change]} | differs)


def taken(directory: Path, **versions: str) -> None:
    """As an installation notes it."""
    install.note_fetched(directory, versions)


@needs_dpkg
def test_what_is_replaced_is_kept_beside_what_is_new_and_what_nobody_needs_goes(archive: Path) -> None:
    fetching(archive, "1", "2")
    taken(archive, a="2")
    note = debian.read_note(archive)
    assert note["a"].items() >= {"component": "etcd", "old": "1", "new": "2", "run": "noon"}.items()
    assert debian.kept(archive, "a", "1") and debian.kept(archive, "a", "2")
    fetching(archive, "2", "3")
    taken(archive, a="3")
    fetching(archive, "2", "3")
    assert sorted(path.name for path in archive.iterdir()) == ["a_2_all.deb", "a_3_all.deb", "fetched.json", "note.json"]


@needs_dpkg
def test_what_was_fetched_and_never_installed_takes_no_way_back_away(archive: Path) -> None:
    fetching(archive, "1", "2")
    taken(archive, a="2")
    fetching(archive, "2", "3")
    taken(archive, a="1")  # back, of what was installed
    assert debian.read_note(archive)["a"]["old"] == "1" and debian.kept(archive, "a", "1")


@needs_dpkg
def test_what_apt_has_left_as_it_was_can_be_taken_back_as_before(archive: Path, script: Script) -> None:
    fetching(archive, "1", "2")
    taken(archive, a="2")
    fetching(archive, "2", "3")
    earlier = install.note_fetched(archive, {"a": "3"})
    script("dpkg-query", "echo 'a 2 installed'")
    install.note_untouched(archive, earlier)
    assert debian.read_note(archive)["a"].items() >= {"old": "1", "new": "2"}.items()
    script("dpkg-query", "echo 'a 3 installed'")
    install.note_untouched(archive, install.note_fetched(archive, {"a": "3"}))
    assert debian.read_note(archive)["a"]["old"] == "2"


@needs_dpkg
def test_what_was_fetched_before_is_there_for_the_next_try(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetching(archive, "1", "2")
    (tmp_path / "cache/a_1_all.deb").unlink()
    monkeypatch.setattr(repack, "unlike", lambda package: "/usr/bin/a is gone")
    fetching(archive, "1", "2")
    assert debian.kept(archive, "a", "1")


def test_nobody_else_may_hold_the_lock(policy: Path) -> None:
    with debian.alone():
        assert debian.LOCK.stat().st_mode & 0o777 == 0o600


def test_what_a_script_leaves_running_is_not_waited_for() -> None:
    began = time.monotonic()
    assert debian.run("sh", "-c", "sleep 30 & echo done").stdout == "done\n"
    assert time.monotonic() - began < 20


@needs_dpkg
def test_what_is_damaged_in_apts_cache_is_had_from_elsewhere(archive: Path, tmp_path: Path, script: Script) -> None:
    made(tmp_path / "archive", "a", "1")
    file = tmp_path / "cache" / "a_1_all.deb"
    file.write_bytes(file.read_bytes()[:-20])
    script("apt-cache", "echo ' a | 1 | here'; echo ' a | 2 | here'")
    (archive / "fetch-killed").mkdir()
    fetching(archive, "1", "2")
    assert debian.kept(archive, "a", "1")
    assert not (archive / "fetch-killed").exists()


@needs_dpkg
def test_all_is_there_in_the_end_or_nothing_has_changed(archive: Path) -> None:
    fetching(archive, "1", "2")
    before = {path.name: path.read_bytes() for path in archive.iterdir()}
    with pytest.raises(OSError):
        fetching(archive, "2", "4")
    assert {path.name: path.read_bytes() for path in archive.iterdir()} == before


@needs_dpkg
def test_an_archive_that_does_not_give_what_it_has_announced_is_not_the_last_resort(
    archive: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(repack, "unlike", lambda package: "")
    monkeypatch.setattr(fetch, "repack", lambda package, into: made(into, package, "2"))
    (tmp_path / "archive/a_2_all.deb").unlink()
    fetching(archive, "2", "3")
    assert debian.kept(archive, "a", "2")


@needs_dpkg
def test_without_the_old_one_nothing_is_fetched_unless_that_is_insisted_on(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repack, "unlike", lambda package: "/usr/bin/a is gone")
    with pytest.raises(OSError, match=r"^a 0 could not be had again: no archive has it any more, and /usr/bin/a is gone$"):
        fetching(archive, "0", "2")
    assert list(archive.iterdir()) == []
    fetching(archive, "0", "2", insist=True)
    assert list(debian.read_note(archive, debian.FETCHED)["a"]["files"]) == ["2"]


@pytest.mark.parametrize(
    ("verified", "told"),
    [
        ("", ""),
        # As the package's own it would be replaced by the next version's.
        ("??5?????? c /etc/haproxy/haproxy.cfg", "/etc/haproxy/haproxy.cfg is not as it was installed"),
        ("missing   c /etc/haproxy/haproxy.cfg", "/etc/haproxy/haproxy.cfg is gone"),
        ("missing     /usr/share/doc/haproxy/README", ""),
        ("missing     /usr/share/man/man1/haproxy.1.gz (No such file or directory)", ""),
        ("??5??????   /usr/sbin/haproxy", "/usr/sbin/haproxy is not as it was installed"),
        ("missing     /usr/sbin/haproxy", "/usr/sbin/haproxy is gone"),
        ("something new", "dpkg says 'something new'"),
    ],
)
def test_a_package_is_made_of_what_is_installed_only_if_that_is_as_it_was(script: Script, verified: str, told: str) -> None:
    script("dpkg-query", "echo /usr/sbin/haproxy")
    script("dpkg", f"echo '{verified}'")
    if not verified:
        script("dpkg", "true")
    assert repack.unlike("haproxy") == told


@needs_dpkg
def test_a_package_made_of_what_is_installed_has_its_files_links_and_scripts(
    tmp_path: Path, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, info, into = tmp_path / "there", tmp_path / "info", tmp_path / "into"
    for folder in (there, info, into):
        folder.mkdir()
    (there / "program").write_text("it runs")
    (there / "program").chmod(0o751)
    (there / "link").symlink_to("program")
    (info / "a.list").write_text("")
    (info / "a.postinst").write_text("#!/bin/sh\ntrue\n")
    (info / "a.postinst").chmod(0o755)
    (info / "a.conffiles").write_text(f"{there}/program\n")
    (info / "another.postinst").write_text("not mine")
    monkeypatch.setattr(repack, "INFO", str(info))
    monkeypatch.setattr(repack, "unlike", lambda package: "")
    monkeypatch.setattr("os.chown", lambda *whose: None)
    chain = [*reversed(there.parents), there]
    listed = "\n".join([*("/." if str(one) == "/" else str(one) for one in chain), f"{there}/program", f"{there}/link"])
    status = (
        "Package: a\nStatus: hold ok installed\nVersion: 1\nArchitecture: all\nMaintainer: us <us@example.com>\n"
        "Conffiles:\n /etc/a 0123\nDescription: short\n and long\n"
    )
    script(
        "dpkg-query",
        f"case $1 in --status) printf '{status}';; *) echo '{listed}';; esac".replace("\n", "\\n").replace("\\n/", "\n/"),
    )
    repack.repack("a", into)
    (file,) = into.glob("*.deb")
    assert file.name == "a_1_all.deb"
    unpacked = tmp_path / "unpacked"
    subprocess.run(["dpkg-deb", "--raw-extract", file, unpacked], check=True)
    inside = unpacked / str(there).lstrip("/")
    assert (inside / "program").read_text() == "it runs" and (inside / "program").stat().st_mode & 0o777 == 0o751
    assert str((inside / "link").readlink()) == "program"
    assert {path.name for path in (unpacked / "DEBIAN").iterdir()} == {"control", "postinst", "conffiles"}
    control = (unpacked / "DEBIAN/control").read_text()
    assert "Status" not in control and "Conffiles" not in control and "Description: short\n and long\n" in control


def test_the_answer_of_a_host_is_one_document(script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upgradable, "INFO", str(tmp_path))
    script("apt-get", "echo 'Inst etcd-server [3.5.30-2] (3.5.31-1 shop [amd64])'")
    script("apt-cache", "case $1 in policy) printf 'etcd-server:\\n  Candidate: 3.5.31-1\\n';; show) echo 'Size: 7';; esac")
    script("dpkg-query", "echo 'etcd-server 3.5.30-2 installed'")
    script("dpkg", "true")
    script("systemctl", "true")
    program = {"packages": ["etcd-server"], "running": ["etcd-server"], "units": ["etcd.service"]}
    spec = {"apt": ["apt-get"], "refresh": False, "directory": str(tmp_path / "kept"), "programs": {"etcd": program}}
    said = json.loads(json.dumps(upgradable.look(spec)))
    assert said["changes"]["etcd"] == [
        {"package": "etcd-server", "old": "3.5.30-2", "new": "3.5.31-1", "size": 7, "unpacked": 0, "lost": ""}
    ]
    assert said["installed"] == {"etcd-server": "3.5.30-2"} and said["due"] == [] and said["free"]["programs"] > 0
