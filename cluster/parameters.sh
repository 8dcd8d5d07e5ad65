#!/bin/sh
# Writes the table of the parameters that a version of PostgreSQL knows, as its server says (parameters-VERSION.tsv):
#
#   sh cluster/parameters.sh VERSION >cluster/parameters-VERSION.tsv
#
# On a machine that has postgresql-VERSION installed, as a user that is not root. Leaves nothing behind.
set -eu
programs=/usr/lib/postgresql/$1/bin
server=$(mktemp -d)
trap '"$programs/pg_ctl" --pgdata="$server/data" --mode=immediate --silent stop; rm -rf "$server"' EXIT
"$programs/initdb" --pgdata="$server/data" --auth=trust --no-sync >/dev/null
"$programs/pg_ctl" --pgdata="$server/data" --log="$server/log" --silent \
    --options="-c listen_addresses='' -c unix_socket_directories=$server" start >/dev/null
ask() { "$programs/psql" --no-psqlrc --quiet --host="$server" --dbname=postgres --command="$1"; }
echo "# Made by parameters.sh on a server without extensions. PostgreSQL:"
ask "copy (select '# ' || current_setting('server_version')) to stdout"
ask "copy (select name, vartype, context, coalesce(unit, ''), coalesce(min_val, ''), coalesce(max_val, ''),
    coalesce(array_to_string(enumvals, ','), '') from pg_settings where name not like '%.%' order by name collate \"C\") to stdout"
