#!/bin/sh
# Lets a replica follow the server: its role with a password that is made here, its slot, and its line in pg_hba.conf.
# The password goes into a file of the replica's volume, REPLICA; nobody else has it. Run again it changes nothing.
#
# PGHOST, PGUSER, PGDATABASE and PGPASSWORD are those of a superuser. The server's data must be mounted where the server
# has them, and PGOWNER is whom the servers run as.
set -eu
umask 077

replica=${REPLICA:-/replica} owner=${PGOWNER:-postgres}
file=$replica/replicator.pgpass

[ -s "$file" ] || echo "*:*:*:replicator:$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')" > "$file"
chown "$owner" "$replica" "$file"

REPLICATOR_PASSWORD=$(cut -d: -f5 "$file")
export REPLICATOR_PASSWORD
hba=$(psql --no-psqlrc --quiet --tuples-only --no-align --set ON_ERROR_STOP=1 << 'SQL'
\getenv password REPLICATOR_PASSWORD
set log_statement = 'none';
set log_min_duration_statement = -1;
set log_min_error_statement = 'panic';
select 'create role replicator replication login'
where not exists (select from pg_roles where rolname = 'replicator') \gexec
alter role replicator password :'password';
do $$
begin
    perform pg_create_physical_replication_slot('replica')
    where not exists (select from pg_replication_slots where slot_name = 'replica');
end
$$;
-- A replica that is gone for long may not fill the server's disk: it is then copied again.
alter system set max_slot_wal_keep_size = '20GB';
show hba_file;
SQL
)
if ! grep -q "^host replication replicator " "$hba"; then
    echo "host replication replicator all scram-sha-256" >> "$hba"
    echo "replication: let replicator in, in $hba"
fi
psql --no-psqlrc --quiet --tuples-only --command "select pg_reload_conf()" > /dev/null
echo "replication: the replica may follow"
