"""Why sudo does not let a user be root, and what would: without a password, since none is ever asked for or sent.

pyinfra would put the password into the arguments of a process on the host, where every user there could read it.
"""

from __future__ import annotations

import re

FILE = "/etc/sudoers.d/pgquorum"


def denial(user: str, said: str) -> str | None:
    """The reason and the remedy, from what `sudo -n` has written; None where it does not refuse (it also warns)."""
    allow = f"put `{user} ALL=(ALL) NOPASSWD: ALL` into {FILE} there (visudo -f {FILE}), or set ssh_user = 'root'"
    if re.search(r"(?m)^sudo(-rs)?: .*must have a tty", said):
        return f"sudo wants a terminal of {user}, and there is none: put `Defaults:{user} !requiretty` into {FILE} there"
    if re.search(r"(?m)^sudo(-rs)?: .*(password|authentication|terminal) is required", said):
        return f"{user} has no sudo without a password: {allow}"
    if re.search(r"is not in the sudoers file|may not run sudo|is not allowed to (execute|run)|afraid I can't do that", said):
        return f"{user} may not use sudo for everything: {allow}"
    if re.search(r"sudo: (command )?not found", said):
        return f"{user} is not root, and there is no sudo: install it there, or set ssh_user = 'root'"
    return None
