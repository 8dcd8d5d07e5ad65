#!/bin/sh
# The yardstick of the deploy benchmark: the same packages and the same files brought to the same hosts in parallel over SSH,
# by a script that checks nothing, waits for nothing it need not, and could not run twice.
#
#   bare.sh SSH_CONFIG FILES "DATABASE HOSTS" "PROXY HOSTS"      FILES/<host>.tar holds each host's files
set -eu
config=$1 files=$2 databases=$3 proxies=$4
first=${databases%% *}

on() { ssh -F "$config" -o BatchMode=yes "$1" "$2"; }
everywhere() { for host in $2; do on "$host" "$1" & done; wait; }

install='export DEBIAN_FRONTEND=noninteractive
  systemctl mask --runtime --quiet etcd patroni haproxy postgresql 2>/dev/null
  mkdir -p /etc/postgresql-common; echo "create_main_cluster = false" > /etc/postgresql-common/createcluster.conf
  apt-get -qq -y --no-install-recommends -o DPkg::Use-Pty=0 install PACKAGES >/dev/null 2>&1
  systemctl unmask --runtime --quiet etcd patroni haproxy postgresql'
# Where the release lacks something: the sources of it, and their lists.
for host in $databases; do
  ssh -F "$config" "$host" 'tar -x -p -P --wildcards "/etc/apt/*" "/etc/sysusers.d/*" 2>/dev/null
    for source in /etc/apt/sources.list.d/pgquorum-*.sources; do
      [ ! -e "$source" ] || apt-get -qq update -o Dir::Etc::sourcelist="$source" -o Dir::Etc::sourceparts=/dev/null -o APT::Get::List-Cleanup=0
    done' < "$files/$host.tar" &
done
wait
for host in $databases; do
  on "$host" "$(echo "$install" | sed 's/PACKAGES/etcd-server etcd-client postgresql-18 postgresql-client-18 patroni python3-etcd python3-psycopg2 curl/')" &
done
for host in $proxies; do on "$host" "$(echo "$install" | sed 's/PACKAGES/haproxy socat curl/')" & done
wait

for host in $databases $proxies; do ssh -F "$config" "$host" 'tar -x -p -P; systemctl daemon-reload' < "$files/$host.tar" & done
wait
everywhere 'systemctl enable --now --quiet etcd' "$databases"
patroni='systemctl enable --now --quiet patroni pgquorum-wake-patroni pgquorum-leaders-apart.timer'
on "$first" "$patroni"
everywhere 'systemctl enable --now --quiet haproxy' "$proxies"
ready() {
  echo "n=0; until curl -sf -o /dev/null --cacert /etc/patroni/tls/ca.crt --cert /etc/patroni/tls/server.crt \
    --key /etc/patroni/tls/server.key https://\$(hostname):8008/$1; do [ \$((n+=1)) -lt 600 ] || exit 1; sleep 0.2; done"
}
on "$first" "$(ready primary)"
everywhere "$patroni; $(ready replica)" "${databases#"$first"}"
