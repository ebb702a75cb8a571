# postgres.sh make|start|load PORT RUN DIR [careless]: a cluster of its own for each run.
set -eu
what=$1 port=$2 data=$4/$3
script=${5:+-f $(cd "$(dirname "$0")" && pwd)/careless.sql}
bin=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -1)
# postgres refuses to run as root.
as=
[ "$(id -u)" != 0 ] || as="setpriv --reuid=postgres --regid=postgres --clear-groups"
cd "$4"
# Whoever was killed may still be about to end.
patiently() {
    for _ in $(seq 100); do
        if "$@"; then return; fi
        sleep 0.1
    done
    echo "gave up: $*" >&2
    exit 1
}
ask() { "$bin/psql" -X -h 127.0.0.1 -p "$port" -U postgres -d postgres -A -t -q -v ON_ERROR_STOP=1 -c "$1"; }
# shellcheck disable=SC2086
bench() { "$bin/pgbench" -h 127.0.0.1 -p "$port" -U postgres -n -c 8 -t 15 $script postgres > "$data/../bench-$port.log" 2>&1; }
on="-p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_parallel_workers=0 -c shared_buffers=8MB"
case $what in
make)
    $as "$bin/initdb" -D "$data" -U postgres -A trust --no-sync > "$data-initdb.log" 2>&1
    $as "$bin/pg_ctl" -D "$data" -w -o "$on" -l "$data-first.log" start > "$data-ctl.log"
    "$bin/pgbench" -h 127.0.0.1 -p "$port" -U postgres -i -q -s 1 postgres > "$data-init.log" 2>&1
    $as "$bin/pg_ctl" -D "$data" -w stop >> "$data-ctl.log"
    ;;
start)
    # shellcheck disable=SC2086
    exec $as "$bin/postgres" -D "$data" $on
    ;;
load)
    for _ in 1 2 3; do patiently bench; done
    balanced="select (select sum(abalance) from pgbench_accounts) = (select sum(delta) from pgbench_history)
        and (select sum(bbalance) from pgbench_branches) = (select sum(tbalance) from pgbench_tellers)"
    patiently ask "$balanced" > "$data-balanced"
    grep -qx t "$data-balanced" || { echo "the books do not balance" >&2; exit 1; }
    ;;
esac
