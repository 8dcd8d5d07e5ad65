"""systemd units, judged by what runs rather than by what this run has changed: a run that died half way is mended by the next.
And the users as whom they run, where no package makes them.
"""

from __future__ import annotations

import datetime as dt
import shlex
from collections.abc import Generator
from dataclasses import dataclass

from pyinfra import host
from pyinfra.api import FactBase, StringCommand, operation

PROPERTIES = (
    "LoadState,ActiveState,UnitFileState,NeedDaemonReload,ReloadResult,StateChangeTimestamp,ExecMainStartTimestamp,MainPID"
)
JOURNAL_LINES = 25
# A program that seems to have been started later than now was started before its host's clock was set right.
CLOCK_SECONDS = 60.0


@dataclass(frozen=True)
class Unit:
    """A unit and the files it reads. Times in seconds since 1970; `changed` is the last start or reload, 0 when never."""

    active: bool = False
    enabled: bool = False
    stale: bool = False  # systemd has not read the unit file as it is now
    reload_failed: bool = False  # the last one, which counts as a change of state all the same
    changed: float = 0.0
    started: float = 0.0
    files_written: float = 0.0
    now: float = 0.0  # by the host's clock
    command_line: str = ""  # of the main process, as it was started

    @property
    def reload_due(self) -> bool:
        """Whether a file was written after the last start or reload, or that can't be told, or that reload failed."""
        return self.active and (self.files_written > self.changed or self._later_than_now(self.changed) or self.reload_failed)

    @property
    def restart_due(self) -> bool:
        """Whether a file was written after the program started, or that can't be told, for programs that can't reload."""
        return self.active and (self.files_written > self.started or self._later_than_now(self.started))

    def _later_than_now(self, moment: float) -> bool:
        return bool(self.now) and moment > self.now + CLOCK_SECONDS


class UnitFact(FactBase[Unit]):
    """A Unit: the state of `unit`, and when the newest of `files` was written."""

    def command(self, unit: str, files: tuple[str, ...]) -> str:
        quoted = " ".join(shlex.quote(path) for path in files)
        return (
            f's=$(systemctl show --timestamp=us+utc -p {PROPERTIES} {unit}); echo "$s"; pid=${{s##*MainPID=}};'
            ' pid=${pid%%[!0-9]*}; echo "CommandLine=$(tr "\\000" " " 2>/dev/null </proc/${pid:-0}/cmdline)";'
            f' echo "FilesWritten=$(stat -c %.6Y {quoted} 2>/dev/null | sort -n | tail -n 1)"; echo "Now=$(date +%s)"'
        )

    def process(self, output: list[str]) -> Unit:
        said = dict(line.split("=", 1) for line in output if "=" in line)
        return Unit(
            # Not "activating": so systemd calls a program, too, that fails and is started again and again.
            active=said.get("ActiveState") in ("active", "reloading"),
            enabled=said.get("UnitFileState") == "enabled",
            stale=said.get("NeedDaemonReload") == "yes",
            reload_failed=said.get("ReloadResult", "success") != "success",
            changed=_seconds(said.get("StateChangeTimestamp", "")),
            started=_seconds(said.get("ExecMainStartTimestamp", "")),
            files_written=float(said.get("FilesWritten") or 0),
            now=float(said.get("Now") or 0),
            command_line=said.get("CommandLine", ""),
        )


def _seconds(timestamp: str) -> float:
    """`Tue 2026-11-24 13:10:24.123456 UTC` as seconds since 1970; 0 for none."""
    if not timestamp:
        return 0.0
    moment = dt.datetime.strptime(timestamp.split(" ", 1)[1], "%Y-%m-%d %H:%M:%S.%f UTC")
    return moment.replace(tzinfo=dt.UTC).timestamp()


class HasUser(FactBase[bool]):
    """Whether a user is there."""

    def command(self, user: str) -> str:
        return f"id -u {user} 2>/dev/null || true"

    def process(self, output: list[str]) -> bool:
        return bool(output)


@operation()
def make_user(user: str) -> Generator[StringCommand]:
    """Makes a system user, whose files are nobody else's. It may not log in, and has no home."""
    if not host.get_fact(HasUser, user=user):
        options = "--system --user-group --no-create-home --home-dir / --shell /usr/sbin/nologin"
        yield StringCommand(f"useradd {options} {user}")


def first_start(unit: str) -> str:
    """The command that starts a unit now and at every boot, and ends its masking, which lasts while packages are installed."""
    return f"systemctl unmask --runtime --quiet {unit} 2>/dev/null; systemctl enable --now --quiet {unit}"


def or_journal(command: str, unit: str) -> StringCommand:
    """A command that, when it fails, shows the last lines the unit wrote to the journal, and still fails."""
    script = f"( {command} ) || {{ journalctl -u {unit} -n {JOURNAL_LINES} --no-pager -o short-iso >&2; exit 1; }}"
    return StringCommand(f"sh -c {shlex.quote(script)}")
