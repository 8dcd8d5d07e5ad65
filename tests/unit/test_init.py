"""`invoke init NAME` makes a cluster's directory from answers, complete or not at all, and asks only where it can."""

from __future__ import annotations

import builtins
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from repository import ROOT, ship

from cluster.errors import ClusterError, SettingsError
from cluster.inventory_files import load_cluster
from cluster.settings import VARIABLES, HostSettings
from cluster.topology import Cluster
from day2.commands.begin.init import init, write

DATABASES = {f"pg{n}": f"10.1.0.{n}" for n in (1, 2, 3)}
GIVEN = {
    "database": [f"{host}={address}" for host, address in DATABASES.items()],
    "proxy": ["lb1=10.1.0.9"],
    "etcd": [],
    "clients": ["10.1.0.0/24"],
    "operators": [],
    "user": [],
}
MADE = Path("inventories/prod")


@pytest.fixture(autouse=True)
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What is shipped is the working directory, without a terminal."""
    monkeypatch.chdir(ship(tmp_path))
    monkeypatch.setattr(sys, "stdin", None)
    return tmp_path


class Terminal:
    def isatty(self) -> bool:
        return True


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What an operator at a terminal types, and then the end of the input."""
    lines: list[str] = []

    def read(prompt: str) -> str:
        if not lines:
            raise EOFError
        return lines.pop(0)

    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(builtins, "input", read)
    return lines


def made(**differs: list[str]) -> Cluster:
    """The cluster that the tasks see in what was made."""
    assert init("prod", **GIVEN | differs) == 0
    return load_cluster("prod")


def refused(name: str = "prod", **differs: list[str]) -> tuple[str, ...]:
    """Every problem that is told, when nothing is made."""
    with pytest.raises(SettingsError) as told:
        init(name, **GIVEN | differs)
    assert not Path("inventories").exists()
    return told.value.problems


def test_what_was_answered_is_the_cluster() -> None:
    cluster = made(user=["ann"], clients=["10.1.0.0/24", "10.2.0.0/16"])
    assert {h.name: h.address for h in cluster.postgres_hosts} == DATABASES
    assert cluster.etcd_hosts == cluster.postgres_hosts
    assert {h.name: h.address for h in cluster.haproxy_hosts} == {"lb1": "10.1.0.9"}
    assert {(h.settings.ssh_user, h.ssh_hostname == h.address) for h in cluster.hosts} == {("ann", True)}
    assert (cluster.name, [str(n) for n in cluster.all.client_networks]) == ("prod", ["10.1.0.0/24", "10.2.0.0/16"])
    assert cluster.all.secrets_directory == "inventories/prod/secrets"


def test_nobody_said_who_logs_in_so_it_is_root() -> None:
    assert {h.settings.ssh_user for h in made().hosts} == {"root"}


@pytest.mark.parametrize(("user", "written"), [([], None), (["ann"], "ann")])
def test_hosts_that_sshs_configuration_knows_are_reached_as_it_says(
    user: list[str],
    written: str | None,
    checkout: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HOME", str(checkout))
    (checkout / ".ssh").mkdir()
    (checkout / ".ssh/config").write_text("Host pg1 pg2\n  User ops\n  HostName %h.example.com\n")
    hosts = {h.name: h for h in made(user=user).hosts}
    for name in ("pg1", "pg2"):
        assert hosts[name].settings.ssh_hostname is None and hosts[name].ssh_hostname == name
        assert hosts[name].settings.ssh_user == written
    assert (hosts["pg3"].ssh_hostname, hosts["pg3"].settings.ssh_user) == (DATABASES["pg3"], written or "root")
    assert f"    ssh {'ann@' if written else ''}pg1\n" in capsys.readouterr().out


def test_all_else_is_as_it_is_shipped() -> None:
    ours, lab = made(), load_cluster()
    answered = {"cluster_name", "client_networks", "secrets_directory", "firewall"}
    assert ours.all.model_dump(exclude=answered) == lab.all.model_dump(exclude=answered)
    assert (ours.etcd, ours.postgres, ours.haproxy) == (lab.etcd, lab.postgres, lab.haproxy)


def test_every_setting_stands_there_with_its_explanation_and_the_labs_own_is_gone() -> None:
    made()
    for group in VARIABLES:
        theirs, shipped = ((path / f"group_data/{group}.py").read_text().splitlines() for path in (MADE, Path()))
        changed = [line for line, old in zip(theirs, shipped, strict=True) if line != old]
        assert [line.partition(" = ")[0] for line in changed] == (
            ["cluster_name", "client_networks", "firewall", "secrets_directory"] if group == "all" else []
        )
    inventory = (MADE / "inventory.py").read_text()
    assert [field for field in HostSettings.model_fields if field not in inventory] == []
    assert "lab" not in inventory


def test_what_the_owner_has_set_here_already_is_taken_along(checkout: Path) -> None:
    """Someone who had edited the tracked files moves out of them."""
    text = "cluster_name = (\n    'old'\n)\nclient_networks = ['10.77.0.0/16']  # ours\ndurability = 'all'\n"
    (checkout / "group_data/all.py").write_text("# client_networks = ['10.77.0.0/16'] once\n" + text)
    assert made().all.durability == "all"
    lines = (MADE / "group_data/all.py").read_text().splitlines()
    assert lines[:3] == [
        "# client_networks = ['10.77.0.0/16'] once",
        'cluster_name = "prod"',
        'client_networks = ["10.1.0.0/24"]  # ours',
    ]
    assert 'secrets_directory = "inventories/prod/secrets"' in lines


def test_a_host_may_do_two_things() -> None:
    cluster = made(database=["pg1=10.1.0.1", "pg2=10.1.0.2"], proxy=["pg1", "lb1=10.1.0.9"], etcd=["pg1", "pg2", "lb1"])
    assert [h.name for h in cluster.haproxy_hosts] == ["lb1", "pg1"]
    assert [h.name for h in cluster.etcd_hosts] == ["lb1", "pg1", "pg2"]
    assert len(cluster.postgres_hosts) == 2


def test_several_hosts_with_commas() -> None:
    assert {h.name: h.address for h in made(database=[",".join(GIVEN["database"])]).postgres_hosts} == DATABASES


def test_git_sees_nothing_of_it_here_and_no_secrets_there(checkout: Path) -> None:
    def untracked(at: Path) -> list[str]:
        listed = subprocess.run(
            ["git", "ls-files", "-o", "--exclude-standard"], cwd=at, capture_output=True, text=True, check=True
        )
        return sorted(listed.stdout.splitlines())

    shutil.copy(ROOT / ".gitignore", checkout)
    subprocess.run(["git", "init", "-q"], cwd=checkout, check=True)
    here = untracked(checkout)
    made()
    (MADE / "secrets/prod").mkdir(parents=True)
    (MADE / "secrets/prod/passwords.json").write_text("{}")
    assert untracked(checkout) == here
    subprocess.run(["git", "init", "-q"], cwd=MADE, check=True)
    files = [".gitignore", *(f"group_data/{group}.py" for group in sorted(VARIABLES)), "inventory.py"]
    assert untracked(checkout / MADE) == files


def test_what_is_there_is_not_touched(checkout: Path) -> None:
    MADE.mkdir(parents=True)
    with pytest.raises(ClusterError, match="inventories/prod is there already"):
        init("prod", **GIVEN)
    assert list(MADE.iterdir()) == []


@pytest.mark.parametrize("name", ["Prod", "../prod", "a/b", "1", "", "prod.py", "my_cluster", "x" * 32])
def test_a_name_that_can_be_no_clusters(name: str) -> None:
    (problem,) = refused(name)
    assert problem == f"cluster_name = {name!r}: should be a lower-case letter followed by up to 30 letters, digits and hyphens"


@pytest.mark.parametrize(
    ("differs", "problem"),
    [
        ({"database": ["pg1"]}, "--database pg1: should be HOST=ADDRESS, such as pg1=10.0.0.11"),
        ({"database": ["=10.1.0.1"]}, "--database =10.1.0.1: should be HOST=ADDRESS, such as pg1=10.0.0.11"),
        ({"database": ["pg1=10.1.0.1", "pg1=10.1.0.2", "pg3=10.1.0.3"]}, "--database pg1=10.1.0.2: pg1 is there already"),
        ({"proxy": ["pg1=10.1.0.9"]}, "--proxy pg1=10.1.0.9: pg1 has the address 10.1.0.1 already"),
        (
            {"proxy": ["lb1=lb1.example"]},
            "host lb1: address = 'lb1.example': should be the IP address the other hosts reach it by",
        ),
        ({"proxy": ["LB=10.1.0.9"]}, "host 'LB': its name should be lower-case letters, digits and hyphens, as in DNS"),
        ({"proxy": ["lb1=10.1.0.1"]}, "address 10.1.0.1 is given to lb1, pg1: every host needs its own"),
        (
            {"database": ["pg1=10.1.0.1"]},
            "durability = 'quorum': needs at least two hosts in group 'postgres', or 'asynchronous'",
        ),
        (
            {"etcd": ["pg1", "pg2"]},
            "group 'etcd' has 2 members (pg1, pg2): should be 1, 3, 5 or 7, so that a majority survives",
        ),
        ({"etcd": ["pg4"]}, "--etcd pg4: should be HOST=ADDRESS, such as pg1=10.0.0.11"),
        (
            {"operators": ["10.1.9"]},
            "operator_networks[0] = '10.1.9': should be a network such as '10.0.0.0/24', with no bit set behind its prefix",
        ),
        (
            {"clients": ["10.1.0.5/24"]},
            "client_networks[0] = '10.1.0.5/24': should be a network such as '10.0.0.0/24', with no bit set behind its prefix",
        ),
        ({"user": ["ann lee"]}, "--user ann lee: should be one name, such as root"),
        ({"user": ["-v"]}, "--user -v: should be one name, such as root"),
    ],
)
def test_what_can_t_be_right_is_refused_before_anything_is_written(differs: dict[str, list[str]], problem: str) -> None:
    assert refused(**differs) == (problem,)


def test_everything_that_is_wrong_or_missing_is_told_at_once_by_the_name_of_its_option() -> None:
    problems = refused(database=["pg1=x", "pg2"], proxy=[], clients=[], user=["a b"])
    assert [problem.split(":")[0] for problem in problems] == [
        "host pg1",
        "--database pg2",
        "--proxy is needed",
        "--clients is needed",
        "--user a b",
    ]


def test_where_etcd_can_t_be_on_all_database_hosts_one_has_to_say_where() -> None:
    (problem,) = refused(database=["pg1=10.1.0.1", "pg2=10.1.0.2"])
    assert problem.startswith("--etcd is needed: hosts for etcd, which has to have 1, 3, 5 or 7")


def test_a_mistake_in_the_settings_here_is_told_too(checkout: Path) -> None:
    with (checkout / "group_data/all.py").open("a") as file:
        file.write("durability = 'maybe'\n")
    assert refused() == ("durability = 'maybe': should be 'quorum', 'all', 'synchronous' or 'asynchronous'",)


def test_elsewhere_than_in_the_checkout(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (checkout / "docs").mkdir()
    monkeypatch.chdir(checkout / "docs")
    with pytest.raises(ClusterError, match=r"inventory\.py can't be read in .*: work from the directory of the checkout"):
        init("prod", **GIVEN)


def test_on_a_terminal_it_asks_for_what_the_options_did_not_say(typed: list[str]) -> None:
    typed += ["lb1=10.1.0.8, lb2=10.1.0.9", "10.1.9.0/24", "ann"]
    cluster = made(proxy=[])
    assert [str(network) for network in cluster.all.operator_networks] == ["10.1.9.0/24"]
    assert [h.name for h in cluster.haproxy_hosts] == ["lb1", "lb2"]
    assert typed == [] and cluster.hosts[0].settings.ssh_user == "ann"


def test_it_asks_again_until_it_can_read_the_answer(typed: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    typed += ["pg1=10.1.0.1 pg2=10.1.0.2", "", "lb1", "lb1=10.1.0.9", "pg1 pg2 lb1", "10.1.0.1/24", "10.1.0.0/24", "", ""]
    cluster = made(database=[], proxy=[], clients=[])
    assert [h.name for h in cluster.etcd_hosts] == ["lb1", "pg1", "pg2"]
    assert cluster.hosts[0].settings.ssh_user == "root"  # what an empty line means there
    said = capsys.readouterr().out
    assert "  - --proxy lb1: should be HOST=ADDRESS" in said
    assert "  - client_networks[0] = '10.1.0.1/24': should be a network" in said


def test_a_wrong_option_is_told_and_nothing_is_asked(typed: list[str]) -> None:
    typed += ["lb1=10.1.0.9"]
    assert "--database pg1: should be" in refused(database=["pg1"], proxy=[])[0]
    assert typed == ["lb1=10.1.0.9"]


@pytest.mark.parametrize("lines", [[], ["lb1=10.1.0.9"]])
def test_whoever_ends_the_questions_has_made_nothing(typed: list[str], lines: list[str]) -> None:
    typed += lines
    with pytest.raises(ClusterError, match="nothing was written"):
        init("prod", **GIVEN | {"proxy": []})
    assert not Path("inventories").exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device", "that.py")])
def test_what_ends_half_way_leaves_nothing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def texts() -> Iterator[tuple[str, str]]:
        yield "group_data/all.py", "x = 1\n"
        assert not MADE.exists() and list(MADE.parent.rglob("all.py"))  # it had begun, elsewhere
        raise error

    class Files(dict[str, str]):
        items = staticmethod(texts)  # type: ignore[assignment]

    with pytest.raises((KeyboardInterrupt, ClusterError)) as told:
        write(MADE, Files())
    assert list(MADE.parent.iterdir()) == []
    assert isinstance(told.value, KeyboardInterrupt) or "can't be made: No space left on device (that.py)" in str(told.value)


def test_somebody_else_made_it_meanwhile() -> None:
    (MADE / "secrets").mkdir(parents=True)
    with pytest.raises(ClusterError, match="inventories/prod can't be made: Directory not empty"):
        write(MADE, {"inventory.py": ""})
    assert [path.name for path in MADE.parent.iterdir()] == ["prod"] and list(MADE.iterdir()) == [MADE / "secrets"]


def test_the_command(checkout: Path) -> None:
    def invoke(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "invoke", "--search-root", str(ROOT), *words]
        return subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)

    asked = invoke("init", "prod")
    assert (asked.returncode, asked.stdout) == (2, "")
    assert "--database is needed" in asked.stderr and "Traceback" not in asked.stderr
    hosts = [word for host in GIVEN["database"] for word in ("--database", host)]
    done = invoke("init", "prod", *hosts, "--proxy", "lb1=10.1.0.9", "--clients", "10.1.0.0/24", "--user", "ann")
    assert (done.returncode, done.stderr) == (0, "")
    steps = (
        "INVOKE_INVENTORY=prod",
        "ssh ann@10.1.0.1",
        "invoke preflight",
        "pyinfra inventories/prod/inventory.py deploy.py --dry",
    )
    assert [step for step in steps if step not in done.stdout] == []
    assert {h.settings.ssh_user for h in load_cluster("prod").hosts} == {"ann"}


@pytest.mark.parametrize("way", ["environment", "invoke.yaml"])
def test_the_tasks_take_it_by_name(checkout: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    made()
    shutil.copy(ROOT / "tasks.py", checkout)
    monkeypatch.delenv("INVOKE_INVENTORY")
    if way == "environment":
        monkeypatch.setenv("INVOKE_INVENTORY", "prod")
    else:
        (checkout / "invoke.yaml").write_text("inventory: prod\n")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    command = [sys.executable, "-m", "invoke", "secrets", "--name", "probe"]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    where = (
        "inventories/prod/secrets/prod holds no secrets: the first deploy of a new cluster makes them (`pyinfra"
        " inventories/prod/inventory.py deploy.py`); those of one that lives already are where it was deployed from: copy that"
        " directory from there, or from a backup\n"
    )
    assert (done.returncode, done.stderr) == (2, where)
