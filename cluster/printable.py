"""Words from hosts, databases and the network as they may stand on a terminal: what would command it is shown as what it is.

Whoever can name a user or a file on a host writes lines that an operator reads, without a password.
"""

from __future__ import annotations

import re
from typing import Any, TextIO

# What a program of ours writes itself: colours that can be read (no hidden text, no background), and a line that is written anew
# and cleared from where it ends.
_CODE = "(?:[0-4]|7|9|2[2-479]|39|49|3[1-7]|9[1-7])"
_OWN = re.compile(rf"(\x1b\[(?:{_CODE}(?:;{_CODE})*)?m|\x1b\[K|\r\Z)")


def printable(text: str) -> str:
    r"""The text with all that is neither printable nor ends a line as an escape: ESC is `\x1b`."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


def on_one_line(text: str) -> str:
    """The same of what is to stay one line, whoever has named what it tells of."""
    return printable(text).replace("\n", "\\n")


def in_colour(text: str) -> str:
    """The same, with colours left as they are."""
    return "".join(part if n % 2 else printable(part) for n, part in enumerate(_OWN.split(text)))


class Screen:
    """A stream of text that goes to a terminal, of which a part comes from elsewhere."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(in_colour(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
