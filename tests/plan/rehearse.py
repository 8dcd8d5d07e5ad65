"""Runs pyinfra's command line on hosts that do nothing: a program of its own, because pyinfra changes the sockets of its process.

    rehearse.py ANSWERS RECORD ARGUMENT...

ANSWERS is JSON: a list of [pattern of the host's name, pattern of the command, lines of its answer]; the first that fits
counts, and a command that none fits says nothing and succeeds. Lines of null make the command fail. A fourth element, a boolean,
holds only for commands of the execute phase (true) or for those before it. RECORD gets one line of JSON for each command.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from pyinfra import state
from pyinfra.connectors.fake import FakeConnector
from pyinfra.connectors.util import CommandOutput, OutputLine
from pyinfra_cli.main import main as pyinfra


def main(answers_file: str, record_file: str) -> None:
    answers = json.loads(Path(answers_file).read_text())
    record = Path(record_file).open("w")  # noqa: SIM115 - it is written to until the process ends

    def run(self: FakeConnector, command: Any, print_output: bool = False, print_input: bool = False, **given: Any) -> Any:
        text = command if isinstance(command, str) else command.get_raw_value()
        stdin = given.get("_stdin")
        entry = {"host": self.host.name, "command": text, "stdin": stdin or "", "executing": state.is_executing}
        record.write(json.dumps(entry) + "\n")
        record.flush()
        if print_input:
            print(f"{self.host.print_prefix}>>> {text}", file=sys.stderr)
        for host, pattern, lines, *phase in answers:
            if phase and phase[0] != state.is_executing:
                continue
            if re.search(host, self.host.name) and re.search(pattern, text):
                if lines is None:
                    return False, CommandOutput([OutputLine("stderr", "it failed")])
                if print_output:
                    print(*lines, sep="\n", file=sys.stderr)
                return True, CommandOutput([OutputLine("stdout", line) for line in lines])
        return True, CommandOutput([])

    def put_file(self: FakeConnector, source: Any, target: str, *given: Any, **more: Any) -> bool:
        if target.endswith(".deb"):  # Debian's, which anybody may read
            return True
        raise AssertionError(f"a file was put on {self.host.name}: it lies there readable by all until its mode is set")

    FakeConnector.run_shell_command = run  # type: ignore[method-assign]
    FakeConnector.put_file = put_file  # type: ignore[method-assign]


if __name__ == "__main__":
    script, answers_file, record_file, *sys.argv[1:] = sys.argv
    main(answers_file, record_file)
    pyinfra()
