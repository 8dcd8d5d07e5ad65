"""pyinfra reads this before anything else: it refuses what can be refused without asking a host.

pyinfra itself would go on, or exit with 0, in most of these cases.
"""

import os
import signal
import sys
from types import FrameType

import click
from pyinfra import config

from cluster.command_line import deploys, in_full, refusals
from cluster.printable import Screen
from operations.changes import tell_changes_only
from operations.connections import reach_as_tasks_do
from operations.ending import end_in_words

# What hosts say stands in what pyinfra prints.
sys.stdout, sys.stderr = Screen(sys.stdout), Screen(sys.stderr)

# The first failure on any host ends the run.
config.FAIL_PERCENT = 0
end_in_words()
reach_as_tasks_do()
config.REQUIRE_PYINFRA_VERSION = ">=3.10,<4"

_context = click.get_current_context(silent=True)
_parameters = _context.params if _context is not None else {}
if _problems := refusals(_parameters, terminal=bool(sys.stdin and sys.stdin.isatty())):
    sys.exit("\n".join(["nothing was touched:", *(f"  - {p}" for p in _problems)]))

if deploys(_parameters) and not in_full(_parameters):
    tell_changes_only()


def _interrupted(signum: int, frame: FrameType | None) -> None:
    # pyinfra would exit with 0. The lock is released with the connection that holds it.
    os.write(2, b"\ninterrupted: what was begun is not undone; the same command again mends it\n")
    os._exit(130)


signal.signal(signal.SIGINT, _interrupted)

# pyinfra would compile all modules of ours anew at each run.
sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))
