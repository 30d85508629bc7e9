#!/usr/bin/env bash
# Shows what Squall and Chaos Toolkit leave behind, on the test bed with its AWS, and writes it into docs/benchmarks.md:
#
#   bench-undo.sh TESTBED.SH SQUALL [OPTION...]     options are those of measure.py
#
# The bed is brought up if it is down, and then taken down again; if it was up before, it stays, and has to have a cloud.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
here=benches/undo name=bench-undo
source benches/common/common.sh
bed=$1 squall=$2
shift 2
cache=${XDG_CACHE_HOME:-$HOME/.cache}/squall/bench
# Far more than it takes: some twenty minutes.
longest=60m

finish() {
  local code=$?
  trap '' INT TERM
  "$bed" exec kubectl delete namespace bench-undo bench-undo-state --ignore-not-found --timeout=90s >/dev/null || true
  [[ -z $work ]] || rm -rf "$work"
  if [[ -n $brought ]]; then "$bed" down; else "$bed" cloud reset >/dev/null || true; fi
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
environment "$here/requirements.txt" "$cache/venv-undo"

there=0 brought='' work='' driver=''
"$bed" status >/dev/null 2>&1 || there=$?
((there != 3)) || brought=yes
trap finish EXIT
trap stop INT TERM
if [[ -n $brought ]]; then "$bed" up --cloud --fast-node-monitor; else "$bed" up; fi
work=$(mktemp -d "$cache/work.XXXXXX")

# No byte code into the tree. The lock is this script's: a child that outlives it must not hold it.
timeout --kill-after=30s "$longest" "$bed" exec env PYTHONPATH=benches/common "$cache/venv-undo/bin/python" -B "$here/measure.py" \
  --bed "$bed" --squall "$squall" --chaos "$cache/venv-undo/bin/chaos" --work "$work" \
  --commit "$(commit_of src Cargo.toml Cargo.lock)" --page docs/benchmarks.md "$@" 9>&- &
driver=$!
# Not in the foreground, where bash would let a signal wait for its end.
wait "$driver"
