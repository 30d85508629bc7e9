# shellcheck shell=bash
# Copyright The Squall Authors
# SPDX-License-Identifier: Apache-2.0
#
# What the machine must have. Each lack is said in one line of its own; missing Debian packages are installed. Sourced by
# testbed.sh.

# Commands and the Debian package that each comes from.
declare -A PACKAGE=(
  [containerd]=containerd [ctr]=containerd [runc]=runc [iptables]=iptables [ip]=iproute2 [openssl]=openssl
  [unshare]=util-linux [nsenter]=util-linux [flock]=util-linux [setsid]=util-linux [mount]=mount
)

CONTROLLERS="cpu cpuacct cpuset memory devices freezer blkio pids" # version 1
CONTROLLERS_V2="cpu cpuset memory pids io"

cni_dir() { # where the network plugins are; Debian's place, then everybody else's
  local dir
  for dir in /usr/lib/cni /opt/cni/bin; do
    if [ -x "$dir/bridge" ] && [ -x "$dir/host-local" ] && [ -x "$dir/portmap" ]; then
      echo "$dir"
      return
    fi
  done
  return 1
}

missing_packages() {
  local command
  {
    for command in "${!PACKAGE[@]}"; do have "$command" || echo "${PACKAGE[$command]}"; done
    cni_dir >/dev/null || echo containernetworking-plugins
    if [ -n "${NEED_PYTHON:-}" ]; then python3 -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv; fi
  } | sort -u
}

install_packages() {
  local packages package
  mapfile -t packages < <(missing_packages)
  ((${#packages[@]})) || return 0
  if have apt-get; then
    say "installing Debian packages: ${packages[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get install -y --no-install-recommends "${packages[@]}" >&2 ||
      { apt-get update >&2 && apt-get install -y --no-install-recommends "${packages[@]}" >&2; } || true
  fi
  mapfile -t packages < <(missing_packages)
  for package in "${packages[@]}"; do say "missing: what Debian's package $package holds"; done
  ((${#packages[@]} == 0))
}

check_go() {
  local version
  have go || fail "missing: Go 1.24 or newer (Debian's package golang-go, where it is new enough)"
  version=$(go env GOVERSION)
  if ! [[ $version =~ ^go1\.([0-9]+) ]] || ((BASH_REMATCH[1] < 24)); then
    fail "missing: Go 1.24 or newer; this one is $version"
  fi
}

cgroup_version() { if [ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ]; then echo 2; else echo 1; fi; }

missing_controllers() {
  local controller there
  if [ "$(cgroup_version)" = 2 ]; then
    there=" $(cat /sys/fs/cgroup/cgroup.controllers) "
    for controller in $CONTROLLERS_V2; do [[ $there == *" $controller "* ]] || echo "$controller"; done
  else
    there=,$(cut -d: -f2 /proc/self/cgroup | tr '\n' ','),
    for controller in $CONTROLLERS; do [[ $there == *",$controller,"* ]] || echo "$controller"; done
  fi
}

check_host() {
  local lacks=0 controller
  [ "$(uname -s)" = Linux ] || fail "missing: Linux"
  install_packages || lacks=1
  for controller in $(missing_controllers); do
    say "missing: the cgroup controller $controller (cgroup version $(cgroup_version))"
    lacks=1
  done
  # A module that is built in, or that may not be loaded here, is no error yet: what it is for is tried next.
  if have modprobe; then modprobe -qa overlay veth bridge br_netfilter nf_conntrack 2>/dev/null || true; fi
  if ! grep -qw overlay /proc/filesystems; then
    say "missing: the kernel's overlay file system"
    lacks=1
  fi
  check_network || lacks=1
  ((lacks == 0))
}

# Tries, in a network namespace of its own, what nodes and kube-proxy need of the kernel.
check_network() {
  local probe=$NET-probe lacks=0 rule
  ip netns del "$probe" 2>/dev/null || true
  if ! ip netns add "$probe"; then
    say "missing: network namespaces, or the right to make one"
    return 1
  fi
  if ! ip -n "$probe" link add br0 type bridge; then
    say "missing: the kernel's bridge"
    lacks=1
  fi
  if ! ip -n "$probe" link add veth0 type veth peer name veth1; then
    say "missing: the kernel's veth"
    lacks=1
  fi
  while read -r rule; do
    # shellcheck disable=SC2086 # a rule is several words
    if ! ip netns exec "$probe" iptables -t nat $rule; then
      say "missing: what the kernel needs for iptables -t nat $rule"
      lacks=1
    fi
  done <<'RULES'
-A POSTROUTING -m comment --comment test -m mark --mark 1 -j MASQUERADE
-A PREROUTING -m addrtype --dst-type LOCAL -p tcp -j DNAT --to-destination 192.0.2.1:1
-A OUTPUT -m statistic --mode random --probability 0.5 -j RETURN
-A OUTPUT -m conntrack --ctstate NEW -j RETURN
RULES
  ip netns del "$probe"
  return "$lacks"
}
