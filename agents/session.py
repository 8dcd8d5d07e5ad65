"""The PostgreSQL on this host, over one session of psql that is opened when it is needed."""

from __future__ import annotations

import json
import select
import subprocess
from typing import Any

from agents.specification import DATABASE, Specification

ANSWER_SECONDS = 2.0


class Session:
    """Comes by the socket, as the superuser. Begins with the statements of `opening`, a line without an answer."""

    def __init__(self, specification: Specification, opening: str = "") -> None:
        self._opening = opening
        self._command = [
            specification.psql, "-XAtq", "-h", specification.sockets, "-p", str(specification.port), DATABASE,
        ]  # fmt: skip
        self._psql: subprocess.Popen[str] | None = None

    def ask(self, *statements: str) -> Any:
        """The answer to the last of the statements, which is a line of JSON; the others have none. Raises OSError when PostgreSQL
        does not answer."""
        if self._psql is None:
            self._psql = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, bufsize=1
            )
            statements = (self._opening, *statements) if self._opening else statements
        psql = self._psql
        assert psql.stdin and psql.stdout
        try:
            psql.stdin.write("".join(f"{statement}\n" for statement in statements))
            if not select.select([psql.stdout], [], [], ANSWER_SECONDS)[0]:
                raise OSError(f"PostgreSQL does not answer within {ANSWER_SECONDS:g} s")
            return json.loads(psql.stdout.readline())
        except (OSError, ValueError) as error:
            self.leave()
            raise OSError(f"PostgreSQL does not answer: {error}") from None

    def leave(self) -> None:
        """Ends the session."""
        if self._psql is not None:
            self._psql.kill()
            self._psql.communicate()
            self._psql = None
