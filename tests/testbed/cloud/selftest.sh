#!/usr/bin/env bash
# Copyright The Squall Authors
# SPDX-License-Identifier: Apache-2.0
#
# Shows on a running bed with a cloud that what AWS's API is told happens to real nodes. Takes about two minutes, with
# --fast-node-monitor; terminates instances, and leaves everything as it was laid out.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
LOGS=${SQUALL_TESTBED_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/squall/testbed}/bed/logs
SCRATCH=$(mktemp -d)
BROKEN=0

bed() { "$HERE/testbed.sh" "$@"; }
kube() { bed exec kubectl --request-timeout=20s "$@"; }
python() { bed exec env PYTHONDONTWRITEBYTECODE=1 "$(cat /run/squall-testbed/venv)/bin/python" "$@"; }
aws() { python "$HERE/cloud/aws.py" "$@"; }

clean_up() {
  local job
  for job in $(jobs -p); do kill "$job" 2>/dev/null || true; done
  kube delete pod --namespace default --ignore-not-found --wait=false acl-a acl-b inside lost drained kept >/dev/null 2>&1 || true
  bed cloud reset >/dev/null || true
  rm -rf "$SCRATCH"
}
trap clean_up EXIT

# until_true SECONDS COMMAND...
until_true() {
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < end)) || return 1
    sleep 0.3
  done
}

broken() {
  echo "      $*" >&2
  return 1
}

# part WHAT FUNCTION: resets the cloud, runs it, and prints how it went and how long it took.
part() {
  local began=$EPOCHREALTIME verdict=ok code
  # Not as a condition, where bash would go on after a failed command in it.
  set +e
  (
    set -e
    bed cloud reset
    "$2"
  )
  code=$?
  set -e
  if ((code)); then
    verdict=FAILED
    BROKEN=$((BROKEN + 1))
  fi
  printf '%-6s %6.1f s  %s\n' "$verdict" "$(awk -v a="$began" -v b="$EPOCHREALTIME" 'BEGIN { print b - a }')" "$1"
}

member() { # GROUP: the id of its only member
  aws autoscaling describe_auto_scaling_groups "{\"AutoScalingGroupNames\": [\"$1\"]}" 'AutoScalingGroups[].Instances[].InstanceId'
}

node_of() { kube get nodes --output=jsonpath="{.items[?(@.spec.providerID=='aws:///$2/$1')].metadata.name}"; } # INSTANCE ZONE
no_node() { [ -z "$(node_of "$1" "$2")" ]; }
state_of() { aws ec2 describe_instances "{\"InstanceIds\": [\"$1\"]}" 'Reservations[].Instances[].State.Name'; }
in_state() { [ "$(state_of "$1")" = "$2" ]; }
field() { sed -nE "s/.*\"$1\":(\{[^}]*\}|[^,}]*).*/\1/p" "$2"; } # of a witness's summary

pod() { # NAME NODE ARGUMENTS...: of the workload
  local name=$1 node=$2
  shift 2
  kube apply --namespace default --filename - <<YAML >/dev/null
apiVersion: v1
kind: Pod
metadata: {name: $name}
spec:
  nodeName: $node
  tolerations: [{operator: Exists}]
  containers:
    - {name: shop, image: testbed.local/shop:1, args: [$(IFS=, && echo "$*")]}
YAML
  kube wait --namespace default --for=condition=Ready "pod/$name" --timeout=30s >/dev/null
}

pod_ip() { kube get pod --namespace default "$1" --output=jsonpath='{.status.podIP}'; }

# ---- parts ----

nodes_are_instances() {
  local lines zone id
  lines=$(kube get nodes --output=jsonpath='{range .items[*]}{.metadata.labels.topology\.kubernetes\.io/zone} {.spec.providerID} {.metadata.labels.node\.kubernetes\.io/instance-type} {.status.addresses[0].address}{"\n"}{end}')
  [ "$(cut -d' ' -f1 <<<"$lines" | sort | uniq -c | tr -s ' ' | tr '\n' ';')" = " 2 us-east-1a; 2 us-east-1b; 2 us-east-1c;" ] || broken "$lines"
  while read -r zone id kind address; do
    [[ $id == aws:///$zone/i-* && $kind == m5.large ]] || broken "$zone $id $kind"
    [ "$(aws ec2 describe_instances "{\"InstanceIds\": [\"${id##*/}\"]}" 'Reservations[].Instances[].[Placement.AvailabilityZone, PrivateIpAddress][]' | tr '\n' ' ')" = "$zone $address " ] ||
      broken "$id is elsewhere on AWS"
  done <<<"$lines"
}

power_loss() {
  local old new node
  old=$(member workers-a)
  node=$(node_of "$old" us-east-1a)
  pod lost "$node"
  bed exec shop --witness "http://$(pod_ip lost):8080/" --interval 50ms --duration 6s >"$SCRATCH/abrupt" &
  sleep 1
  aws ec2 terminate_instances "{\"InstanceIds\": [\"$old\"], \"SkipOsShutdown\": true}" >/dev/null
  until_true 15 in_state "$old" terminated
  kube get node "$node" --no-headers | grep -q ' Ready ' || broken "the Node went before it was seen to be dead"
  until_true 40 no_node "$old" us-east-1a || broken "$node is still there"
  bed cloud wait 60
  new=$(member workers-a)
  [ "$(node_of "$new" us-east-1a)" != "$node" ] || broken "the new machine has the old one's name"
  wait
  [[ $(field errors "$SCRATCH/abrupt") =~ ^\{\"timeout\":[0-9]+\}$ ]] || broken "not silent: $(cat "$SCRATCH/abrupt")"
}

ordered_shutdown() {
  local old node
  old=$(member workers-b)
  node=$(node_of "$old" us-east-1b)
  pod drained "$node" --drain=3s
  aws ec2 terminate_instances "{\"InstanceIds\": [\"$old\"]}" >/dev/null
  until_true 30 in_state "$old" terminated
  # It went on for as long as it wanted, and its log tells.
  grep -rq '"shop":"drained"' "$LOGS/gone/$node/pods"/default_drained* || broken "its pod was not asked to end, or had no time to"
  bed cloud wait 60
  no_node "$old" us-east-1b
}

launch_suspended() {
  local old
  old=$(member workers-c)
  aws autoscaling suspend_processes '{"AutoScalingGroupName": "workers-c", "ScalingProcesses": ["Launch"]}' >/dev/null
  aws ec2 terminate_instances "{\"InstanceIds\": [\"$old\"], \"SkipOsShutdown\": true}" >/dev/null
  until_true 40 no_node "$old" us-east-1c
  sleep 3
  [ "$(kube get nodes --no-headers | wc -l)" = 5 ] || broken "a machine came"
  [ -z "$(member workers-c)" ]
  aws autoscaling resume_processes '{"AutoScalingGroupName": "workers-c", "ScalingProcesses": ["Launch"]}' >/dev/null
  bed cloud wait 60
}

shutdown_taint() { kube get node "$1" --output=jsonpath='{.spec.taints[*].key}' | grep -q 'node.cloudprovider.kubernetes.io/shutdown'; }
not_tainted() { ! shutdown_taint "$1"; }
ready() { kube get node "$1" --no-headers | grep -q ' Ready '; }

stopped_and_started() {
  local instance node
  instance=$(member workers-a)
  node=$(node_of "$instance" us-east-1a)
  aws autoscaling suspend_processes '{"AutoScalingGroupName": "workers-a", "ScalingProcesses": ["HealthCheck"]}' >/dev/null
  pod kept "$node"
  aws ec2 stop_instances "{\"InstanceIds\": [\"$instance\"]}" >/dev/null
  until_true 30 in_state "$instance" stopped
  until_true 40 shutdown_taint "$node" || broken "no taint on $node"
  aws ec2 start_instances "{\"InstanceIds\": [\"$instance\"]}" >/dev/null
  until_true 60 ready "$node" || broken "$node did not come back"
  until_true 15 not_tainted "$node" || broken "$node is tainted still"
  # Its disk is the one that it had.
  [ "$(kube get pod --namespace default kept --output=jsonpath='{.spec.nodeName}')" = "$node" ]
  [ "$(member workers-a)" = "$instance" ]
}

answers() { # URL
  bed exec shop --witness "$1" --interval 50ms --duration 200ms --timeout 500ms >"$SCRATCH/answer"
  [ "$(field bad "$SCRATCH/answer")" = 0 ]
}
silent() { # URL
  bed exec shop --witness "$1" --interval 50ms --duration 200ms --timeout 500ms >"$SCRATCH/answer"
  [[ $(field errors "$SCRATCH/answer") =~ ^\{\"timeout\":[0-9]+\}$ && $(field good "$SCRATCH/answer") == 0 ]]
}
# Of a pod, asking another one.
asks() { kube exec --namespace default "$1" -- /shop --witness "http://$2:8080/" --interval 50ms --duration 200ms --timeout 500ms; }

acl_cuts_the_zone_off() {
  local nodes subnet acl association default new
  mapfile -t nodes < <(kube get nodes --selector=topology.kubernetes.io/zone=us-east-1a --output=name | sed 's|node/||')
  pod acl-a "${nodes[0]}"
  pod acl-b "$(node_of "$(member workers-b)" us-east-1b)"
  subnet=$(aws ec2 describe_subnets '{"Filters": [{"Name": "availability-zone", "Values": ["us-east-1a"]}, {"Name": "tag:kubernetes.io/cluster/squall-testbed", "Values": ["owned"]}]}' 'Subnets[].SubnetId')
  acl=$(aws ec2 create_network_acl "{\"VpcId\": \"$(aws ec2 describe_subnets "{\"SubnetIds\": [\"$subnet\"]}" 'Subnets[0].VpcId')\"}" 'NetworkAcl.NetworkAclId')
  association=$(aws ec2 describe_network_acls "{\"Filters\": [{\"Name\": \"association.subnet-id\", \"Values\": [\"$subnet\"]}]}" \
    "NetworkAcls[].Associations[] | [?SubnetId=='$subnet'].[NetworkAclAssociationId, NetworkAclId][]" | tr '\n' ' ')
  read -r association default <<<"$association"
  asks acl-a "$(pod_ip acl-b)" | grep -q '"bad":0' || broken "no way between the zones before"
  # From another node of the zone, all through the cut; what it saw is read afterwards, for the way to its kubelet is cut as well.
  pod inside "${nodes[1]}" --witness "http://$(pod_ip acl-a):8080/" --interval 50ms --duration 60s
  new=$(aws ec2 replace_network_acl_association "{\"AssociationId\": \"$association\", \"NetworkAclId\": \"$acl\"}" NewAssociationId)
  until_true 10 silent "http://$(pod_ip acl-a):8080/" || broken "not silent: $(cat "$SCRATCH/answer")"
  answers "http://$(pod_ip acl-b):8080/" || broken "the other zone is cut too"
  asks acl-b "$(pod_ip acl-a)" | grep -q '"good":0' || broken "the other zone gets in"
  aws ec2 replace_network_acl_association "{\"AssociationId\": \"$new\", \"NetworkAclId\": \"$default\"}" >/dev/null
  until_true 10 answers "http://$(pod_ip acl-a):8080/" || broken "still cut off"
  kube delete pod --namespace default inside --wait=false >/dev/null # SIGTERM: its summary
  kube logs --namespace default inside --follow >"$SCRATCH/inside"
  [ "$(field bad "$SCRATCH/inside")" = 0 ] || broken "inside the subnet something was cut: $(cat "$SCRATCH/inside")"
  aws ec2 delete_network_acl "{\"NetworkAclId\": \"$acl\"}" >/dev/null
}

no_capacity() {
  local old
  bed cloud faults '{"ice": ["us-east-1a"], "retry": 2}' >/dev/null
  old=$(member workers-a)
  aws ec2 terminate_instances "{\"InstanceIds\": [\"$old\"], \"SkipOsShutdown\": true}" >/dev/null
  until_true 15 eval "aws autoscaling describe_scaling_activities '{\"AutoScalingGroupName\": \"workers-a\"}' | grep -q 'do not have sufficient m5.large capacity'"
  [ -z "$(member workers-a)" ] || broken "a machine came"
  bed cloud faults '{}' >/dev/null
  bed cloud wait 60
}

calls_recorded() {
  bed cloud calls >"$SCRATCH/calls"
  grep -q '"action": "CreateNetworkAcl"' "$SCRATCH/calls" && broken "calls of before the reset"
  aws sts get_caller_identity '{}' Account | grep -qx 123456789012
  bed cloud calls | grep '"action": "GetCallerIdentity"' | grep -q '"key": "testbed"'
}

main() {
  part "nodes are instances, two in each zone" nodes_are_instances
  part "a terminated instance's node dies in silence, its Node goes, another machine comes" power_loss
  part "without SkipOsShutdown it shuts down in order" ordered_shutdown
  part "with Launch suspended nothing comes" launch_suspended
  part "a stopped instance is tainted, and comes back with its disk" stopped_and_started
  part "a network ACL cuts a zone off, and only that" acl_cuts_the_zone_off
  part "a zone without capacity gets no machine" no_capacity
  part "calls are recorded since the last reset" calls_recorded
  if ((BROKEN)); then
    echo "cloud selftest: $BROKEN parts failed"
    exit 1
  fi
  echo "cloud selftest: all well"
}

main "$@"
