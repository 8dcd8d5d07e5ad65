"""The programs that keep clients waiting on the proxy hosts (agents/sent/hold.py), for as long as they are spoken to."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Self

import paramiko

from agents.sent import shipped
from cluster import lock
from cluster.errors import ClusterError
from cluster.topology import Cluster
from day2.hosts.interrupts import Interrupts
from day2.hosts.psql import psql
from day2.hosts.ssh import LOST, Fleet, UnreachableError

from .hold import Hold, Session, given_up, program, query, sessions_of, too_long

READY_SECONDS = 20
# How much longer than its own deadline a program may take to say so.
ANSWER_SECONDS = 10
LOOK_SECONDS = 0.5
STEP_SECONDS = 0.02


class Holding:
    """Clients who can be made to wait on the proxy hosts of a `hold` while the block lasts: its end lets all go, always.

    `leader` is the primary's host, which is asked who stands in the way. `began`: when it was asked for (monotonic), or None.
    """

    def __init__(self, fleet: Fleet, cluster: Cluster, hold: Hold, leader: str, interrupts: Interrupts) -> None:
        self._fleet, self._cluster, self._hold, self._leader = fleet, cluster, hold, leader
        self._interrupts = interrupts
        self._proxies: list[_Proxy] = []
        self.began: float | None = None

    def __enter__(self) -> Self:
        owner = lock.owner("hold")
        try:
            for name in self._hold.hosts:
                argument = program(self._cluster, self._cluster.host(name), owner, self._hold)
                self._proxies.append(_Proxy(self._fleet, name, argument))
            self._answers("ready", READY_SECONDS)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        for proxy in self._proxies:
            proxy.leave()
        for proxy in self._proxies:
            proxy.close(ANSWER_SECONDS)

    def await_short(self) -> None:
        """Waits for `patience` until no transaction in the pools is older than that. Raises HoldGivenUpError with who is left;
        nobody has waited for them then."""
        deadline = time.monotonic() + self._hold.patience
        while True:
            self._interrupts.check()
            left = too_long(self._sessions(self._ask("busy", "busy", ANSWER_SECONDS)), self._hold.patience)
            if not left:
                return
            if time.monotonic() > deadline:
                raise given_up(left, self._hold.patience)
            self._interrupts.sleep(LOOK_SECONDS)

    def hold(self) -> None:
        """From here on clients wait. Raises HoldGivenUpError where that can't be had in time."""
        self.began = time.monotonic()
        answers = self._ask("hold", "held", self._hold.patience + ANSWER_SECONDS, check=True)
        stuck = [answer for answer in answers.values() if "stuck" in answer]
        if stuck:
            sessions = self._sessions(answers, "stuck")
            self._refuse_held(stuck)
            raise given_up(sessions, self._hold.patience)

    def still(self) -> None:
        """Raises ClusterError where clients wait no more: this machine may have slept since."""
        self._ask("still", "still", ANSWER_SECONDS)

    def let_go(self, to: str) -> None:
        """All go on, to the primary on host `to`: at each proxy as soon as that one leads there, whatever another does, which may
        have been lost meanwhile. Raises ClusterError where they don't get there."""

        def at(proxy: _Proxy) -> dict[str, Any] | ClusterError:
            try:
                self._ask(f"open {to}", "open", self._hold.bound + ANSWER_SECONDS, of=(proxy,))
                return self._ask("resume", "resumed", ANSWER_SECONDS, of=(proxy,))[proxy.host]
            except ClusterError as error:
                return error

        with ThreadPoolExecutor(len(self._proxies)) as pool:
            answers = list(pool.map(at, self._proxies))
        if lost := [str(error) for error in answers if isinstance(error, ClusterError)]:
            raise ClusterError("; ".join(lost))
        self._refuse_held(answers)

    def _refuse_held(self, answers: Any) -> None:
        """Raises ClusterError where something could not be let go, so that only the timer does it."""
        if problems := [text for answer in answers for text in answer["problems"]]:
            raise ClusterError(f"{'; '.join(problems)}: by itself after {self._hold.bound} s, or by `invoke traffic.resume`")

    def _sessions(self, answers: dict[str, Any], key: str = "busy") -> tuple[Session, ...]:
        busy = [one for answer in answers.values() for one in answer.get(key, [])]
        if not busy:
            return ()
        return sessions_of(busy, json.loads(psql(self._fleet, self._cluster, self._leader, query(one["pid"] for one in busy))))

    def _ask(
        self, command: str, key: str, seconds: float, *, check: bool = False, of: Sequence[_Proxy] = ()
    ) -> dict[str, dict[str, Any]]:
        for proxy in of or self._proxies:
            proxy.tell(command)
        return self._answers(key, seconds, check=check, of=of)

    def _answers(self, key: str, seconds: float, *, check: bool = False, of: Sequence[_Proxy] = ()) -> dict[str, dict[str, Any]]:
        """What each says, or each `of` some. `check`: Ctrl-C ends the wait."""
        deadline = time.monotonic() + seconds
        found = {}
        for proxy in of or self._proxies:
            answer = proxy.answer(deadline, self._interrupts.check if check else lambda: None)
            if key not in answer and "stuck" not in answer:
                raise ClusterError(f"{proxy.host}: {answer.get('problem', f'says {answer}')}")
            found[proxy.host] = answer
        return found


class _Proxy:
    """The program on one host."""

    def __init__(self, fleet: Fleet, host: str, argument: dict[str, Any]) -> None:
        self.host = host
        self._lines: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        command, source = shipped("hold", argument)
        try:
            self._channel: paramiko.Channel = fleet.start(host, command)
            self._channel.sendall(source.encode())
        except (UnreachableError, *LOST) as error:
            raise ClusterError(f"{host}: {error}") from None
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        with suppress(*LOST, ValueError):
            for line in self._channel.makefile("r"):
                self._lines.put(json.loads(line))
        problem = ""
        with suppress(*LOST):
            problem = self._channel.makefile_stderr("rb").read().decode(errors="replace").strip()
        self._lines.put({"problem": problem or "the program that holds clients has ended"})

    def tell(self, command: str) -> None:
        try:
            self._channel.sendall(f"{command}\n".encode())
        except LOST as error:
            raise ClusterError(f"{self.host}: the connection broke ({error or type(error).__name__})") from None

    def answer(self, deadline: float, check: Callable[[], None]) -> dict[str, Any]:
        """The next one. Raises ClusterError when none comes."""
        while time.monotonic() < deadline:
            check()
            with suppress(queue.Empty):
                return self._lines.get(timeout=0.1)
        raise ClusterError(f"{self.host}: no answer from what holds clients there")

    def leave(self) -> None:
        """The end of its input, at which it lets go."""
        with suppress(*LOST):
            self._channel.shutdown_write()

    def close(self, seconds: float) -> None:
        """Waits until it has ended."""
        self._channel.status_event.wait(seconds)
        self._channel.close()
