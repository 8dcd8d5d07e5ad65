"""The house rules that hold for the whole repository."""

from __future__ import annotations

import ast
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from repository import ROOT, ship

from cluster.inventory_files import load_cluster, read_hosts
from cluster.settings import VARIABLES
from lab import LabSpec, access

OURS = {
    "agents", "cluster", "health", "reach", "operations", "day2", "lab", "benchmarks", "tasks", "deploy", "config", "inventory",
}  # fmt: skip
TOOLS = {"pyinfra", "pyinfra_cli", "fabric", "invoke", "paramiko", "psycopg"}
# For each, without what has an entry of its own: what it may import of ours, and which of the tools.
MAY_IMPORT: dict[str, tuple[set[str], set[str]]] = {
    "cluster": (set(), set()),
    "agents": ({"cluster"}, set()),
    "health": ({"cluster"}, set()),
    "reach": ({"cluster"}, {"paramiko"}),
    "operations": ({"agents", "cluster", "health", "reach"}, {"pyinfra", "pyinfra_cli"}),
    "day2": ({"agents", "cluster", "health", "reach"}, {"fabric", "paramiko", "psycopg", "invoke"}),
    # The commands whose subject is the lab. All others work on hosts and must not know whether those are a lab's.
    "day2/commands/lab": ({"day2", "lab"}, {"invoke"}),
    "lab": (set(), set()),
    "benchmarks": ({"cluster", "lab"}, set()),
    "inventory.py": (set(), set()),
    "deploy.py": ({"operations"}, {"pyinfra"}),
    "config.py": ({"cluster", "operations"}, {"pyinfra"}),
    "tasks.py": ({"day2"}, {"invoke"}),
}
# For each room of day2/, the rooms it may import; nobody imports commands.
ROOMS: dict[str, set[str]] = {
    "commands": {"ui", "hosts", "procedures", "recovery", "history", "predictions", "load", "faults", "trials", "report"},
    "report": {"ui", "history", "predictions", "trials"},
    "trials": {"ui", "hosts", "history", "predictions", "load", "faults"},
    "faults": {"hosts", "procedures", "history", "predictions"},
    "load": {"history"},
    "procedures": {"hosts"},
    "recovery": {"hosts", "procedures"},
    "hosts": set(),
    "predictions": set(),
    "history": set(),
    "ui": set(),
}


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What is shipped, and the working directory."""
    monkeypatch.chdir(ship(tmp_path))
    return tmp_path


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


def sources(part: str) -> list[Path]:
    found = [path for path in tracked() if path.suffix == ".py" and path.is_relative_to(ROOT / part)]
    assert found, part
    return found


def imports(path: Path) -> Iterator[str]:
    """The top-level packages that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]


@pytest.mark.parametrize("part", MAY_IMPORT)
def test_who_may_import_whom(part: str) -> None:
    ours, tools = MAY_IMPORT[part]
    narrower = [ROOT / other for other in MAY_IMPORT if other.startswith(f"{part}/")]
    for path in sources(part):
        if any(path.is_relative_to(other) for other in narrower):
            continue
        imported = set(imports(path))
        assert imported & (OURS - {part.removesuffix(".py")}) <= ours, path
        assert imported & TOOLS <= tools, path


def test_all_of_ours_has_a_rule() -> None:
    parts = {path.relative_to(ROOT).parts[0] for path in tracked() if path.suffix == ".py"}
    assert {part.removesuffix(".py") for part in parts} - {"tests", "group_data"} == OURS
    assert parts - {"tests", "group_data"} <= set(MAY_IMPORT)


def test_nobody_imports_in_a_circle() -> None:
    """However late: within a function, or for the sake of types."""
    paths = [path for part in MAY_IMPORT for path in sources(part)]
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}
    imported = {
        name: {one if one in modules else one.rpartition(".")[0] for one in names_imported(path)} - {name}
        for name, path in modules.items()
    }
    TopologicalSorter(imported).prepare()  # raises CycleError, with the circle


def test_who_may_import_whom_within_day2() -> None:
    found = {path for path in sources("day2") if len(path.relative_to(ROOT).parts) > 2}
    assert {path.relative_to(ROOT).parts[1] for path in found} == set(ROOMS)
    for path in found:
        room = path.relative_to(ROOT).parts[1]
        assert rooms_imported(path) - {room} <= ROOMS[room], path


def rooms_imported(path: Path) -> set[str]:
    """The rooms of day2/ that a file in one of them imports from, however it names them."""
    return {name.split(".")[1] for name in names_imported(path) if name.startswith("day2.")}


def names_imported(path: Path) -> Iterator[str]:
    """Each name that a file imports anywhere in it, in full: `day2.ui.console.EXIT_OK`."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) - node.level + 1]] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{source}.{alias.name}" for alias in node.names)


def test_cluster_opens_no_connection_and_starts_no_process() -> None:
    for path in sources("cluster"):
        assert not set(imports(path)) & {"subprocess", "socketserver", "http", "urllib", "asyncio", "ssl"}, path
        assert not re.search(r"socket\.(socket|create_connection)", path.read_text()), path


def test_nobody_is_a_master_or_a_slave() -> None:
    names_of_others = (
        "haproxy-master.sock",
        "master {BRIDGE}",
        "haproxy -W",
        "garp_master_refresh",
        "MASTER|BACKUP",
        "MASTER STATE",
    )
    for path in tracked():
        if path == Path(__file__) or b"\0" in (data := path.read_bytes()):
            continue
        for number, line in enumerate(data.decode().splitlines(), 1):
            if re.search(r"(?i)\b(master|slave)", line) and not any(name in line for name in names_of_others):
                assert re.search(r"(?i)\bnot master\b", line), f"{path}:{number}: {line}"


def test_no_password_stands_in_the_repository() -> None:
    literal = re.compile(r"""(?i)(password|passwd|secret|PGPASSWORD)["']?\s*[=:]\s*["']?[^\s"'{}()$<>|,;\[\]%*&`]{6,}""")
    harmless = re.compile(
        r"""scram-sha-256|verifier|vault|stored|getenv|environ|secrets\.token|self\.|str\b|field\(|password_encryption|"""
        r"""run\.|user_password|found\[|given|secrets_directory|\.password|SCRAM"""
    )
    for path in tracked():
        if path.is_relative_to(ROOT / "tests") or b"\0" in (data := path.read_bytes()):
            continue
        for number, line in enumerate(data.decode().splitlines(), 1):
            comment = path.suffix in (".py", ".md") and not re.match(r"\s*\w+ =", line)
            if literal.search(line) and not harmless.search(line) and not comment:
                pytest.fail(f"{path}:{number}: {line}")


def test_no_private_key_stands_in_the_repository() -> None:
    for path in tracked():
        if path != Path(__file__):
            assert not re.search(rb"BEGIN [A-Z ]*PRIVATE KEY-----\s*\n", path.read_bytes()), path


@pytest.mark.parametrize("group", VARIABLES)
def test_every_setting_stands_in_the_file_of_its_group_and_in_no_other(group: str, shipped: Path) -> None:
    _, variables = VARIABLES[group]
    tree = ast.parse((shipped / f"group_data/{group}.py").read_text())
    set_here = {t.id for n in tree.body if isinstance(n, ast.Assign) for t in n.targets if isinstance(t, ast.Name)}
    assert set_here == set(variables)


@pytest.mark.parametrize("group", VARIABLES)
def test_every_setting_is_explained_where_it_stands(group: str, shipped: Path) -> None:
    """By a comment beside it, or by one over the paragraph that it is in."""
    text = (shipped / f"group_data/{group}.py").read_text()
    paragraphs = re.split(r"\n\s*\n", text)
    for variable in VARIABLES[group][1]:
        (paragraph,) = [p for p in paragraphs if re.search(rf"(?m)^{variable} =", p)]
        line = next(line for line in paragraph.splitlines() if line.startswith(f"{variable} ="))
        assert "#" in line or paragraph.startswith("#"), f"group_data/{group}.py: {variable}"


@pytest.mark.parametrize("group", VARIABLES)
def test_what_a_file_sets_is_what_holds_when_it_is_taken_out(group: str, shipped: Path) -> None:
    """Deleting a line of group_data must not silently mean something else than what stood there."""
    made = load_cluster()
    section = getattr(made, group)
    free = {"cluster_name", "client_networks", "parameters", "roles", "databases"}
    for name, field in type(section).model_fields.items():
        if name not in free:
            assert getattr(section, name) == field.get_default(), f"{group}: {name}"


def test_the_default_inventory_is_the_default_lab(shipped: Path) -> None:
    file = shipped / "lab" / "inventory.py"
    file.parent.mkdir()
    file.write_text(access.inventory(LabSpec()))
    here, written = read_hosts(Path("inventory.py"), {}), read_hosts(file, {})
    assert list(here) == list(written) == [host.name for host in LabSpec().hosts]
    for name, host in written.items():
        assert here[name].groups == host.groups
        mine = {key: here[name].data[key] for key in host.data if key in here[name].data}
        assert {key: value for key, value in host.data.items() if key in ("address", *access_keys(host.data))} | mine == mine


def access_keys(data: dict[str, object]) -> list[str]:
    return [key for key in data if key.startswith("ssh_")]


def test_the_labs_network_may_connect(shipped: Path) -> None:
    assert any(LabSpec().network.subnet_of(network) for network in load_cluster().all.client_networks)  # type: ignore[arg-type]


def test_no_two_files_of_tests_have_the_same_name() -> None:
    """One process that runs both would take them for the same module."""
    names = Counter(path.name for path in ROOT.glob("tests/**/test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []


def test_every_page_of_the_docs_is_reached_from_the_readme() -> None:
    """And every link between them leads to a file."""
    reached, left = set[Path](), [ROOT / "README.md"]
    while left:
        page = left.pop()
        reached.add(page)
        links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
        targets = {(page.parent / link.strip()).resolve() for link in links}
        assert [target for target in targets if not target.exists()] == [], page
        found = {target / "README.md" if target.is_dir() else target for target in targets}
        left += {target for target in found if target.suffix == ".md"} - reached - {*left}
    pages = {path for path in tracked() if path.suffix == ".md" and path.is_relative_to(ROOT / "docs")}
    assert pages - reached == set()


def test_every_decision_says_what_would_change_it_and_is_listed() -> None:
    listed = (ROOT / "docs/decisions/README.md").read_text()
    for path in (ROOT / "docs/decisions").glob("[0-9]*.md"):
        assert re.search(r"What would change it[:.]", path.read_text()), path
        assert f"| [{int(path.name[:2])}]({path.name}) |" in listed, path


def test_the_lines_of_the_docs_wrap() -> None:
    """So that a difference can be read. A row of a table is one line, and what is typed is as long as it is."""
    for path in tracked():
        if path.suffix == ".md":
            for number, line in enumerate(path.read_text().splitlines(), 1):
                assert len(line) <= 130 or line.lstrip().startswith("|") or line.startswith("    "), f"{path}:{number}"
