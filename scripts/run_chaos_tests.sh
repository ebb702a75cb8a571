#!/usr/bin/env bash
# Runs a program under chaos by type, and reports. `--help` says how.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

help() {
    cat <<'HELP'
Usage: run_chaos_tests.sh [OPTION]... [-- CMD [ARG]...]

Runs CMD under chaos-exec and writes a report. Without CMD: the example beside this script.

  --chaos-types TYPES    of network,disk,timeout,memory,process,time [default: all but time]
  --failure-rate RATE    how often they hit: 0 to 1, or a percentage [default: 0.3]
  --duration SECONDS     inject so long, or 90s, 2m; what still runs a minute later is ended [default: 60]
  --seed NUMBER          the same seed gives the same faults [default: a random one, printed]
  --output-report FILE   .md .json .csv .xml (JUnit) .sarif .html; more than once for several
                         [default: chaos-report.md]
  --runs N               again and again, with seeds derived from the seed [default: 1]
  --controls N           first N times without faults [default: 0]
  --check CHECK          something that must be true of each run, such as 'exit codes=0,3'; more than once for several
  --gate CONDITIONS      what must hold, such as 'injections>=1,crashes=0', or production, or mars-rover
  --session DIR          keep the logs and the evidence there [default: chaos-exec's own place]
  --chaos-exec FILE      the launcher [default: the one built beside this script, else the one in PATH]
  --verbose              list processes and injections, too
  --dry-run              only print the command
  --help                 this

Exit codes are those of `chaos-exec run`: the program's own; 122 the gate failed; 123 it is inconclusive; 124 it had to
be ended; 125 something is wrong with the options. With both --runs and --gate the gate decides how many runs may fail:
0 when it passes, although the program itself ended one of them with a code up to 121.
HELP
}

# One clear error; nothing has been started.
refuse() {
    echo "run_chaos_tests.sh: error: $1" >&2
    echo "help: ${2:---help lists the options}" >&2
    exit 125
}

types=network,disk,timeout,memory,process
rate=0.3
duration=60
chaos=
options=()
reports=()
verbose=()
runs=
gate=
dry=
while [ $# -gt 0 ]; do
    option=$1
    shift
    # --option=value is --option value.
    case $option in
        --?*=*) set -- "${option#*=}" "$@"; option=${option%%=*} ;;
    esac
    case $option in
        --chaos-types|--failure-rate|--duration|--seed|--output-report|--runs|--controls|--check|--gate|--session|--chaos-exec)
            [ $# -gt 0 ] && [ "$1" != -- ] || refuse "$option needs a value"
            [ -n "$1" ] || refuse "$option: the value is empty"
            value=$1
            shift ;;
    esac
    case $option in
        --chaos-types) types=$value ;;
        --failure-rate) rate=$value ;;
        --duration) duration=$value ;;
        --runs) runs=$value; options+=("$option" "$value") ;;
        --gate) gate=$value; options+=("$option" "$value") ;;
        --seed|--controls|--check) options+=("$option" "$value") ;;
        --session) options+=(--out "$value") ;;
        --output-report) reports+=(--report "$value") ;;
        --chaos-exec) chaos=$value ;;
        --verbose) verbose=(--verbose) ;;
        --dry-run) dry=yes ;;
        --help|-h) help; exit 0 ;;
        --) [ $# -gt 0 ] || refuse "there is no command behind --" "leave -- out to run the example"; break ;;
        -*) refuse "unknown option '$option'" ;;
        *) refuse "'$option' is no option" "the program stands behind --: run_chaos_tests.sh -- $option ..." ;;
    esac
done

IFS=, read -ra each <<<"$types"
for type in "${each[@]}"; do
    case $type in
        network|disk|timeout|memory|process|time) ;;
        *) refuse "--chaos-types: '$type' is no type of chaos" "of network,disk,timeout,memory,process,time" ;;
    esac
done
[[ $duration =~ ^0*([1-9][0-9]{0,6})(s|m|h|)$ ]] || refuse "--duration: '$duration' is no duration" "seconds, or 90s, 2m"
case ${BASH_REMATCH[2]} in
    m) seconds=$((BASH_REMATCH[1] * 60)) ;;
    h) seconds=$((BASH_REMATCH[1] * 3600)) ;;
    *) seconds=${BASH_REMATCH[1]} ;;
esac
[[ $rate =~ ^([0-9]+\.?[0-9]*|\.[0-9]+)%?$ ]] || refuse "--failure-rate: '$rate' is no rate" "0 to 1, or a percentage"

if [ $# -eq 0 ]; then
    # Debian's own: another python3 may be a version manager's shell script.
    python=/usr/bin/python3
    [ -x "$python" ] || python=$(command -v python3) || refuse "the example needs python3" "install it, or give a CMD"
    set -- "$python" "$here/chaos_example.py"
    options+=(--check 'stdout matches="the sum of 20 squares is 2470"')
fi
[ ${#reports[@]} -gt 0 ] || reports=(--report chaos-report.md)

find_chaos_exec() {
    local place
    for place in "$here/../target/release/chaos-exec" "$here/../target/debug/chaos-exec"; do
        [ ! -x "$place" ] || { echo "$place"; return; }
    done
    command -v chaos-exec || refuse "there is no chaos-exec" "build it (make build), or name it with --chaos-exec FILE"
}
[ -n "$chaos" ] || chaos=$(find_chaos_exec)
[ -x "$chaos" ] || refuse "--chaos-exec: '$chaos' is no program"

command=("$chaos" run --chaos "$types" --rate "$rate" --for "${seconds}s" --timeout "$((seconds + 60))s"
    "${options[@]}" "${reports[@]}" "${verbose[@]}" -- "$@")
if [ -n "$dry" ]; then
    printf '%q ' "${command[@]}"
    echo
    exit 0
fi
[ -n "$runs" ] && [ -n "$gate" ] || exec "${command[@]}"
code=0
"${command[@]}" || code=$?
[ "$code" -le 121 ] || exit "$code"
