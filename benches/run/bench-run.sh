#!/usr/bin/env bash
# Times whole runs of Squall beside Chaos Toolkit on the test bed, and writes the figures into docs/benchmarks.md:
#
#   bench-run.sh TESTBED.SH SQUALL [OPTION...]     options are those of measure.py
#
# The bed is brought up if it is down, and then taken down again; if it was up before, it stays.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
here=benches/run name=bench-run
source benches/common/common.sh
bed=$1 squall=$2
shift 2
cache=${XDG_CACHE_HOME:-$HOME/.cache}/squall/bench
# Every namespace of a benchmark has it: whatever way the driver ends, this finds what it made.
label=squall.dev/bench=run
# Far more than it takes: some ten minutes.
longest=40m

finish() {
  local code=$?
  trap '' INT TERM
  "$bed" exec kubectl delete namespace --selector "$label" --ignore-not-found --timeout=90s >/dev/null || true
  [[ -z $work ]] || rm -rf "$work"
  [[ -z $brought ]] || "$bed" down
  exit "$code"
}

# The driver ends what it started.
stop() {
  trap '' INT TERM
  if [[ -n $driver ]]; then
    kill "$driver" 2>/dev/null || true
    wait "$driver" || true
  fi
  exit 130
}

[[ -x $squall ]] || fail "$squall is not there: \`make release\` builds it"
lock "$cache"
environment "$here/requirements.txt" "$cache/venv"

there=0 brought='' work='' driver=''
"$bed" status >/dev/null 2>&1 || there=$?
((there != 3)) || brought=yes
trap finish EXIT
trap stop INT TERM
"$bed" up
# In the cache and not in /tmp, which may be memory: what Squall syncs has to reach a disk.
work=$(mktemp -d "$cache/work.XXXXXX")

# No byte code into the tree. The lock is this script's: a child that outlives it must not hold it.
timeout --kill-after=30s "$longest" "$bed" exec env PYTHONPATH=benches/common python3 -B "$here/measure.py" \
  --squall "$squall" --chaos "$cache/venv/bin/chaos" --work "$work" --label "$label" \
  --commit "$(commit_of src Cargo.toml Cargo.lock)" --page docs/benchmarks.md "$@" 9>&- &
driver=$!
# Not in the foreground, where bash would let a signal wait for its end.
wait "$driver"
