# shellcheck shell=bash
# Copyright The Squall Authors
# SPDX-License-Identifier: Apache-2.0
#
# Compiles the bed's binaries from Go modules and packs its images, once per recipe. Sourced by testbed.sh.

KUBE=v1.34.4 # the version that kube reports; go.mod says what it is

# A build is known by what goes into it, so that a changed recipe gets a build of its own and an unchanged one costs nothing.
build_key() {
  (
    cd "$HERE" || exit 1
    { go env GOVERSION GOARCH && cat go.mod go.sum ./*/*.go lib/build.sh; } | sha256sum | cut -c1-16
  )
}

build_dir() {
  check_go
  echo "$HOME_DIR/builds/$(build_key)"
}

# build: prints nothing and returns at once when there is nothing to do.
build() {
  local dir partial began=$SECONDS
  dir=$(build_dir) || exit 1
  [ -d "$dir" ] && return
  mkdir -p "$HOME_DIR/builds"
  exec 8>>"$HOME_DIR/build.lock"
  if ! flock --nonblock 8; then
    say "waiting for another build"
    flock 8
  fi
  if ! [ -d "$dir" ]; then
    say "building Kubernetes, etcd, CoreDNS and the workloads: five minutes the first time on two cores, a minute with a warm Go cache"
    partial=$HOME_DIR/builds/.partial
    rm -rf "$partial"
    mkdir -p "$partial/bin" "$partial/images"
    (cd "$HERE" && compile "$partial/bin")
    pack "$partial/bin" "$partial/images"
    mv "$partial" "$dir"
    say "built in $((SECONDS - began)) s: $dir"
    prune_builds "$dir"
  fi
  exec 8>&-
}

compile() { # BIN
  local bin=$1 component version=k8s.io/component-base/version
  export CGO_ENABLED=0
  # Kubernetes' packages are most of the work, so its binary comes first: what the others share with it is then there already.
  go build -trimpath -ldflags "-s -w -X $version.gitVersion=$KUBE -X $version.gitMajor=1 -X $version.gitMinor=34" -o "$bin/" ./kube
  go build -trimpath -ldflags "-s -w" -o "$bin/" ./coredns ./mkimage ./shop k8s.io/kubernetes/test/images/agnhost
  go build -trimpath -ldflags "-s -w" -o "$bin/etcd" go.etcd.io/etcd/server/v3
  for component in kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet kubectl; do
    ln -s kube "$bin/$component"
  done
}

pack() { # BIN IMAGES
  local bin=$1 images=$2
  "$bin/mkimage" testbed.local/pause:1 "$images/pause.tar" /agnhost pause -- "/agnhost=$bin/agnhost"
  "$bin/mkimage" testbed.local/agnhost:1 "$images/agnhost.tar" /agnhost -- "/agnhost=$bin/agnhost"
  "$bin/mkimage" testbed.local/coredns:1 "$images/coredns.tar" /coredns -- "/coredns=$bin/coredns"
  "$bin/mkimage" testbed.local/shop:1 "$images/shop.tar" /shop -- "/shop=$bin/shop"
}

# A build is a third of a gigabyte: only the newest stays, and the one that a bed runs from.
prune_builds() { # NEWEST
  local dir used=""
  if [ -s "$STATE/build" ]; then used=$(setting build); fi
  for dir in "$HOME_DIR"/builds/*; do
    [ "$dir" = "$1" ] || [ "$dir" = "$used" ] || rm -rf "$dir"
  done
}

image() { # NAME OUT ENTRYPOINT... -- /path/in/image=hostfile...
  local dir
  dir=$(build_dir) || exit 1
  [ -d "$dir" ] || fail "nothing is built yet: run $0 build"
  "$dir/bin/mkimage" "$@"
}
