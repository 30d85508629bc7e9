#!/usr/bin/env bash
# Copyright The Squall Authors
# SPDX-License-Identifier: Apache-2.0
#
# What the bridge does to one machine. It takes no lock: the bridge is the only one that makes and scraps machines, one thing at a
# time for each, while a testbed.sh that holds the lock may be waiting for just that.
#
#   machine.sh on NODE NAME PROVIDER_ID TYPE DIRECTIONS   boot it; a name that the place did not have makes it a new machine
#   machine.sh off|gone NODE abrupt|orderly               power it off; gone: with its disk
#   machine.sh cut NODE DIRECTIONS                        let no packets in, out, both ("in out"), or all again ("")
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
for part in common host control node cloud; do
  # shellcheck source=/dev/null # shellcheck is run on each by itself
  source "$HERE/lib/$part.sh"
done

verb=$1 node=$2
shift 2
case $verb in
  on)
    if [ "$(node_name "$node")" != "$1" ]; then
      machine_kubeconfig "$1" || fail "no credentials for $1"
      echo "$2" >"$STATE/provider/node$node"
      echo "$3" >"$STATE/type/node$node"
      echo "$1" >"$STATE/name/node$node" # last: it says that the rest is there
    fi
    CUT=$4 power_on "$node"
    ;;
  off | gone)
    if [ "$1" = abrupt ]; then power_off "$node"; else shut_down "$node"; fi
    echo cloud >"$STATE/off/node$node" # and not somebody's hand
    if [ "$verb" = gone ]; then
      wait_for 15 "the end of what ran on node$node" cgroups_gone "$node"
      scrap "$node"
    fi
    ;;
  cut) cut_off "$node" "$1" ;;
  *) exit 2 ;;
esac
