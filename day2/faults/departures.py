"""How the replica that has everything leaves while the other one lags: in order, in a crash, for a moment, without power."""

from __future__ import annotations

from cluster.timing import WAL_SENDER_SECONDS
from cluster.topology import Host

from .power import cut_power, give_power
from .processes import PATRONI, POSTMASTER
from .script import HostScript, heal, inject
from .window import Window

STOP = HostScript("systemctl stop patroni.service\n", "systemctl start patroni.service || exit 1\n")
CRASH = PATRONI + POSTMASTER + 'kill -KILL "$patroni" "$postmaster"\n'


class LaggingThenStop(Window):
    name = "lagging-then-stop"
    summary = "one replica lags, Patroni is stopped on the other, and the primary's host loses its power"
    returns = False

    @property
    def leaving_in_words(self) -> str:
        return f"stops Patroni on {self.leaving.name}"

    def leave(self) -> None:
        inject(self.context.fleet, [self.leaving], STOP)

    def come_back(self) -> None:
        heal(self.context.fleet, [self.leaving], STOP)


class LaggingThenCrash(Window):
    name = "lagging-then-crash"
    summary = "one replica lags, PostgreSQL and Patroni of the other crash, and the primary's host loses its power"
    returns = True

    @property
    def leaving_in_words(self) -> str:
        return f"kills PostgreSQL and Patroni on {self.leaving.name} (SIGKILL), which systemd starts again"

    def leave(self) -> None:
        values = {"data": self.context.cluster.postgres.data_directory}
        inject(self.context.fleet, [self.leaving], HostScript(CRASH, values=values))


class LaggingThenRestart(Window):
    name = "lagging-then-restart"
    summary = "one replica lags, PostgreSQL of the other is restarted, and the primary's host loses its power"
    returns = True

    @property
    def leaving_in_words(self) -> str:
        return f"has Patroni restart PostgreSQL on {self.leaving.name}"

    def leave(self) -> None:
        """Has Patroni restart it, as `invoke rolling-restart` does."""
        self.context.patroni.send(self.leaving.name, "POST", "/restart", {})


class LaggingThenOff(Window):
    """With three members of etcd, two of which are lost, nobody leads before the first of the two hosts has its power back."""

    name = "lagging-then-off"
    summary = "one replica lags, the other's host and then the primary's lose their power"
    returns = False
    silence = WAL_SENDER_SECONDS

    @property
    def leaving_in_words(self) -> str:
        return f"cuts the power of {self.leaving.name} ({self.leaving.settings.power_off})"

    def without_power(self) -> tuple[Host, ...]:
        return self.hosts[:2]

    def leave(self) -> None:
        cut_power([self.leaving])

    def come_back(self) -> None:
        give_power(self.context, [self.leaving])
