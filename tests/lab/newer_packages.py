"""A repository of newer packages on each host of a lab: its own ones under a higher version, which the programs tell, too."""

from __future__ import annotations

from hosts import HOSTS, Hosts

FOLDER, LIST = "/srv/newer", "/etc/apt/sources.list.d/newer.list"
CACHE = "/var/cache/apt/archives"
# By package the new version, and what is replaced in its files, by something as long.
NEWER = {
    "etcd-server": ("3.5.31-1", "3.5.30=3.5.31"),
    "etcd-client": ("3.5.31-1", "3.5.30=3.5.31"),
    "libpq5": ("18.7-1", ""),  # what comes along, as the others need it
    "postgresql-client-18": ("18.7-1", "18.6 (Debian 18.6-3)=18.7 (Debian 18.7-1)"),
    "postgresql-18": ("18.7-1", "18.6 (Debian 18.6-3)=18.7 (Debian 18.7-1)"),
    "patroni": ("4.1.6-1", "4.1.5=4.1.6"),
    "haproxy": ("3.2.27-1", "3.2.26=3.2.27"),
    "pgbouncer": ("1.26.2-1", "1.26.1=1.26.2"),
    "pgbackrest": ("2.60.1-1", "2.60.0=2.60.1"),
}
# A server that says which version it is and what it would take, and does not start.
BROKEN = f"""\
cd made/usr/lib/postgresql/18/bin
mv postgres postgres-18
cat >postgres <<'END'
#!/bin/sh
case " $* " in *" -C "* | *" --version "* | *" -V "* | *" --describe-config "*)
    exec /usr/lib/postgresql/18/bin/postgres-18 "$@";;
esac
echo 'FATAL:  this version does not start' >&2
exit 1
END
chmod 755 postgres
cd {FOLDER}
"""
MAKE = f"""\
set -e
export LC_ALL=C
mkdir -p {FOLDER} && cd {FOLDER}
old=$(ls {CACHE}/$package'_'*.deb)
was=$(dpkg-deb -f $old Version)
rm -rf made && dpkg-deb --raw-extract $old made
sed -i "s/^Version: .*/Version: $version/; s/(= $was)/(= $version)/g" made/DEBIAN/control
[ $package != postgresql-client-18 ] || sed -i "s/libpq5 ([^)]*)/libpq5 (>= $version)/" made/DEBIAN/control
if [ -n "$from" ]; then
    found=$(grep -rlF -- "$from" made --exclude-dir=DEBIAN)
    python3 - "$from" "$to" $found <<'END'
import sys
was, now, *files = sys.argv[1:]
assert len(was) == len(now) and files, sys.argv
for name in files:
    data = open(name, "rb").read()
    open(name, "wb").write(data.replace(was.encode(), now.encode()))
END
fi
@more@
dpkg-deb --root-owner-group -Zgzip -z1 --build made . >/dev/null
rm -rf made
"""
INDEX = f"""\
cd {FOLDER}
for one in *.deb; do
    dpkg-deb -f $one
    printf 'Filename: ./%s\\nSize: %s\\nSHA256: %s\\n\\n' $one $(stat -c %s $one) $(sha256sum <$one | cut -d' ' -f1)
done >Packages
echo 'deb [trusted=yes] file:{FOLDER} ./' >{LIST}
"""


def offer(hosts: Hosts, packages: list[str], *, broken: str = "") -> None:
    """Every host offers to itself what it has of these packages in a newer version, and nothing else; `broken`: in that one, of
    which PostgreSQL's server does not start."""
    script = [f"rm -rf {FOLDER}; mkdir -p {FOLDER}"]
    for package in packages:
        version, change = NEWER[package]
        was, _, now = change.partition("=")
        more = BROKEN if broken and package == "postgresql-18" else ""
        if broken:
            version, was = broken, ""
        set_up = f"package={package} version={version} from='{was}' to='{now}'"
        script.append(f"( {set_up}\n{MAKE.replace('@more@', more)} )")
    hosts.on_all("set -e\n" + "\n".join([*script, INDEX]), HOSTS)


def withdraw(hosts: Hosts) -> None:
    """Nothing newer is offered any more, and nothing of it is left."""
    hosts.on_all(
        f"rm -rf {FOLDER} {LIST} /var/lib/apt/lists/_srv_newer_* /var/lib/pgquorum; apt-get -q update >/dev/null 2>&1 || true"
    )
