"""Whether PostgreSQL would start: what its program is given, and what its answers come to. The program itself: tests/lab."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from agents.sent import judge
from health.reading import refusals

STARTS = subprocess.CompletedProcess([], 0, "144\n", "")
WRONG_ZONE = """\
2026-11-27 12:00:00.000 GMT [77] LOG:  invalid value for parameter "log_timezone": "Europe/Berln"
2026-11-27 12:00:00.000 UTC [77] FATAL:  configuration file "/tmp/x/postgresql.conf" contains errors
"""
NO_LIBRARY = """\
2026-11-27 12:00:00 UTC [9] @ FATAL:  could not access file "pg_cron": No such file or directory
2026-11-27 12:00:00 UTC [9] @ LOG:  database system is shut down
"""


@pytest.mark.parametrize(
    ("errors", "told"),
    [
        (WRONG_ZONE, ['invalid value for parameter "log_timezone": "Europe/Berln"']),
        (NO_LIBRARY, ['could not access file "pg_cron": No such file or directory']),
        ('postgres: FATAL:  configuration file "x" contains errors\n', ['configuration file "x" contains errors']),
        ("Segmentation fault\n", []),
        ("", []),
    ],
)
def test_the_reason_is_told_and_not_that_there_is_one(errors: str, told: list[str]) -> None:
    assert judge.reasons(errors) == told


def test_the_configuration_is_what_patroni_would_write(tmp_path: Path) -> None:
    text = judge.configuration(tmp_path, {"work_mem": "4MB", "archive_command": "cp '%p' \\\\nas", "jit": True})
    assert text.splitlines() == [
        f"include_if_exists '{tmp_path}/postgresql.base.conf'",
        "work_mem = '4MB'",
        "archive_command = 'cp ''%p'' \\\\\\\\nas'",
        "jit = 'True'",
        f"include_if_exists '{tmp_path}/postgresql.auto.conf'",
        "lc_messages = 'C'",
    ]


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What the program is asked; it answers that all is well."""
    asked: list[list[str]] = []
    monkeypatch.setattr(judge, "run", lambda command, given="": asked.append(command) or STARTS)
    return asked


def spec(tmp_path: Path) -> dict[str, object]:
    return {"binaries": str(tmp_path / "bin"), "data": str(tmp_path / "data"), "version": 18, "sockets": "/run/x", "port": 5432}


def test_where_there_is_no_data_yet_values_are_checked_and_libraries_looked_for(tmp_path: Path, program: list[list[str]]) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/pg_stat_statements.so").touch()
    (said,) = judge.judge(spec(tmp_path), {"shared_preload_libraries": 'pg_stat_statements, "pg_cron"'})
    assert said.startswith('could not access file "pg_cron"')
    (asked,) = program
    assert asked[1:3] == ["--check", "-D"] and not Path(asked[3]).exists()


def test_where_there_is_data_libraries_are_loaded_and_memory_is_counted(tmp_path: Path, program: list[list[str]]) -> None:
    there_is_data(tmp_path)
    assert judge.judge(spec(tmp_path), {}) == []
    assert [command[-1] for command in program] == ["shared_memory_size", "shared_memory_size", "postgres", "postgres"]
    (said,) = judge.judge(spec(tmp_path), {"huge_pages": "on", "shared_buffers": "1GB"}) or [""]
    pages = int(next(line.split()[1] for line in Path("/proc/meminfo").read_text().splitlines() if "HugePages_Total" in line))
    assert said.startswith("huge_pages = on needs 144 huge pages") or pages >= 144


@pytest.mark.parametrize(("code", "told"), [(0, ['invalid value for parameter "x": "y"']), (2, [])])
def test_the_server_that_runs_judges_what_a_session_may_set_unless_it_does_not_answer(
    code: int, told: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[str] = []
    said = 'psql:<stdin>:2: ERROR:  invalid value for parameter "x": "y"\n'
    done = subprocess.CompletedProcess([], code, "x\ntimezone\n", said)
    monkeypatch.setattr(judge, "run", lambda command, script="": given.append(script) or done)
    parameters = {"x": "it's", "TimeZone": "UTC", "archive_command": "push --key hidden"}
    assert judge.refused_by_session(spec(tmp_path), parameters) == told
    assert given[1] == "SELECT set_config('x', 'it''s', true);\nSELECT set_config('TimeZone', 'UTC', true);\n"


def there_is_data(tmp_path: Path) -> None:
    (tmp_path / "data/global").mkdir(parents=True)
    (tmp_path / "data/global/pg_control").write_bytes(b"control")


def test_where_there_is_no_data_yet_files_are_opened_that_a_server_reads_as_it_starts(
    tmp_path: Path, program: list[list[str]]
) -> None:
    said = judge.judge(spec(tmp_path), {"ssl_dh_params_file": "/gone/dh.pem", "ssl_crl_file": ""})
    assert said == ['could not open DH parameters file "/gone/dh.pem": No such file or directory (ssl_dh_params_file)']
    (tmp_path / "dh.pem").touch()
    assert judge.judge(spec(tmp_path), {"ssl_dh_params_file": str(tmp_path / "dh.pem")}) == []


def test_a_directory_that_the_program_takes_unseen_is_opened_where_there_is_data(
    tmp_path: Path, program: list[list[str]]
) -> None:
    there_is_data(tmp_path)
    (said,) = judge.judge(spec(tmp_path), {"ssl_crl_dir": "/gone/crl"})
    assert said.startswith('could not load SSL certificate revocation list directory "/gone/crl": No such file')


def test_a_file_without_a_directory_is_looked_for_beside_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there_is_data(tmp_path)
    (tmp_path / "data/dh.pem").touch()
    given: list[str] = []

    def run(command: list[str], _: str = "") -> subprocess.CompletedProcess[str]:
        if command[1] == "-D":
            given.append((Path(command[2]) / "postgresql.conf").read_text())
        return STARTS

    monkeypatch.setattr(judge, "run", run)
    assert judge.judge(spec(tmp_path), {"ssl_dh_params_file": "dh.pem"}) == []
    assert given and all(f"ssl_dh_params_file = '{tmp_path}/data/dh.pem'" in one for one in given)


def test_more_memory_than_the_host_has_is_told(tmp_path: Path, program: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    huge = subprocess.CompletedProcess([], 0, f"{10**9}\n", "")
    monkeypatch.setattr(judge, "run", lambda command, given="": huge)
    (said,) = judge.too_large(["postgres"], {})
    assert said.startswith("it needs 1000000000 MB of shared memory, and the host has")


def test_what_the_judge_says_is_a_sentence() -> None:
    assert refusals('{"refused": []}\n') == []
    assert refusals('{"refused": ["no"]}') == ["PostgreSQL would not start with these parameters: no"]
    (said,) = refusals("Traceback: runuser: no such user")
    assert said.startswith("whether PostgreSQL would start with these parameters could not be seen")
