"""Runs the steps of a restore, and notes after each that it is done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import assert_never

from cluster.errors import ClusterError
from cluster.recovery import Target

from .actions import RestoreActions
from .arrival import Arrival, outrun
from .plan import Restore, back, left, spent
from .steps import (
    ArchiveRest,
    AwaitReplicas,
    BeginBackup,
    Clear,
    EndArchive,
    Fetch,
    Follow,
    ForgetCourse,
    HoldPatroni,
    Lead,
    PassOver,
    PutBack,
    Recover,
    RestoreStep,
    SetAside,
    StartPatroni,
    StopMember,
)

Told = Callable[[RestoreStep], None]


def carry_out(restore: Restore, target: Target, actions: RestoreActions, say: Told, did: Told) -> Arrival | None:
    """Takes the steps that are left; where the recovery has arrived, if that was one of them. `say` is called before each, `did`
    once it is noted that it is done.

    Raises ClusterError and KeyboardInterrupt; what is done then is noted, and a second call goes on behind it.
    """
    arrival = None
    actions.check_interrupted()
    actions.note(restore)
    for step in left(restore):
        actions.check_interrupted()
        say(step)
        if isinstance(step, Recover):
            arrival = actions.recover(step.host, restore, target)
        elif isinstance(step, ArchiveRest):
            restore = replace(restore, ends=actions.archive_left(step.hosts, step.away))
            if why := outrun(restore):
                raise ClusterError(why)
        else:
            execute(step, actions)
        restore = replace(restore, done=restore.done + 1)
        actions.note(restore)
        did(step)
    actions.noted_done(restore)
    return arrival


def call_off(restore: Restore, actions: RestoreActions, say: Told, did: Told) -> None:
    """Takes the steps that put all back, each of which may be done again. Raises as `carry_out` does."""
    noted = False
    for step in back(restore):
        actions.check_interrupted()
        if not noted and not isinstance(step, Clear):
            # From here on data lies where it lives. Whoever comes again must not delete what a replica has copied since, nor
            # restore over it as if that were the rest of an earlier try.
            actions.note(replace(restore, done=0, spent=spent(restore)))
            noted = True
        say(step)
        execute(step, actions)
        did(step)
    actions.noted_off()


def execute(step: RestoreStep, actions: RestoreActions) -> None:
    """Does a step other than Recover and ArchiveRest, of which more is to be known."""
    match step:
        case EndArchive(host, away, _, number):
            actions.end_archive(host, number if away else None)
        case HoldPatroni(hosts, id):
            actions.hold(hosts, id)
        case StopMember(host):
            actions.stop(host)
        case SetAside(host, suffix):
            actions.set_aside(host, suffix)
        case Fetch(host, label, timeline, _, options):
            actions.fetch(host, label, timeline, options)
        case ForgetCourse(host):
            actions.forget_course(host)
        case Lead(host):
            actions.let_none_expire()  # before: a scheduled backup may begin as soon as somebody leads
            actions.lead(host)
        case Follow(hosts):
            actions.start(hosts)
        case AwaitReplicas():
            actions.await_replicas()
        case BeginBackup():
            actions.begin_backup()
        case PutBack(host, suffix):
            actions.put_back(host, suffix)
        case Clear(host):
            actions.clear(host)
        case PassOver(timeline):
            actions.pass_over(timeline)
        case StartPatroni(hosts):
            actions.start(hosts)
        case Recover() | ArchiveRest():
            raise NotImplementedError(step)
        case _:
            assert_never(step)
