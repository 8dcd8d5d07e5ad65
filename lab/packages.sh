#!/bin/sh
# Makes two repositories of packages in /srv/lab, as hosts of a stable release meet them: of the PostgreSQL project
# (/srv/lab/pgdg), and of the Debian release whose etcd is taken (/srv/lab/debian), signed by a key made here (/srv/lab/key.asc).
# Runs as root in a chroot of that release, which is thrown away.
#
# PostgreSQL is built from Debian's sources. What does not depend on the release's libraries is that of Debian's, under the
# versions that the project would give it.
set -eu
suite=$1 mark=$2 later=$3
shift 3  # what is left: more packages of the later release that the project has, too
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 DEB_BUILD_PROFILES="nocheck nodoc pkg.postgresql.nollvm"
export DEB_BUILD_OPTIONS="nocheck nodoc noautodbgsym parallel=$(nproc)"
pgdg=/srv/lab/pgdg debian=/srv/lab/debian work=/srv/work
mkdir -p "$pgdg/pool" "$debian/pool" "$work"

# The mirror of the release itself has the later one, too. From that only what the build needs of it, and what is asked for by its name.
mirror=$(apt-get indextargets --no-release-info --format '$(REPO_URI)' 'Created-By: Packages' | head -n 1)
cat >/etc/apt/sources.list.d/later.sources <<EOF
Types: deb deb-src
URIs: $mirror
Suites: $later
Components: main
Check-Valid-Until: no
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
EOF
cat >/etc/apt/preferences.d/later <<EOF
Package: *
Pin: release n=$later
Pin-Priority: -1

Package: postgresql-common-dev postgresql-common postgresql-client-common
Pin: release n=$later
Pin-Priority: 600
EOF
apt-get -q update

cd "$work"
version=$(apt-cache showsrc postgresql-18 | sed -n 's/^Version: //p' | sort -V | tail -n 1)
apt-get -q -y --no-install-recommends --arch-only -P nocheck,nodoc,pkg.postgresql.nollvm build-dep "postgresql-18=$version"
apt-get -q source "postgresql-18=$version"
cd postgresql-18-*/
upstream=$(dpkg-parsechangelog -S Version)
{
    printf 'postgresql-18 (%s.%s) %s-pgdg; urgency=medium\n\n  * Rebuilt for a lab.\n\n' "$upstream" "$mark" "$suite"
    printf ' -- pgquorum lab <lab@localhost>  Thu, 01 Jan 2026 00:00:00 +0000\n\n'
    cat debian/changelog
} >"$work/changelog"
mv "$work/changelog" debian/changelog
# Its rules call make in a way that loses the number of jobs where make is older than 4.4.
sed -i '/^include /a MAKE += -j'"$(nproc)" debian/rules
dpkg-buildpackage -B -us -uc -d --jobs-force="$(nproc)" >"$work/build.log" 2>&1 || { tail -n 40 "$work/build.log"; exit 1; }
cp "$work"/postgresql-18_*.deb "$work"/postgresql-client-18_*.deb "$work"/libpq5_*.deb "$pgdg/pool"

# Debian's own under another version: one who asks for the project's package must not get it from elsewhere unseen.
fetch() { (cd "$work" && apt-get -q download "$@"); }
renamed() {
    for deb in "$@"; do
        rm -rf "$work/package"
        dpkg-deb -R "$deb" "$work/package"
        was=$(dpkg-deb -f "$deb" Version)
        sed -i "s/^Version: .*/Version: $was.$mark/; s/(= $was)/(= $was.$mark)/g" "$work/package/DEBIAN/control"
        dpkg-deb --root-owner-group -Zgzip -z1 -b "$work/package" "$pgdg/pool" >/dev/null
    done
}
fetch "patroni/$later" "postgresql-common/$later" "postgresql-client-common/$later"
renamed "$work"/patroni_*.deb "$work"/postgresql-common_*.deb "$work"/postgresql-client-common_*.deb
for name in "$@"; do
    fetch "$name/$later"
    renamed "$work/$name"_*.deb
done
for name in python3-ydiff python3-cdiff; do  # Patroni's, where the release has none
    apt-cache madison "$name" | grep -q "$suite" && continue
    fetch "$name/$later"
    renamed "$work/$name"_*.deb
done
fetch "etcd-server/$later" "etcd-client/$later"
cp "$work"/etcd-*.deb "$debian/pool"

export GNUPGHOME="$work/gnupg"
mkdir -m 700 "$GNUPGHOME"
gpg --batch --quiet --passphrase '' --quick-generate-key 'pgquorum lab' ed25519 sign never
gpg --batch --quiet --armor --export >/srv/lab/key.asc
index() {
    repository=$1 name=$2 origin=$3 architecture=$(dpkg --print-architecture)
    lists=main/binary-$architecture
    mkdir -p "$repository/dists/$name/$lists"
    (cd "$repository" && dpkg-scanpackages --multiversion --arch "$architecture" pool 2>/dev/null >"dists/$name/$lists/Packages")
    cd "$repository/dists/$name"
    {
        printf 'Origin: %s\nLabel: %s\nSuite: %s\nCodename: %s\nDate: %s\nArchitectures: %s\nComponents: main\nSHA256:\n' \
            "$origin" "$origin" "$name" "$name" "$(date -u '+%a, %d %b %Y %H:%M:%S UTC')" "$architecture"
        printf ' %s %s %s\n' "$(sha256sum <"$lists/Packages" | cut -d' ' -f1)" "$(stat -c %s "$lists/Packages")" "$lists/Packages"
    } >"$work/Release"
    gpg --batch --quiet --digest-algo SHA512 --clearsign -o InRelease "$work/Release"
}
index "$pgdg" "$suite-pgdg" apt.postgresql.org
index "$debian" "$later" Debian
