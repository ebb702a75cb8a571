# redis-server under redis-benchmark, with its data written, rewritten and read again. Prints `case NAME: OUTCOME`.
set -eu
# A socket's path has at most 107 bytes.
socket=$(mktemp -u /tmp/soak-redis-XXXXXX)
port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')

start() {
    redis-server --port "$port" --bind 127.0.0.1 --unixsocket "$socket" --appendonly yes --appendfsync everysec \
        --save '' --io-threads 2 --logfile redis.log --dir "$PWD" &
    server=$!
    for _ in $(seq 600); do [ "$(ask ping 2>&1)" = PONG ] && return; sleep 0.05; done
    echo "case $1: did not start"; tail redis.log; exit 1
}
ask() { redis-cli -s "$socket" "$@"; }
stop() { ask shutdown nosave || :; wait "$server" && code=0 || code=$?; echo "case $1: $code"; }
# The rates differ from run to run; what was tested does not.
bench() { redis-benchmark -q -n 4000 -c 20 "$@" | tr '\r' '\n' | sed -nE 's/^(.*): [0-9.]+ requests per second.*/\1/p' | tr '\n' ','; }

start start
echo "case unix: $(bench -s "$socket" -P 4 -t set,get,incr,lpush,lpop,sadd,hset,spop)"
echo "case tcp: $(bench -p "$port" -d 3000 -t set,get,lpush,lrange_100,mset)"
ask config set maxmemory-policy noeviction
for n in $(seq 50); do echo "set key:$n value-$n"; echo "incrby total $n"; done | ask | sort -u | wc -l | sed 's/^/case pipe: /'
echo "case rewrite: $(ask bgrewriteaof)"
for _ in $(seq 600); do [ "$(ask info persistence | grep -c 'aof_rewrite_in_progress:1')" = 0 ] && break; sleep 0.05; done
echo "case persistence: $(ask info persistence | tr -d '\r' | grep -E '^aof_last_(bgrewrite|write)_status' | tr '\n' ' ')"
echo "case errors: $(ask info errorstats | tr -d '\r' | grep -c '^errorstat')"
echo "case total: $(ask get total) $(ask get key:17)"
keys=$(ask dbsize)
stop stopped
start again
[ "$keys" = "$(ask dbsize)" ] && echo "case reloaded: all keys" || echo "case reloaded: $keys became $(ask dbsize)"
echo "case total again: $(ask get total)"
stop 'stopped again'
# The line on overcommit tells of the machine, the others of trouble.
echo "case warnings: $(grep -v -e overcommit -e 'backlog' redis.log | grep -c -E ' # .*(rror|fail|ail|rash|illed)' || :)"
