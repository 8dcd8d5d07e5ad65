"""Commands for a host in words that every login shell reads alike.

SSH hands a command to the login shell of the user, whatever that is. bash, dash and zsh take what is quoted for the one as the
other does; fish takes backslashes out of quotes, and tcsh no line break in them, and a ! for a former command.
"""

from __future__ import annotations

# What stands for itself between single quotes in all of them, and in printf's %b.
LITERAL = frozenset(map(chr, range(ord(" "), 0x7F))) - frozenset("'!\\")


def for_any_shell(command: str) -> str:
    """A command line by which `sh` runs `command`, a text in sh's own language, whoever reads it first.

    What that could take for something else is sent by its number, and sh puts it together again.
    """
    sent = "".join(chr(byte) if chr(byte) in LITERAL else f"\\0{byte:03o}" for byte in command.encode())
    return f"""sh -c 'eval "$(printf %b "$1")"' sh '{sent}'"""
