"""Installs packages that were fetched before, or that an upgrade has replaced. Runs on the host as root.

No package starts, stops or restarts anything: what runs goes on as it is, with the old programs, until it is restarted. The
argument has `apt`, the words of apt-get; the `directory` where the packages are (agents/debian.py); `versions`, by package the
one to have; `manifest`, which lists the files that the deploy has written; and `hold`, a shell script that has apt leave them
at that, run whatever comes of this. Why it failed is on standard error: also that a package has changed one of those files,
with which nothing should be restarted.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from agents.debian import FETCHED, LOCK, alone, kept, read_note, run, said, versions, write_note
from agents.parts.files import edited

# Debian's way of asking the host's owner whether a package may start or stop services (invoke-rc.d(8)).
POLICY = Path("/usr/sbin/policy-rc.d")
OWNERS = Path("/usr/sbin/policy-rc.d.before-pgquorum")
MARK = "# Written by pgquorum"
# Where this program was killed, it forbids as long as apt goes on, and then passes on what the owner's says.
TEXT = f"""#!/bin/sh
{MARK} for as long as it installs packages: what they bring is restarted by it alone.
[ ! -e {LOCK} ] || flock --shared --nonblock {LOCK} true || exit 101
[ -x {OWNERS} ] && exec {OWNERS} "$@"
exit 0
"""


def install(spec: dict[str, Any]) -> None:
    """Raises OSError."""
    with alone() as lock:
        install_alone(spec, lock)


def install_alone(spec: dict[str, Any], lock: int) -> None:
    before = of_deploy(spec)
    directory = Path(spec["directory"])
    earlier = note_fetched(directory, spec["versions"])
    try:
        with nothing_restarted():
            # However long it takes: to end apt in the middle would leave what nobody wants.
            run("dpkg", "--configure", "-a", seconds=None)  # of one that has died half way
            if files := [*map(str, files_for(spec))]:
                options = ("--allow-downgrades", "--allow-change-held-packages", "--no-remove", "-o", "APT::Sandbox::User=root")
                said(*spec["apt"], *options, "install", *files, seconds=None, holding=(lock,))
    finally:
        note_untouched(directory, earlier)
        said("sh", "-c", spec["hold"], seconds=None)
    if wrong := other_than(spec["versions"]):
        raise OSError(f"apt has left {', '.join(wrong)} at another version")
    if replaced := sorted(of_deploy(spec) - before):
        raise OSError(
            f"a package has changed what the deploy has written ({', '.join(replaced)}), and nothing was restarted: deploy"
        )


def note_fetched(directory: Path, wanted: dict[str, str]) -> dict[str, Any]:
    """What was fetched and is installed now is what can be taken back. Returns what was noted of these packages before; None for
    nothing."""
    note = read_note(directory)
    fetched = {name: one for name, one in read_note(directory, FETCHED).items() if wanted.get(name) == one["new"]}
    if fetched:
        write_note(directory, {**note, **fetched})
    return {name: note.get(name) for name in fetched}


def note_untouched(directory: Path, earlier: dict[str, Any]) -> None:
    """Of packages that apt has left as they were, what was noted before counts."""
    note = read_note(directory)
    there = versions(earlier) if earlier else {}
    for name, before in earlier.items():
        if there.get(name.partition(":")[0]) == note[name]["old"]:
            note = {**note, name: before}
    write_note(directory, {name: about for name, about in note.items() if about})


def files_for(spec: dict[str, Any]) -> Iterator[Path]:
    """Those that are to be installed. Raises OSError where one is not there."""
    directory = Path(spec["directory"])
    for package in other_than(spec["versions"]):
        path = kept(directory, package, spec["versions"][package])
        if path is None:
            raise OSError(f"{package} {spec['versions'][package]} is not in {directory} as it was kept there")
        yield path


def of_deploy(spec: dict[str, Any]) -> set[str]:
    """The files of the deploy's that are not as it has written them."""
    try:
        return set(edited({"path": spec["manifest"]}))
    except OSError:
        return set()  # never deployed to its end


def other_than(wanted: dict[str, str]) -> list[str]:
    """Which of the packages are not at the version that is wanted of them, or whose installation has come to no end."""
    shape = "--showformat=${Version} ${db:Status-Status}"
    return [name for name, version in wanted.items() if run("dpkg-query", "--show", shape, name).stdout != f"{version} installed"]


@contextmanager
def nothing_restarted() -> Iterator[None]:
    """No package's script gets a service started, stopped or restarted."""
    if POLICY.exists() and MARK not in POLICY.read_text(errors="replace"):
        POLICY.replace(OWNERS)
    POLICY.write_text(TEXT)
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            OWNERS.replace(POLICY)


if __name__ == "__main__":
    try:
        install(json.loads(sys.argv[1]))
    except OSError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
