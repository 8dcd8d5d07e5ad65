"""`invoke failover-test`: injects faults under load, and proves that each costs some seconds at most and no write."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cluster.errors import ClusterError
from cluster.topology import Cluster
from day2.faults import FAULTS, choose, laggard
from day2.faults.fault import Fault, FaultContext
from day2.faults.lagging import LaggingReplica
from day2.hosts import operator_lock
from day2.hosts.dsn import open_vault, places, port
from day2.hosts.patroni_api import PatroniApi
from day2.hosts.ssh import Fleet
from day2.load.profile import LoadProfile
from day2.predictions.prediction import Effect
from day2.report import files, show
from day2.report.wording import many
from day2.trials.conditions import problems_of
from day2.trials.runner import PlannedTrial, TrialRunner
from day2.ui.console import confirm, console
from day2.ui.findings import show_findings
from health.rules import findings

DEFAULT = "host-off"
ALL = "all"
# In a soak, how long a fault lasts: from one that nobody may notice to one that outlasts every failover (seconds).
HOLD_SECONDS = (0.5, 35.0)
MOST_REPEATS = 1000
# With fewer writes a second the gap between two of them would be taken for an outage.
LEAST_RATE = 5
MOST_MINUTES = 24 * 60


def failover_test(
    cluster: Cluster, *, fault: str | None, repeat: int, soak: float | None, seed: int | None, yes: bool,
    writers: int, rate: float, readers: int, hop: str | None, directory: str | None, as_json: bool, lagging: bool = False,
    pooled: bool = False, by_address: bool = False,
) -> int:  # fmt: skip
    """Runs the trials and reports them; 1 when anything was not as promised. `directory` gets the report as files.

    Raises ClusterError when a trial is not possible now, or somebody else is changing the cluster.
    """
    out = console(as_json=as_json)
    vault = open_vault(cluster)
    load = LoadProfile(
        vault.password("probe"), writers, readers, pause=pause_of(rate), via=hop, pooled=pooled, by_address=by_address
    )
    ((called, _), *_) = places(cluster, by_address=by_address)
    write, read = (port(cluster, read_only=read_only, pooled=pooled) for read_only in (False, True))
    refuse_bad_options(repeat, soak, seed, directory, lagging=lagging)
    with Fleet(cluster.hosts) as fleet, operator_lock.held(fleet, cluster, "failover-test"):
        runner = TrialRunner(out, fleet, cluster, PatroniApi(fleet, cluster, vault.password("rest_api")), load)
        context = runner.context()
        names, left_out = refuse_bad_faults(context, fault, every=soak is not None, lagging=lagging)
        seed = seed if seed is not None or soak is None else random.randrange(10**6)  # noqa: S311
        through = "PgBouncer and HAProxy" if pooled else "HAProxy"
        through += f" at {called}" if by_address else ""
        out.print(
            f"Writes go through {through} (port {write}) from {writers} connections, reads ({read}) from {readers}, on cluster"
            f" {cluster.name}.",
            soft_wrap=True,
        )
        for line in left_out_in_words(left_out, {host.name for host in cluster.hosts}):
            out.print(escape(line), soft_wrap=True)
        if soak is None:
            show_plan(out, context, names, repeat, pooled=pooled)
            planned: Iterable[PlannedTrial] = in_order(names, repeat)
        else:
            out.print(f"For {soak:g} minutes, one after the other at random (--seed {seed}): {', '.join(names)}.", soft_wrap=True)
            if lagging:
                out.print("Half of the time a replica lags meanwhile.")
            planned = at_random(names, soak * 60, random.Random(seed), lagging=lagging)  # noqa: S311
        show_findings(out, (f for f in findings(context.view, cluster) if f.level == "warning"))
        confirm(out, yes=yes)
        keep = (lambda proof: files.keep(Path(directory), replace(proof, seed=seed))) if directory else (lambda proof: None)
        proof = replace(runner.run(context, planned, keep), seed=seed)
    if directory:
        for written in files.write(Path(directory), proof):
            out.print(f"written: {written}", soft_wrap=True)
    return show(out, proof, as_json=as_json, interrupted=runner.interrupted)


def pause_of(rate: float) -> float:
    """How long a writer waits after a write (seconds) so that it makes `rate` a second at most; 0 is without a limit.

    Raises ClusterError for what can't be right.
    """
    if not (rate == 0 or LEAST_RATE <= rate < math.inf):
        raise ClusterError(f"--rate {rate:g}: should be writes a second, at least {LEAST_RATE}, or 0 for as many as can be")
    return 1 / rate if rate else 0.0


def show_faults() -> None:
    """`invoke failover-test --list`: their names, and what they are."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, kind in FAULTS.items():
        table.add_row(name, kind.summary)
    console().print(table)


def refuse_bad_options(
    repeat: int, soak: float | None, seed: int | None, directory: str | None, *, lagging: bool = False
) -> None:
    """Raises ClusterError for options that can't be right, or not together."""
    if not 1 <= repeat <= MOST_REPEATS:
        raise ClusterError(f"--repeat {repeat}: should be from 1 to {MOST_REPEATS}")
    if soak is not None and not 0 < soak <= MOST_MINUTES:
        raise ClusterError(f"--soak {soak:g}: should be minutes, more than 0 and at most {MOST_MINUTES}")
    if soak is not None and repeat != 1:
        raise ClusterError("--soak goes on by time and --repeat by number: give one of them")
    if seed is not None and soak is None:
        raise ClusterError("--seed: only --soak chooses at random")
    if lagging and soak is None:
        raise ClusterError("--lagging: only in a --soak; otherwise choose one of the faults with that name (--list)")
    if directory:
        try:
            Path(directory).mkdir(parents=True, exist_ok=True)
            TemporaryFile(dir=directory).close()
        except OSError as error:
            raise ClusterError(f"--report {directory}: no file can be written there ({error.strerror})") from None


def refuse_bad_faults(
    context: FaultContext, asked: str | None, *, every: bool, lagging: bool = False
) -> tuple[list[str], dict[str, list[str]]]:
    """The names of the faults asked for, and why others are left out. `all`, and `every` where none are asked for, are those
    that are possible here.

    Raises ClusterError with all reasons why there should be no trial now.
    """
    reasons = list(problems_of(context.view, context.cluster))
    if len(context.cluster.postgres_hosts) < 2:
        reasons.append("there is only one PostgreSQL host, so nobody could take over")
    if lagging:
        reasons += [f"--lagging: {reason}" for reason in LaggingReplica(context).blockers()]
    names = [name.strip() for name in (asked or ("" if every else DEFAULT)).split(",") if name.strip()]
    left_out: dict[str, list[str]] = {}
    if names == [ALL] or (every and not names):
        left_out = {name: why for name in FAULTS if (why := choose(name, context).blockers())}
        names = [name for name in FAULTS if name not in left_out]
    else:
        reasons += [f"{name}: {reason}" for name in names for reason in choose(name, context).blockers()]
    if reasons:
        raise ClusterError("\n".join(["no failover test now, nothing was touched:", *(f"  - {r}" for r in reasons)]))
    return names, left_out


def left_out_in_words(why: Mapping[str, Sequence[str]], hosts: Collection[str]) -> Iterator[str]:
    """Which faults are left out, a line for each reason, with the `hosts` that it names first; nothing where none are."""
    if why:
        yield f"Left out, as {'it is' if len(why) == 1 else 'they are'} not possible here:"
    found: dict[str, tuple[set[str], set[str]]] = {}
    for name, reasons in why.items():
        for reason in reasons:
            host, _, text = reason.partition(": ")
            faults, at = found.setdefault(text if host in hosts else reason, (set(), set()))
            faults.add(name)
            at.update({host} & set(hosts))
    for text, (faults, at) in found.items():
        about = [", ".join(name for name in why if name in faults), *([", ".join(sorted(at))] if at else [])]
        yield f"  {': '.join(about)}: {text}"


def number_and_time(faults: Sequence[Fault], repeat: int) -> str:
    """How many trials there will be, and about how long they take: `14 faults, 28 trials, about 17 minutes.`"""
    minutes = math.ceil(repeat * sum(fault.prediction().trial_seconds for fault in faults) / 60)
    trials = f", {many(len(faults) * repeat, 'trial')}" if repeat > 1 else ""
    return f"{many(len(faults), 'fault')}{trials}, about {many(minutes, 'minute')}."


def show_plan(out: Console, context: FaultContext, names: list[str], repeat: int, *, pooled: bool = False) -> None:
    """What is going to be done and what should come of it."""
    faults = [choose(name, context) for name in names]
    out.print(number_and_time(faults, repeat))
    for one in faults:
        prediction = one.prediction().pooled() if pooled else one.prediction()
        times = f"{repeat} times: " if repeat > 1 else ""
        out.print(f"[bold]{one.name}[/]  {times}{escape(one.describe())}.", soft_wrap=True)
        out.print(f"  The cluster {prediction.describe()}: {escape(prediction.why)}.", soft_wrap=True)
        if prediction.may_lose and prediction.effect is not Effect.KEEPS_RUNNING:
            out.print("  [yellow]Acknowledged writes may be lost: the durability is asynchronous.[/]", soft_wrap=True)
    out.print("What is open on the primary when it goes is lost; applications have to connect anew.", soft_wrap=True)


def in_order(names: list[str], repeat: int) -> list[PlannedTrial]:
    """Each fault as often as asked for, one kind after the other."""
    return [PlannedTrial(partial(choose, name)) for name in names for _ in range(repeat)]


def at_random(names: list[str], seconds: float, dice: random.Random, *, lagging: bool = False) -> Iterator[PlannedTrial]:
    """Faults and how long they last, both by the dice, until the time is up; with `lagging` a replica lags in half of those
    that this makes sense for."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        name, hold = dice.choice(names), dice.uniform(*HOLD_SECONDS)
        lags = lagging and dice.random() < 0.5 and not FAULTS[name].never_while_lagging
        yield PlannedTrial(partial(choose, name), hold, laggard if lags else None)
