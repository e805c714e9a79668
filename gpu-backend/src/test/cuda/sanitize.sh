#!/usr/bin/env bash
# sanitize.sh - compute-sanitizer's memcheck, racecheck and initcheck on `mlstm_check small` and on a JUnit class, one line of
# verdict each: clean, the number of errors, not finished within the limit, or why it did not run.
#
# Usage: sanitize.sh [-t SECONDS] [-o FOLDER] [-s "TOOL..."] [MLSTM_CHECK | -] [JUNIT_CLASS]
#   -t  limit of each tool on each program, default 180
#   -o  folder of the whole outputs, default a new one under /tmp
#   -s  tools, default "memcheck racecheck initcheck"
#   MLSTM_CHECK  the built program, default ./mlstm_check; - for none
# Environment:
#   COMPUTE_SANITIZER  the program, default compute-sanitizer
#   RUN_CLASS          what runs a JUnit class, given as its last argument; default Maven's surefire on gpu-backend
# Exit code: 0 all clean; 1 an error was found or a program did not run; 2 wrong usage; 3 nothing found, something not finished.
set -u
limit=180 out= tools="memcheck racecheck initcheck"
while getopts t:o:s: option; do
    case $option in
        t) limit=$OPTARG ;;
        o) out=$OPTARG ;;
        s) tools=$OPTARG ;;
        *) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
    esac
done
shift $((OPTIND - 1))
check=${1:-./mlstm_check} class=${2:-}
sanitizer=${COMPUTE_SANITIZER:-compute-sanitizer}
if ! [[ $limit =~ ^[1-9][0-9]*$ ]]; then
    echo "sanitize.sh: -t $limit is no number of seconds; give a positive whole number" >&2
    exit 2
fi
if ! command -v "$sanitizer" > /dev/null; then
    echo "sanitize.sh: $sanitizer is not found; install it with the CUDA toolkit or name it in COMPUTE_SANITIZER" >&2
    exit 2
fi
if [ "$check" != - ] && ! [ -x "$check" ]; then
    echo "sanitize.sh: $check is no program; build it as mlstm_check.cu says, or give - for none" >&2
    exit 2
fi
out=${out:-$(mktemp -d)}
mkdir -p "$out" || exit 2
root=$(cd "$(dirname "$0")/../../../.." && pwd)
worst=0

# sanitize NAME TOOL COMMAND...
sanitize() {
    local name=$1 tool=$2
    shift 2
    local log=$out/$name-$tool.log began=$SECONDS
    timeout -k 10 "$limit" "$sanitizer" --tool "$tool" --target-processes all "$@" > "$log" 2>&1
    local rc=$? took=$((SECONDS - began)) verdict level=0
    # Of several processes each prints its own summary.
    local found
    found=$(sed -nE 's/^=+ (ERROR|RACECHECK) SUMMARY: ([0-9]+) (error|hazard).*/\2/p' "$log" | awk '{n += $1} END {print NR == 0 ? "none" : n}')
    if [ $rc -eq 124 ] || [ $rc -eq 137 ]; then
        local reports
        reports=$(grep -cE '^=+ (Invalid|Misaligned|Error:|Warning: (Race|Potential)|Race reported|Uninitialized|Barrier error|Program hit)' "$log")
        verdict="not finished in $limit s, $reports reports until then"
        level=3
        [ "$reports" -gt 0 ] && level=1
    elif [ "$found" = none ]; then
        verdict="no summary, exit code $rc: $(grep -v '^$' "$log" | tail -1)"
        level=1
    elif [ "$found" -gt 0 ]; then
        verdict="$found errors"
        level=1
    elif [ $rc -ne 0 ]; then
        verdict="no errors, but exit code $rc: $(grep -v -e '^$' -e '^=====' "$log" | tail -1)"
        level=1
    else
        verdict="clean"
    fi
    printf '%-24s %-10s %4d s  %s  (%s)\n' "$name" "$tool" "$took" "$verdict" "$log"
    if [ $level -eq 1 ] || [ $worst -eq 0 ]; then
        worst=$level
    fi
}

for tool in $tools; do
    if [ "$check" != - ]; then
        sanitize mlstm_check "$tool" "$check" small 1
    fi
    if [ -n "$class" ]; then
        if [ -n "${RUN_CLASS:-}" ]; then
            # shellcheck disable=SC2086 # a command with its arguments
            sanitize "$class" "$tool" $RUN_CLASS "$class"
        else
            sanitize "$class" "$tool" "$root/mvnw" -f "$root/pom.xml" -B -ntp -q test -pl gpu-backend -am "-Dtest=$class" \
                -Dsurefire.failIfNoSpecifiedTests=false
        fi
    fi
done
exit $worst
