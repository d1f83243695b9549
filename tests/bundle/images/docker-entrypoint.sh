#!/bin/sh
# The part of the official images' entry points that the compose files rely on: passwords from the
# environment, a data folder that is initialised once, no root while serving.
set -eu
PATH="$(echo /usr/lib/postgresql/*/bin):$PATH"

as() { user=$1; shift; exec setpriv --reuid="$user" --regid="$user" --init-groups "$@"; }

case "$1" in
  redis-server)
    chown redis: /data
    as redis "$@"
    ;;
  postgres)
    data=/var/lib/postgresql/data
    mkdir -p "$data" /run/postgresql
    chown postgres: "$data" /run/postgresql
    if [ ! -s "$data/PG_VERSION" ]; then
      password=$(mktemp)
      printf '%s' "$POSTGRES_PASSWORD" >"$password"
      chown postgres: "$password"
      (as postgres initdb --pgdata "$data" --username "$POSTGRES_USER" --pwfile "$password" \
        --auth-host scram-sha-256 --auth-local trust --encoding UTF8 --locale C.UTF-8)
      rm "$password"
      echo 'host all all all scram-sha-256' >>"$data/pg_hba.conf"
    fi
    as postgres postgres -D "$data" -c 'listen_addresses=*'
    ;;
  *) exec "$@" ;;
esac
