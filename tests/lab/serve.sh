# shellcheck shell=bash
# What the checks of `squall lab serve` share: the lab in the background, and calls whose answers are looked at.

work=$(mktemp -d)
checks=0 failures=0 lab=''

finish() {
  local code=$?
  trap '' INT TERM
  if [[ -n $lab ]]; then
    kill "$lab" 2>/dev/null || true
    wait "$lab" || code=1
  fi
  ((code == 0)) || cat "$work/lab.err" >&2
  rm -rf "$work"
  exit "$code"
}

# serve_lab SQUALL [OPTION...]: returns once its API listens. `address` is where.
serve_lab() {
  local squall=$1
  shift
  # It is read before the shell in the background has made it.
  : >"$work/lab.out"
  "$squall" lab serve --json --kubeconfig-out "$work/kubeconfig" "$@" >"$work/lab.out" 2>"$work/lab.err" &
  lab=$!
  trap finish EXIT
  trap 'exit 130' INT TERM
  for _ in {1..100}; do
    address=$(sed -n 's/.*"api":"http:\/\/\([^"]*\)".*/\1/p' "$work/lab.out")
    [[ -z $address ]] || break
    kill -0 "$lab" 2>/dev/null || exit 1
    sleep 0.1
  done
  [[ -n $address ]] || exit 1
  export KUBECONFIG=$work/kubeconfig
}

# check PATTERN [!] COMMAND...: what the command prints must match; with `!` it must fail too, and else must not.
check() {
  local pattern=$1 wanted=0 code=0 output
  shift
  if [[ $1 == '!' ]]; then
    wanted=1
    shift
  fi
  output=$(timeout 60 "$@" 2>&1 </dev/null) || code=1
  checks=$((checks + 1))
  if ((code == wanted)) && grep -Eq -- "$pattern" <<<"$output"; then
    return
  fi
  failures=$((failures + 1))
  printf 'FAILED: %s\n  wanted exit %s and /%s/, got exit %s and:\n%s\n' "$*" "$wanted" "$pattern" "$code" "$output" | cut -c1-400 | sed -n 1,25p
}

# The closing line, and its exit code.
verdict() {
  printf '%s: %d checks, %d failed\n' "$1" "$checks" "$failures"
  ((failures == 0))
}
