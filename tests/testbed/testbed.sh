#!/usr/bin/env bash
# Copyright The Squall Authors
# SPDX-License-Identifier: Apache-2.0
#
# A real multi-node Kubernetes on one Linux machine, without Docker. Needs root. README.md beside this file says more.
#
#   testbed.sh build              compile everything from Go modules; at once when that has been done
#   testbed.sh up [--nodes N] [--zones a,b,c] [--fast-node-monitor]
#                                 start a bed (3 nodes in us-east-1a, b, c), or mend the one that is there
#   testbed.sh up --cloud [--fast-node-monitor]
#                                 the same with AWS's API around it: 6 nodes, instances of four Auto Scaling groups
#   testbed.sh up --spare ...     a bed that the next one may take the place of
#   testbed.sh cloud faults [JSON] | calls | state | wait [SECONDS] | reset
#                                 make AWS's API fail, see what it was asked, put everything back
#   testbed.sh exec CMD...        run CMD where the runner's place is: in the cluster's network, with KUBECONFIG set
#   testbed.sh kubeconfig         print the path of the admin's kubeconfig
#   testbed.sh status             0 when all is well, 1 when something is not, 3 when no bed is up
#   testbed.sh power-off N        node N dies in silence, as in a power cut
#   testbed.sh power-on N         it boots, with the disk that it had; PROVIDER_ID=... gives it another instance id
#   testbed.sh api-stop           kill the API server; etcd stays
#   testbed.sh api-start          start it again, and wait until it is ready
#   testbed.sh check-cloud        hold the cloud's Python to its linter and its tests; needs no bed
#   testbed.sh image NAME OUT ENTRYPOINT... -- /path/in/image=hostfile...
#                                 make an image archive from static binaries
#   testbed.sh load IMAGE.tar     import an image archive on every node
#   testbed.sh logs DIR           collect logs and the cluster's state, after a failure
#   testbed.sh down [--if-spare]  stop everything; nothing is left but the build. --if-spare: only a bed that was started as spare and
#                                 that nobody asked for since, or of which nothing runs; otherwise 1, and nothing is done
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
for part in common host build control node cloud logs; do
  # shellcheck source=/dev/null # shellcheck is run on each by itself
  source "$HERE/lib/$part.sh"
done

usage() {
  sed -n '/^#   testbed/,/^set/{s/^#   //;s/^#  //;/^set/d;p}' "$0"
  exit 2
}

# ---- up ----

# Options that were given, for the comparison with the bed that is there.
WANT_NODES="" WANT_ZONES="" WANT_FAST="" WANT_CLOUD="" WANT_SPARE=""

parse_up() {
  while (($#)); do
    case $1 in
      --nodes) WANT_NODES=${2:-} && shift ;;
      --nodes=*) WANT_NODES=${1#*=} ;;
      --zones) WANT_ZONES=${2:-} && shift ;;
      --zones=*) WANT_ZONES=${1#*=} ;;
      --fast-node-monitor) WANT_FAST=yes ;;
      --cloud) WANT_CLOUD=yes ;;
      --spare) WANT_SPARE=yes ;;
      *) fail "up: unknown option $1" ;;
    esac
    shift || fail "up: the last option lacks its value"
  done
  if [ -n "$WANT_CLOUD" ] && [ -n "$WANT_NODES$WANT_ZONES" ]; then
    fail "up: with --cloud, nodes and zones are those of its Auto Scaling groups"
  fi
  [[ ${WANT_NODES:-3} =~ ^([1-9]|[12][0-9]|30)$ ]] || fail "up: --nodes is a number from 1 to 30"
  [[ ${WANT_ZONES:-a} =~ ^[a-z0-9-]+(,[a-z0-9-]+)*$ ]] || fail "up: --zones is a list such as us-east-1a,us-east-1b"
}

up() {
  local began=$SECONDS
  parse_up "$@"
  take_lock up
  check_home
  if bed_ready; then
    compare_options
    # Who asks for a bed that is there may rely on it from now on.
    if [ -z "$WANT_SPARE" ]; then echo no >"$STATE/spare"; fi
    if healthy; then
      say "up already"
      return
    fi
    if mend; then
      say "mended in $((SECONDS - began)) s"
      return
    fi
    say "that did not help: starting over"
    keep_options
  elif bed_exists; then
    say "a bed that was never finished is here: starting over"
  elif leftovers; then
    say "remains of another bed are here: starting over"
  fi
  remove_bed
  check_host || fail "this machine lacks what is named above"
  build
  if [ -n "$WANT_CLOUD" ]; then build_cloud; fi
  began=$SECONDS
  start_bed
  say "up in $((SECONDS - began)) s: $(setting nodes) nodes in $(setting zones)"
}

# A bed with other options is somebody's: it is not thrown away for a new one.
compare_options() {
  local asked=""
  if [ -n "$WANT_NODES" ] && [ "$WANT_NODES" != "$(setting nodes)" ]; then asked+=" --nodes $WANT_NODES"; fi
  if [ -n "$WANT_ZONES" ] && [ "$WANT_ZONES" != "$(setting zones)" ]; then asked+=" --zones $WANT_ZONES"; fi
  if [ -n "$WANT_FAST" ] && [ "$WANT_FAST" != "$(setting fast)" ]; then asked+=" --fast-node-monitor"; fi
  if [ -n "$WANT_CLOUD" ] && ! has_cloud; then asked+=" --cloud"; fi
  if [ -n "$asked" ]; then
    fail "a bed is up with $(setting nodes) nodes in $(setting zones), fast node monitor: $(setting fast), cloud: $(setting cloud); for$asked, run down first"
  fi
  if [ "$(setting build)" != "$(build_dir)" ]; then say "the bed that is up runs an older build: down and up for the new one"; fi
}

# What comes in its place is what it was.
keep_options() {
  WANT_FAST=$(setting fast)
  if has_cloud; then
    WANT_CLOUD=yes
  else
    WANT_NODES=$(setting nodes) WANT_ZONES=$(setting zones)
  fi
}

# What may be taken down without asking: nobody's work is in it.
is_spare() {
  local file
  bed_ready || return 0
  [ "$(cat "$STATE/spare" 2>/dev/null)" != yes ] || return 0
  for file in "$STATE"/pid/*; do
    if alive "${file##*/}"; then return 1; fi
  done
}

leftovers() {
  ip netns list 2>/dev/null | grep -qE "^$NET(-[0-9]+)?( |$)" || [ -e "$ETCD_DATA" ] || [ -e "$BED" ]
}

start_bed() {
  local i
  mkdir -p "$STATE"/{pid,off,provider,name,type} "$LOGS"
  echo "$HOME_DIR" >"$STATE/home"
  build_dir >"$STATE/build"
  echo "${WANT_CLOUD:-no}" >"$STATE/cloud"
  if has_cloud; then
    venv_dir >"$STATE/venv"
    WANT_NODES=$CLOUD_NODES
    echo "$CLOUD_SLOTS" >"$STATE/slots"
  else
    echo "${WANT_NODES:-3}" >"$STATE/slots"
  fi
  echo "${WANT_NODES:-3}" >"$STATE/nodes"
  echo "${WANT_ZONES:-$CLOUD_ZONES}" >"$STATE/zones"
  echo "${WANT_FAST:-no}" >"$STATE/fast"
  echo "${WANT_SPARE:-no}" >"$STATE/spare"
  make_mount_points
  network_up
  neighbours "$NET" br0 0
  certificates
  users
  start_etcd
  start_apiserver
  await_api || exit 1
  start_first_proxy
  if has_cloud; then
    start_cloud
    start_bridge
  else
    for i in $(seq "$(setting nodes)"); do power_on "$i"; done
  fi
  start_controllers
  start_scheduler
  # Only once all nodes are there, or both of CoreDNS's pods would share the first one.
  await_nodes || exit 1
  kubectl apply --filename "$HERE/manifests/coredns.yaml" >/dev/null
  await_bed || exit 1
  wait_for 60 "both pods of CoreDNS" dns_complete || exit 1
  touch "$STATE/ready"
}

await_nodes() { wait_for 120 "all nodes to be Ready (see $BED/node*/kubelet.log)" all_nodes_ready; }

await_bed() {
  await_nodes &&
    wait_for 60 "the DNS service's rules at the runner's place" dns_ruled &&
    wait_for 90 "names to resolve at the runner's place" dns_answers
}

healthy() {
  local name
  for name in $(components); do alive "$name" || return 1; done
  { all_nodes_ready && dns_ruled && dns_answers; } >/dev/null 2>&1
}

# mend: starts what is dead. False when there is nothing to build on or it doesn't come right.
mend() {
  local name i
  if ! ip netns list | grep -qE "^$NET( |$)" || ! [ -d "$ETCD_DATA" ]; then
    say "the bed's network or data is gone"
    return 1
  fi
  for name in etcd apiserver controllers scheduler proxy; do
    alive "$name" && continue
    say "$name is dead: starting it"
    "start_$name"
    if [ "$name" = apiserver ]; then
      rm -f "$STATE/off/apiserver"
      await_api || return 1
    fi
  done
  if has_cloud; then
    mend_cloud || return 1
    await_bed
    return
  fi
  for i in $(seq "$(setting nodes)"); do
    alive "node$i" && continue
    say "node$i is off: starting it"
    power_on "$i"
    # Its old Ready may still stand: what tells is the kubelet itself.
    wait_for 90 "node$i's kubelet" node_serves "$i" || return 1
  done
  await_bed
}

# What is wrong with its machines the cloud puts right itself; but what it knows is gone with its process.
mend_cloud() {
  if dead cloud; then
    say "the cloud is dead"
    return 1
  fi
  if dead bridge; then
    say "the bridge is dead: starting it"
    start_bridge
  fi
  say "putting the cloud's groups back"
  (cloud reset)
}

# ---- down ----

down() { # [--if-spare]
  local began=$SECONDS
  (($# == 0)) || [ "$*" = --if-spare ] || usage
  take_lock down
  check_home
  if (($#)) && ! is_spare; then
    say "the bed that is up is somebody's: it stays"
    return 1
  fi
  if ! bed_exists && ! leftovers; then
    say "down already"
    return
  fi
  remove_bed
  say "down in $((SECONDS - began)) s"
}

# remove_bed: stops and removes whatever there is of a bed, however little.
remove_bed() {
  local file name dir
  if bed_exists; then
    # First of all, as its container would outlive it.
    if [ -e "$STATE/pid/docker" ]; then "$HERE/docker.sh" down || fail "the Docker Engine does not end"; fi
    stop_bridge || fail "the bridge does not end"
    # All at once first: one by one, each would spend its last seconds on missing the others.
    for file in "$STATE"/pid/*; do
      name=${file##*/}
      if pid_of "$name" >/dev/null; then kill -9 "$(pid_of "$name")" 2>/dev/null || true; fi
    done
    for file in "$STATE"/pid/*; do
      if [ -e "$file" ]; then stop "${file##*/}" || fail "${file##*/} does not end"; fi
    done
  fi
  if ! wait_for 15 "the end of all processes on the nodes" cgroups_gone "*"; then
    fail "processes that nobody recorded are still on a node; see /sys/fs/cgroup/*/$NET-node*/cgroup.procs"
  fi
  for name in $(ip netns list 2>/dev/null | awk -v net="$NET" '$1 ~ "^" net "(-[0-9]+)?$" { print $1 }'); do
    if [ "$name" = "$NET" ] && [ -n "$(ip netns pids "$name")" ]; then
      say "still running at the runner's place, without a cluster from now on: $(ip netns pids "$name" | tr '\n' ' ')"
    fi
    ip netns del "$name"
  done
  if [ -e "$STATE/made" ]; then
    tac "$STATE/made" | while read -r dir; do rmdir "$dir" 2>/dev/null || true; done
  fi
  rm -rf "${BED:?}" "${ETCD_DATA:?}" "/etc/netns/${NET:?}" "${STATE:?}"
}

# ---- single parts ----

change_power() { # on|off NODE
  take_lock "power-$1"
  need_bed
  need_node "${2:-}"
  "power_$1" "$2"
}

change_api() { # stop|start
  take_lock "api-$1"
  need_bed
  if [ "$1" = stop ]; then
    touch "$STATE/off/apiserver"
    stop apiserver
    return
  fi
  if dead apiserver; then start_apiserver; fi
  rm -f "$STATE/off/apiserver"
  await_api
}

main() {
  local verb=${1:-}
  if (($#)); then shift; fi
  case $verb in
    build | check-cloud | image | "" | -h | --help | help) ;;
    *) ((EUID == 0)) || fail "missing: root, for network namespaces and cgroups (try sudo)" ;;
  esac
  case $verb in
    build) build && build_cloud ;;
    check-cloud) build_cloud && check_cloud ;;
    image) (($# > 4)) || usage && image "$@" ;;
    up) up "$@" ;;
    down) down "$@" ;;
    status) check_home && bed_status ;;
    kubeconfig) need_bed && echo "$BED/admin.kubeconfig" ;;
    exec) (($#)) || usage && need_bed && enter "$@" ;;
    power-off) change_power off "$@" ;;
    power-on) change_power on "$@" ;;
    cloud) (($#)) || usage && need_bed && cloud "$@" ;;
    api-stop) change_api stop ;;
    api-start) change_api start ;;
    load) (($# == 1)) || usage && need_bed && load "$1" ;;
    logs) (($# == 1)) || usage && logs "$1" ;;
    *) usage ;;
  esac
}

main "$@"
