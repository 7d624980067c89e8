#!/usr/bin/env bash
# How often `driftlock compare` calls a version worse than itself, on this machine (A/A): its false alarms, live.
#
#   benches/alike.sh [COMPARISONS] [BENCH-ARGUMENTS...]
#
# Each comparison runs `driftlock bench` sixteen times in turns (A B B A), 2 s and a warm-up of 1 s each by default: two
# minutes. 20 comparisons where no number is given. Ends with 1 if more than one in a hundred, or more than one of
# fewer, was called a regression; what was too noisy for an answer is counted apart.
set -euo pipefail
cd "$(dirname "$0")/.."

comparisons=${1:-20}
case $comparisons in '' | *[!0-9]* | 0) echo "COMPARISONS is a number above 0, not $comparisons" >&2; exit 2 ;; esac
shift || true
[ $# -gt 0 ] || set -- many-customers --workers 4 --warm-up 1s --duration 2s

cargo build --locked --release --quiet -p driftlock
driftlock=$PWD/target/release/driftlock
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

printf -v bench '%q ' "$driftlock" bench "$@"
alike=0 worse=0 noisy=0
for number in $(seq "$comparisons"); do
    code=0
    "$driftlock" compare --run-base "$bench" --run-new "$bench" --output "$work/$number" \
        >"$work/said" 2>"$work/err" || code=$?
    case $code in
        0) alike=$((alike + 1)) ;;
        3) noisy=$((noisy + 1)) ;;
        5) worse=$((worse + 1)) && cat "$work/said" ;;
        *) cat "$work/err" >&2; exit "$code" ;;
    esac
    rm -rf "${work:?}/$number"
    echo "$number of $comparisons: $alike alike, $worse called worse, $noisy too noisy to say"
done
[ "$worse" -le 1 ] || [ $((worse * 100)) -le "$comparisons" ]
