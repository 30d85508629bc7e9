#!/usr/bin/env bash
# Copyright The Squall Authors
# SPDX-License-Identifier: Apache-2.0
#
# The first process of one node, in the node's own namespaces. When it dies, everything on the node dies with it.
# testbed.sh starts it, with in the environment:
#   NODE number and NAME, HOME_DIR and BUILD (where disks and binaries are), CNI_DIR, ADDRESS, ZONE, INSTANCE_TYPE, PROVIDER_ID,
#   FAST (yes: tell the node's state more often), CGROUPS (the directories of this node's cgroups)
set -euo pipefail

BIN=$BUILD/bin
BED=$HOME_DIR/bed
DISK=$BED/$NAME

# Joined before the cgroup namespace is made, whose root is where its maker is. 0 means "me".
if [ "${1:-}" != "--joined" ]; then
  for dir in $CGROUPS; do echo 0 >"$dir/cgroup.procs"; done
  exec unshare --cgroup "$0" --joined
fi

hostname "$NAME"
mount --make-rprivate /

mount_cgroups() {
  local controllers hierarchy dir part
  # /sys shows the network devices of whoever mounts it.
  mount -t sysfs none /sys
  if [ ! -d "/sys/fs/cgroup" ]; then
    echo "no /sys/fs/cgroup in this kernel"
    return 1
  fi
  if [ "$(wc -w <<<"$CGROUPS")" = 1 ]; then
    # Version 2 (untested): controllers can be handed down only from a cgroup that holds no process, so ours moves down.
    mount -t cgroup2 none /sys/fs/cgroup
    mkdir -p /sys/fs/cgroup/init
    echo 0 >/sys/fs/cgroup/init/cgroup.procs
    read -ra controllers </sys/fs/cgroup/cgroup.controllers
    for part in "${controllers[@]}"; do echo "+$part" >/sys/fs/cgroup/cgroup.subtree_control; done
    return
  fi
  mount -t tmpfs none /sys/fs/cgroup
  while IFS=: read -r _ hierarchy _; do
    [ -n "$hierarchy" ] || continue
    dir=/sys/fs/cgroup/${hierarchy#name=}
    mkdir "$dir"
    if [[ $hierarchy == name=* ]]; then
      mount -t cgroup -o "none,$hierarchy" none "$dir"
      continue
    fi
    mount -t cgroup -o "$hierarchy" none "$dir"
    # Controllers that share a hierarchy ("cpu,cpuacct") are looked for one by one.
    for part in ${hierarchy//,/ }; do [ -e "/sys/fs/cgroup/$part" ] || ln -s "$dir" "/sys/fs/cgroup/$part"; done
  done </proc/self/cgroup
}

# The node's own disk under the usual paths, and a /run that is empty after every boot.
mount_disk() {
  local dir
  for dir in kubelet containerd cni; do
    mkdir -p "$DISK/$dir"
    mount --bind "$DISK/$dir" "/var/lib/$dir"
  done
  mount --make-shared /var/lib/kubelet
  mkdir -p "$DISK/log" "$DISK/net.d"
  mount --bind "$DISK/log" /var/log
  mount --bind "$DISK/net.d" /etc/cni/net.d
  mount -t tmpfs none /run
  mkdir -p /run/containerd /run/lock
  touch /run/xtables.lock
  # For pods that ask for the node's DNS, such as CoreDNS itself: there is none, which is how no question ever leaves the bed.
  echo "nameserver 10.89.0.1" >/run/resolv.conf
}

kernel_settings() {
  echo 1 >/proc/sys/net/ipv4/ip_forward
  # Without it, a pod that calls a Service whose pod is on its own node gets an answer from a stranger.
  if [ -e /proc/sys/net/bridge/bridge-nf-call-iptables ]; then echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables; fi
}

write_configuration() {
  cat >/etc/cni/net.d/10-bridge.conflist <<EOF
{"cniVersion": "0.4.0", "name": "testbed", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.244.$NODE.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
EOF
  cat >/run/containerd.toml <<EOF
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "testbed.local/pause:1"
  disable_apparmor = true
  restrict_oom_score_adj = true
  cni = { bin_dir = "$CNI_DIR", conf_dir = "/etc/cni/net.d" }
EOF
  cat >/run/kubelet.yaml <<EOF
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
clusterDNS: [10.96.0.10]
clusterDomain: cluster.local
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
evictionHard: {memory.available: 50Mi, imagefs.available: 0%, nodefs.available: 0%}
imageGCHighThresholdPercent: 100
resolvConf: /run/resolv.conf
providerID: $PROVIDER_ID
EOF
  if [ "$FAST" = yes ]; then printf 'nodeStatusUpdateFrequency: 2s\nnodeLeaseDurationSeconds: 8\n' >>/run/kubelet.yaml; fi
}

# supervise LOG COMMAND...: restarts what ends, as a node's service manager would.
supervise() {
  local log=$1
  shift
  while true; do
    "$@" >>"$log" 2>&1 || true
    echo "$1 ended; it starts again in a second" >>"$log"
    sleep 1
  done
}

# Each archive once, and again when it has changed.
import_images() {
  local archive stamp
  mkdir -p "$DISK/imported"
  for archive in "$BUILD"/images/*.tar "$BED"/images/*.tar; do
    [ -e "$archive" ] || continue
    stamp=$DISK/imported/$(basename "$archive")-$(stat -c %s-%Y "$archive")
    [ -e "$stamp" ] || { ctr --namespace k8s.io images import "$archive" >>"$DISK/images.log" 2>&1 && touch "$stamp"; }
  done
}

# Sets OTHERS: the processes that still run, besides this one and containerd with its shims, through which pods write their logs.
# The builtin's read starts no process.
look_for_others() {
  local file line
  OTHERS=()
  for file in /proc/[0-9]*/stat; do
    { read -r line <"$file"; } 2>/dev/null || continue
    if [[ $line != "1 "* && $line != *"(containerd"* && ${line##*) } != Z* ]]; then OTHERS+=("${line%% *}"); fi
  done
  ((${#OTHERS[@]}))
}

# SIGTERM to the first process: the machine shuts down as an operating system does. Everybody is asked to end, those who start
# services again too; who is not done in time ends with this process, as does containerd.
shut_down() {
  local end=$((SECONDS + 10))
  trap '' TERM
  if look_for_others; then kill -TERM "${OTHERS[@]}" 2>/dev/null || true; fi
  while look_for_others && ((SECONDS < end)); do sleep 0.1; done
  exit 0
}
trap shut_down TERM

mount_cgroups
mount_disk
kernel_settings
write_configuration
supervise "$DISK/containerd.log" containerd -c /run/containerd.toml &
supervise "$DISK/proxy.log" "$BIN/kube-proxy" --kubeconfig="$BED/proxy.kubeconfig" --proxy-mode=iptables \
  --cluster-cidr=10.244.0.0/16 --hostname-override="$NAME" --conntrack-max-per-core=0 --conntrack-min=0 \
  --conntrack-tcp-timeout-established=0 --conntrack-tcp-timeout-close-wait=0 &
until ctr version >/dev/null 2>&1; do sleep 0.1; done
import_images
supervise "$DISK/kubelet.log" "$BIN/kubelet" --config=/run/kubelet.yaml --kubeconfig="$DISK/kubeconfig" \
  --hostname-override="$NAME" --node-ip="$ADDRESS" \
  --node-labels="topology.kubernetes.io/zone=$ZONE,topology.kubernetes.io/region=${ZONE%[a-z]}${INSTANCE_TYPE:+,node.kubernetes.io/instance-type=$INSTANCE_TYPE}" &
# The shell stays as the first process: it buries the orphans that containerd leaves behind.
wait
