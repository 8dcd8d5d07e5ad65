"""`invoke init NAME`: the files of a cluster of one's own, in inventories/NAME/."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from cluster import own_inventory as own
from cluster.errors import ClusterError, SettingsError
from cluster.inventory_files import home
from day2.ui.console import EXIT_OK
from reach.configuration import knows

Answer = TypeVar("Answer")
# What is asked for, and what an error says of an option that is needed.
DATABASES = "hosts for PostgreSQL and etcd, three as a rule, such as pg1=10.0.0.11,pg2=10.0.0.12,pg3=10.0.0.13"
PROXIES = "hosts for HAProxy, such as lb1=10.0.0.21; the name alone for one of the other hosts"
ETCD = "hosts for etcd, which has to have 1, 3, 5 or 7; the name alone for one of the other hosts"
CLIENTS = "networks from which clients connect, such as 10.0.0.0/24"
OPERATORS = "networks from which you dial SSH on the hosts, which the packet filter then lets no other do, such as 10.0.9.0/24"
USER = "user for SSH: root, or one with sudo that asks no password; hosts in SSH's configuration are reached as it says"


def init(name: str, **given: Iterable[str]) -> int:
    """Makes inventories/NAME/ and says what comes next. `given` is what each option was: database, proxy, etcd, clients,
    operators, user.

    Raises ClusterError, and then nothing was written.
    """
    own.check_name(name)
    target = home(name)
    if os.path.lexists(target):
        raise ClusterError(f"{target} is there already, and was not touched: choose another name, or move it away")
    shipped = _shipped()
    answers = _answers(name, {option: _words(" ".join(words)) for option, words in given.items()})
    own.check(answers)
    write(target, own.files(answers, shipped))
    print(_next_steps(answers))
    return EXIT_OK


def _shipped() -> dict[str, str]:
    """The files of the checkout that an owner's are made from."""
    try:
        return {name: Path(name).read_text(encoding="utf-8") for name in own.SOURCES}
    except OSError as error:
        where = f"{error.filename} can't be read in {Path.cwd()} ({error.strerror})"
        raise ClusterError(f"{where}: work from the directory of the checkout") from None


def _words(text: str) -> list[str]:
    return text.replace(",", " ").split()


def _answers(name: str, given: Mapping[str, list[str]]) -> own.Answers:
    """What the options say and, where there is a terminal, the operator. Raises SettingsError with all that is wrong."""
    form = _Form(given)
    databases = form.answer("database", DATABASES, lambda words: own.read_hosts("database", words)) or {}
    proxies = form.answer("proxy", PROXIES, lambda words: own.read_hosts("proxy", words, databases)) or {}
    etcd = databases
    if given["etcd"] or (databases and len(databases) not in own.MAJORITIES):
        etcd = form.answer("etcd", ETCD, lambda words: own.read_hosts("etcd", words, {**databases, **proxies})) or {}
    clients = form.answer("clients", CLIENTS, own.read_clients) or ()
    operators = form.answer("operators", OPERATORS, own.read_operators, default=own.ANY) or ()
    user = form.answer("user", USER, own.read_user, default=own.USUAL_USER) or ""
    if form.problems:
        raise SettingsError(form.problems, "option")
    by_name = frozenset(filter(knows, {**databases, **proxies, **etcd}))
    return own.Answers(name, databases, proxies, etcd, user, clients, by_name, operators)


class _Form:
    """Reads options, asks on a terminal for those that were not given, and keeps in `problems` what was wrong."""

    def __init__(self, given: Mapping[str, list[str]]) -> None:
        self._given = given
        self._terminal = bool(sys.stdin and sys.stdin.isatty())
        self.problems: list[str] = []

    def answer(self, option: str, question: str, read: Callable[[list[str]], Answer], default: str = "") -> Answer | None:
        """What `read` makes of the option's words; None where there is a problem."""
        words = self._given[option]
        if not words and self._terminal and not self.problems:
            return _ask(question, read, default)
        words = words or _words(default)
        if not words:
            self.problems.append(f"--{option} is needed: {question}")
            return None
        try:
            return read(words)
        except SettingsError as error:
            self.problems += error.problems
            return None


def _ask(question: str, read: Callable[[list[str]], Answer], default: str) -> Answer:
    """Asks until the answer can be read. Raises ClusterError at the end of the input."""
    prompt = f"{question[0].upper()}{question[1:]}{f' [{default}]' if default else ''}\n> "
    while True:
        try:
            words = _words(input(prompt)) or _words(default)
        except EOFError:
            raise ClusterError("nothing was written") from None
        try:
            if words:
                return read(words)
        except SettingsError as error:
            print(*(f"  - {problem}" for problem in error.problems), sep="\n")


def write(target: Path, files: Mapping[str, str]) -> None:
    """Makes a directory with these files, complete or not at all. Raises ClusterError where it can't be made."""
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        for name, text in files.items():
            (draft / name).parent.mkdir(parents=True, exist_ok=True)
            (draft / name).write_text(text, encoding="utf-8")
        draft.rename(target)
    except OSError as error:
        raise ClusterError(f"{target} can't be made: {error.strerror} ({error.filename})") from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _next_steps(answers: own.Answers) -> str:
    name, target = answers.name, home(answers.name)
    first, address = next(iter(answers.databases.items()))
    host = _dialled(answers, first, address)
    return f"""\
{target} holds your cluster: the hosts in inventory.py, the settings in group_data/. What comes next:

    export INVOKE_INVENTORY={name}
        so that the tasks mean this one; for good: the line `inventory: {name}` in invoke.yaml
    ssh {host}
        and so to each host once: a host key that you do not know is refused
    invoke preflight
        are the hosts good for it?
    pyinfra {target}/inventory.py deploy.py --dry
        what would be done; without --dry it is done

Git ignores it here, so that it can be a repository of your own: `git -C {target} init`.
{target}/secrets, which the first deploy makes, is ignored there too: keep a backup of it."""


def _dialled(answers: own.Answers, name: str, address: str) -> str:
    """What `ssh` is given to reach a host as the inventory will have it reached."""
    if name not in answers.by_name:
        return f"{answers.user}@{address}"
    return name if answers.user == own.USUAL_USER else f"{answers.user}@{name}"
