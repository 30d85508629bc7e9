# shellcheck shell=bash
# Copyright The Squall Authors
# SPDX-License-Identifier: Apache-2.0
#
# What there is to see when something failed, and how the bed stands. Sourced by testbed.sh.

# logs DIR: everything that helps to understand a failure; works on a half-started bed too.
logs() {
  local dir=$1 disk name
  check_home
  [ -d "$LOGS" ] || fail "there is no bed, hence no logs"
  mkdir -p "$dir/cluster" "$dir/network"
  cp -r "$LOGS" "$dir/control-plane"
  for disk in "$BED"/node*/; do
    name=$(basename "$disk")
    mkdir -p "$dir/$name"
    cp "$disk"/*.log "$dir/$name/" 2>/dev/null || true
    cp -r "$disk/log/pods" "$dir/$name/pods" 2>/dev/null || true
  done
  bed_status >"$dir/status.txt" 2>&1 || true
  cluster_state "$dir/cluster"
  network_state "$dir/network"
  say "logs are in $dir"
}

cluster_state() { # DIR
  local kind
  if ! api_ready >/dev/null 2>&1; then
    echo "the API server did not answer" >"$1/unavailable.txt"
    return
  fi
  kubectl get events --all-namespaces --sort-by=.metadata.creationTimestamp >"$1/events.txt" 2>&1 || true
  kubectl get nodes,pods,services,poddisruptionbudgets,leases --all-namespaces --output=wide >"$1/overview.txt" 2>&1 || true
  kubectl describe nodes >"$1/nodes.txt" 2>&1 || true
  for kind in nodes pods services endpointslices deployments poddisruptionbudgets configmaps leases; do
    kubectl get "$kind" --all-namespaces --output=yaml >"$1/$kind.yaml" 2>&1 || true
  done
}

network_state() { # DIR
  local name
  for name in $(ip netns list | awk -v net="$NET" '$1 ~ "^" net "(-[0-9]+)?$" { print $1 }'); do
    {
      ip -n "$name" addr
      ip -n "$name" route
      ip -n "$name" neigh
      ip netns exec "$name" iptables-save
    } >"$1/$name.txt" 2>&1 || true
  done
}

components() { # their names, as pids and logs have them
  echo etcd apiserver controllers scheduler proxy
  if has_cloud; then
    echo cloud bridge
    find "$STATE/name" -type f -printf '%f\n' | sort -V # only places that an instance has
  else
    seq -f 'node%g' "$(setting nodes)"
  fi
}

# bed_status: prints how the bed stands; 0 when all is well, 1 when something is not, 3 when no bed is up.
bed_status() {
  local name well=0
  if ! bed_exists; then
    echo "down"
    return 3
  fi
  bed_ready || { echo "half started: up starts it over" && well=1; }
  echo "home     $(setting home)"
  echo "build    $(setting build)"
  echo "nodes    $(setting nodes) in $(setting zones); fast node monitor: $(setting fast); cloud: $(setting cloud)"
  for name in $(components); do
    if alive "$name"; then
      printf '%-12s process %s\n' "$name" "$(pid_of "$name")"
    elif [ -e "$STATE/off/$name" ]; then
      printf '%-12s switched off\n' "$name"
      well=1
    else
      printf '%-12s DEAD\n' "$name"
      well=1
    fi
  done
  if ! kubectl get nodes --label-columns=topology.kubernetes.io/zone 2>&1; then well=1; fi
  return "$well"
}
