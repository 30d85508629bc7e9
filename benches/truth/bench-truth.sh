#!/usr/bin/env bash
# What load tools say of a server whose troubles are known, Squall's engine among them; writes docs/benchmarks.md, docs/measuring.md and
# docs/images/freeze.svg:
#
#   bench-truth.sh FAULTSERVER OURS [OPTION...]     options are those of measure.py
#
# A tool that is missing and can't be installed is named, and left out.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
here=benches/truth name=bench-truth
source benches/common/common.sh
faultserver=$1 ours=$2
shift 2
cache=${XDG_CACHE_HOME:-$HOME/.cache}/squall/bench
peers=$(dirname "$cache")/peers
# Far more than it takes: some six minutes, and the wait for a quiet machine.
longest=25m
oha=1.16.0 fortio=v1.63.0

# Says so when a tool can't be had: the others are measured all the same.
without() {
  echo "$name: $1 is missing and could not be installed: $2" >&2
}

tools() {
  local tool
  for tool in wrk hey; do
    .ci/need "$tool=$tool" || without "$tool" "Debian package $tool"
  done
  if [[ $("$peers/bin/oha" --version 2>/dev/null) != "oha $oha" ]]; then
    # Not into CARGO_TARGET_DIR, where it would stay. It takes a quarter of an hour on two cores, once.
    env -u CARGO_TARGET_DIR cargo install --quiet --locked --root "$peers" --version "$oha" oha || without oha "cargo install oha"
  fi
  if [[ $("$peers/bin/fortio" version 2>/dev/null) != "${fortio#v}"* ]]; then
    GOBIN=$peers/bin go install "fortio.org/fortio@$fortio" || without fortio "go install fortio.org/fortio@$fortio"
  fi
}

finish() {
  local code=$?
  trap '' INT TERM
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

[[ -x $faultserver && -x $ours ]] || fail "$faultserver or $ours is not there: \`make bench-truth\` builds them"
(($(nproc) >= 2)) || fail "two cores are needed: one for the server, one for the tool"
lock "$cache"
tools

work='' driver=''
trap finish EXIT
trap stop INT TERM
work=$(mktemp -d "$cache/work.XXXXXX")

# No byte code into the tree. The lock is this script's: a child that outlives it must not hold it.
PATH=$peers/bin:$PATH PYTHONPATH=benches/common timeout --kill-after=30s "$longest" python3 -B "$here/measure.py" \
  --faultserver "$faultserver" --ours "$ours" --work "$work" --docs docs --raw "$cache/truth.json" \
  --commit "$(commit_of src tests/truth benches/truth Cargo.toml Cargo.lock)" "$@" 9>&- &
driver=$!
# Not in the foreground, where bash would let a signal wait for its end.
wait "$driver"
