"""Proofs to test with: trials as a small cluster gives them, and the same with something gone wrong."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from day2.history.reads import ReadCheck
from day2.history.writes import Throughput, WriteCheck
from day2.predictions.prediction import Effect, Prediction
from day2.trials.result import LogLine, Phase, Proof, Trial

RATE = 210  # acknowledged writes per 100 ms
TIMERS = {
    "ttl": 20.0, "loop_wait": 2.0, "retry_timeout": 5.0, "primary_start_timeout": 0.0, "primary_stop_timeout": 15.0,
    "heartbeat_ms": 100.0, "election_ms": 1000.0, "inter_ms": 1000.0, "fastinter_ms": 500.0, "downinter_ms": 500.0,
}  # fmt: skip
VERSIONS = {"postgresql": "18.6", "patroni": "4.1.5", "etcd": "3.5.30", "haproxy": "3.2.26"}
SETTINGS = {
    "durability": "quorum",
    "timing_profile": "lan",
    "client_networks": ["10.0.0.0/24"],
    "postgres": {"parameters": {"max_connections": 200, "shared_buffers": "256MB"}, "port": 5432},
}
HOSTS = {"postgres": ("pg-sv01", "pg-sv02", "pg-sv03"), "etcd": ("pg-sv01", "pg-sv02", "pg-sv03"), "haproxy": ("pg-haproxy",)}

# name: description, effect, within, lease (when the leader key is gone; None: nobody else leads), hold
FAULTS: dict[str, tuple[str, Effect, float, float | None, float]] = {
    "host-off": ("the power of the primary's host is cut, etcd led elsewhere", Effect.FAILS_OVER, 22.5, 18.2, 0.0),
    "host-off-etcd-leader": ("the same when the host leads etcd too", Effect.FAILS_OVER, 25.5, 20.6, 0.0),
    "postgres-kill": ("SIGKILL for the primary's postmaster", Effect.FAILS_OVER, 2.5, 0.9, 0.0),
    "patroni-kill": ("SIGKILL for the primary's Patroni, which systemd restarts", Effect.KEEPS_RUNNING, 1.0, None, 10.0),
    "partition-primary": ("the primary's host is cut from all others", Effect.FAILS_OVER, 24.0, 18.9, 0.0),
    "etcd-all-stop": ("all members of etcd are stopped", Effect.STOPS, 10.0, None, 40.0),
    "replicas-off": ("the power of both replicas is cut", Effect.STOPS, 12.0, None, 20.0),
    "haproxy-kill": ("SIGKILL for HAProxy, which systemd restarts", Effect.KEEPS_RUNNING, 1.5, None, 5.0),
    "switchover": ("a planned switchover to a synchronous replica", Effect.FAILS_OVER, 2.0, 0.3, 0.0),
}


def write_check(acknowledged: int = 60_000, **differs: Any) -> WriteCheck:
    values: dict[str, Any] = {
        "failed": 5, "indeterminate": 12, "lost": (), "recovered": 4, "unexpected": (), "duplicated": (),
    }  # fmt: skip
    return WriteCheck(acknowledged=acknowledged, **(values | differs))


def lost(count: int, writers: int = 16) -> tuple[tuple[int, int], ...]:
    """The last writes of each writer, which is what a failover of asynchronous replication loses."""
    return tuple(sorted((i % writers, 3800 + i // writers) for i in range(count)))


def trial(fault: str = "host-off", seed: int = 0, late: float = 0.0, **differs: Any) -> Trial:
    """One trial as it should go, or `late` seconds later; the same for the same seed."""
    about, effect, within, lease, hold = FAULTS[fault]
    dice = random.Random(f"{fault} {seed}")
    old, new = "pg-sv01", dice.choice(("pg-sv02", "pg-sv03"))
    phases: tuple[Phase, ...] = (Phase("fault", fault, 0.0),)
    healed = hold or None
    if lease is not None:
        began, phases, resumed = _failover(dice, fault, old, new, lease, within, late)
        healed = round(resumed + 2, 3) if within > 10 else None
    elif effect is Effect.STOPS:
        began, resumed = 0.02, hold + dice.uniform(0.3, 0.8) * within
    else:
        began, resumed = 0.05, 0.05 + dice.uniform(0.2, 0.6) * within
    healthy_at = max(resumed, healed or 0) + dice.uniform(2, 8)
    if healed is not None:
        phases += (Phase("healing", f"healing {old} begins", healed),)
    values: dict[str, Any] = {
        "fault": fault, "description": about, "hosts": (old,), "began": f"2026-03-0{1 + seed % 9}T10:{seed % 60:02d}:00Z",
        "durability": "quorum", "primary_before": old, "primary_after": new if lease is not None else old,
        "prediction": Prediction(effect, within, "leader key ttl 20 s, asking the members 2 s, promotion 1 s", hold=hold),
        "timeline": (*phases, Phase("returned", f"{old} streams as a replica", round(healthy_at - 0.7, 3), None)),
        "outage": round(resumed - began, 3), "outage_began": began, "heal_started": healed, "heal_finished": healed,
        "healthy_again": round(healthy_at, 3), "problems": (),
        "writes_per_second": RATE * 10.0, "writes": write_check(int(RATE * 10 * (healthy_at + 5 - resumed))),
        "reads": ReadCheck(41_000 + dice.randrange(4000), dice.randrange(20), dice.randrange(3), 0, 0.002, 0.018, 0.31),
        "throughput": _throughput(dice, began, resumed, healthy_at + 2),
        "log": tuple(LogLine(round(p.seconds or 0, 3), old, "patroni", f"INFO: {p.name}") for p in phases),
    }  # fmt: skip
    return Trial(**(values | differs))


def _failover(
    dice: random.Random, fault: str, old: str, new: str, lease: float, within: float, late: float
) -> tuple[float, tuple[Phase, ...], float]:
    """When writes stopped, the steps of a failover, and when writes went on."""
    step = max(within - lease - 2.2, 0.4) / 4
    at = lease + dice.uniform(-0.1, 0.1) * lease
    steps = (
        ("key_gone", "leader key gone", (0.8 * lease, 1.15 * lease)),
        ("leader", f"{new} takes the leader key", (0.85 * lease, 1.2 * lease + step)),
        ("promoted", f"{new} is promoted", (0.85 * lease, 1.2 * lease + 2 * step)),
        ("routed", f"HAProxy sends writes to {new}", (0.9 * lease, 1.2 * lease + 3 * step)),
        ("first_write", "first acknowledged write", (0.9 * lease, within)),
    )
    phases = [Phase("fault", f"{fault} on {old}", 0.0)]
    for key, name, predicted in steps:
        phases.append(Phase(key, name, round(at, 3), (round(predicted[0], 1), round(predicted[1], 1))))
        at += dice.uniform(0.2, 0.8) * step + (late if key == "promoted" else 0)
    resumed = phases[-1].seconds
    assert resumed is not None
    return 0.0, tuple(phases), resumed


def _throughput(dice: random.Random, began: float, resumed: float, end: float) -> Throughput:
    """Writes per 100 ms from 3 s before the fault: none in the gap, and slowly more after it."""
    counts = []
    for i in range(int((end + 3) * 10)):
        at = -3 + i / 10
        if began <= at < resumed - 0.1:
            counts.append(0)
        else:
            counts.append(
                max(0, int(RATE * min(1.0, 0.3 + (at - resumed) / 2 if at >= began else 1.0) * dice.uniform(0.75, 1.15)))
            )
    return Throughput(-3.0, 0.1, tuple(counts))


def proof(*trials: Trial, **differs: Any) -> Proof:
    values: dict[str, Any] = {
        "cluster": "shop", "profile": "lan", "durability": "quorum", "timers": TIMERS, "versions": VERSIONS,
        "settings": SETTINGS, "hosts": HOSTS, "writers": 16, "readers": 4, "seed": None,
        "command": "invoke failover-test --fault host-off --report report", "began": "2026-03-01T10:00:00Z",
        "ended": "2026-03-01T10:41:00Z", "trials": trials or (trial(),),
    }  # fmt: skip
    return Proof(**(values | differs))


def matrix(repeat: int = 5) -> Proof:
    """Every fault several times, all as promised."""
    command = f"invoke failover-test --fault all --repeat {repeat} --report report"
    return proof(*(trial(fault, seed) for fault in FAULTS for seed in range(repeat)), command=command)


def failed() -> Proof:
    """Three faults; in one trial writes were lost, the outage was too long and a host did not come back."""
    bad = trial(
        "host-off", 9, late=11.5, healthy_again=None, problems=("pg-sv01 does not stream from pg-sv02",),
        writes=write_check(41_230, lost=lost(37), out_of_order=((3, 9), (3, 10))),
    )  # fmt: skip
    good = [trial(fault, seed) for fault in ("host-off", "postgres-kill", "switchover") for seed in range(4)]
    return proof(*good, bad, command="invoke failover-test --fault host-off,postgres-kill,switchover --repeat 5 --report report")


def asynchronous() -> Proof:
    """A failover that loses what asynchronous replication may lose: passed, and to be seen."""
    trials = [trial("host-off", seed, durability="async", writes=write_check(lost=lost(90 * seed))) for seed in range(3)]
    trials = [
        replace(t, prediction=replace(t.prediction, may_lose=True), reads=replace(t.reads, reads_of_lost_rows=11)) for t in trials
    ]
    return proof(*trials, durability="async", command="invoke failover-test --fault host-off --repeat 3 --report report")


def soak(count: int = 40) -> Proof:
    """Random faults, each healed at a random moment."""
    dice = random.Random(7)
    trials = []
    for number in range(count):
        one = trial(dice.choice(list(FAULTS)), number, began=f"2026-03-01T1{number // 60}:{number % 60:02d}:10Z")
        trials.append(replace(one, prediction=Prediction(Effect.ANY, 70.0, "healed at a random moment", hold=20.0)))
    return proof(*trials, seed=7, command="invoke failover-test --soak 60 --seed 7 --report report")
