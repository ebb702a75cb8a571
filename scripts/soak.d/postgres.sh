# A cluster made, loaded by pgbench, stopped, started, and checked. Prints `case NAME: OUTCOME`.
set -eu
bin=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -1)
here=$PWD
# postgres refuses to run as root.
as=()
if [ "$(id -u)" = 0 ]; then
    as=(setpriv --reuid=postgres --regid=postgres --clear-groups)
    chown postgres "$here"
fi
# A socket's path has at most 107 bytes.
sockets=$(mktemp -d /tmp/soak-postgres-XXXXXX)
trap 'rm -rf "$sockets"' EXIT
chmod 777 "$sockets"
pg() { local program=$1; shift; "${as[@]}" "$bin/$program" "$@"; }
ask() { pg psql -X -h "$sockets" -U postgres -d postgres -A -t -v ON_ERROR_STOP=1 -c "$1"; }

start() {
    "${as[@]}" "$bin/postgres" -D "$here/data" -k "$sockets" -c listen_addresses= -c max_parallel_workers=2 >> postgres.log 2>&1 &
    server=$!
    for _ in $(seq 600); do pg pg_isready -q -h "$sockets" && return; sleep 0.05; done
    echo "case $1: did not start"; tail postgres.log; exit 1
}
stop() { kill -INT "$server"; wait "$server" && code=0 || code=$?; echo "case $1: $code"; }

pg initdb -D "$here/data" -U postgres -A trust > initdb.log 2>&1
echo "case initdb: $?"
start start
pg pgbench -h "$sockets" -U postgres -i -q -s 2 postgres > pgbench.log 2>&1
load() { pg pgbench -h "$sockets" -U postgres -n -c 6 -j 3 -t 150 "$@" postgres 2>&1 | grep -E 'actually processed|failed' | tr '\n' ' '; }
echo "case pgbench: $(load)"
echo "case select: $(load -S -M prepared)"
echo "case copy: $(ask "copy (select * from pgbench_accounts order by aid) to stdout" | cut -f1,2 | cksum)"
ask "create table t as select n, md5(n::text) m from generate_series(1, 200000) n; create index on t(m)" > /dev/null
echo "case sort: $(ask "set work_mem = '256kB'; select md5(string_agg(m, '' order by m)) from t" | tail -1)"
balanced="select (select sum(abalance) from pgbench_accounts) = (select sum(delta) from pgbench_history)
    and (select sum(bbalance) from pgbench_branches) = (select sum(tbalance) from pgbench_tellers), (select count(*) from pgbench_history)"
echo "case balanced: $(ask "$balanced")"
ask 'vacuum analyze' > /dev/null
stop stopped
start again
echo "case balanced again: $(ask "$balanced")"
# One dies hard, and the log is replayed.
load > /dev/null
kill -QUIT "$server"; wait "$server" || :
start recovered
echo "case recovered: $(ask "$balanced")"
stop 'stopped again'
# Clients that asked too early, and those that were there when it died, are told FATAL or WARNING.
echo "case errors: $(grep -E 'ERROR|FATAL|PANIC|WARNING' postgres.log \
    | grep -c -v -e 'database system is' -e 'terminating connection' || :)"
