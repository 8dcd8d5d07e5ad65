"""The cluster's day, in commands. `invoke --list` names them, `invoke --help NAME` explains one.

They read inventory.py and group_data/ as the deploy does; another inventory is chosen with INVOKE_INVENTORY=NAME or
`inventory: NAME` in invoke.yaml. NAME is what `invoke init NAME` has made, or a file.

Exit codes, the same for all:
    0    fine
    1    the answer is bad news: not healthy, a write lost, a goal missed; also a command line that invoke can't read
    2    refused, with the reason and what would be right; nothing was changed
    130  interrupted (Ctrl-C); what was set has been undone

Options are written out; -y for --yes is the only short one.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from invoke import Collection, Context, Task
from invoke import task as invoke_task

BY_WAY = "go to HAProxy by way of this host, when you reach the hosts by SSH only"
JSON = "print one JSON document on stdout, for programs"
LAB = {"name": "which lab"}
LAB_HOST = {"host": "the host's name, like pg-sv01", **LAB}


class Command(Task):
    """A task with no short flags but -y: invoke's own would be whatever letter of a name is free, another one each time."""

    def arg_opts(self, name, default, taken_names):
        options = super().arg_opts(name, default, taken_names)
        options["names"] = [options["names"][0], *(["y"] if name == "yes" else [])]
        return options


task = partial(invoke_task, klass=Command)


def _call(c: Context, body, **options):
    """Every day-2 command: its body in day2/, with the cluster the inventory describes."""
    from cluster.inventory_files import load_cluster
    from day2.ui.console import call

    call(lambda: body(load_cluster(c.config.inventory), **options))


def _lab(name, act):
    """Every lab command but `up`: what to do with the lab of that name."""
    from day2.ui.console import call
    from lab import Lab, LabError

    call(lambda: act(Lab.load(name, Path.cwd())), errors=(LabError,))


HOSTS = "HOST=ADDRESS; once for each, or several with commas"


@task(
    iterable=["database", "proxy", "etcd", "clients"],
    help={
        "name": "the cluster's name, and its directory's",
        "database": f"a host for PostgreSQL and etcd, as {HOSTS}",
        "proxy": "a host for HAProxy, in the same way; its name alone if it is a database host",
        "etcd": "a host for etcd, where those are not the database hosts",
        "clients": "a network from which clients connect, like 10.0.0.0/24; in the same way",
        "user": "user for SSH: root, or one with sudo that asks no password",
    },
)
def init(c, name, database=None, proxy=None, etcd=None, clients=None, user=None):
    """Make inventories/NAME/, the hosts and settings of your own cluster; asks for what the options don't say."""
    from day2.commands.begin.init import init
    from day2.ui.console import call

    words = {"database": database, "proxy": proxy, "etcd": etcd, "clients": clients, "user": [user] if user is not None else []}
    call(init, name, **words)


@task(help={"json": JSON})
def preflight(c, json=False):
    """Are the hosts good for this cluster? Ports, clocks, disks, packages, others; exits 1 for a refusal."""
    from day2.commands.look.preflight import preflight

    _call(c, preflight, as_json=json)


@task(help={"json": JSON})
def status(c, json=False):
    """The whole cluster on one screen, with a verdict; exits 1 with the reasons when it is not healthy."""
    from day2.commands.look.status import status

    _call(c, status, as_json=json)


@task(
    help={
        "json": JSON,
        "strict": "let warnings count, too",
        "from": "make the client's write and read from this PostgreSQL host, not from here",
    }
)
def verify(c, strict=False, from_=None, json=False):
    """Check every rule, write and read as a client, and say who could take over this minute; exits 1 for a problem."""
    from day2.commands.look.verify import verify

    _call(c, verify, strict=strict, through=from_, as_json=json)


@task(
    name="wal-lag",
    help={
        "watch": "refresh in place until Ctrl-C",
        "max-bytes": "exit 1 when a replica's replay is further behind, like 64MB",
        "max-seconds": "exit 1 when it is older, like 5s",
        "json": JSON,
    },
)
def wal_lag(c, watch=False, max_bytes=None, max_seconds=None, json=False):
    """How far each replica is behind: WAL received and replayed, and what its slot holds back."""
    from day2.commands.look.wal_lag import wal_lag

    _call(c, wal_lag, watch=watch, max_bytes=max_bytes, max_seconds=max_seconds, as_json=json)


@task(
    name="failover-test",
    help={
        "fault": "which, such as host-off (the default), or several with commas, or all that are possible here",
        "list": "print the faults there are, and do nothing",
        "repeat": "how many times each",
        "soak": "for so many minutes, faults at random",
        "seed": "the random numbers of an earlier --soak again",
        "lagging": "in a --soak, let a replica lag half of the time",
        "report": "write report.html, report.json and report.txt into this directory",
        "yes": "do not ask",
        "writers": "how many connections write at the same time",
        "readers": "how many read at the same time",
        "from": BY_WAY,
        "json": JSON,
    },
)
def failover_test(
    c, fault=None, list=False, repeat=1, soak=0.0, seed=-1, lagging=False, report=None, yes=False, writers=8, readers=2,
    from_=None, json=False,
):  # fmt: skip
    """Inject a fault under load; measure the outage, count lost writes, heal; exits 1 if anything is not as predicted."""
    from day2.commands.prove import failover_test as test

    if list:
        return test.show_faults()
    return _call(
        c, test.failover_test, fault=fault, repeat=repeat, soak=soak or None, seed=None if seed < 0 else seed,
        directory=report, yes=yes, writers=writers, readers=readers, hop=from_, as_json=json, lagging=lagging,
    )  # fmt: skip


@task(
    help={
        "to": "the host that should lead; without it, the best candidate",
        "force": "override what stands in the way, and name it",
        "yes": "do not ask",
        "writers": "how many connections write meanwhile, to measure",
        "from": BY_WAY,
        "json": JSON,
    },
)
def switchover(c, to=None, force=False, yes=False, writers=4, from_=None, json=False):
    """Hand the primary's role to a replica, and measure the write gap and errors."""
    from day2.commands.change.switchover import switchover

    _call(c, switchover, to=to, force=force, yes=yes, writers=writers, hop=from_, as_json=json)


@task(
    help={
        "accept-loss": "the host that should lead although it lacks acknowledged writes",
        "yes": "do not ask",
    },
)
def failover(c, accept_loss=None, yes=False):
    """Where nobody may lead: say whom to bring back, or accept the loss of what only they have."""
    from day2.commands.change.failover import failover

    _call(c, failover, accept_loss=accept_loss, yes=yes)


@task(
    name="rolling-restart",
    help={
        "component": "postgres (default), patroni, etcd or haproxy",
        "pending-only": "only members with a setting that waits for a restart",
        "dry": "print the steps and do nothing",
        "from": BY_WAY,
        "yes": "do not ask",
        "json": JSON,
    },
)
def rolling_restart(c, component="postgres", pending_only=False, dry=False, yes=False, from_=None, json=False):
    """Restart a component host by host, replicas first, while writes and reads are measured."""
    from day2.commands.change.rolling_restart import rolling_restart

    _call(c, rolling_restart, component=component, pending_only=pending_only, dry=dry, yes=yes, hop=from_, as_json=json)


@task
def pause(c):
    """Turn automatic failover off, for work that must not be taken for a failure."""
    from day2.commands.change.maintenance import pause

    _call(c, pause, paused=True)


@task
def resume(c):
    """Turn automatic failover on again."""
    from day2.commands.change.maintenance import pause

    _call(c, pause, paused=False)


@task(help={"host": "the replica", "force": "even if nobody could take over meanwhile", "yes": "do not ask"})
def reinit(c, host, force=False, yes=False):
    """Make a replica anew: its data is deleted and copied from the primary."""
    from day2.commands.change.maintenance import reinit

    _call(c, reinit, host=host, force=force, yes=yes)


@task(help={"json": JSON})
def config(c, json=False):
    """Where the settings, etcd and PostgreSQL differ, and what needs a restart; exits 1 when anything does."""
    from day2.commands.look.config import config

    _call(c, config, as_json=json)


@task(
    help={
        "host": "one host only",
        "since": "how far back: '10 min ago' (default), '12:30', '2031-05-17 08:00'",
        "follow": "go on until Ctrl-C",
    }
)
def logs(c, host="", since="10 min ago", follow=False):
    """The journals of etcd, Patroni with PostgreSQL, what watches over them, and HAProxy on all hosts, merged by time."""
    from day2.commands.look.logs import logs

    _call(c, logs, host=host, since=since, follow=follow)


@task(name="move-leader", help={"to": "the host that should lead; without it, one that is not the primary's"})
def move_leader(c, to=None):
    """Make another member the leader of etcd: off the primary's host, losing that one costs less."""
    from day2.commands.change.maintenance import move_etcd_leader

    _call(c, move_etcd_leader, to=to)


@task(name="next-steps")
def next_steps(c):
    """Say what to try on a cluster that stands."""
    from day2.commands.begin.next_steps import next_steps

    _call(c, next_steps)


@task
def version(c):
    """Print the version of this checkout; `invoke status` names hosts that another one has deployed."""
    from cluster.version import own
    from day2.ui.console import call

    call(lambda: print(own()))


ROLE = {"role": "the application role", "database": "the database", "read-only": "the replicas (port 5001)"}


@task(help={**ROLE, "with-password": "with the password in it: mind where you paste it"})
def dsn(c, role="app", database="app", read_only=False, with_password=False):
    """Print the libpq connection string of an application role, through every HAProxy, with TLS verified."""
    from day2.commands.connect.clients import dsn

    _call(c, dsn, role=role, database=database, read_only=read_only, with_password=with_password)


@task(help={**ROLE, "command": "run this and leave"})
def psql(c, role="app", database="app", read_only=False, command=None):
    """Open psql through HAProxy as an application role."""
    from day2.commands.connect.clients import psql

    _call(c, psql, role=role, database=database, read_only=read_only, command=command)


@task(help={"name": "which one; without it, their names are listed"})
def secrets(c, name=""):
    """Print a password by --name: haproxy_stats (for user admin on port 7000), role_app, ...; or list the names."""
    from day2.commands.connect.clients import secrets

    _call(c, secrets, name=name)


@task(
    help={
        **LAB,
        "databases": "hosts for PostgreSQL and etcd",
        "proxies": "hosts for HAProxy",
        "suite": "Debian release",
        "subnet": "network of the lab",
    }
)
def up(c, name="demo", databases=3, proxies=1, suite="forky", subnet="10.77.0.0/24"):
    """Start a lab: real hosts (systemd, sshd) on this machine, with inventory.py's addresses by default."""
    from day2.ui.console import call
    from lab import Lab, LabError, LabSpec

    def body():
        spec = LabSpec(name=name, databases=databases, proxies=proxies, suite=suite, subnet=subnet)
        Lab(spec, Path.cwd()).up()

    call(body, errors=(LabError,))


@task(help=LAB)
def down(c, name="demo"):
    """Remove a lab with its disks."""
    _lab(name, lambda lab: lab.down())


@task(name="status", help=LAB)
def lab_status(c, name="demo"):
    """Show each host's power, cable and SSH."""

    def show(lab):
        for host in lab.status():
            signs = {"power": host.power, "cable": host.cable, "ssh": host.ssh}
            said = "  ".join(f"{sign} {'on ' if there else 'off'}" for sign, there in signs.items())
            print(f"{host.name:12} {host.address:15} {host.kind:8}  {said}")

    _lab(name, show)


@task(help=LAB_HOST)
def off(c, host, name="demo"):
    """Cut a host's power; its disk stays."""
    _lab(name, lambda lab: lab.off(host) and None)


@task(help=LAB_HOST)
def on(c, host, name="demo"):
    """Power a host on and wait for its sshd."""
    _lab(name, lambda lab: lab.on(host))


@task(help=LAB_HOST)
def cut(c, host, name="demo"):
    """Cut a host's network cable."""
    _lab(name, lambda lab: lab.cut(host))


@task(help=LAB_HOST)
def heal(c, host, name="demo"):
    """Mend a host's network cable."""
    _lab(name, lambda lab: lab.heal(host))


@task(help=LAB_HOST)
def ssh(c, host, name="demo"):
    """Open a session on a host."""
    _lab(name, lambda lab: os.execvp("ssh", lab.ssh_command(host)))  # noqa: S606


namespace = Collection(
    init, preflight, status, verify, wal_lag, config, logs,
    switchover, failover, rolling_restart, failover_test, pause, resume, reinit,
    dsn, psql, secrets, next_steps, version,
)  # fmt: skip
namespace.add_collection(Collection("etcd", move_leader))
namespace.add_collection(Collection("lab", up, down, lab_status, off, on, cut, heal, ssh))
namespace.configure({"inventory": "inventory.py"})
