# shellcheck shell=bash
# Copyright The Squall Authors
# SPDX-License-Identifier: Apache-2.0
#
# The cluster's network, its certificates and users, and the components of its control plane. Sourced by testbed.sh.

SERVICES=10.96.0.0/16
PODS=10.244.0.0/16
ETCD_DATA=/dev/shm/squall-etcd # in memory: a bed has nothing to lose, and no disk makes it slow

# Links have addresses that follow from their number, because every neighbour is told them for good (see neighbours).
mac() { printf '02:53:51:00:00:%02x' "$1"; }
address() { # of a node; in a cloud, of its zone's subnet
  local zones
  if has_cloud; then
    IFS=, read -ra zones <<<"$(setting zones)"
    echo "${SUBNET%.*}.$((16 * (($1 - 1) % ${#zones[@]} + 1))).$((10 + $1))"
  else
    echo "$SUBNET.$((10 + $1))"
  fi
}

# The namespace that the whole cluster hides in: a bridge with every node on it, and no way out.
network_up() {
  ip netns add "$NET"
  ip -n "$NET" link set lo up
  ip -n "$NET" link add br0 address "$(mac 0)" type bridge
  ip -n "$NET" addr add "$SUBNET.1/16" dev br0
  ip -n "$NET" link set br0 up
  # Cluster IPs need a route until kube-proxy's rules have given them another destination.
  ip -n "$NET" route add "$SERVICES" dev br0
  # The bridge is a switch between nodes and looks into no packet: only nodes have firewalls.
  ip netns exec "$NET" sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward
    if [ -e /proc/sys/net/bridge/bridge-nf-call-iptables ]; then echo 0 >/proc/sys/net/bridge/bridge-nf-call-iptables; fi'
  # Names resolve at the runner's place as they do in a pod: ip netns exec puts this file over /etc/resolv.conf.
  mkdir -p "/etc/netns/$NET"
  printf 'search svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n' >"/etc/netns/$NET/resolv.conf"
}

# neighbours NAMESPACE DEVICE SELF: tells it the link addresses of all others once and for all. As in a cloud's network, a dead
# machine is then just silent; on a plain switch, its neighbours would say "no route to host" after three seconds.
neighbours() {
  local i
  for i in $(seq 0 "$(setting slots)"); do
    [ "$i" = "$3" ] && continue
    echo "neigh replace $(if [ "$i" = 0 ]; then echo "$SUBNET.1"; else address "$i"; fi) lladdr $(mac "$i") dev $2 nud permanent"
  done | ip -n "$1" -batch -
}

certificates() {
  local names=IP:$SUBNET.1,IP:10.96.0.1,IP:127.0.0.1,DNS:localhost name
  for name in kubernetes kubernetes.default kubernetes.default.svc kubernetes.default.svc.cluster.local; do names+=,DNS:$name; done
  (
    cd "$BED"
    umask 077
    openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out sa.key
    openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -subj /CN=squall-testbed -days 365
    openssl req -newkey rsa:2048 -nodes -keyout api.key -out api.csr -subj /CN=kube-apiserver
    openssl x509 -req -in api.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 365 -out api.crt \
      -extfile <(printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth\n' "$names")
  ) 2>"$LOGS/openssl.log" || fail "openssl failed: $(tail -n 1 "$LOGS/openssl.log")"
}

token() { printf 'squall-testbed-%s' "$1"; } # well known on purpose: nothing outside the namespace can reach the API

users() {
  local i
  {
    echo "$(token admin),admin,admin,system:masters"
    echo "$(token controllers),system:kube-controller-manager,controllers,"
    echo "$(token scheduler),system:kube-scheduler,scheduler,"
    echo "$(token proxy),system:kube-proxy,proxy,"
    echo "$(token cloud),system:cloud-controller-manager,cloud,system:masters"
    for i in $(seq "$(setting nodes)"); do echo "$(token "node$i"),system:node:node$i,node$i,system:nodes"; done
  } >"$BED/tokens.csv"
  write_kubeconfig admin controllers scheduler proxy
  has_cloud && return # its machines get theirs when they come
  for i in $(seq "$(setting nodes)"); do
    mkdir -p "$BED/node$i"
    write_kubeconfig "node$i"
    mv "$BED/node$i.kubeconfig" "$BED/node$i/kubeconfig"
  done
}

write_kubeconfig() { # USER...
  local user authority
  authority=$(base64 -w0 "$BED/ca.crt")
  for user in "$@"; do
    cat >"$BED/$user.kubeconfig" <<EOF
apiVersion: v1
kind: Config
clusters:
- {name: $CONTEXT, cluster: {server: "$API", certificate-authority-data: $authority}}
users:
- {name: $user, user: {token: $(token "$user")}}
contexts:
- {name: $CONTEXT, context: {cluster: $CONTEXT, user: $user}}
current-context: $CONTEXT
EOF
  done
}

# component NAME BINARY FLAGS...: a daemon of the control plane.
component() {
  local name=$1 binary=$2
  shift 2
  spawn "$name" "$LOGS/$name.log" ip netns exec "$NET" "$(setting build)/bin/$binary" "$@"
}

start_etcd() {
  component etcd etcd --data-dir "$ETCD_DATA" --unsafe-no-fsync --logger zap --log-level warn \
    --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
    --listen-peer-urls http://127.0.0.1:2380
}

start_apiserver() {
  component apiserver kube-apiserver --etcd-servers=http://127.0.0.1:2379 \
    --secure-port=6443 --advertise-address="$SUBNET.1" --service-cluster-ip-range="$SERVICES" \
    --tls-cert-file="$BED/api.crt" --tls-private-key-file="$BED/api.key" \
    --client-ca-file="$BED/ca.crt" --requestheader-client-ca-file="$BED/ca.crt" --token-auth-file="$BED/tokens.csv" \
    --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --allow-privileged=true \
    --service-account-issuer=https://kubernetes.default.svc \
    --service-account-key-file="$BED/sa.key" --service-account-signing-key-file="$BED/sa.key" \
    --kubelet-preferred-address-types=InternalIP \
    --audit-policy-file="$HERE/manifests/audit-policy.yaml" --audit-log-path="$LOGS/audit.log" --audit-log-maxsize=100 \
    --audit-log-maxbackup=2
}

api_ready() { kubectl get --raw /readyz; }

await_api() { wait_for 90 "the API server (see $LOGS/apiserver.log)" api_ready; }

start_controllers() {
  local monitor=()
  # The defaults stay real: 5 s and 50 s, so that a node turns NotReady after three quarters of a minute.
  if [ "$(setting fast)" = yes ]; then monitor=(--node-monitor-period=1s --node-monitor-grace-period=8s); fi
  component controllers kube-controller-manager --kubeconfig="$BED/controllers.kubeconfig" --leader-elect=false \
    --use-service-account-credentials=true --service-account-private-key-file="$BED/sa.key" --root-ca-file="$BED/ca.crt" \
    "${monitor[@]}"
}

start_scheduler() { component scheduler kube-scheduler --kubeconfig="$BED/scheduler.kubeconfig" --leader-elect=false; }

# Cluster IPs at the runner's place: a kube-proxy of its own, so that no node's death blinds the runner.
start_proxy() {
  component proxy kube-proxy --kubeconfig="$BED/proxy.kubeconfig" --proxy-mode=iptables --cluster-cidr="$PODS" \
    --hostname-override=runner --conntrack-max-per-core=0 --conntrack-min=0 \
    --conntrack-tcp-timeout-established=0 --conntrack-tcp-timeout-close-wait=0
}

# kube-proxy looks for a Node of its name and waits 30 s for one that never comes. In a young cluster, where no controller and no
# scheduler is there to see it yet, it gets one for as long as it looks.
start_first_proxy() {
  kubectl create -f - >/dev/null <<'EOF'
{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "runner"}, "spec": {"unschedulable": true}}
EOF
  kubectl patch node runner --subresource=status --type=merge \
    --patch "{\"status\": {\"addresses\": [{\"type\": \"InternalIP\", \"address\": \"$SUBNET.1\"}]}}" >/dev/null
  start_proxy
  wait_for 60 "the runner's kube-proxy (see $LOGS/proxy.log)" proxy_synced
  kubectl delete node runner --wait=false >/dev/null
}

proxy_synced() { ip netns exec "$NET" iptables -t nat -S KUBE-SERVICES | grep -q 'default/kubernetes:https'; }
dns_ruled() { ip netns exec "$NET" iptables -t nat -S KUBE-SERVICES | grep -q 'kube-system/kube-dns:dns cluster IP'; }
dns_answers() { inside getent ahostsv4 kubernetes.default.svc.cluster.local | grep -q '^10\.96\.0\.1 '; }
dns_complete() { [ "$(kubectl get deployment coredns --namespace kube-system --output=jsonpath='{.status.readyReplicas}')" = 2 ]; }
