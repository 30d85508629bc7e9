# shellcheck shell=bash disable=SC2034 # its variables are for the other parts
# Copyright The Squall Authors
# SPDX-License-Identifier: Apache-2.0
#
# The cloud around the cluster: its Python, its processes, and the machines that instances run on. Sourced by testbed.sh and by
# cloud/machine.sh.

CLOUD_NODES=6
CLOUD_SLOTS=9
CLOUD_ZONES=us-east-1a,us-east-1b,us-east-1c
CLOUD_ENDPOINT=http://$SUBNET.1:5000
SHUTDOWN_SECONDS=12 # for a machine that goes in order; a little more than its own first process takes at most

has_cloud() { [ "$(cat "$STATE/cloud" 2>/dev/null)" = yes ]; }

# ---- Python ----

# Known by what goes into it, as the builds are.
venv_dir() {
  echo "$HOME_DIR/venv-$({ python3 --version && cat "$HERE/cloud/requirements.txt"; } | sha256sum | cut -c1-16)"
}

build_cloud() {
  local dir partial=$HOME_DIR/.venv-partial began=$SECONDS old
  NEED_PYTHON=yes
  install_packages || fail "this machine lacks what is named above"
  dir=$(venv_dir)
  [ -d "$dir" ] && return
  mkdir -p "$HOME_DIR"
  exec 8>>"$HOME_DIR/build.lock"
  flock 8
  if ! [ -d "$dir" ]; then
    say "installing moto, which speaks AWS's API: half a minute"
    rm -rf "$partial"
    python3 -m venv "$partial" >&2 || fail "python3 -m venv failed"
    "$partial/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --requirement "$HERE/cloud/requirements.txt" >&2 ||
      fail "pip could not install cloud/requirements.txt"
    mv "$partial" "$dir"
    for old in "$HOME_DIR"/venv-*; do
      [ "$old" = "$dir" ] || [ "$old" = "$(cat "$STATE/venv" 2>/dev/null)" ] || rm -rf "$old"
    done
    say "installed in $((SECONDS - began)) s: $dir"
  fi
  exec 8>&-
}

# Nothing is written beside the sources.
cloud_python() { env PYTHONDONTWRITEBYTECODE=1 "$(setting venv)/bin/python" "$@"; }

check_cloud() {
  local python
  python=$(venv_dir)/bin/python
  (
    cd "$HERE/cloud" || exit
    export PYTHONDONTWRITEBYTECODE=1
    "$python" -m ruff check --no-cache --quiet . && "$python" -m ruff format --no-cache --quiet --check . && exec "$python" tests/run.py
  )
}

# ---- processes ----

start_cloud() {
  spawn cloud "$LOGS/cloud.log" ip netns exec "$NET" env PYTHONDONTWRITEBYTECODE=1 "$(setting venv)/bin/python" "$HERE/cloud/server.py" \
    --listen "$SUBNET.1:5000" --socket "$STATE/cloud.sock" --calls "$LOGS/cloud-calls.jsonl" \
    --api "$API" --token "$(token cloud)" --authority "$BED/ca.crt"
  wait_for 30 "the cloud (see $LOGS/cloud.log)" test -S "$STATE/cloud.sock"
}

# It works outside the cluster's network, where namespaces are made.
start_bridge() {
  spawn bridge "$LOGS/bridge.log" env SQUALL_TESTBED_HOME="$HOME_DIR" PYTHONDONTWRITEBYTECODE=1 "$(setting venv)/bin/python" \
    "$HERE/cloud/bridge.py" "$STATE" "$HERE/cloud/machine.sh"
}

# With what it is just doing, or that would start a machine that nobody stops. It leads a process group of its own.
stop_bridge() {
  local pid
  if pid=$(pid_of bridge); then kill -9 -- "-$pid" 2>/dev/null || true; fi
  stop bridge
}

cloud() { # VERB...
  has_cloud || fail "the bed that is up has no cloud: run down, then up --cloud"
  cloud_python "$HERE/cloud/control.py" "$STATE/cloud.sock" "$@" || return
  # One of its pods may have gone with a machine; and who takes the other one's zone takes the last with DNS.
  if [ "$1" = reset ]; then wait_for 120 "both pods of CoreDNS" dns_complete || exit 1; fi
}

# ---- machines ----

# A machine's own credentials, for its name is not known before it is there. The Node authorizer goes by the name.
machine_kubeconfig() { # NAME
  local dir=$BED/$1
  mkdir -p "$dir"
  (
    umask 077
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$dir/node.key" -out "$dir/node.csr" \
      -subj "/O=system:nodes/CN=system:node:$1"
    openssl x509 -req -in "$dir/node.csr" -CA "$BED/ca.crt" -CAkey "$BED/ca.key" -set_serial "0x$(openssl rand -hex 8)" -days 365 \
      -out "$dir/node.crt" -extfile <(echo extendedKeyUsage=clientAuth)
  ) 2>>"$LOGS/openssl.log" || return 1
  sed -e "s|user: {token: .*}}|user: {client-certificate: $dir/node.crt, client-key: $dir/node.key}}|" "$BED/admin.kubeconfig" >"$dir/kubeconfig"
}

# A subnet whose ACL lets nothing in or out: of its machines' packets only those from and to the subnet's other machines pass. Each
# machine has the rules itself, before it starts, because the network between them is a plain switch. They look at every packet
# and say nothing, as an ACL does: what was connected just hangs.
cut_off() { # NODE DIRECTIONS
  local i=$1 directions=$2 ns=$NET-$1 j chain option
  for chain in acl-in acl-out; do
    ip netns exec "$ns" iptables -w -t mangle -N "$chain" 2>/dev/null || ip netns exec "$ns" iptables -w -t mangle -F "$chain"
  done
  ip netns exec "$ns" iptables -w -t mangle -C PREROUTING -i eth0 -j acl-in 2>/dev/null ||
    ip netns exec "$ns" iptables -w -t mangle -I PREROUTING -i eth0 -j acl-in
  ip netns exec "$ns" iptables -w -t mangle -C POSTROUTING -o eth0 -j acl-out 2>/dev/null ||
    ip netns exec "$ns" iptables -w -t mangle -I POSTROUTING -o eth0 -j acl-out
  for chain in $directions; do
    if [ "$chain" = in ]; then option=-s; else option=-d; fi
    for j in $(seq "$(setting slots)"); do
      [ "$(zone_of "$j")" = "$(zone_of "$i")" ] || continue
      ip netns exec "$ns" iptables -w -t mangle -A "acl-$chain" "$option" "$(address "$j")" -j ACCEPT
      ip netns exec "$ns" iptables -w -t mangle -A "acl-$chain" "$option" "10.244.$j.0/24" -j ACCEPT
    done
    ip netns exec "$ns" iptables -w -t mangle -A "acl-$chain" -j DROP
  done
}

# shut_down NODE: as an operating system does; what is not done in time loses its power like the rest.
shut_down() {
  local pid init
  if pid=$(pid_of "node$1"); then
    read -r init _ <"/proc/$pid/task/$pid/children" || true
    if [ -n "$init" ]; then kill -TERM "$init" 2>/dev/null || true; fi
    wait_for "$SHUTDOWN_SECONDS" "node$1 to shut down" dead "node$1" || true
  fi
  power_off "$1"
}

# What its logs say is kept, its disk is not.
scrap() { # NODE
  local name
  name=$(node_name "$1")
  mkdir -p "$LOGS/gone/$name"
  cp "$BED/$name"/*.log "$LOGS/gone/$name/" 2>/dev/null || true
  cp -r "$BED/$name/log/pods" "$LOGS/gone/$name/" 2>/dev/null || true
  rm -rf "${BED:?}/$name"
  rm -f "$STATE"/{name,provider,type,off}/"node$1"
}
