"""Gives a primary up whose host is gone, before its lease has ended, and keeps this host's PostgreSQL from hearing former ones.

On each database host, as one of its own (cluster/fencing.py has the rules, agents/promises.py the notes):

* When the leader's host has been silent for a while (pulse.py), the guard says so in etcd. Once all say so who must, each cuts
  its own connections there, which would be waited for, and says that, too. Then one of them takes the leader key away, by one
  transaction that fails if anything has changed. Patroni's race follows as ever.
* When a candidate asks for it, the guard cuts PostgreSQL off from the former primaries and only then says how far it is. That
  holds over a restart of this host, until none of them can be heard any more.
"""

from __future__ import annotations

import json
import os
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from agents import https
from agents.etcd import Etcd, EtcdError, Value
from agents.fence import Filter, Kept
from agents.log_position import Server
from agents.promises import Board, Notes
from agents.promotion_gate import MEMBER_SECONDS
from agents.promotion_gate import understood as understood_by_gate
from agents.pulse import Pulse
from agents.specification import Specification
from agents.terms import Terms
from cluster.fencing import Fence, Promise, Sighting, agreed, holds, read, refusal
from cluster.quorum import parse

FENCE, SHUN = "pgquorum_fence", "pgquorum_shun"
KEPT = "/var/lib/pgquorum-guard/fence.json"
ETCD_SECONDS = 1.0
SHUN_SECONDS = 30.0
# The others need a moment to say that they miss it, too.
TELL_SECONDS = 2.0
IDLE_SECONDS, BUSY_SECONDS, SOON_SECONDS, ERROR_SECONDS = 30.0, 1.0, 0.2, 0.5


class Guard:
    """`silent` says who is silent now, `leads` whether a member's Patroni runs a primary."""

    def __init__(
        self,
        specification: Specification,
        notes: Notes,
        silent: Callable[[], frozenset[str]],
        server: Server,
        leads: Callable[[str], bool],
        fence: Filter,
        shun: Filter,
        kept: Kept,
    ) -> None:
        self._me, self._addresses, self._specification = specification.name, specification.addresses, specification
        self._notes, self._silent, self._server, self._leads = notes, silent, server, leads
        self._fence, self._shun, self._kept = fence, shun, kept
        self._terms = Terms(time.monotonic())
        self._shunned: tuple[str, float] | None = None
        self._fenced: Fence | None = None
        self._up: Fence | None = None  # what the kernel was given last
        self._bound = 0  # the term of the last promise that still binds, 0 for none
        self._told: Sighting | None = None  # also of one that it had told before it was started anew: that is forgotten soon
        self._missed = 0.0  # since when the leader is silent
        self._said = ""

    def restore(self) -> None:
        """What was promised before this host was restarted. Raises OSError."""
        self._shun.remove()
        fence = None
        with suppress(ValueError, AttributeError, KeyError, TypeError):
            kept = json.loads(self._kept.read() or "{}")
            fence, self._bound = read(Fence, json.dumps(kept.get("fence"))), int(kept.get("bound", 0))
        if fence is None and self._kept.there():  # it can't be understood: then nobody is heard at all
            fence, self._bound = Fence(0, "", tuple(name for name in self._addresses if name != self._me)), 1
        if fence is None:
            self._fence.remove()
        else:
            self._put(fence)

    def step(self) -> float:
        """Does what is to be done now; for how many seconds there is nothing more to do, unless a note is written or somebody
        becomes silent. Raises EtcdError and OSError, ValueError for what can't be understood: of the first thing that could not
        be done. The others are."""
        board, now = self._notes.read(), time.monotonic()
        self._terms.see(board.leader.created if board.leader else 0, board.yielded.term if board.yielded else 0, now)
        asked, problems = False, list[Exception]()
        for duty in (self._promise, self._lower, self._end_shunning, self._look_at):
            try:
                asked = bool(duty(board)) or asked
            except (EtcdError, OSError, ValueError) as error:
                problems.append(error)
        if problems:
            raise problems[0]
        return SOON_SECONDS if asked else BUSY_SECONDS if self._fenced or self._shunned or self._told else IDLE_SECONDS

    # Promises

    def _promise(self, board: Board) -> bool:
        """Promises what it is asked for; whether that can't be done yet."""
        fence = board.asked
        if fence is None or fence.candidate == self._me or self._me in board.promised(fence.term):
            return False
        mine = Fence(fence.term, fence.candidate, tuple(name for name in fence.against if name != self._me))
        if not set(mine.against) <= self._addresses.keys():  # a host that comes: this one is told of it by the deploy
            return True
        if self._up != mine or not self._fence.there():
            self._put(mine)
        # What was confirmed until here is on the disk, and nothing more can be.
        look, noted = self._server.look(), board.log_ends[self._me]
        if look is None or look.primary:  # one that takes writes tells the candidate by Patroni
            return True
        if noted is None or noted.text != str(look.started):  # it still reads its own log, and has more than it says
            return True
        if not self._fence.there():
            return True
        before, self._bound = self._bound, fence.term
        self._keep(mine)
        if not self._notes.promise(self._me, board, fence, Promise(fence.term, look.timeline, look.lsn, look.started)):
            self._bound = before
        else:
            self._say(f"promised {fence.candidate} to hear nobody else")
        return False

    def _put(self, fence: Fence) -> None:
        """Puts the fence up, for good. Raises OSError."""
        self._keep(fence)
        self._fenced, self._up = fence, None
        self._fence.put([self._addresses[name] for name in fence.against if name in self._addresses], [self._specification.port])
        self._up = fence

    def _keep(self, fence: Fence) -> None:
        self._kept.write(json.dumps({"fence": asdict(fence), "bound": self._bound}))

    def _lower(self, board: Board) -> None:
        fence = self._fenced
        if fence is None:
            return
        if self._up != fence or not self._fence.there():  # somebody has flushed the kernel's rules
            self._put(fence)
        if self._free(fence, board):
            self._fence.remove()
            self._kept.remove()
            self._fenced, self._up, self._bound = None, None, 0

    def _free(self, fence: Fence, board: Board) -> bool:
        """Whether the fence binds this host no more."""
        leader = board.leader
        if not self._bound:  # nothing was promised yet: it may go when nobody asks any more
            return board.asked is None
        look = self._server.look()
        if look and (look.primary or not holds(self._bound, board.promoted, look.timeline)):
            return True
        # A former primary that leads again, in a later term. Who has won the key is none yet.
        return bool(leader and leader.text in fence.against and leader.created > self._bound and self._leads(leader.text))

    # A leader that is gone

    def _end_shunning(self, board: Board) -> None:
        if self._shunned and (time.monotonic() > self._shunned[1] or self._shunned[0] not in self._silent()):
            self._shun.remove()
            self._shunned = None

    def _look_at(self, board: Board) -> None:
        """Says what this host sees of the leader, where somebody misses it, and does what follows from that."""
        leader = board.leader
        if leader is None or leader.text not in self._addresses or leader.text == self._me:
            self._tell(None)
        elif leader.text in self._silent():
            ready = bool(self._shunned and self._shunned[0] == leader.text)
            self._tell(Sighting(leader.text, leader.created, silent=True, ready=ready))
            self._give_up(board, leader)
        else:
            about = leader.text, leader.created
            missed = any(one and one.silent and (one.host, one.term) == about for one in board.sightings.values())
            self._tell(Sighting(*about, silent=False) if missed else None)

    def _tell(self, sighting: Sighting | None) -> None:
        if not (self._told and self._told.silent):
            self._missed = time.monotonic()
        if sighting != self._told or (sighting and not self._notes.tell_again()):
            self._notes.tell(self._me, sighting)
            self._told = sighting

    def _give_up(self, board: Board, leader: Value) -> None:
        sync = parse(board.sync.text, board.sync.revision) if board.sync else None
        config, failover = (one.text if one else None for one in (board.config, board.failover))
        why = refusal(leader.text, sync, config, failover)
        why = why or self._terms.refusal(time.monotonic())
        hosts = list(self._addresses)
        if not why and sync:
            why = agreed(leader.text, leader.created, sync, hosts, board.sightings)
        if why or not sync:
            if time.monotonic() - self._missed > TELL_SECONDS:
                self._say(f"{leader.text} is silent, and its lease is waited for: {why}")
        elif not self._shunned:
            ports = {int(one.rpartition(":")[2]) for one in (*self._specification.patroni.values(), *self._specification.etcd)}
            self._shun.put([self._addresses[leader.text]], sorted(ports))
            self._shunned = leader.text, time.monotonic() + SHUN_SECONDS
            self._tell(Sighting(leader.text, leader.created, silent=True, ready=True))
        else:
            # Who is not ready yet says so in a moment, unless it can't be: then the others may be enough.
            sure = {name: one for name, one in board.sightings.items() if one and (one.ready or not one.silent)}
            silent = sorted(name for name, one in sure.items() if one.silent)
            enough = not agreed(leader.text, leader.created, sync, hosts, sure)
            if enough and self._notes.take_away(board, silent):
                self._say(f"{leader.text} is given up: {', '.join(silent)} hear nothing of it")

    def _say(self, text: str) -> None:
        """A line for the journal, once."""
        if text != self._said:
            self._said = text
            print(text, file=sys.stderr, flush=True)


def ready() -> None:
    """Tells systemd that what was promised stands again."""
    if where := os.environ.get("NOTIFY_SOCKET"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            out.connect(f"\0{where[1:]}" if where.startswith("@") else where)
            out.sendall(b"READY=1")


def leads(specification: Specification, tls: ssl.SSLContext, name: str) -> bool:
    """Whether a member's Patroni says that it runs a primary."""
    try:
        return understood_by_gate(https.ask(specification.patroni[name], "/patroni", None, tls, MEMBER_SECONDS)).primary
    except (OSError, ValueError, KeyError, TypeError, https.StatusError):
        return False


def main(specification: Specification) -> int:
    """Goes on for ever."""
    news = threading.Event()
    hosts = tuple(specification.patroni)
    silent: list[Pulse] = []
    notes = Notes(Etcd(specification.etcd, specification.etcd_tls(), ETCD_SECONDS), specification.cluster, hosts)
    tls = specification.patroni_tls()
    guard = Guard(
        specification,
        notes,
        lambda: silent[0].silent if silent else frozenset(),
        Server(specification),
        lambda name: leads(specification, tls, name),
        Filter(FENCE),
        Filter(SHUN),
        Kept(Path(KEPT)),
    )
    guard.restore()
    ready()
    others = {name: address for name, address in specification.addresses.items() if name != specification.name}
    silent.append(Pulse(others, specification.knock, news.set))
    silent[0].start()
    threading.Thread(target=_watch, args=(notes, news), daemon=True).start()
    said = ""
    while True:
        try:
            news.clear()
            said, pause = "", guard.step()
        except (EtcdError, OSError, ValueError, KeyError, TypeError) as error:
            pause = ERROR_SECONDS
            if str(error) != said:
                said = str(error)
                print(f"nothing can be done now: {error}", file=sys.stderr, flush=True)
        news.wait(pause)


def _watch(notes: Notes, news: threading.Event) -> None:
    """Wakes the guard whenever a note is written."""
    since = 0
    while True:
        with suppress(EtcdError, OSError, ValueError, KeyError, TypeError):
            since = notes.read().revision
            news.set()  # what was written in between
            notes.wait(since, IDLE_SECONDS)
            news.set()
            continue
        time.sleep(ERROR_SECONDS)
