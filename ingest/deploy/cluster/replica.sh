#!/bin/sh
# Copies the server at the first start, and then runs what follows it: replica.sh COMMAND...
#
# PGDATA is where the data go, PRIMARY the server's host (PRIMARY_PORT its port), and PGPASSFILE has the password of
# `replicator`, see replication.sh. It runs as whom the server runs as.
set -eu
umask 077

if [ ! -s "$PGDATA/PG_VERSION" ]; then
    mkdir -p "${PGDATA%/*}"
    rm -rf "$PGDATA.new" # of a copy that was cut off
    pg_basebackup --host="$PRIMARY" --port="${PRIMARY_PORT:-5432}" --username=replicator --no-password \
        --pgdata="$PGDATA.new" --write-recovery-conf --wal-method=stream --checkpoint=fast --slot=replica
    rm -rf "$PGDATA"
    mv "$PGDATA.new" "$PGDATA"
    echo "replica: copied the server $PRIMARY"
fi
exec "$@"
