"""What the deploy asks of each host before it touches anything: the script, and its answer as a value. Pure."""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from . import paths
from .releases import RELEASES, Release, release
from .topology import Cluster
from .values import directory

DISK_FREE_BYTES = 1024**3
# Among the places of the data, what is no setting: where the write-ahead log is.
LOG = "pg_wal"


@dataclass(frozen=True)
class HostSurvey:
    """What one host says of itself. Sizes in bytes; `clock_offset` in seconds against the operator's clock."""

    system: str = ""  # ID of /etc/os-release
    system_version: str = ""
    codename: str = ""
    postgres_source: str = ""  # a source of the PostgreSQL project's repository that somebody has added: its file
    mirror: str = ""  # of Debian, that the host itself uses; asked for where etcd is taken from there
    uid: int = 0
    user: str = "the SSH user"
    sudo: str = ""  # what it wrote where it does not let the user be root
    init: str = "systemd"
    marker: str = ""  # the content of paths.MARKER, empty when there is none
    layout: str = ""  # the same of paths.LAYOUT
    last_deploy: str = ""  # and of paths.LAST_DEPLOY
    restoring: bool = False  # a restore of the cluster is under way, or was interrupted
    postgres_data: str = "absent"  # absent, empty, cluster, foreign
    postgres_wal: bool = False  # the directory for the write-ahead log is not empty
    logical_slots: tuple[str, ...] = ()  # that PostgreSQL's data has
    etcd_data: bool = False  # a member's
    etcd_bytes: int = 0  # of its database
    etcd_foreign: bool = False  # the directory holds something that is not etcd's
    patroni_scope: str = ""  # the scope of a Patroni configuration that runs, ours or not
    postgres_service: bool = False
    authorities: tuple[tuple[str, bytes], ...] = ()  # by name, the certificates that are trusted here
    places: tuple[tuple[str, str], ...] = ()  # of the data: the setting, and the directory when all links are followed
    ipv6: bool = True  # the kernel has it
    networks: tuple[tuple[str, str], ...] = ()  # its addresses: the interface, and the address with its network's prefix
    listeners: tuple[tuple[int, str, str], ...] = ()  # on ports of the cluster's: the port, systemd's unit, the program
    ssh_ports: tuple[int, ...] = ()  # of its sshd: what that says, and the one at which this run is connected
    ssh_sessions: int | None = None  # sshd's MaxSessions; None where it can't be asked
    no_times: tuple[str, ...] = ()  # settings of timers that systemd there does not take
    answered: bool = False  # another host of a proxy's network has the address that the proxies are to have
    free_bytes: int = DISK_FREE_BYTES
    clock_offset: float = 0.0

    @property
    def release(self) -> Release | None:
        """What it runs; None for a release that is not known here."""
        return release(self.system, self.codename)

    @property
    def belongs_to(self) -> dict[str, str]:
        """The marker as a mapping; empty when there is none or it can't be read."""
        try:
            value = json.loads(self.marker)
        except ValueError:
            return {}
        return {str(k): str(v) for k, v in value.items()} if isinstance(value, dict) else {}


# Runs with any shell, on a host that has nothing yet.
_SURVEY = """
. /etc/os-release 2>/dev/null
echo "system $ID"; echo "system_version $VERSION_ID"; echo "codename $VERSION_CODENAME"
# What apt itself reads: not each file there, nor each line and stanza in one.
f='$(REPO_URI) $(RELEASE) $(SOURCESENTRY)'
sources=$(apt-get indextargets --no-release-info --format "$f" 'Created-By: Packages' 2>/dev/null)
echo "$sources" | awk -v ours={repository} -v suite="$VERSION_CODENAME-pgdg" '
  {{ sub("^[a-z+]*:(//)?", "", $1); sub("/+$", "", $1); sub(":[0-9]+$", "", $3) }} $1 == ours && $2 == suite {{ print $3 }}' |
  while read -r f; do case $f in {own_sources}) ;; *) echo "postgres_source $f" ;; esac; done
case $VERSION_CODENAME in {without_etcd})
  m=$(sed -n 's/^URIs: //p' {etcd_source} 2>/dev/null)
  # Others' sources may call their suite by the release's name, too: Debian alone has its updates beside it.
  for s in "$VERSION_CODENAME-updates" stable-updates "$VERSION_CODENAME" stable; do
    [ "$m" ] || m=$(echo "$sources" | awk -v suite="$s" '$2 == suite {{ print $1; exit }}')
  done
  echo "mirror $m" ;;
esac
echo "uid $(id -u)"
echo "init $(cat /proc/1/comm)"
[ -e {marker} ] && echo "marker $(cat {marker} | tr -d '\\n')"
[ -e {layout} ] && echo "layout $(cat {layout} | tr -d '\\n')"
[ -e {last_deploy} ] && echo "last_deploy $(cat {last_deploy} | tr -d '\\n')"
for f in {authorities}; do [ -e "${{f#*=}}" ] && echo "authority ${{f%%=*}} $(base64 -w0 "${{f#*=}}")"; done
[ -e {restoring} ] && echo "restoring yes"
if [ -e {data}/PG_VERSION ]; then echo "postgres_data cluster"
elif [ -d {data} ] && [ -n "$(ls -A {data} 2>/dev/null)" ]; then echo "postgres_data foreign"
elif [ -d {data} ]; then echo "postgres_data empty"; else echo "postgres_data absent"; fi
[ -n "$(ls -A {wal} 2>/dev/null)" ] && echo "postgres_wal yes"
slots=
for s in {data}/pg_replslot/*/state; do  # only a logical one is of a database, whose number is the 21st word of the file
  name=$(basename "$(dirname "$s")")
  case $name in *[!a-z0-9_]*) continue ;; esac  # no slot's name: PostgreSQL's user must not write lines of this answer
  [ -f "$s" ] && [ "$(timeout 2 od -An -tu4 -j80 -N4 "$s" 2>/dev/null)" -gt 0 ] 2>/dev/null && slots="$slots $name"
done
echo "logical_slots$slots"
[ -d {etcd}/member ] && echo "etcd_data yes"
echo "etcd_bytes $(stat -c %s {etcd}/member/snap/db 2>/dev/null || echo 0)"
[ ! -d {etcd}/member ] && [ -n "$(ls -A {etcd} 2>/dev/null)" ] && echo "etcd_foreign yes"
if systemctl is-active --quiet patroni.service; then
  for f in {patroni}/patroni.yml /etc/patroni/config.yml; do
    [ -e $f ] && sed -n 's/^scope: */patroni_scope /p' $f | tr -d '"' && break
  done
fi
systemctl list-units --state=active --plain --no-legend 'postgresql@*.service' 2>/dev/null | grep -q . &&
  echo "postgres_service yes"
d={data}; while [ ! -d "$d" ]; do d=$(dirname "$d"); done
for p in {places}; do  # a link may be PostgreSQL's user's, whose words must be no line of this answer
  echo "place ${{p%%=*}} $(realpath -m "${{p#*=}}" | tr -dc '[:print:]')"
done
[ -e /proc/net/if_inet6 ] && echo "ipv6 yes"
ip -o address show 2>/dev/null | while read -r _ interface _ network _; do echo "network $interface $network"; done
sshd=$(/usr/sbin/sshd -T 2>/dev/null)
echo "ssh_sessions $(echo "$sshd" | grep -i '^maxsessions ')"
echo "$sshd" | sed -n 's/^port /ssh_port /p'
command -v systemd-analyze >/dev/null && {{
{timers}
}}
ss -Hltnp 2>/dev/null | while read -r _ _ _ local _ users; do
  port=${{local##*:}}; case " {ports} " in *" $port "*) ;; *) continue ;; esac
  pid=${{users##*pid=}}; pid=/proc/${{pid%%[!0-9]*}}  # the last one: what is before it a program may be called
  echo "listener $port $(sed -n 's,^0::.*/,,p' $pid/cgroup 2>/dev/null) $(tr -dc '[:print:]' 2>/dev/null <$pid/comm)"
done
case "$(ip -o address show 2>/dev/null)" in {proxies})
  # Whoever has an address answers for it, whatever else it keeps to itself. Where keepalived is set up, that is one of ours.
  if [ "{address}" ] && ! grep -qs '{address}/' {keepalived}; then
    ip neigh flush to {address} 2>/dev/null  # what was so a while ago says nothing
    timeout 2 bash -c 'echo >/dev/udp/{address}/9' 2>/dev/null; sleep 1
    ip neigh show {address} 2>/dev/null | grep -q lladdr && echo "answered yes"
  fi ;;
esac
echo "free_bytes $(df --output=avail -B1 "$d" | tail -n 1 | tr -d ' ')"
echo "clock $(date +%s.%N)"
"""


def survey_command(cluster: Cluster) -> str:
    """The command for a host whose output parse_survey takes. It uses sudo by itself, and never asks for a password."""
    script = _SURVEY.format(
        marker=paths.MARKER,
        layout=paths.LAYOUT,
        last_deploy=paths.LAST_DEPLOY,
        restoring=paths.RESTORING,
        authorities=" ".join(f"{name}={path}" for name, path in paths.AUTHORITIES),
        data=cluster.postgres.data_directory,
        wal=f"{cluster.postgres.wal_directory or '/nonexistent'}/pg_wal",
        etcd=cluster.etcd.data_directory,
        patroni=paths.PATRONI_CONFIG,
        repository=shlex.quote(cluster.postgres.source_url.partition("://")[2].rstrip("/")),
        own_sources=paths.apt_source("*"),
        etcd_source=paths.apt_source("etcd"),
        without_etcd=_asked_for_mirror(cluster),
        proxies="|".join(f"*' {host.address}/'*" for host in cluster.entry_hosts) or "-",
        address=cluster.haproxy.proxy_address or "",
        timers="\n".join(_timers(cluster)) or ":",
        ports=" ".join(str(cluster.setting(port)) for component in cluster.used_components for port in component.ports),
        keepalived=paths.KEEPALIVED_CONFIG,
        places=" ".join(f"{setting}={path}" for setting, path in _places(cluster).items()),
    )
    quoted = shlex.quote(script)
    as_root = f'if [ "$(id -u)" = 0 ]; then sh -c {quoted}; elif sudo -n true 2>/dev/null; then sudo -n sh -c {quoted};'
    who = 'echo "uid $(id -u)"; echo "user $(id -un)"; echo "sudo $(sudo -n true 2>&1 | grep sudo: | tail -n 1)"'
    # Asked here, because sudo keeps it from whom it starts: the client's address and port, and the host's own.
    port = 'echo "ssh_port ${SSH_CONNECTION##* }"'
    what = '. /etc/os-release; echo "system $ID"; echo "codename $VERSION_CODENAME"; echo "init systemd"'
    return f"{port}; {as_root} else {who}; {what}; fi"


def _timers(cluster: Cluster) -> Iterator[str]:
    """What asks systemd of the times at which backups are made and proven, a line each."""
    for setting in ("backup_full_schedule", "backup_incr_schedule", "backup_drill_schedule") if cluster.backup_hosts else ():
        if time := cluster.setting(setting):
            yield f'systemd-analyze calendar -- {shlex.quote(time)} >/dev/null 2>&1 || echo "no_time {setting}"'


def _asked_for_mirror(cluster: Cluster) -> str:
    """The code names of the releases whose hosts may need a mirror of Debian for etcd, as the shell matches them."""
    if cluster.etcd.source_url or cluster.etcd.source in ("distribution", "files"):
        return "-"
    of_debian = [one for one in RELEASES if one.system == "debian"]
    return "|".join(one.codename for one in of_debian if cluster.etcd.source == "debian" or "etcd" not in one.good) or "-"


def _places(cluster: Cluster) -> dict[str, str]:
    """The directories of the data, by setting."""
    settings = [setting for component in cluster.used_components for setting in component.directories]
    places = {setting: path for setting in settings if (path := cluster.setting(setting))}
    return {**places, LOG: f"{cluster.postgres.data_directory}/pg_wal"}


def log_directories(cluster: Cluster, survey: HostSurvey) -> tuple[str, ...]:
    """The directories, beside that of the data, in which a host has the write-ahead log: the one of the settings, and the one
    where it still is, until the data is made anew."""
    wanted = (cluster.postgres.wal_directory,) if cluster.postgres.wal_directory else ()
    places = dict(survey.places)
    try:  # what PostgreSQL's user has made of its link is no line of a unit
        found = directory(str(PurePosixPath(places.get(LOG, "")).parent))
    except ValueError:
        return wanted
    known = (places.get("postgres_data_directory"), places.get("postgres_wal_directory"))
    return wanted if found in known else (*wanted, found)


def parse_survey(lines: list[str], now: float) -> HostSurvey:
    """The answer of the survey script, `key value` a line. `now` is the operator's clock when it arrived."""
    said = {key: value for key, _, value in (line.partition(" ") for line in lines)}
    return HostSurvey(
        system=said.get("system", ""),
        system_version=said.get("system_version", ""),
        codename=said.get("codename", ""),
        postgres_source=said.get("postgres_source", ""),
        mirror=said.get("mirror", ""),
        uid=int(said.get("uid", "-1")),
        user=said.get("user", "the SSH user"),
        sudo=said.get("sudo", ""),
        init=said.get("init", ""),
        marker=said.get("marker", ""),
        layout=said.get("layout", ""),
        last_deploy=said.get("last_deploy", ""),
        restoring=said.get("restoring") == "yes",
        postgres_data=said.get("postgres_data", "absent"),
        postgres_wal=said.get("postgres_wal") == "yes",
        logical_slots=tuple(said.get("logical_slots", "").split()),
        etcd_data=said.get("etcd_data") == "yes",
        etcd_bytes=int(said.get("etcd_bytes", "0")),
        etcd_foreign=said.get("etcd_foreign") == "yes",
        patroni_scope=said.get("patroni_scope", ""),
        postgres_service=said.get("postgres_service") == "yes",
        authorities=tuple((name, base64.b64decode(text)) for name, text in _each("authority", lines)),
        places=tuple(_each("place", lines)),
        ipv6=said.get("ipv6") == "yes",
        networks=tuple(_each("network", lines)),
        ssh_ports=tuple(sorted({int(port) for line in lines if (port := line.removeprefix("ssh_port ")).isdecimal()})),
        ssh_sessions=int(said["ssh_sessions"].split()[-1]) if said.get("ssh_sessions") else None,
        no_times=tuple(setting for setting, _ in _each("no_time", lines)),
        listeners=tuple(
            (int(port), unit, program) for port, of in _each("listener", lines) for unit, _, program in [of.partition(" ")]
        ),
        answered=said.get("answered") == "yes",
        free_bytes=int(said.get("free_bytes", "0")),
        clock_offset=float(said.get("clock", now)) - now,
    )


def _each(key: str, lines: list[str]) -> Iterator[tuple[str, str]]:
    """What lines say that begin with this key, of which there may be several: `key name value`."""
    for line in lines:
        if line.startswith(f"{key} "):
            name, _, value = line.removeprefix(f"{key} ").partition(" ")
            yield name, value
