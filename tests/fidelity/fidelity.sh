#!/usr/bin/env bash
# Runs each scenario of this folder on the lab and on the test bed, and writes how they compare into docs/fidelity.md:
#
#   fidelity.sh TESTBED.SH SQUALL [OPTION...]     options are those of measure.py; `--lab` needs no bed
#
# The bed is brought up if it is down, and then taken down again; if it was up before, it stays, and has to have a cloud.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
here=tests/fidelity name=fidelity
source benches/common/common.sh
bed=$1 squall=$2
shift 2
cache=${XDG_CACHE_HOME:-$HOME/.cache}/squall/bench
# Far more than it takes: some forty minutes with three rounds.
longest=3h

finish() {
  local code=$?
  trap '' INT TERM
  if [[ -n $touched ]]; then
    "$bed" exec kubectl delete namespace fidelity fidelity-state --ignore-not-found --timeout=90s >/dev/null || true
    if [[ -n $brought ]]; then "$bed" down; else "$bed" cloud reset >/dev/null || true; fi
  fi
  [[ -z $work ]] || rm -rf "$work"
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

[[ -x $squall ]] || fail "$squall is not there: \`make build\` builds it"
mkdir -p "$cache"
work='' driver='' touched='' brought='' inside=()
trap finish EXIT
trap stop INT TERM
if [[ " $* " != *" --lab "* ]]; then
  lock "$cache"
  there=0
  "$bed" status >/dev/null 2>&1 || there=$?
  ((there != 3)) || brought=yes
  touched=yes
  if [[ -n $brought ]]; then "$bed" up --cloud --fast-node-monitor; else "$bed" up; fi
  inside=("$bed" exec)
fi
work=$(mktemp -d "$cache/work.XXXXXX")

# No byte code into the tree. The lock is this script's: a child that outlives it must not hold it.
timeout --kill-after=30s "$longest" "${inside[@]}" env PYTHONPATH=benches/common python3 -B "$here/measure.py" \
  --bed "$bed" --squall "$squall" --work "$work" --commit "$(commit_of src Cargo.toml Cargo.lock)" "$@" 9>&- &
driver=$!
# Not in the foreground, where bash would let a signal wait for its end.
wait "$driver"
