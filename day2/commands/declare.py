"""How a command is declared: the `__init__.py` of its room names and explains its options, and imports its body when called.

So `invoke --list` loads none of the packages that a command needs. The function `_wal_lag` of a room declares `wal-lag`: without
the underscore it would hide the module `wal_lag` beside it, which has the body. A room gives its commands as `COMMANDS`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from invoke.context import Context
from invoke.exceptions import Exit
from invoke.parser import Argument
from invoke.tasks import Task

# -c as psql has it: invoke would take it for its own --collection, and do nothing.
SHORT = {"yes": ("y",), "command": ("c",)}
BY_WAY = "go to HAProxy by way of this host, when you reach the hosts by SSH only"
JSON = "print one JSON document on stdout, for programs"
YES = "do not ask"
NUMBERS = {int: "a whole number", float: "a number"}
OPTIONAL = {"int | None": int, "float | None": float}  # as the rooms write it
REFUSED = 2  # as in day2/ui/console.py, which is not imported to name the commands


class Number(Argument):
    """An option that takes a number: for one that is none, invoke itself would end with a traceback."""

    def set_value(self, value: Any, cast: bool = True) -> None:
        try:
            super().set_value(value, cast)
        except ValueError:
            raise Exit(f"--{self.names[0]} {value!r}: should be {NUMBERS[self.kind]}", REFUSED) from None


class Command(Task[Callable[..., None]]):
    """A task with no short flags but SHORT: invoke's own would be whatever letter of a name is free, another one each time.

    An option that is a number or None is a number: invoke knows only what the default is.
    """

    def arg_opts(self, name: str, default: Any, taken_names: set[str]) -> dict[str, Any]:
        options = super().arg_opts(name, default, taken_names)
        options["names"] = [options["names"][0], *SHORT.get(name, ())]
        if kind := OPTIONAL.get(self.body.__annotations__.get(name, "")):
            options["kind"] = kind
        return options

    def get_arguments(self, ignore_unknown_help: bool | None = None) -> list[Argument]:
        found = super().get_arguments(ignore_unknown_help)
        return [
            Number(names=one.names, kind=one.kind, default=one.default, help=one.help, attr_name=one.attr_name)
            if one.kind in NUMBERS
            else one
            for one in found
        ]

    def __call__(self, *given: Any, **options: Any) -> Callable[..., None]:
        if "--help" in options.values():  # invoke takes it for the value of an argument that is missing
            place = sys.argv.index("--help")
            os.execv(sys.executable, [sys.executable, *sys.argv[: place - 1], "--help", sys.argv[place - 1]])
        return super().__call__(*given, **options)


def command(*, help: Mapping[str, str] | None = None, iterable: Sequence[str] = ()) -> Callable[[Callable[..., None]], Command]:
    """Makes a command of a function, and names it after that: `help` has a line for each option, those in `iterable` may be
    given several times. The function's first parameter is invoke's context."""

    def declare(body: Callable[..., None]) -> Command:
        name = body.__name__.removeprefix("_").replace("_", "-")
        return Command(body, name=name, help=dict(help or {}), iterable=iterable)

    return declare


def on_cluster(c: Context, body: Callable[..., int | None], **options: Any) -> None:
    """Calls `body` with the cluster that the inventory describes, and leaves with the exit code that it returns."""
    from cluster.inventory_files import load_cluster
    from day2.ui.console import call

    call(lambda: body(load_cluster(c.config.inventory), **options))
