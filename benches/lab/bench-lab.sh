#!/usr/bin/env bash
# Times rehearsals on the embedded cluster, and writes the figures into docs/benchmarks.md:
#
#   bench-lab.sh SQUALL [OPTION...]     options are those of measure.py
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
here=benches/lab name=bench-lab
source benches/common/common.sh
squall=$1
shift

[[ -x $squall ]] || fail "$squall is not there: \`make release\` builds it"
cache=${XDG_CACHE_HOME:-$HOME/.cache}/squall/bench
lock "$cache"
work=$(mktemp -d "$cache/work.XXXXXX")
trap 'rm -rf "$work"' EXIT

# No byte code into the tree. The lock is this script's: a child that outlives it must not hold it.
PYTHONPATH=benches/common timeout --kill-after=30s 20m python3 -B "$here/measure.py" \
  --squall "$squall" --work "$work" --commit "$(commit_of src Cargo.toml Cargo.lock)" --page docs/benchmarks.md "$@" 9>&-
