# shellcheck shell=bash
# Copyright The Squall Authors
# SPDX-License-Identifier: Apache-2.0
#
# Nodes: their place in the network, their cgroups, power on and off, images. Sourced by testbed.sh.

# Directories that a node mounts its own disk over. They must be there to be mounted over, and go again with the bed.
MOUNT_POINTS="/var/lib/kubelet /var/lib/containerd /var/lib/cni /etc/cni /etc/cni/net.d"

zone_of() { # NODE: the zones in turn
  local zones
  IFS=, read -ra zones <<<"$(setting zones)"
  echo "${zones[($1 - 1) % ${#zones[@]}]}"
}

# In a cloud, a place has a name only while an instance has it.
node_name() { cat "$STATE/name/node$1" 2>/dev/null || has_cloud || echo "node$1"; }

make_mount_points() {
  local dir
  for dir in $MOUNT_POINTS; do
    if ! [ -d "$dir" ]; then
      mkdir "$dir"
      echo "$dir" >>"$STATE/made"
    fi
  done
}

# ---- cgroups ----
# Each node has a cgroup of its own that it sees as the root. Version 1 has one per hierarchy; version 2 has one that controllers
# must be handed down to. Version 2 is UNTESTED: it was written on a machine that has version 1 only.

node_cgroups() { # NODE: the directories
  local controllers
  if [ "$(cgroup_version)" = 2 ]; then
    echo "/sys/fs/cgroup/$NET-node$1"
    return
  fi
  while IFS=: read -r _ controllers _; do
    # The line without controllers is version 2 on a hybrid machine, which nodes leave alone; others may not be mounted.
    if [ -n "$controllers" ] && [ -e "/sys/fs/cgroup/${controllers#name=}/cgroup.procs" ]; then
      echo "/sys/fs/cgroup/${controllers#name=}/$NET-node$1"
    fi
  done </proc/self/cgroup
}

make_cgroups() { # NODE
  local dir file controller
  if [ "$(cgroup_version)" = 2 ]; then
    for controller in $CONTROLLERS_V2; do
      echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control ||
        fail "the cgroup controller $controller can't be handed down: this is no root cgroup, as inside a container"
    done
  fi
  while read -r dir; do
    mkdir -p "$dir" || fail "no cgroup can be made: $dir"
    # In version 1, a cpuset takes no process before it is told its processors and memory nodes.
    for file in cpuset.cpus cpuset.mems; do
      if [ "$(cgroup_version)" = 1 ] && [ -e "$dir/$file" ]; then cat "${dir%/*}/$file" >"$dir/$file"; fi
    done
  done < <(node_cgroups "$1")
}

cgroups_gone() { # NODE: removes what is left of its cgroups ("*": of all nodes'); false while a process is in one
  local dir left=0
  # shellcheck disable=SC2231 # the argument may be a pattern
  for dir in /sys/fs/cgroup/"$NET"-node$1 /sys/fs/cgroup/*/"$NET"-node$1; do
    [ -d "$dir" ] || continue
    find "$dir" -depth -type d -exec rmdir {} + 2>/dev/null || true
    if [ -d "$dir" ]; then left=1; fi
  done
  return "$left"
}

# ---- power ----

node_network() { # NODE: made anew at every start, for a machine that boots has no connections and no rules
  local i=$1 name=$NET-$1 j
  ip netns del "$name" 2>/dev/null || true
  ip -n "$NET" link del "v$i" 2>/dev/null || true
  ip netns add "$name"
  ip -n "$NET" link add "v$i" type veth peer name eth0 netns "$name"
  ip -n "$name" link set eth0 address "$(mac "$i")"
  ip -n "$NET" link set "v$i" master br0 up
  {
    echo "link set lo up"
    echo "addr add $(address "$i")/16 dev eth0"
    echo "link set eth0 up"
    echo "route add default via $SUBNET.1"
    for j in $(seq "$(setting slots)"); do
      [ "$j" = "$i" ] || echo "route add 10.244.$j.0/24 via $(address "$j")"
    done
  } | ip -n "$name" -batch -
  neighbours "$name" eth0 "$i"
  ip -n "$NET" route replace "10.244.$i.0/24" via "$(address "$i")"
}

power_on() { # NODE
  local i=$1 name provider
  if alive "node$i"; then
    say "node$i is on"
    return
  fi
  # A machine that boots has no cgroups of pods from before: kubelet would lose three seconds on each.
  wait_for 15 "the end of what ran on node$i" cgroups_gone "$i" || return 1
  make_cgroups "$i"
  node_network "$i"
  if [ -n "${CUT:-}" ]; then cut_off "$i" "$CUT"; fi
  name=$(node_name "$i")
  mkdir -p "$BED/$name"
  # What ties a node to a cloud's instance; a replaced instance is the same place with another id.
  if [ -n "${PROVIDER_ID:-}" ]; then echo "$PROVIDER_ID" >"$STATE/provider/node$i"; fi
  provider=$(cat "$STATE/provider/node$i" 2>/dev/null || printf 'aws:///%s/i-%017x' "$(zone_of "$i")" "$i")
  # When unshare, the process that we know, is killed, so is the node's first process, and with it everything on the node.
  spawn "node$i" "$LOGS/node$i.log" \
    env NODE="$i" NAME="$name" HOME_DIR="$HOME_DIR" BUILD="$(setting build)" CNI_DIR="$(cni_dir)" ADDRESS="$(address "$i")" \
    ZONE="$(zone_of "$i")" INSTANCE_TYPE="$(cat "$STATE/type/node$i" 2>/dev/null)" PROVIDER_ID="$provider" FAST="$(setting fast)" \
    CGROUPS="$(node_cgroups "$i" | tr '\n' ' ')" \
    unshare --pid --mount --uts --ipc --fork --kill-child --mount-proc nsenter --net="/run/netns/$NET-$i" "$HERE/node-init.sh"
  rm -f "$STATE/off/node$i"
}

# As a power cut: the link first, so that nothing that dies can say goodbye, then everything at once.
power_off() { # NODE
  touch "$STATE/off/node$1"
  ip -n "$NET" link set "v$1" down 2>/dev/null || true
  stop "node$1"
  ip netns del "$NET-$1" 2>/dev/null || true
}

node_serves() { kubectl get --raw "/api/v1/nodes/$(node_name "$1")/proxy/healthz"; }

all_nodes_ready() {
  local lines
  lines=$(kubectl get nodes --no-headers)
  [ "$(grep -cE '^node[0-9]+(-[0-9a-f]{5})? +Ready' <<<"$lines")" = "$(setting nodes)" ]
}

# ---- images ----

# load ARCHIVE: on every running node at once. A copy stays with the bed, so that a node that is off has it when it comes back.
load() {
  local archive=$1 i pids=()
  [ -r "$archive" ] || fail "no image archive there: $archive"
  mkdir -p "$BED/images"
  cp "$archive" "$BED/images/.partial"
  mv "$BED/images/.partial" "$BED/images/$(basename "$archive")"
  for i in $(seq "$(setting slots)"); do
    if alive "node$i"; then
      import "$i" "$archive" >>"$LOGS/load.log" 2>&1 &
      pids+=("$!")
    fi
  done
  for pid in "${pids[@]}"; do wait "$pid" || fail "a node did not take the image: $(tail -n 1 "$LOGS/load.log")"; done
  say "loaded on ${#pids[@]} nodes: $archive"
}

# import NODE ARCHIVE: on one node. One that is just booting may have looked for images before this one was there; one that dies
# meanwhile is no failure.
import() {
  local pid
  pid=$(pid_of "node$1") || return 0
  node_ctr "$pid" images import "$2" && return
  until node_ctr "$pid" version >/dev/null 2>&1; do
    alive "node$1" || return 0
    sleep 0.2
  done
  node_ctr "$pid" images import "$2" || dead "node$1"
}

node_ctr() { # PROCESS COMMAND...
  local pid=$1
  shift
  ctr --address "/proc/$pid/root/run/containerd/containerd.sock" --namespace k8s.io "$@"
}
