"""Why sudo refuses, from its own words: those of sudo 1.9.17 and sudo-rs."""

from __future__ import annotations

import pytest

from cluster.sudo import denial


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ("sudo: a password is required", "ann has no sudo without a password: put `ann ALL=(ALL) NOPASSWD: ALL` into"),
        ("sudo: interactive authentication is required", "ann has no sudo without a password"),
        ("/etc/sudoers.d/x:1:14: syntax error\nsudo: a password is required", "ann has no sudo without a password"),
        (
            "sudo: sorry, you must have a tty to run sudo",
            "sudo wants a terminal of ann, and there is none: put `Defaults:ann",
        ),
        ("ann is not in the sudoers file.", "ann may not use sudo for everything: put"),
        ("Sorry, user ann is not allowed to execute '/bin/sh' as root on db1.", "ann may not use sudo for everything"),
        ("sudo: I'm sorry ann. I'm afraid I can't do that", "ann may not use sudo for everything"),
        ("bash: line 1: sudo: command not found", "ann is not root, and there is no sudo: install it there"),
        ("sh: 1: sudo: not found", "ann is not root, and there is no sudo"),
    ],
)
def test_each_refusal_has_its_remedy(said: str, sentence: str) -> None:
    assert (denial("ann", said) or "").startswith(sentence)


@pytest.mark.parametrize("said", ["", "sudo: unable to resolve host db1: Name not known", "psql: a password is required"])
def test_what_sudo_or_a_command_says_otherwise_is_none(said: str) -> None:
    assert denial("ann", said) is None
