"""What strangers write must not command the operator's terminal."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table

from cluster.printable import Screen, in_colour, printable
from day2.ui.console import Paper, call
from day2.ui.findings import show_findings
from health.finding import Finding

TITLE, CLIPBOARD, CLEAR, BIDI = "\x1b]0;PWNED\x07", "\x1b]52;c;cm0=\x07", "\x1b[2J\x9b2J", "\u202efdp"


@pytest.mark.parametrize("words", [TITLE, CLIPBOARD, CLEAR, BIDI, "\b\b\b", "a\rb", "\x00", "\x9d0;x\x9c", "\udc9b"])
def test_what_commands_a_terminal_is_shown(words: str) -> None:
    shown = printable(f"user {words} failed")
    assert shown.isprintable() and shown.isascii()
    assert shown.startswith("user ") and shown.endswith(" failed")


@given(st.text())
def test_what_is_printable_or_ends_a_line_stays(words: str) -> None:
    assert all(c.isprintable() or c in "\n\t" for c in printable(words))
    assert [c for c in words if c.isprintable() or c in "\n\t"] == [c for c in words if c in printable(c)]


def test_colours_stay_and_what_they_hide_does_not() -> None:
    assert in_colour(f"\x1b[31mred\x1b[0m {TITLE}") == "\x1b[31mred\x1b[0m \\x1b]0;PWNED\\x07"
    assert in_colour("  / db1\r") == "  / db1\r"
    assert in_colour("\x1b[K") == "\x1b[K" and in_colour("\x1b[1;31mbad\x1b[m") == "\x1b[1;31mbad\x1b[m"
    for hidden in ("\x1b[8m", "\x1b[30;40m", "\x1b[2K", "\x1b[31;8m", "\x1b[1K", "\x1b[5m"):
        assert in_colour(f"a{hidden}b") == f"a\\x1b{hidden[1:]}b"
    assert in_colour("db1\rdb2") == "db1\\rdb2"


def test_tables_and_marked_text_of_commands_are_such_screens() -> None:
    out = Paper(file=io.StringIO(), force_terminal=True, width=200, highlight=False)
    table = Table(TITLE)
    table.add_row(CLIPBOARD, style="red")
    out.print(table)
    out.print(f"[bold]{CLEAR}[/] {TITLE}", soft_wrap=True)
    assert isinstance(out.file, io.StringIO)
    said = out.file.getvalue()
    assert "\x1b[31m" in said  # its own
    assert not {"\x1b]", "\x1b[2J", "\x07", "\x9b"} & {said[n : n + length] for n in range(len(said)) for length in (1, 2, 4)}
    assert "\\x1b]0;PWNED" in said.splitlines()[-1]


def test_a_name_with_the_end_of_a_line_in_it_makes_no_line_of_its_own() -> None:
    out = Paper(file=io.StringIO(), width=200, highlight=False)
    show_findings(out, [Finding("problem", "roles.missing", "app\nok       all is well", "gone\nok       really")])
    assert isinstance(out.file, io.StringIO)
    assert len(out.file.getvalue().splitlines()) == 1


def test_what_nobody_has_expected_is_told_whole_and_printable(capsys: pytest.CaptureFixture[str]) -> None:
    def body() -> int:
        raise RuntimeError(f"host says {TITLE}")

    with pytest.raises(SystemExit) as left:
        call(body)
    said = capsys.readouterr().err
    assert left.value.code == 70 and "Traceback" in said and "RuntimeError: host says \\x1b]0;PWNED\\x07" in said


def test_so_are_errors(capsys: pytest.CaptureFixture[str]) -> None:
    def body() -> int:
        raise ValueError(f"host says {TITLE}")

    with pytest.raises(SystemExit):
        call(body, errors=(ValueError,))
    assert capsys.readouterr().err == "host says \\x1b]0;PWNED\\x07\n"


def test_so_are_the_streams_of_a_deploy() -> None:
    stream = io.StringIO()
    print(f"[db1] {TITLE}", file=Screen(stream))
    assert stream.getvalue() == "[db1] \\x1b]0;PWNED\\x07\n"
