"""`python -m day2.report FILE.json [DIRECTORY]`: a report.json that was kept, as text, or as all files of a report."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from cluster.errors import ClusterError
from day2.ui.console import call

from .document import load
from .files import write
from .terminal import text


def main(arguments: list[str]) -> None:
    """Prints the report, or writes its files. Raises ClusterError for what is no report or can't be written."""
    if len(arguments) not in (1, 2):
        raise ClusterError("usage: python -m day2.report FILE.json [DIRECTORY]")
    try:
        data = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ClusterError(f"{arguments[0]} can't be read: {error}") from None
    proof = load(data)
    if len(arguments) == 1:
        print(text(proof), end="")
    else:
        for path in write(Path(arguments[1]), proof):
            print(path)


call(main, sys.argv[1:])
