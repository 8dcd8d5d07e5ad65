"""Asks PostgreSQL's own program whether a server would start here with certain parameters, and if not, why. Begins on the host as
root, goes on as PostgreSQL's user, and touches neither the server that runs nor its files.

The argument has `binaries` and `data` (directories; the second need not exist yet), `version`, the major one, and `sockets` and
`port` of the server that may run; the one line of input is a JSON object with the parameters by name, one of which may be a
command with a key in it. On stdout `{"refused": [reasons]}`, no reason when it would start.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agents.rights import become

SECONDS = 20
# What the program writes to standard error, whatever log_line_prefix is.
SAID = re.compile(r"\b(LOG|WARNING|ERROR|FATAL|PANIC):\s+(.*)")
ENDS = ("ERROR", "FATAL", "PANIC")
# What initdb has made before it has the program check its configuration.
DIRECTORIES = (
    "base", "global", "pg_commit_ts", "pg_dynshmem", "pg_logical/mappings", "pg_logical/snapshots", "pg_multixact/members",
    "pg_multixact/offsets", "pg_notify", "pg_replslot", "pg_serial", "pg_snapshots", "pg_stat", "pg_stat_tmp", "pg_subtrans",
    "pg_tblspc", "pg_twophase", "pg_wal/archive_status", "pg_xact",
)  # fmt: skip
NOTICE = "skipping missing configuration file"
# What a session may set is judged by the server that runs: some of it names things in its catalogs, which the program alone does
# not see. Nothing else is told to the server: its log may have every statement, and a command a key in it.
OF_A_SESSION = "SELECT lower(name) FROM pg_settings WHERE context IN ('user', 'superuser')"
# Files that are read when a server starts, by parameter, and what PostgreSQL says of one that can't be.
READ_AT_START = {
    "ssl_dh_params_file": "could not open DH parameters file",
    "ssl_crl_file": "could not load SSL certificate revocation list file",
    "ssl_crl_dir": "could not load SSL certificate revocation list directory",
}
SUMMARY = "contains errors"  # of a line that the lines before it explain


def judge(spec: dict[str, Any], parameters: dict[str, Any]) -> list[str]:
    """Why a server would not start; empty when it would."""
    data = Path(spec["data"])
    # A path without a directory is one in the directory of the data.
    parameters = parameters | {name: str(data / parameters[name]) for name in READ_AT_START if parameters.get(name)}
    with tempfile.TemporaryDirectory(prefix="pgquorum-judge-") as scratch:
        living = make(Path(scratch), data, spec["version"], parameters)
        program = f"{spec['binaries']}/postgres"
        if not living:
            missing = [*missing_libraries(spec["binaries"], parameters), *unreadable(parameters)]
            return [*refused([program, "--check", "-D", scratch]), *missing]
        # It reads all files, loads the libraries, and stops before it takes the memory and the port, which the server here has.
        asked = [program, "-D", scratch, "-C"]
        return refused([*asked, "shared_memory_size"]) or [
            *too_large(asked, parameters),
            *refused_by_session(spec, parameters),
            *unreadable(parameters),
        ]


def make(scratch: Path, data: Path, version: int, parameters: dict[str, Any]) -> bool:
    """Makes a data directory with nothing but what the program reads before it starts a server, and the configuration as Patroni
    would write it. Whether there is a server's data to go by."""
    (scratch / "PG_VERSION").write_text(f"{version}\n")
    (scratch / "postgresql.conf").write_text(configuration(data, parameters))
    for directory in DIRECTORIES:
        (scratch / directory).mkdir(parents=True)
    control = data / "global/pg_control"
    if control.exists():
        shutil.copy(control, scratch / "global/pg_control")
    return control.exists()


def configuration(data: Path, parameters: dict[str, Any]) -> str:
    """The text of a postgresql.conf: what was there before Patroni, its own part, what ALTER SYSTEM has set."""
    lines = [f"include_if_exists '{data}/postgresql.base.conf'"]
    lines += [f"{name} = '{escaped(value)}'" for name, value in parameters.items()]
    lines += [f"include_if_exists '{data}/postgresql.auto.conf'", "lc_messages = 'C'"]
    return "\n".join([*lines, ""])


def escaped(value: object) -> str:
    return str(value).replace("\\", "\\\\").replace("'", "''")


def run(command: list[str], given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, input=given, capture_output=True, text=True, timeout=SECONDS, cwd="/", check=False)


def refused(command: list[str]) -> list[str]:
    """What the program says when it fails."""
    done = run(command)
    return reasons(done.stderr) or [f"{command[0]} exits with {done.returncode}"] if done.returncode else []


def reasons(errors: str) -> list[str]:
    """The lines that tell why, without those that only say that there was one."""
    found = [match.groups() for line in errors.splitlines() if (match := SAID.search(line)) and NOTICE not in line]
    ends = [text for level, text in found if level in ENDS]
    reasons = [text for text in ends if SUMMARY not in text] or [text for level, text in found if level not in ENDS]
    return list(dict.fromkeys(reasons or ends))


def refused_by_session(spec: dict[str, Any], parameters: dict[str, Any]) -> list[str]:
    """What the server that runs here does not take for a session; nothing where none answers. Each is set for as long as its
    statement takes."""
    psql = [f"{spec['binaries']}/psql", "-XAtq", "-h", spec["sockets"], "-p", str(spec["port"]), "-d", "postgres"]
    settable = set(run(psql, OF_A_SESSION).stdout.split())
    words = {name: str(value).replace("'", "''") for name, value in parameters.items() if name.lower() in settable}
    done = run(psql, "".join(f"SELECT set_config('{name}', '{value}', true);\n" for name, value in words.items()))
    return [] if done.returncode else reasons(done.stderr)


def too_large(asked: list[str], parameters: dict[str, Any]) -> Iterator[str]:
    """What the program would only find out by taking it: the memory that it shares, in MB and in huge pages."""
    host = dict(re.findall(r"^(\w+): +(\d+)", Path("/proc/meminfo").read_text(), re.MULTILINE))
    needed = int(run([*asked, "shared_memory_size"]).stdout or 0)
    if needed * 1024 > int(host["MemTotal"]):
        yield f"it needs {needed} MB of shared memory, and the host has {int(host['MemTotal']) // 1024} MB of memory in all"
    if str(parameters.get("huge_pages", "try")).lower() in ("on", "true", "yes", "1"):
        pages = int(run([*asked, "shared_memory_size_in_huge_pages"]).stdout or 0)
        if pages > int(host.get("HugePages_Total", 0)):
            yield f"huge_pages = on needs {pages} huge pages, and the host has {host.get('HugePages_Total', 0)} (vm.nr_hugepages)"


def missing_libraries(binaries: str, parameters: dict[str, Any]) -> Iterator[str]:
    """Where there is no data yet the program loads none, so the files are looked for."""
    place = Path(binaries).parent / "lib"
    for name in re.split(r"\s*,\s*", str(parameters.get("shared_preload_libraries", "")).strip()):
        bare = name.strip('"')
        if bare and "/" not in bare and not (place / f"{bare.removesuffix('.so')}.so").exists():
            yield f'could not access file "{bare}": No such file in {place} (shared_preload_libraries)'


def unreadable(parameters: dict[str, Any]) -> Iterator[str]:
    """What the program would only find out by starting: where there is no data yet files, and everywhere a directory that is not
    there, by which no certificate would be good."""
    for name, words in READ_AT_START.items():
        if path := parameters.get(name):
            try:
                os.close(os.open(path, os.O_RDONLY))
            except OSError as error:
                yield f'{words} "{path}": {error.strerror} ({name})'


if __name__ == "__main__":
    become()  # what is in the data directory is that user's, who may have put a link there
    print(json.dumps({"refused": judge(json.loads(sys.argv[1]), json.loads(sys.stdin.buffer.readline()))}))
