"""Patroni and the PostgreSQL it runs: files, first start, reload, and the dynamic configuration."""

from __future__ import annotations

import json
import shlex
from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import Any

from pyinfra import host, state
from pyinfra.api import FactBase, StringCommand, operation

from cluster import paths
from cluster.certificates import fingerprints
from cluster.components import APART_TIMER
from cluster.dynamic_config import described, difference, wanted_config

from . import agents
from .await_postgres import COPY_SECONDS, COPY_TOLD_SECONDS, await_postgres
from .context import Run, warn
from .managed import Managed, data_directory, directory, file_text, render, secret
from .refusal import stop
from .services import Unit, UnitFact, first_start, or_journal
from .survey import judge_host

UNIT = "patroni.service"
UNIT_FILE = f"/etc/systemd/system/{UNIT}"
CONFIG_FILES = (f"{paths.PATRONI_CONFIG}/patroni.yml", f"{paths.PATRONI_CONFIG}/secrets.yml")
ETCD_TLS_FILES = tuple(f"{paths.PATRONI_TLS}/{name}" for name in ("etcd-client.key", "etcd-client.crt", "etcd-ca.crt"))
TLS_FILES = (*(f"{paths.PATRONI_TLS}/{name}" for name in ("server.key", "server.crt", "ca.crt")), *ETCD_TLS_FILES)
APART_FILES = tuple(f"/etc/systemd/system/pgquorum-leaders-apart.{kind}" for kind in ("service", "timer"))
WAKE_UNIT = "pgquorum-wake-patroni.service"
WAKE_FILE = f"/etc/systemd/system/{WAKE_UNIT}"
CONFIRM_UNIT = "pgquorum-confirm-quorum.service"
CONFIRM_FILE = f"/etc/systemd/system/{CONFIRM_UNIT}"
# The small services beside Patroni, and the files that each has read when it started.
BESIDE = {WAKE_UNIT: (WAKE_FILE, *agents.written()), CONFIRM_UNIT: (CONFIRM_FILE, *agents.written(), *ETCD_TLS_FILES)}
SEVERAL_TRUSTED = f"{paths.PATRONI_TLS}/several-ca.crt"
FORMER = ("/usr/local/lib/pgquorum/wake-patroni.py",)  # what 0.1.0 has written, and nobody starts any more
SALVAGE_SECONDS = 120  # so long a rewind waits at most for what it throws away to be copied
ROUND_SECONDS = 5  # by which a round of Patroni's is longer than loop_wait at most


def files(run: Run) -> list[Managed]:
    """Everything Patroni and PostgreSQL read on this host."""
    cluster, vault = run.cluster, run.vault
    server, client = vault.certificate(run.host.name, "postgres"), vault.certificate(run.host.name, "etcd-client")
    wal = [data_directory(cluster.postgres.wal_directory, "postgres")] if cluster.postgres.wal_directory else []
    script = render("patroni/yield-etcd-leadership.sh.j2", cluster=cluster, host=run.host)
    trusted = vault.trusted["postgres"].decode()
    return [
        directory(str(Path(paths.YIELD_ETCD_LEADERSHIP).parent)),
        *agents.files(run),
        Managed(paths.YIELD_ETCD_LEADERSHIP, script, mode="755"),
        Managed(paths.PG_REWIND, _rewind_script(run), mode="755"),
        directory("/etc/patroni"),
        directory(paths.PATRONI_CONFIG, "postgres", "750"),
        directory(paths.PATRONI_TLS, "postgres", "750"),
        data_directory(cluster.postgres.data_directory, "postgres"),
        data_directory(paths.salvage(cluster.postgres.data_directory), "postgres"),
        *wal,
        secret(f"{paths.PATRONI_TLS}/server.key", server.key, "postgres"),
        Managed(f"{paths.PATRONI_TLS}/server.crt", server.certificate.decode()),
        *(Managed(path, trusted) for path in dict.fromkeys((f"{paths.PATRONI_TLS}/ca.crt", _rest_trusts(run)))),
        secret(f"{paths.PATRONI_TLS}/etcd-client.key", client.key, "postgres"),
        Managed(f"{paths.PATRONI_TLS}/etcd-client.crt", client.certificate.decode()),
        Managed(f"{paths.PATRONI_TLS}/etcd-ca.crt", vault.authorities["etcd"].certificate.decode()),
        Managed(CONFIG_FILES[0], _main_config(run)),
        Managed(f"{paths.PATRONI_CONFIG}/bootstrap.yml", _bootstrap_config(run)),
        secret(CONFIG_FILES[1], render("patroni/secrets.yml.j2", vault=vault), "postgres"),
        Managed(UNIT_FILE, render("patroni/patroni.service.j2", cluster=cluster)),
        Managed(APART_FILES[0], render("patroni/pgquorum-leaders-apart.service.j2", cluster=cluster, host=run.host)),
        Managed(APART_FILES[1], file_text("systemd/pgquorum-leaders-apart.timer")),
        Managed(WAKE_FILE, render(f"patroni/{WAKE_UNIT}.j2")),
        Managed(CONFIRM_FILE, render(f"patroni/{CONFIRM_UNIT}.j2", cluster=cluster, log_directories=run.log_directories)),
    ]


def not_needed(run: Run) -> tuple[str, ...]:
    """What an earlier deploy has written and nobody reads any more."""
    return FORMER if _rest_trusts(run) == SEVERAL_TRUSTED else (*FORMER, SEVERAL_TRUSTED)


def _main_config(run: Run) -> str:
    prefix = 32 if run.host.settings.address.version == 4 else 128
    trusts = _rest_trusts(run)
    return render("patroni/patroni.yml.j2", cluster=run.cluster, host=run.host, prefix=prefix, rest_trusts=trusts)


def _rest_trusts(run: Run) -> str:
    """The file of whom the REST API trusts. Patroni reads it anew when it has another name, and not when its content has changed:
    so, while there are several authorities, it has."""
    return SEVERAL_TRUSTED if len(fingerprints(run.vault.trusted["postgres"])) > 1 else f"{paths.PATRONI_TLS}/ca.crt"


def _rewind_script(run: Run) -> str:
    return render("patroni/pg_rewind.sh.j2", cluster=run.cluster, salvage_seconds=SALVAGE_SECONDS)


def _bootstrap_config(run: Run) -> str:
    return render("patroni/bootstrap.yml.j2", cluster=run.cluster, dynamic_config=wanted_config(run.cluster))


def _unit() -> Unit:
    return host.get_fact(UnitFact, unit=UNIT, files=(*CONFIG_FILES, *TLS_FILES)) or Unit()


def _rest(run: Run, path: str) -> str:
    url = f"https://{run.host.url_address}:{run.cluster.postgres.patroni_port}{path}"
    return f"{paths.curl(paths.PATRONI_TLS)} --max-time 10 {url}"


@operation()
def judge_parameters(run: Run) -> Generator[StringCommand]:
    """Stops, with PostgreSQL's reason, when it would not start here with these parameters. Where data is, it was asked before."""
    if not state.is_executing or run.surveys[host.name].postgres_data == "cluster":
        return
    if against := judge_host(host, run.cluster):
        yield from stop(f"PostgreSQL was not started here: {'; '.join(against)}")


@operation()
def start(run: Run) -> Generator[StringCommand]:
    """Starts Patroni where it does not run, and waits until its PostgreSQL is a running member of the cluster."""
    unit = _unit()
    if unit.stale:
        yield StringCommand("systemctl daemon-reload")
    if unit.active and unit.enabled:
        return
    ready = f"{_rest(run, '/readiness')} --fail --output /dev/null 2>/dev/null"
    copying = f"""{_rest(run, "/patroni")} 2>/dev/null | grep -q '"state": "creating replica"'"""
    wait = partial(await_postgres, UNIT, ready, copying, run.cluster.postgres.data_directory)
    yield or_journal(f"{first_start(UNIT)} && {{ {wait(COPY_TOLD_SECONDS)} }}", UNIT)
    if state.is_executing:
        if _succeeds(copying):
            warn(
                f"{run.host.name}: its data is being copied, and the deploy waits for that, {COPY_SECONDS // 3600} h at most:"
                " `invoke status` shows how far it is. Ctrl-C ends the deploy and not the copy: deploy again when it is done"
            )
        yield or_journal(wait(), UNIT)  # at once where it is ready


def _succeeds(command: str) -> bool:
    """Whether a command on this host does."""
    return bool(host.run_shell_command(StringCommand(command), _sudo=host.data.get("_sudo", False))[0])


@operation()
def reload_if_outdated(run: Run) -> Generator[StringCommand]:
    """Lets Patroni and PostgreSQL read files that were written after they last did. Restarts nothing."""
    if _unit().reload_due:
        yield or_journal(f"systemctl reload {UNIT}", UNIT)


@operation()
def keep_leaders_apart() -> Generator[StringCommand]:
    """Starts the timer that moves the leadership of etcd off the primary's host: losing both at once costs more than one."""
    timer, service = (host.get_fact(UnitFact, unit=Path(file).name, files=()) or Unit() for file in APART_FILES[::-1])
    if not (timer.active and timer.enabled):
        yield StringCommand(f"systemctl daemon-reload && systemctl enable --now --quiet {APART_TIMER}")
    elif timer.stale or service.stale:
        yield StringCommand("systemctl daemon-reload")


@operation()
def start_beside() -> Generator[StringCommand]:
    """Starts the small services beside Patroni, and starts anew those whose files were written since."""
    for name, files in BESIDE.items():
        unit = host.get_fact(UnitFact, unit=name, files=files) or Unit()
        if not (unit.active and unit.enabled):
            yield StringCommand(f"systemctl daemon-reload && systemctl enable --now --quiet {name}")
        elif unit.restart_due or unit.stale:
            yield StringCommand(f"systemctl daemon-reload && systemctl restart {name}")


class DynamicConfig(FactBase[dict[str, Any] | None]):
    """The answer of GET /config, or None when Patroni does not answer."""

    def command(self, url_command: str) -> str:
        return f"{url_command} --fail 2>/dev/null || true"

    def process(self, output: list[str]) -> dict[str, Any] | None:
        return json.loads("".join(output)) if output else None


@operation()
def apply_dynamic_config(run: Run) -> Generator[StringCommand]:
    """Sends Patroni the difference between the settings and what lives in etcd. For one host: it holds for all."""
    wanted = wanted_config(run.cluster)
    live = host.get_fact(DynamicConfig, url_command=_rest(run, "/config"))
    if live is None:
        return  # a blank host being planned: the cluster will be made with these settings
    patch = difference(wanted, live)
    if not patch:
        return
    for line in described(patch, live):
        host.log(line)
    # The password goes through curl's standard input, as a configuration; the patch holds no secret.
    script = sending(_rest(run, "/config"), patch, run.cluster.timing.loop_wait)
    yield StringCommand(script, _stdin=f'user = "patroni:{run.vault.password("rest_api")}"')


def sending(asked: str, patch: dict[str, Any], loop_wait: int) -> str:
    """A command that sends a patch of the dynamic configuration, with the password in its input. Patroni, which was told to read
    its files a moment ago, does so in its next round: until then it refuses a password that this deploy has changed."""
    tries = loop_wait + ROUND_SECONDS
    request = f"--fail-with-body --request PATCH --config - --output /dev/null --retry {tries} --retry-delay 1 --retry-all-errors"
    request += f" --retry-max-time {tries}"
    why = (
        f"Patroni does not take the dynamic configuration, tried again for {tries} s. Where the status above is 401, it has"
        f" another password of rest_api than the secrets; it reads a new one after a reload (journalctl -u {UNIT})"
    )
    return f"{asked} {request} --data {shlex.quote(json.dumps(patch))} || {{ echo {shlex.quote(why)} >&2; exit 1; }}"
