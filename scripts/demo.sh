#!/usr/bin/env bash
# A Python client fetches a page twenty times from a server on loopback while 30 % of its connections are refused; it
# retries. Then the log of what was injected. The same seed gives the same faults each time.
set -euo pipefail
chaos=${1:-chaos-exec}
here=$(cd "$(dirname "$0")" && pwd)
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
python=/usr/bin/python3
[ -x "$python" ] || python=$(command -v python3) || { echo "demo: install python3" >&2; exit 1; }

show() { printf '\n$ %s\n' "$*"; }

show "chaos-exec run --seed 42 --fault 'connect=ECONNREFUSED@30%' -- python3 scripts/demo_client.py"
"$chaos" run --seed 42 --out "$out/session" --fault 'connect=ECONNREFUSED@30%' -- "$python" "$here/demo_client.py"

show "chaos-exec log"
"$chaos" log "$out/session"
