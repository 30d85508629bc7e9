#!/usr/bin/env bash
# Copyright The Squall Authors
# SPDX-License-Identifier: Apache-2.0
#
# Shows on a running bed that it behaves as the tests of Squall take for granted. Takes about two minutes.
#
#   selftest.sh            everything; stops the API server and cuts the power of the last node for a while
#   selftest.sh --gentle   only what disturbs nobody else on the bed
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
NAMESPACE=selftest-$$
SCRATCH=$(mktemp -d)
# By name, and the last one by its place too: in a cloud, names say more than the place.
mapfile -t NODES < <("$HERE/testbed.sh" exec kubectl get nodes --no-headers --output=name | sed 's|^node/||' | sort -V)
LAST_NAME=${NODES[-1]}
LAST=${LAST_NAME#node}
LAST=${LAST%%-*}
BROKEN=0

bed() { "$HERE/testbed.sh" "$@"; }
inside() { bed exec "$@"; }
kube() { inside kubectl --request-timeout=20s --namespace "$NAMESPACE" "$@"; }

clean_up() {
  local job
  for job in $(jobs -p); do kill "$job" 2>/dev/null || true; done
  # Whatever part failed, the bed is left whole.
  if [ -e "$SCRATCH/stopped" ]; then bed api-start || true; fi
  if [ -e "$SCRATCH/cut" ]; then bed power-on "$LAST" || true; fi
  inside kubectl delete namespace "$NAMESPACE" --wait=false --ignore-not-found >/dev/null 2>&1 || true
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

# part WHAT FUNCTION: runs it, and prints how it went and how long it took. A failed part doesn't keep the others from running.
part() {
  local began=$EPOCHREALTIME verdict=ok code
  # Not as a condition, where bash would go on after a failed command in it.
  set +e
  (
    set -e
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

field() { sed -nE "s/.*\"$1\":(\{[^}]*\}|[^,}]*).*/\1/p" "$2"; } # of a witness's summary

answers() { # URL: once
  inside shop --witness "$1" --interval 10ms --duration 10ms >"$SCRATCH/answer"
  [ "$(field good "$SCRATCH/answer")" = 1 ]
}

pod_ip() { kube get pod "$1" --output=jsonpath='{.status.podIP}'; }

shop_pod() { # NAME NODE ARGUMENTS...: a bare pod of the workload
  local name=$1 node=$2
  shift 2
  cat <<EOF
apiVersion: v1
kind: Pod
metadata: {name: $name, labels: {app: $name}}
spec:
  nodeName: $node
  containers:
    - name: shop
      image: testbed.local/shop:1
      args: [$(IFS=, && echo "$*")]
      readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}
EOF
}

# ---- parts ----

nodes_ready() {
  local lines
  lines=$(inside kubectl get nodes --no-headers --label-columns=topology.kubernetes.io/zone)
  ! grep -vE ' Ready .* [a-z]+-[a-z]+-[0-9][a-z]$' <<<"$lines" || broken "a node is not Ready or has no zone"
}

workload_runs() {
  inside kubectl create namespace "$NAMESPACE" >/dev/null
  until_true 20 kube get serviceaccount default
  kube apply --filename "$HERE/manifests/selftest.yaml" >/dev/null
  kube rollout status deployment/web --timeout=60s >/dev/null
}

service_reachable() {
  local address
  address=$(kube get service web --output=jsonpath='{.spec.clusterIP}')
  # Ready pods are known to the API before kube-proxy has written its rules.
  until_true 15 answers "http://$address/"
  for url in "http://$address/" "http://web.$NAMESPACE.svc/" "http://web.$NAMESPACE.svc.cluster.local/healthz"; do
    inside shop --witness "$url" --duration 500ms --interval 20ms >"$SCRATCH/reach"
    [ "$(field bad "$SCRATCH/reach")" = 0 ] || broken "$url: $(cat "$SCRATCH/reach")"
  done
}

eviction_refused() {
  local pod answer
  pod=$(kube get pods --selector=app=web --output=jsonpath='{.items[0].metadata.name}')
  printf '{"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "%s", "namespace": "%s"}}' "$pod" "$NAMESPACE" >"$SCRATCH/eviction"
  if answer=$(kube create --raw "/api/v1/namespaces/$NAMESPACE/pods/$pod/eviction" --filename "$SCRATCH/eviction" --v=6 2>&1); then
    broken "the eviction was let through"
  fi
  grep -q '429' <<<"$answer" || broken "no 429: $answer"
}

limited_user() {
  local token
  kube create serviceaccount reader >/dev/null
  kube create role reader --verb=get,list --resource=pods >/dev/null
  kube create rolebinding reader --role=reader --serviceaccount="$NAMESPACE:reader" >/dev/null
  token=$(kube create token reader --duration=10m)
  kube --token="$token" get pods >/dev/null
  if kube --token="$token" get secrets >"$SCRATCH/forbidden" 2>&1; then broken "it may read secrets"; fi
  grep -q Forbidden "$SCRATCH/forbidden"
}

pod_reaches_api() {
  kube run api-client --image=testbed.local/agnhost:1 --restart=Never -- inclusterclient --poll-interval=1 >/dev/null
  # It logs every call, with a hash of its credentials, and every failure.
  # shellcheck disable=SC2016 # counted anew at every try
  until_true 30 eval '(($(kube logs api-client | grep -c "authz_header=[^<]") >= 3))' || broken "$(kube logs api-client 2>&1 | tail -n 3)"
  if kube logs api-client | grep -A 1 failed >&2; then broken "a call failed"; fi
}

rude_and_graceful() {
  local last_good
  {
    shop_pod rude "${NODES[0]}" && echo --- && shop_pod polite "${NODES[0]}" --drain=3s && echo --- &&
      shop_pod slow "${NODES[0]}" --ready-after=4s
  } |
    kube apply --filename - >/dev/null
  kube wait --for=condition=Ready pod/rude pod/polite --timeout=30s >/dev/null
  [ "$(kube get pod slow --output=jsonpath='{.status.conditions[?(@.type=="Ready")].status}')" = False ] ||
    broken "the slow one was ready at once"
  for name in rude polite; do
    inside shop --witness "http://$(pod_ip "$name"):8080/" --interval 10ms --duration 6s >"$SCRATCH/$name" &
  done
  sleep 1
  kube delete pod rude polite --wait=false >/dev/null
  wait
  for name in rude polite; do
    last_good=$((($(field first_bad "$SCRATCH/$name") - $(field started "$SCRATCH/$name")) / 1000000))
    echo "      $name: first bad after $last_good ms; $(field errors "$SCRATCH/$name")"
    if [ "$name" = rude ]; then ((last_good < 3000)); else ((last_good >= 3900)); fi || broken "not when it should"
  done
  kube wait --for=condition=Ready pod/slow --timeout=20s >/dev/null
}

api_outage_leaves_workloads() {
  local address
  address=$(kube get service web --output=jsonpath='{.spec.clusterIP}')
  inside shop --witness "http://$address/" --duration 8s --interval 10ms >"$SCRATCH/api" &
  touch "$SCRATCH/stopped"
  bed api-stop
  if inside kubectl --request-timeout=2s get --raw /readyz >/dev/null 2>&1; then broken "the API still answers"; fi
  sleep 3
  bed api-start
  rm "$SCRATCH/stopped"
  wait
  [ "$(field bad "$SCRATCH/api")" = 0 ] || broken "requests were lost: $(cat "$SCRATCH/api")"
  kube get pods >/dev/null
}

# An idle connection to $1: prints "silent" when nothing at all came on it from the file $2's appearance until 4 s later.
idle_connection() {
  # shellcheck disable=SC2016 # for the shell inside
  inside bash -c 'exec 5<>"/dev/tcp/$1/8080"
    printf "HEAD /livez HTTP/1.1\r\nHost: idle\r\n\r\n" >&5
    while IFS= read -r -t 5 -u 5 line && [ "$line" != $'"'\\r'"' ]; do :; done
    touch "$2.connected"
    until [ -e "$2" ]; do sleep 0.1; done
    read -r -t 4 -n 1 -u 5 _ && echo data || { (($? > 128)) && echo silent || echo closed; }' - "$1" "$2"
}

power_cut_is_silent() {
  local address name before after
  shop_pod victim "$LAST_NAME" | kube apply --filename - >/dev/null
  kube wait --for=condition=Ready pod/victim --timeout=30s >/dev/null
  address=$(pod_ip victim)
  idle_connection "$address" "$SCRATCH/cut" >"$SCRATCH/idle" &
  until_true 10 test -e "$SCRATCH/cut.connected"
  inside shop --witness "http://$address:8080/" --interval 50ms --duration 8s --keep-alive >"$SCRATCH/kept" &
  inside shop --witness "http://$address:8080/" --interval 50ms --duration 8s >"$SCRATCH/fresh" &
  sleep 2
  before=$EPOCHREALTIME
  bed power-off "$LAST"
  after=$EPOCHREALTIME
  touch "$SCRATCH/cut"
  wait
  for name in kept fresh; do
    echo "      $name: $(field good "$SCRATCH/$name") good, then $(field errors "$SCRATCH/$name")"
    [[ $(field errors "$SCRATCH/$name") =~ ^\{\"timeout\":[0-9]+\}$ ]] || broken "not silent"
  done
  echo "      idle: $(cat "$SCRATCH/idle"); the cut took $(awk -v a="$before" -v b="$after" 'BEGIN { print b - a }') s"
  [ "$(cat "$SCRATCH/idle")" = silent ]
}

victim_serves() {
  local address
  address=$(pod_ip victim)
  [ "$(kube get pod victim --output=jsonpath='{.status.containerStatuses[0].restartCount}')" -ge 1 ] || return 1
  answers "http://$address:8080/healthz"
}

node_comes_back() {
  bed power-on "$LAST"
  rm "$SCRATCH/cut"
  until_true 60 inside kubectl get --raw "/api/v1/nodes/$LAST_NAME/proxy/healthz" || broken "no kubelet on $LAST_NAME"
  until_true 90 victim_serves || broken "its pod does not serve again"
  until_true 60 eval "inside kubectl get node $LAST_NAME --no-headers | grep -q ' Ready '"
}

main() {
  part "nodes are Ready, each in its zone" nodes_ready
  part "a Deployment comes up" workload_runs
  part "its Service answers by cluster IP and by name" service_reachable
  part "a PodDisruptionBudget refuses an eviction with 429" eviction_refused
  part "a limited user's token lets do what its role allows, and no more" limited_user
  part "a pod reaches the API with its own service account" pod_reaches_api
  part "rude, graceful and slow workloads are so" rude_and_graceful
  if [ "${1:-}" != "--gentle" ]; then
    part "workloads serve on while the API server is gone" api_outage_leaves_workloads
    part "a power cut is silent" power_cut_is_silent
    part "the node comes back, with its pods" node_comes_back
  fi
  if ((BROKEN)); then
    echo "selftest: $BROKEN parts failed"
    exit 1
  fi
  echo "selftest: all well"
}

main "$@"
