"""Files that the tool owns on a host: compared by hash, written in one step, secret ones never shown."""

from __future__ import annotations

import base64
import difflib
import hashlib
import shlex
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from pyinfra import host, state
from pyinfra.api import FactBase, StringCommand, operation

from cluster import paths, tls

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Managed:
    """A file (or, without content, a directory) as it should be. `check` is a command that judges it before it takes its
    place, `{}` standing for the candidate's path."""

    path: str
    content: str | None = field(repr=False)
    owner: str = "root"
    group: str = "root"
    mode: str = "644"
    secret: bool = False
    check: str = ""

    @property
    def state(self) -> str:
        """What the fact says of the path when it is right."""
        return f"{self.digest} {self.owner}:{self.group} {self.mode}"

    @property
    def digest(self) -> str:
        """The SHA-256 of a file's content."""
        return "directory" if self.content is None else hashlib.sha256(self.content.encode()).hexdigest()


def directory(path: str, group: str = "root", mode: str = "755") -> Managed:
    """A directory of root's, which `group` may enter."""
    return Managed(path, None, "root", group, mode)


def data_directory(path: str, owner: str) -> Managed:
    """A directory that belongs to the program whose data it holds."""
    return Managed(path, None, owner, owner, "700")


def secret(path: str, content: bytes | str, group: str = "root") -> Managed:
    """A file that only root and `group`, the program that needs it, may read, and that no output ever shows."""
    text = content.decode() if isinstance(content, bytes) else content
    return Managed(path, text, "root", group, "600" if group == "root" else "640", secret=True)


@cache
def _templates() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(ROOT / "templates"),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 - these are no web pages
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def render(template: str, **values: Any) -> str:
    """The text of a template under templates/. It sees `paths`, `tls` and what it is given, and nothing of pyinfra."""
    return _templates().get_template(template).render(paths=paths, tls=tls, **values)


def file_text(name: str) -> str:
    """The text of a file under files/."""
    return (ROOT / "files" / name).read_text(encoding="utf-8")


class ManagedFiles(FactBase[dict[str, str]]):
    """For each path: `<sha256 or 'directory'> <owner>:<group> <mode>`; paths that are not there are left out.

    With `contents`, also `content:<path>` -> text of those paths, for a diff; only ever asked for files without secrets.
    """

    def command(self, wanted: tuple[str, ...], contents: tuple[str, ...] = ()) -> str:
        names = " ".join(shlex.quote(path) for path in wanted)
        shown = " ".join(shlex.quote(path) for path in contents)
        # Two programs for all files: with some for each, this took most of what a second run costs a host.
        script = (
            'stat -c "owner %n %U:%G %a" "$@" 2>/dev/null; for p in "$@"; do shift;'
            ' if [ -d "$p" ]; then echo "hash $p directory"; elif [ -f "$p" ]; then set -- "$@" "$p"; fi; done;'
            ' [ $# = 0 ] || sha256sum "$@" 2>/dev/null | while read -r h p; do echo "hash $p $h"; done; '
        )
        if contents:
            script += f'for p in {shown}; do [ -f "$p" ] && echo "content $p $(base64 -w0 "$p")"; done; '
        return f"sh -c {shlex.quote(script + 'true')} managed {names}"

    def process(self, output: list[str]) -> dict[str, str]:
        owners: dict[str, str] = {}
        found: dict[str, str] = {}
        for line in output:
            kind, path, value = line.split(" ", 2)
            if kind == "owner":
                owners[path] = value
            elif kind == "hash":
                found[path] = f"{value} {owners.get(path, '')}"
            else:
                found[f"content:{path}"] = base64.b64decode(value).decode(errors="replace")
        return found


@operation()
def manage(wanted: list[Managed], remove: tuple[str, ...] = ()) -> Generator[StringCommand]:
    """Brings files and directories to what they should be, in the order given, and removes those in `remove`.

    A changed file is written beside its place through the command's input (never its arguments), checked, and renamed.
    """
    shown = tuple(m.path for m in wanted if m.content is not None and not m.secret) if state.config.DIFF else ()
    known = (*(m.path for m in wanted), *remove)
    found = host.get_fact(ManagedFiles, wanted=known, contents=shown) or {}
    for item in wanted:
        if found.get(item.path) == item.state:
            continue
        if item.path in shown:
            _show_diff(item, found.get(f"content:{item.path}", ""))
        yield from write(item)
    for path in remove:
        if path in found:
            yield StringCommand("rm", "-f", shlex.quote(path))


def write(item: Managed) -> Iterator[StringCommand]:
    """The commands that bring one file or directory to what it should be."""
    path = shlex.quote(item.path)
    owner = f"-o {item.owner} -g {item.group} -m {item.mode}"
    if item.content is None and item.owner == "root":
        yield StringCommand(f"install -d {owner} {path}")
    elif item.content is None:
        above = shlex.quote(str(Path(item.path).parent))
        as_owner = f"runuser -u {item.owner} -- sh -c {shlex.quote(f'mkdir -p {above} && install -d -m {item.mode} {path}')}"
        refused = f"echo {shlex.quote(f'{item.owner} may not make {item.path}: chown {item.owner} the directory above it')} >&2"
        made = f"{as_owner} || {{ {refused}; exit 1; }}"
        script = f"if {passes_theirs(above, item.group)}; then {made}; else install -d {owner} {path}; fi"
        yield StringCommand(f"sh -c {shlex.quote(script)}")
    else:
        text = item.content if item.content.endswith("\n") else item.content + "\n"
        # An input that was cut off with the connection is no content: the length must be right before anything is replaced.
        whole = f'[ "$(wc -c <"$t")" -eq {len(text.encode())} ] && '
        check = item.check.replace("{}", '"$t"') + " && " if item.check else ""
        script = (
            f'umask 077; t=$(mktemp {path}.XXXXXX) || exit 1; trap \'rm -f "$t"\' EXIT; cat >"$t" && {whole}'
            f'chown {item.owner}:{item.group} "$t" && chmod {item.mode} "$t" && {check}mv -fT "$t" {path}'
        )
        yield StringCommand(f"sh -c {shlex.quote(script)}", _stdin=text)


def passes_theirs(path: str, group: str) -> str:
    """A command that succeeds where a directory on the way to `path` (quoted) is not root's alone: root must not follow what a
    program may have put there.

    `namei` lists all that is passed, behind links too: mode, owner, group, name; of what is not there yet a `-` in place of the
    owner.
    """
    writable = f'$1 !~ /^l/ && ($1 ~ /^........w/ || ($3 == "{group}" && $1 ~ /^.....w/))'
    return (
        f'namei -om {path} | awk \'NR > 1 && $2 != "-" && ($2 != "root" || ({writable})) {{ found = 1 }} END {{ exit !found }}\''
    )


def _show_diff(item: Managed, before: str) -> None:
    assert item.content is not None
    lines = difflib.unified_diff(before.splitlines(), item.content.splitlines(), item.path, f"{item.path} (new)", lineterm="")
    for line in lines:
        host.log(line)
