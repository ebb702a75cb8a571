#!/usr/bin/env bash
# A Python client fetches a page twenty times from a server on loopback while 30 % of its connections are refused; it
# retries. Then the log of what was injected. The same seed gives the same faults each time.
set -euo pipefail
chaos=${1:-chaos-exec}
cd "$(dirname "$0")/.."
out=target/demo
# Debian's own: another python3 may be a version manager's shell script.
python=/usr/bin/python3
[ -x "$python" ] || python=$(command -v python3) || { echo "demo: install python3" >&2; exit 1; }

# Prints a command as it can be typed, then runs it.
show() {
    local line="" word
    for word in "$@"; do
        case $word in *[!A-Za-z0-9_./:=-]*) word="'$word'" ;; esac
        line+=" $word"
    done
    printf '\n$%s\n' "$line"
    "$@"
}

# A session directory belongs to one run.
rm -rf "$out"
show "$chaos" run --seed 42 --fault 'connect=ECONNREFUSED@30%' --out "$out" -- "$python" scripts/demo_client.py
show "$chaos" log "$out"
printf '\nAgain, as JSON Lines: %s log %s --format jsonl\n' "$chaos" "$out"
