"""The recipe of the base image: which packages, which settings, which command. Pure; its hash names the image."""

import hashlib
import json

from lab import packages

# Installed in the image: what a plain server has before anybody deploys to it.
BASE_PACKAGES = (
    "systemd", "systemd-sysv", "dbus", "openssh-server", "python3", "sudo", "iproute2", "iputils-ping", "procps",
    "ca-certificates", "curl", "nftables",
)  # fmt: skip

# Only downloaded, so that a deploy installs for real and needs no network for it.
ROLE_PACKAGES = (
    "postgresql-18", "postgresql-client-18", "patroni", "python3-etcd", "python3-psycopg2", "etcd-server",
    "etcd-client", "haproxy", "socat", "pgbackrest", "pgbouncer", "keepalived", "postgresql-client",
)  # fmt: skip

# Only downloaded, too: what servers of some people have besides, for the tests in which a host is as theirs.
OTHER_PACKAGES = ("fish", "tcsh", "systemd-resolved", "libnss-resolve")

# No hardware, no console and no outside world: these would only cost boot time or write into a log.
MASKED_UNITS = (
    "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "fstrim.timer", "getty.target",
    "console-getty.service", "systemd-networkd.service", "systemd-networkd.socket",
    "systemd-resolved.service", "systemd-timesyncd.service", "systemd-pstore.service", "systemd-firstboot.service",
    "systemd-random-seed.service", "sshd-keygen.service",
)  # fmt: skip

# Of a stable release: also from the repositories made for it, which lie in the image. To add them is the deploy's work. A proxy
# host with pools takes PgBouncer from there, and what that needs from the release itself.
DOWNLOAD_FOR_STABLE = f"""set -eu
cat > "$1/etc/apt/sources.list.d/lab.list" <<'EOF'
deb [trusted=yes] file:{packages.ON_HOST}/pgdg {{suite}}-pgdg main
deb [trusted=yes] file:{packages.ON_HOST}/debian {{later}} main
EOF
chroot "$1" apt-get clean
chroot "$1" apt-get install --yes --download-only postgresql-common postgresql-client
chroot "$1" apt-get update
chroot "$1" apt-get install --yes --download-only {" ".join((*ROLE_PACKAGES, *OTHER_PACKAGES))} {{own}}
rm "$1/etc/apt/sources.list.d/lab.list" "$1"/var/lib/apt/lists/*srv_lab_*
"""
DOWNLOAD = f"""set -eu
chroot "$1" apt-get clean
chroot "$1" apt-get install --yes --download-only {" ".join((*ROLE_PACKAGES, *OTHER_PACKAGES))}
"""
CUSTOMIZE = f"""set -eu
chroot "$1" systemctl mask --quiet {" ".join(MASKED_UNITS)}
chroot "$1" systemctl set-default --quiet multi-user.target
rm -f "$1"/etc/ssh/ssh_host_* "$1"/etc/hostname
# Sessions are by key only; the one host key is laid on each host's disk, where the operator pins it.
cat > "$1/etc/ssh/sshd_config.d/lab.conf" <<'EOF'
HostKey /etc/ssh/ssh_host_ed25519_key
PasswordAuthentication no
PermitRootLogin prohibit-password
UseDNS no
EOF
# Whoever looks whether a host is up does so often and never logs in; that is no attack here. (OpenSSH knows it since 9.8.)
if grep --quiet --text PerSourcePenalties "$1/usr/sbin/sshd"; then
    echo 'PerSourcePenalties no' >> "$1/etc/ssh/sshd_config.d/lab.conf"
fi
echo 'LANG=C.UTF-8' > "$1/etc/default/locale"
# Logs outlive a power cut.
mkdir -p "$1/etc/systemd/journald.conf.d"
printf '[Journal]\\nStorage=persistent\\nSyncIntervalSec=1s\\n' > "$1/etc/systemd/journald.conf.d/lab.conf"
# The network card is there before systemd sets the kernel's settings; on a machine it comes after, and udev sets them first.
# So what the kernel knows of its neighbours by then is judged by other settings, for up to 45 s.
mkdir -p "$1/etc/systemd/system/systemd-sysctl.service.d"
printf '[Service]\\nExecStartPost=-/usr/sbin/ip neigh flush all\\n' > "$1/etc/systemd/system/systemd-sysctl.service.d/lab.conf"
# Nobody answers names but /etc/hosts: an unknown one fails at once instead of hanging.
echo '# no name server: a lab host reaches its own subnet and nothing else' > "$1/etc/resolv.conf"
# Tells systemd that caches built from /usr are current, which saves their rebuild at every first boot.
touch "$1/etc/.updated" "$1/var/.updated"
"""


def command(suite: str, mirror: str | None, target: str) -> list[str]:
    """The command that builds the image of a Debian release in the directory `target`."""
    return [
        "mmdebstrap",
        "--mode=root",
        "--variant=minbase",
        "--format=directory",
        "--include=" + ",".join(BASE_PACKAGES),
        '--aptopt=APT::Install-Recommends "false"',
        # The Release file of a suite in development may be older than it allows itself to be.
        '--aptopt=Acquire::Check-Valid-Until "false"',
        # There is nothing to reach: `apt-get update` on a host is to see that at once, and go on with the lists it has.
        '--aptopt=Acquire::Retries "0"',
        "--dpkgopt=path-exclude=/usr/share/doc/*",
        "--dpkgopt=path-exclude=/usr/share/man/*",
        # Keeps the package lists and the downloaded packages in the image.
        "--skip=cleanup/apt",
        *_download(suite),
        "--customize-hook=" + CUSTOMIZE,
        suite,
        target,
        *([mirror] if mirror else []),
    ]


def _download(suite: str) -> list[str]:
    """The hooks that bring packages for all roles into the image."""
    repositories = packages.path(suite)
    if repositories is None:
        return ["--customize-hook=" + DOWNLOAD]
    stable = packages.STABLE[suite]
    script = DOWNLOAD_FOR_STABLE.format(suite=suite, later=stable.later, own=" ".join(stable.own))
    return [
        f'--customize-hook=mkdir -p "$1{packages.ON_HOST}"',
        f"--customize-hook=sync-in {repositories} {packages.ON_HOST}",
        "--customize-hook=" + script,
    ]


def image_name(suite: str, mirror: str | None = None) -> str:
    """The name of the image of a Debian release: the suite and a hash of everything that decides what is in it."""
    recipe = json.dumps(command(suite, mirror, "target"))
    return f"{suite}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
