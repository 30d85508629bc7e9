#!/usr/bin/env bash
# Copyright The Squall Authors
# SPDX-License-Identifier: Apache-2.0
#
# A node of the bed whose machine is a container, as kind's are: a real Docker Engine, and on it a container with kind's label. The
# node has power while the container runs: killed, stopped or started through the engine, the node loses its power or boots. The
# container itself holds no kubelet, so this is kind's engine and kind's names, and the bed's node.
#
#   docker.sh up          needs a bed that is up with --cloud; the node takes a free place of the bed, and is Ready when this ends
#   docker.sh host        what DOCKER_HOST has to be
#   docker.sh docker ...  Docker's own command line, on this engine
#   docker.sh down        nothing of it is left, the node's object neither
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
for part in common host control node cloud; do
  # shellcheck source=/dev/null # shellcheck is run on each by itself
  source "$HERE/lib/$part.sh"
done

NAME=kind-worker
CLUSTER=squall-testbed
ENGINE=unix://$STATE/docker.sock
FILES=$HOME_DIR/docker
MACHINE=$HERE/cloud/machine.sh

# The place of the node among those of the bed: chosen once, the last that no instance has.
place() {
  local i
  if ! [ -e "$STATE/docker.place" ]; then
    for i in $(seq "$CLOUD_SLOTS" -1 1); do
      if ! [ -e "$STATE/name/node$i" ] && dead "node$i"; then
        echo "$i" >"$STATE/docker.place"
        break
      fi
    done
  fi
  cat "$STATE/docker.place" 2>/dev/null || fail "every place of the bed is taken"
}

# The package is unpacked and not installed: installing would start an engine for the whole machine, with rules of its own.
fetch_engine() {
  have dockerd && return
  [ -x "$FILES/usr/sbin/dockerd" ] && return
  have apt-get || fail "missing: dockerd (Debian's package docker.io)"
  say "fetching Debian's package docker.io"
  rm -rf "$FILES" "$FILES.new"
  mkdir -p "$FILES.new"
  (
    cd "$FILES.new"
    apt-get download -q docker.io >&2 || { apt-get update -q >&2 && apt-get download -q docker.io >&2; }
    dpkg --extract docker.io_*.deb .
    rm docker.io_*.deb
  )
  mv "$FILES.new" "$FILES"
}

docker() { PATH="$FILES/usr/bin:$PATH" DOCKER_HOST=$ENGINE command docker "$@"; }

start_engine() {
  # It brings no network of its own: what it would set up is the machine's, which is not ours.
  PATH="$FILES/usr/sbin:$FILES/usr/bin:$PATH" spawn docker "$LOGS/docker.log" dockerd --host "$ENGINE" --data-root "$BED/docker" \
    --exec-root "$STATE/docker" --pidfile "$STATE/docker.pid" --bridge none --iptables=false --ip6tables=false --ip-forward=false --ip-masq=false
  wait_for 60 "the Docker Engine (see $LOGS/docker.log)" docker version
}

# Debian's image of nothing: one static binary, which waits.
make_container() {
  local work
  work=$(mktemp -d)
  cp "$(setting build)/bin/agnhost" "$work/"
  tar -C "$work" -c agnhost | docker import --change 'ENTRYPOINT ["/agnhost", "pause"]' - "$CLUSTER-machine" >/dev/null
  rm -rf "$work"
  # As kind runs its own, so that an engine that starts again what was killed would be seen.
  docker run --detach --name "$NAME" --network none --restart on-failure:1 --label "io.x-k8s.kind.cluster=$CLUSTER" --label io.x-k8s.kind.role=worker \
    "$CLUSTER-machine" >/dev/null
}

is_running() { [ "$(docker inspect --format '{{.State.Running}}' "$NAME" 2>/dev/null)" = true ]; }

# The node's power follows the container, for as long as there is one.
follow() {
  local place
  place=$(place)
  while docker inspect "$NAME" >/dev/null 2>&1; do
    if is_running; then
      if dead "node$place"; then "$MACHINE" on "$place" "$NAME" "kind://docker/$CLUSTER/$NAME" kind ''; fi
    elif alive "node$place"; then
      "$MACHINE" off "$place" abrupt
    fi
    sleep 0.2
  done
}

node_is_ready() { [ "$(kubectl get node "$NAME" --output='jsonpath={.status.conditions[?(@.type=="Ready")].status}')" = True ]; }

up() {
  need_bed
  has_cloud || fail "the bed has no free place: it was brought up without --cloud"
  if alive docker; then fail "it is up"; fi
  place >/dev/null
  fetch_engine
  start_engine
  make_container
  spawn docker-power "$LOGS/docker-power.log" "$HERE/docker.sh" follow
  wait_for 90 "node $NAME to be Ready" node_is_ready
}

down() {
  local pid place
  stop docker-power
  if alive docker; then
    docker rm --force "$NAME" >/dev/null 2>&1 || true
    pid=$(pid_of docker)
    # It ends its own containerd, and unmounts what it has mounted.
    kill "$pid" 2>/dev/null || true
    wait_for 30 "the end of the Docker Engine" dead docker || stop docker
  fi
  rm -rf "${BED:?}/docker" "${STATE:?}"/docker "${STATE:?}"/docker.sock "${STATE:?}"/docker.pid "${STATE:?}"/pid/docker
  if place=$(cat "$STATE/docker.place" 2>/dev/null); then
    "$MACHINE" gone "$place" abrupt
    rm "$STATE/docker.place"
  fi
  if bed_ready; then kubectl delete node "$NAME" --ignore-not-found >/dev/null; fi
}

((EUID == 0)) || fail "missing: root"
case ${1:-} in
  up) up ;;
  host) echo "$ENGINE" ;;
  docker) shift && docker "$@" ;;
  follow) follow ;;
  down) down ;;
  *)
    sed -n '/^#   docker.sh/{s/^#   //;p}' "$0"
    exit 2
    ;;
esac
