# shellcheck shell=bash
# What the scripts of the benchmarks share. The one that sources it stands in the root of the tree and has set `name`.

fail() {
  echo "${name:?}: $*" >&2
  exit 1
}

# The commit of what these paths hold. Only what the binaries are made of: a benchmark writes into the tree itself.
commit_of() {
  local changed
  git rev-parse --short=12 HEAD | tr -d '\n' || return
  changed=$(git status --porcelain -- "$@")
  [[ -z $changed ]] || printf ' with uncommitted changes'
}

# One benchmark at a time on a machine. A child that outlives the script must not hold the lock: start it with `9>&-`.
lock() {
  mkdir -p "$1"
  exec 9>"$1/lock"
  flock --nonblock 9 || fail "another one is running on this machine: one at a time"
}

# environment PINS FOLDER: a Python environment of exactly what is pinned; made anew when that has changed.
environment() {
  cmp --silent "$1" "$2/requirements.txt" && return
  rm -rf "$2"
  python3 -m venv "$2"
  "$2/bin/pip" install --quiet --disable-pip-version-check --requirement "$1"
  cp "$1" "$2/requirements.txt"
}
