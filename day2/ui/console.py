"""What the tasks share in talking to a person or a program: exit codes, errors as one message, units, JSON."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from cluster.errors import ClusterError
from cluster.printable import printable

EXIT_OK, EXIT_PROBLEM, EXIT_REFUSED, EXIT_FAULT, EXIT_INTERRUPTED = 0, 1, 2, 70, 130
# Where output goes to a file, nothing wraps it: lines as wide as a screen usually is.
FILE_WIDTH = 120


class Paper(Console):
    """A console that obeys nobody's words but its own program's (cluster/printable.py)."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))


def console(*, as_json: bool = False) -> Console:
    """Where words for a person go: stdout, or stderr when stdout is for JSON. Colour only on a terminal."""
    made = Paper(stderr=as_json, highlight=False)
    return made if made.is_terminal else Paper(stderr=as_json, highlight=False, width=FILE_WIDTH)


def call(body: Callable[..., int | None], *arguments: Any, errors: tuple[type[Exception], ...] = (), **options: Any) -> None:
    """Runs a task's body and leaves with the code it returns (None is 0), 2 for an error the user can mend, 70 for a fault of the
    tool's own, 130 for Ctrl-C.

    `errors` are types beside ClusterError whose text is complete. Termination is taken like Ctrl-C, so that what a task
    has set is undone.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    expected: tuple[type[Exception], ...] = (ClusterError, *errors)
    try:
        code = body(*arguments, **options)
        if sys.stdout:
            sys.stdout.flush()  # here, and not at the very end, where Python itself would complain of who has read enough
    except expected as error:
        print(printable(str(error)), file=sys.stderr)
        code = EXIT_REFUSED
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    except BrokenPipeError:  # whoever reads has read enough, like `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = EXIT_OK
    except Exception:  # a fault of ours; what it says may be a host's words
        print(printable(traceback.format_exc()), file=sys.stderr)
        code = EXIT_FAULT
    if code:
        sys.exit(code)


def confirm(out: Console, *, yes: bool) -> None:
    """Gets the operator's word for what was just described. Raises ClusterError without it."""
    if yes:
        return
    if not (sys.stdin and sys.stdin.isatty()):
        raise ClusterError("there is no terminal to ask on: say --yes if this is what you want")
    out.print("Go on? \\[y/N] ", end="")
    try:
        answer = input()
    except EOFError:  # Ctrl-D, after which the cursor is where it was
        out.print()
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise ClusterError("nothing was done")


def print_json(format: str, document: Mapping[str, Any]) -> None:
    """A JSON document on stdout, dataclasses in it as objects. `format` names its kind, and ends in the number of its form."""
    print(to_json({"format": format, **document}))


def to_json(document: Any) -> str:
    return json.dumps(document, indent=2, default=_plain)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.repr}
    return str(value)


def size(count: float) -> str:
    """Bytes in words: `0 B`, `16.0 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TB"
