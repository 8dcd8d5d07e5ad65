"""The contract of a component (docs/adding-a-component.md): every layer knows it. Each question yields what is lacking."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import views
from repository import ROOT

import tasks
from cluster.components import COMPONENTS, NAMES, Component
from cluster.connections import CONNECTIONS
from cluster.settings import VARIABLES
from day2.commands.look import logs
from day2.hosts.journal import PROGRESS, TROUBLE
from day2.procedures.steps import InstallPackages
from day2.procedures.upgrade import Work, steps
from health.finding import Finding
from health.questions import questions
from health.rules import findings
from health.upgrades import Change
from lab.recipe import ROLE_PACKAGES

Question = Callable[[Component], Iterator[str]]

SERVICES = "tests/lab/test_40_services.py"
SYSTEMD = (SERVICES, "test_systemd_finds_nothing_wrong_with_its_unit")
PATRONI = (SERVICES, "test_patroni_finds_nothing_wrong_with_its_files")
BACKUPS = "tests/lab/test_91_backups.py"
DRILLS = "tests/lab/test_93_drill.py"
POOLS = "tests/lab/test_57_pooling.py"
POOL_UNITS = (POOLS, "test_systemd_finds_nothing_wrong_with_its_units")
ENTRY = "tests/lab/test_59_entry.py"
GUARDS = "tests/lab/test_73_guards.py"
STORES = "tests/lab/test_94_repositories.py"
HAPROXY = (SERVICES, "test_haproxy_finds_nothing_wrong_with_its_files")
# For each template of a component, the test in which the program that reads it does so: it says what it thinks of it, or
# works as it should.
READ_BY_ITS_PROGRAM = {
    "etcd/bootstrap.env.j2": (
        "tests/lab/test_90_replaced_hosts.py",
        "test_a_replaced_database_host_and_proxy_join_again_even_when_the_deploy_is_interrupted",
    ),
    "etcd/etcd.env.j2": (SERVICES, "test_etcd_cannot_grow_without_bound"),
    "etcd/etcd.service.j2": SYSTEMD,
    "patroni/bootstrap.yml.j2": PATRONI,
    "patroni/patroni.yml.j2": PATRONI,
    "patroni/secrets.yml.j2": PATRONI,
    "patroni/patroni.service.j2": SYSTEMD,
    "patroni/pgquorum-confirm-quorum.service.j2": SYSTEMD,
    "patroni/pgquorum-guard.service.j2": (GUARDS, "test_systemd_finds_nothing_wrong_with_its_units"),
    "patroni/pgquorum-leaders-apart.service.j2": SYSTEMD,
    "patroni/pgquorum-wake-patroni.service.j2": SYSTEMD,
    "patroni/pg_rewind.sh.j2": (
        "tests/unit/test_salvage.py",
        "test_the_rewind_follows_a_salvage_that_fails_with_the_same_arguments_and_its_own_exit_code",
    ),
    "patroni/yield-etcd-leadership.sh.j2": (SERVICES, "test_etcd_is_led_from_another_host_than_postgresql"),
    "haproxy/pgquorum-one-primary.service.j2": (GUARDS, "test_systemd_finds_nothing_wrong_with_its_units"),
    "haproxy/haproxy.cfg.j2": HAPROXY,
    "haproxy/haproxy.service.conf.j2": SYSTEMD,
    "haproxy/reload-haproxy.sh.j2": (
        "tests/unit/test_haproxy_reload.py",
        "test_what_is_known_of_servers_is_kept_and_one_that_is_new_is_down",
    ),
    "haproxy/servers-down.j2": (
        "tests/lab/test_40_services.py",
        "test_haproxy_starts_with_every_server_down",
    ),
    "haproxy/statistics-users.cfg.j2": HAPROXY,
    "pgbackrest/archive-push.sh.j2": (
        "tests/unit/test_archive_push.py",
        "test_of_many_files_that_wait_where_postgresql_is_stopped_one_is_tried",
    ),
    "pgbackrest/archive-each.sh.j2": (STORES, "test_one_that_hangs_holds_up_nobody_and_gets_what_it_lacks_when_it_is_back"),
    "pgbackrest/archive.conf.j2": (
        STORES,
        "test_a_store_joins_gets_a_backup_and_the_archive_and_a_second_deploy_changes_nothing",
    ),
    "pgbackrest/behind.j2": (STORES, "test_a_store_joins_gets_a_backup_and_the_archive_and_a_second_deploy_changes_nothing"),
    "pgbouncer/hba.conf.j2": (POOLS, "test_the_systems_own_roles_and_superusers_are_refused"),
    "pgbouncer/pgquorum-pool@.service.j2": POOL_UNITS,
    "pgbouncer/process.ini.j2": (POOLS, "test_it_runs_with_what_it_was_given"),
    "pgbouncer/route.ini.j2": (POOLS, "test_it_runs_with_what_it_was_given"),
    "pgbouncer/users.txt.j2": (POOLS, "test_a_client_comes_through_both_ports_with_tls_verified"),
    "keepalived/check-haproxy.sh.j2": (ENTRY, "test_haproxy_that_hangs_loses_the_address_and_does_not_take_it_back"),
    "keepalived/keepalived.conf.j2": (ENTRY, "test_keepalived_and_systemd_find_nothing_wrong_with_their_files"),
    "keepalived/keepalived.service.conf.j2": (ENTRY, "test_keepalived_and_systemd_find_nothing_wrong_with_their_files"),
    "pgbackrest/backup.timer.j2": (BACKUPS, "test_systemd_finds_nothing_wrong_with_its_units"),
    "pgbackrest/cipher.conf.j2": (BACKUPS, "test_a_backup_is_encrypted_and_nobody_else_may_read_its_password"),
    "pgbackrest/beside.j2": (DRILLS, "test_systemd_finds_nothing_wrong_with_what_a_drill_is_made_of"),
    "pgbackrest/pgquorum-backup-clone.service.j2": (DRILLS, "test_systemd_finds_nothing_wrong_with_what_a_drill_is_made_of"),
    "pgbackrest/drill.conf.j2": (DRILLS, "test_a_drill_proves_the_newest_backup_and_all_of_it_is_told"),
    "pgbackrest/drill.timer.j2": (DRILLS, "test_systemd_finds_nothing_wrong_with_what_a_drill_is_made_of"),
    "pgbackrest/drill.tmpfiles.j2": (DRILLS, "test_systemd_finds_nothing_wrong_with_what_a_drill_is_made_of"),
    "pgbackrest/pgquorum-backup-drill.service.j2": (DRILLS, "test_systemd_finds_nothing_wrong_with_what_a_drill_is_made_of"),
    "pgbackrest/pgbackrest.conf.j2": (BACKUPS, "test_a_full_and_an_incremental_backup_are_made_and_listed"),
    "pgbackrest/pgbackrest.service.j2": (BACKUPS, "test_systemd_finds_nothing_wrong_with_its_units"),
    "pgbackrest/pgquorum-backup@.service.j2": (BACKUPS, "test_systemd_finds_nothing_wrong_with_its_units"),
}
MADE_UP = Component(
    name="pooler",  # type: ignore[arg-type]
    group="haproxy",
    packages=("pooler-{version}",),
    units=("pooler.service",),
    beside=("pgquorum-pooler.service",),
    masked=("pooler-packaged.service",),
    ports=("pooler_port",),
    directories=("pooler_directory",),
    passwords=("pooler_admin",),
)


def text(pattern: str) -> str:
    """All files of the repository that match."""
    found = sorted(ROOT.glob(pattern))
    assert found, pattern
    return "\n".join(file.read_text() for file in found)


def settings(component: Component) -> Iterator[str]:
    """They are in the class of its group, and docs/settings.md has a row for each; group_data is test_repository's."""
    _, variables = VARIABLES[component.group]
    documented = text("docs/settings.md")
    for setting in (*component.ports, *component.directories):
        if setting not in variables:
            yield f"cluster/settings.py: {setting} is no setting of group {component.group}"
        if f"`{setting}`" not in documented:
            yield f"docs/settings.md: {setting}"


def connections(component: Component) -> Iterator[str]:
    for port in component.ports:
        if not any(one.target == component.group and one.port == port for one in CONNECTIONS):
            yield f"cluster/connections.py: nobody dials {port}"


def deployed(component: Component) -> Iterator[str]:
    """By a module of its name. What has no unit of its own is started and written by another component."""
    if component.units:
        if not (ROOT / f"operations/{component.name}.py").exists():
            yield f"operations/{component.name}.py"
        if f"{component.name}.files(run)" not in text("deploy.py"):
            yield f"deploy.py: {component.name}.files"
        if not re.search(rf"\({component.name}, run\.cluster\.\w+_hosts\)", text("operations/manifest.py")):
            yield f"operations/manifest.py: {component.name}"


def templates(component: Component) -> Iterator[str]:
    """Each is read by the real program in a test."""
    there = {f"{component.name}/{file.name}" for file in (ROOT / "templates" / component.name).glob("*.j2")}
    if component.units and not there:
        yield f"templates/{component.name}/"
    known = {name for name in READ_BY_ITS_PROGRAM if name.startswith(f"{component.name}/")}
    yield from (f"READ_BY_ITS_PROGRAM: {name}" for name in sorted(there ^ known))


def secrets(component: Component) -> Iterator[str]:
    """What is made for it is used by somebody."""
    used = text("operations/*.py") + text("templates/*/*.j2") + text("day2/**/*.py")
    for use in (certificate.use for certificate in component.certificates):
        if not re.search(rf'\.certificate\([\w.]+, "{use}"\)', used):
            yield f"operations: the certificate {use}"
    yield from (f"templates: the password {name}" for name in component.passwords if f'password("{name}")' not in used)


def kept_from_others(component: Component) -> Iterator[str]:
    """Nobody upgrades or restarts it by night."""
    blacklist = re.findall(r'"(\^.*)";', text("files/apt/52pgquorum"))
    package = component.packages_for(18)[0]
    if not any(re.search(pattern, package) for pattern in blacklist):
        yield f"files/apt/52pgquorum: {package}"
    (restarts,) = re.findall(r"qr\((.*)\)}", text("files/needrestart/pgquorum.conf"))
    yield from (f"files/needrestart: {unit}" for unit in (*component.units, *component.masked) if not re.search(restarts, unit))


def in_the_lab(component: Component) -> Iterator[str]:
    """Its packages are in the image of the lab, where there is no network, and a test looks at its units."""
    yield from (f"lab/recipe.py: {name}" for name in component.packages_for(18) if name not in ROLE_PACKAGES)
    looked_at = text(SERVICES) + text(BACKUPS) + text(POOLS) + text(ENTRY)
    for unit in (*component.units, *component.beside, *component.masked):
        if f'"{unit.removesuffix(".service")}"' not in looked_at:
            yield f"{SERVICES}: {unit}"


def rehearsed(component: Component) -> Iterator[str]:
    """A plan test knows its units."""
    plans = text("tests/plan/test_*.py")
    yield from (f"tests/plan: {unit}" for unit in (*component.units, *component.masked) if unit not in plans)


def asked(component: Component) -> Iterator[str]:
    """Hosts are asked for its own word."""
    of = views.SHARED
    if any(component.name not in questions(of, host) for host in of.members(component.group)):
        yield f"day2/hosts/observe.py: {component.name}"


def rules(component: Component) -> Iterator[str]:
    """One complains when a unit is not as it should be: of what runs, of what runs beside it, of what must not run."""
    wrong = [(unit, "failed") for unit in (*component.units, *component.beside)] + [(unit, "active") for unit in component.masked]
    for unit, state in wrong:
        if not any(unit in found.text for found in complaints(component.group, unit, state)):
            yield f"health/rules: {unit} is {state}"


def complaints(group: str, unit: str, state: str) -> Iterator[Finding]:
    """What the rules find wrong where one host of a group differs from good health in one unit."""
    of = views.SHARED
    host = views.shared().hosts[of.members(group)[-1].name]
    seen = views.shared(**{host.name: replace(host, units={**host.units, unit: state})})
    return (found for found in findings(seen, of) if found.level != "ok")


def logged(component: Component) -> Iterator[str]:
    """What its units write is shown, and which lines tell of trouble is known. One without units writes by another's."""
    for unit in component.units:
        if not any(Path(unit).match(pattern) for pattern in logs.UNITS):
            yield f"day2/commands/look/logs.py: {unit}"
        for patterns in (TROUBLE, PROGRESS):
            if not patterns.get(unit.removesuffix(".service")):
                yield f"day2/hosts/journal.py: {unit}"


def upgraded(component: Component) -> Iterator[str]:
    """What an upgrade fetches of it is installed then, and what runs of it restarted after that."""
    of = views.SHARED
    host, package = of.members(component.group)[-1].name, component.packages_for(18)[0]
    work = Work((Change(host, component.name, package, "1", "2"),), due={}, run="now")
    plan = steps(views.shared(), of, work, None)
    installed = [number for number, step in enumerate(plan) if isinstance(step, InstallPackages)]
    if not installed or plan[installed[0] + 1 :] == ():
        yield f"day2/procedures/upgrade.py: {component.name}"


def offered(component: Component) -> Iterator[str]:
    """Where commands take components by name, its own is told."""
    manual = text("docs/commands.md")
    for name in ("rolling-restart", "upgrade", "logs"):
        if not re.search(rf"\b{component.name}\b", tasks.namespace[name].help["component"]):
            yield f"day2/commands: the help of {name} --component: {component.name}"
        (row,) = re.findall(rf"(?m)^\| `{name}` .*$", manual)
        if not re.search(rf"(?i)\b{component.name}(ql)?\b", row):
            yield f"docs/commands.md: {name} --component: {component.name}"


def documented(component: Component) -> Iterator[str]:
    """Its row in docs/architecture.md says the same as its value; what it is for is in the second cell."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text("docs/architecture.md").splitlines()]
    row = next((row for row in rows if row[0] == component.name), None)
    if row is None or not row[1] or row[2:] != cells(component):
        yield f"docs/architecture.md: | {component.name} | what for | {' | '.join(cells(component))} |"


def cells(component: Component) -> list[str]:
    """What a row of the documentation has of a component."""
    units = (*component.units, *component.beside, *(f"{unit} (masked)" for unit in component.masked))
    return [component.group, *(", ".join(names) for names in (component.packages, units, component.ports))]


QUESTIONS: tuple[Question, ...] = (
    settings,
    connections,
    deployed,
    templates,
    secrets,
    kept_from_others,
    in_the_lab,
    rehearsed,
    asked,
    rules,
    logged,
    upgraded,
    offered,
    documented,
)


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.__name__)
@pytest.mark.parametrize("component", COMPONENTS, ids=lambda component: component.name)
def test_every_layer_knows_a_component(component: Component, question: Question) -> None:
    lacking = list(question(component))
    assert not lacking, "\n".join(lacking)


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.__name__)
def test_one_that_no_layer_knows_is_lacking_in_each(question: Question) -> None:
    assert list(question(MADE_UP)) != []


def test_tools_are_packages_and_never_the_program_itself() -> None:
    for component in COMPONENTS:
        assert set(component.tools) <= set(component.packages[1:]), component.name


def test_names_are_those_of_the_components() -> None:
    assert tuple(component.name for component in COMPONENTS) == NAMES


@pytest.mark.parametrize("template", READ_BY_ITS_PROGRAM)
def test_the_test_that_a_template_relies_on_is_there(template: str) -> None:
    file, name = READ_BY_ITS_PROGRAM[template]
    assert (ROOT / "templates" / template).exists()
    assert f"def {name}(" in text(file)


def test_a_use_of_a_certificate_and_a_password_belong_to_one_component() -> None:
    for names in (
        [certificate.use for component in COMPONENTS for certificate in component.certificates],
        [password for component in COMPONENTS for password in component.passwords],
        [port for component in COMPONENTS for port in component.ports],
    ):
        assert len(set(names)) == len(names)
