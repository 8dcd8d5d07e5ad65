"""How a run of the deploy begins: what it is about is read, and refused before anything is changed where it can't go on."""

from __future__ import annotations

import time
import weakref
from typing import Any

import gevent.lock
from pyinfra.api import State
from pyinfra.context import ctx_state

from cluster import shared
from cluster.building import RawHost, build
from cluster.changelog import announcement, read
from cluster.errors import ClusterError
from cluster.fitness import noted_layout, notes, refusals
from cluster.last_deploy import digest, note_for
from cluster.sources import announced, origins
from cluster.stores import CIPHER
from cluster.survey import HostSurvey
from cluster.topology import Cluster
from cluster.vault import Vault
from cluster.version import own
from health.preflight import few_sessions, judge

from . import sessions, slots, stores
from .changes import tell_changes
from .connections import logged_in_as, tune
from .context import Run, warn
from .ending import unreached
from .refusal import Refusal, refusal
from .survey import answering, judge_hosts, probe_hosts, survey_hosts

# pyinfra loads deploy.py once for each host, side by side: the first does the work, the others wait for what comes of it.
_runs: weakref.WeakKeyDictionary[State, Run | Refusal] = weakref.WeakKeyDictionary()
_turn = gevent.lock.RLock()


def current_run() -> Run:
    """The run that is being prepared, made on the first call. Raises Refusal when the deploy must not go on."""
    state = ctx_state.get()
    with _turn:
        if state not in _runs:
            try:
                _runs[state] = _begin(state)
            except Refusal as refused:
                _runs[state] = refused
        came = _runs[state]
    if isinstance(came, Refusal):
        raise came
    return came


def _begin(state: State) -> Run:
    try:
        cluster = build(hosts_of(state))
        vault = Vault(cluster)
        version = own()
    except ClusterError as error:
        raise refusal(str(error)) from None
    absent = sorted({h.name for h in state.inventory if state.is_host_in_limit(h)} - {h.name for h in state.active_hosts})
    if absent:
        raise unreached(absent)
    tune(state)
    tell_changes(state)
    surveys = survey_hosts(state, cluster)
    problems = refusals(cluster, surveys, vault.cluster_id, vault.existed, version, vault.trusted)
    problems += _incomplete(cluster, surveys)
    if not problems:
        # Not before the survey, which has seen that sudo asks no password: pyinfra would ask for one.
        for one in state.inventory:
            one.data._sudo = (logged_in_as(one) or cluster.host(one.name).settings.ssh_user or "root") != "root"
        problems = [*_preflight(state, cluster, surveys), *few_sessions(cluster, surveys)]
        problems = problems or judge_hosts(state, cluster, _living(cluster, surveys))
    if problems:
        raise refusal("this deploy can't go on, nothing was changed:", problems)
    cluster = sessions.as_it_runs(state, cluster, _living(cluster, surveys))
    noted = _shared(state, cluster, vault, surveys)
    run = Run(cluster, vault, surveys, version, noted, note_for(digest(cluster, noted), surveys.values(), time.time()))
    _refuse_what_is_there(state, run)
    for line in announcement(notes(cluster, surveys), version, read()):
        warn(line)
    return run


def _shared(state: State, cluster: Cluster, vault: Vault, surveys: dict[str, HostSurvey]) -> dict[str, str]:
    """Digests of what holds for all hosts, as this run leaves it. Raises Refusal where it would change that on some of them."""
    noted, now = noted_layout(cluster, surveys), shared.digests(cluster, vault)
    left_out = {h.name for h in cluster.hosts} - surveys.keys()
    before = noted.layout.shared if noted else {}
    changes = shared.changed(before, now)
    if CIPHER in changes and (unreadable := stores.encrypted_otherwise(state, cluster, str(vault.directory))):
        raise refusal("this deploy can't go on, nothing was changed:", unreadable)
    if not left_out:
        for line in shared.passwords(changes, str(vault.directory)):
            warn(line)
        return now
    if not changes:
        return before
    if running := answering(state, cluster, left_out):
        raise refusal("this deploy can't go on, nothing was changed:", [shared.refusal(changes, surveys, running)])
    if kept := shared.slots_left(cluster, changes, left_out):
        raise refusal("this deploy can't go on, nothing was changed:", kept)
    for line in shared.unasked(cluster, changes, left_out):
        warn(line)
    return now  # a host that is down is brought what it has missed when it is back


def _refuse_what_is_there(state: State, run: Run) -> None:
    """Raises Refusal where backups are to lie in a place that can't be used as the settings say, or a slot's name is taken."""
    try:
        problems = stores.store_problems(state, run) + stores.broken_off(state, run.cluster, run.surveys)
        problems += slots.problems(state, run.cluster, _living(run.cluster, run.surveys))
    except ClusterError as error:
        problems = [str(error)]
    if problems:
        raise refusal("this deploy can't go on, nothing was changed:", problems)


def _preflight(state: State, cluster: Cluster, surveys: dict[str, HostSurvey]) -> list[str]:
    """Measures the hosts that are new to the cluster; what is only worth a warning is told, what is a problem is returned."""
    new = {name for name, survey in surveys.items() if not survey.belongs_to}
    needed = {name: origins(cluster, cluster.host(name), surveys[name]) for name in sorted(new)}
    for line in announced(needed):
        warn(f"packages: {line}")
    found = judge(cluster, probe_hosts(state, cluster, new), needed=needed, surveys=surveys)
    for one in found:
        if one.level == "warning":
            warn(str(one))
    return [str(one) for one in found if one.level == "problem"]


def _living(cluster: Cluster, surveys: dict[str, HostSurvey]) -> set[str]:
    """The hosts of this run that have the cluster's data, by name."""
    data = {name for name, survey in surveys.items() if survey.belongs_to and survey.postgres_data == "cluster"}
    return data & {host.name for host in cluster.postgres_hosts}


def _incomplete(cluster: Cluster, surveys: dict[str, HostSurvey]) -> list[str]:
    """A cluster can only be made on all of its hosts at once; afterwards --limit is the user's choice."""
    missing = [h.name for h in cluster.hosts if h.name not in surveys]
    if missing and not any(survey.belongs_to for survey in surveys.values()):
        return [f"a new cluster needs all its hosts, but {', '.join(missing)} are left out by --limit or --exclude"]
    return []


def hosts_of(state: State) -> dict[str, RawHost]:
    """Every host of pyinfra's inventory with its data as pyinfra resolves it."""
    return {h.name: RawHost(frozenset(h.groups), _data(h)) for h in state.inventory}


def _data(one: Any) -> dict[str, Any]:
    """Its settings: not the helpers a settings file may define, nor what pyinfra's own @fake connector reads."""
    return {k: v for k, v in one.data.dict().items() if not callable(v) and not k.startswith("fake_")}
