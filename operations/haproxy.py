"""HAProxy: checked before it is written, reloaded, never restarted."""

from __future__ import annotations

from collections.abc import Generator

from pyinfra import host
from pyinfra.api import StringCommand, operation

from cluster import paths

from .context import Run
from .managed import Managed, directory, render, secret
from .services import Unit, UnitFact, first_start, or_journal

UNIT = "haproxy.service"
DROP_IN = f"/etc/systemd/system/{UNIT}.d/pgquorum.conf"
FILES = (
    paths.HAPROXY_CONFIG,
    paths.HAPROXY_USERS,
    *(f"{paths.HAPROXY_TLS}/{name}" for name in ("haproxy.pem", "client.pem", "ca.crt")),
)


def files(run: Run) -> list[Managed]:
    """Everything HAProxy reads. It starts as root, reads its keys, and then drops to its own user."""
    vault = run.vault
    server, client = vault.certificate(run.host.name, "haproxy"), vault.certificate(run.host.name, "haproxy-client")
    return [
        directory("/etc/haproxy"),
        directory(paths.HAPROXY_TLS, mode="700"),
        directory(f"/etc/systemd/system/{UNIT}.d"),
        secret(f"{paths.HAPROXY_TLS}/haproxy.pem", server.certificate + server.key),
        secret(f"{paths.HAPROXY_TLS}/client.pem", client.certificate + client.key),
        Managed(f"{paths.HAPROXY_TLS}/ca.crt", vault.authorities["postgres"].certificate.decode()),
        secret(paths.HAPROXY_USERS, render("haproxy/statistics-users.cfg.j2", vault=vault)),
        Managed(
            paths.HAPROXY_CONFIG, render("haproxy/haproxy.cfg.j2", cluster=run.cluster, host=run.host),
            check=f"haproxy -c -f {paths.HAPROXY_USERS} -f {{}} >/dev/null",
        ),
        Managed(paths.HAPROXY_DOWN, render("haproxy/servers-down.j2", cluster=run.cluster)),
        directory("/usr/local/lib/pgquorum"),
        Managed(paths.RELOAD_HAPROXY, render("haproxy/reload-haproxy.sh.j2"), mode="755"),
        Managed(DROP_IN, render("haproxy/haproxy.service.conf.j2")),
    ]  # fmt: skip


@operation()
def start_or_reload(run: Run) -> Generator[StringCommand]:
    """Starts HAProxy where it does not run, and reloads it when its files are newer than what it runs with."""
    unit = host.get_fact(UnitFact, unit=UNIT, files=FILES) or Unit()
    if unit.stale:
        yield StringCommand("systemctl daemon-reload")
    if not (unit.active and unit.enabled):
        # Also where it runs and was masked a moment ago, as packages were installed: then what follows is still to be done.
        yield or_journal(first_start(UNIT), UNIT)
    if unit.active and paths.HAPROXY_USERS not in unit.command_line:
        # The package's own, started before it was configured: a reload would go on with its command line.
        yield or_journal(f"systemctl restart {UNIT}", UNIT)
    elif unit.reload_due:
        yield or_journal(f"systemctl reload {UNIT}", UNIT)
