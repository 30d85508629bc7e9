# shellcheck shell=bash disable=SC2034 # its variables are for the other parts
# Copyright The Squall Authors
# SPDX-License-Identifier: Apache-2.0
#
# What every part of the test bed uses: where things are, how they are said, daemons, locks, waiting. Sourced by testbed.sh.

# One bed per machine: its namespaces, addresses and cgroups have fixed names. What is true only until the machine reboots lives
# under /run; what is large or slow to make lives under SQUALL_TESTBED_HOME.
HOME_DIR=${SQUALL_TESTBED_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/squall/testbed}
STATE=/run/squall-testbed
LOCK=/run/squall-testbed.lock
BED=$HOME_DIR/bed
LOGS=$BED/logs
NET=squall
SUBNET=10.89.0
API=https://$SUBNET.1:6443
CONTEXT=squall-testbed

say() { printf 'testbed: %s\n' "$*" >&2; }
fail() {
  say "$*"
  exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# wait_for SECONDS WHAT COMMAND...: tries COMMAND until it succeeds; false, with a line saying so, when the time is over.
wait_for() {
  local limit=$1 what=$2 end
  shift 2
  end=$((SECONDS + limit))
  until "$@" >/dev/null 2>&1; do
    if ((SECONDS >= end)); then
      say "waited $limit s in vain for $what"
      return 1
    fi
    sleep 0.2
  done
}

# ---- daemons ----
# A process is known by its id, its start time and the machine's boot, so that an id that has been given to another process since
# is never mistaken for ours, and never killed.

start_time() { # PID
  local line
  { read -r line <"/proc/$1/stat"; } 2>/dev/null || return 1
  line=${line##*) } # the name before it may hold anything
  # shellcheck disable=SC2086 # split into fields: state is the 1st, start time the 20th
  set -- $line
  [ "$1" != Z ] && echo "${20}"
}

boot_id() { cat /proc/sys/kernel/random/boot_id; }

# spawn NAME LOGFILE COMMAND...: starts a daemon. It records itself before it becomes the command, so that even a testbed.sh that
# is killed in between leaves no process that nobody knows. It keeps no descriptor of ours, or it would hold our lock and our
# caller's pipes.
spawn() {
  local name=$1 log=$2
  shift 2
  (
    local fd me=$BASHPID # here, for within $(...) it would be another process
    for fd in /proc/self/fd/*; do
      fd=${fd##*/}
      if ((fd > 2)); then eval "exec $fd>&-"; fi
    done
    echo "$me $(start_time "$me") $(boot_id)" >"$STATE/pid/$name"
    exec setsid "$@"
  ) >>"$log" 2>&1 </dev/null &
}

pid_of() { # NAME: prints the process id when that very process still runs
  local pid start boot
  { read -r pid start boot <"$STATE/pid/$1"; } 2>/dev/null || return 1
  [ "$boot" = "$(boot_id)" ] && [ "$(start_time "$pid")" = "$start" ] && echo "$pid"
}

alive() { pid_of "$1" >/dev/null; }
dead() { ! alive "$1"; }

stop() { # NAME: kills the daemon and waits until it is gone
  local pid
  if pid=$(pid_of "$1"); then
    kill -9 "$pid" 2>/dev/null || true
    wait_for 15 "the end of $1 (process $pid)" dead "$1" || return 1
  fi
  rm -f "$STATE/pid/$1"
}

# ---- state ----

bed_exists() { [ -d "$STATE/pid" ]; }
bed_ready() { [ -e "$STATE/ready" ]; }
setting() { cat "$STATE/$1"; } # nodes, slots, zones, fast, spare, build, home, cloud, venv

# A bed is worked on from the home that it was started from: certificates and disks are there.
check_home() {
  if bed_exists && [ -s "$STATE/home" ] && [ "$(setting home)" != "$HOME_DIR" ]; then
    fail "the bed on this machine belongs to another home: set SQUALL_TESTBED_HOME=$(setting home)"
  fi
}

need_bed() {
  check_home
  bed_ready || fail "no bed is up: run $0 up"
}

need_node() { # NUMBER
  if ! [[ ${1:-} =~ ^[1-9][0-9]*$ ]] || (($1 > $(setting slots))); then
    fail "say which node: a number from 1 to $(setting slots)"
  fi
  if has_cloud && ! [ -e "$STATE/name/node$1" ]; then fail "no instance has the place of node$1 now"; fi
}

# take_lock VERB: one testbed.sh at a time changes the bed; another waits, and says for whom. Held until this process ends.
take_lock() {
  exec 9>>"$LOCK"
  if ! flock --nonblock 9; then
    say "waiting for another one at work: $(cat "$LOCK")"
    flock --timeout 1800 9 || fail "gave up after 30 minutes: still at work is $(cat "$LOCK")"
  fi
  echo "testbed.sh $1, process $$" >"$LOCK"
}

# enter COMMAND...: becomes it at the runner's place: in the cluster's network, with its DNS, kubectl in PATH, and the way to the
# cloud if there is one. Nothing stays between our caller and the command, so that signals reach it.
enter() {
  local aws=()
  if has_cloud; then
    # The caller's own credentials stay out: they would end in the record of calls.
    aws=(AWS_ENDPOINT_URL="$CLOUD_ENDPOINT" AWS_REGION=us-east-1 AWS_DEFAULT_REGION=us-east-1 AWS_ACCESS_KEY_ID=testbed
      AWS_SECRET_ACCESS_KEY=testbed AWS_EC2_METADATA_DISABLED=true)
  fi
  exec ip netns exec "$NET" env KUBECONFIG="$BED/admin.kubeconfig" PATH="$(setting build)/bin:$PATH" "${aws[@]}" "$@"
}

inside() { (enter "$@"); }

kubectl() { inside kubectl --request-timeout=10s "$@"; }
