#!/usr/bin/env bash
# Holds `squall lab serve` to what people do with kubectl, by the real kubectl:
#
#   kubectl.sh SQUALL KUBECTL
#
# Nothing but the two binaries is needed: no cluster, no network, no root.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/lab/serve.sh
source "$here/serve.sh"
squall=$1 kubectl=$2
serve_lab "$squall"
# Its cache of discovery, which must not be another cluster's.
export HOME=$work
mkdir "$work/bin"
printf '#!/bin/sh\nexec "%s" "$@"\n' "$kubectl" >"$work/bin/k"
chmod +x "$work/bin/k"
PATH=$work/bin:$PATH

look() {
  check 'deployment.apps/web condition met' k wait -n shop --for=condition=Available deploy/web --timeout=30s
  check '^NAME +READY +STATUS +RESTARTS +AGE$' k get pods -n shop
  check '^web-[a-z0-9-]+ +1/1 +Running +0 +[0-9]+s +10\.[0-9.]+ +node[0-9] +<none> +<none>$' k get pods -n shop -o wide
  check '^deployment.apps/web +3/3 +3 +3 ' k get all -n shop
  check '^replicaset.apps/web-[a-z0-9]+ +3 +3 +3 ' k get all -n shop
  check '^service/web +ClusterIP +10\.96\.[0-9.]+ +<none> +80/TCP ' k get all -n shop
  check '^node1 +Ready +<none> +[0-9]+s +v1\.34\.0$' k get nodes
  check 'INTERNAL-IP' k get nodes -o wide
  check '^web +N/A +1 +1 |^web +[0-9]+ +N/A ' k get pdb -n shop
  check 'IPv4 +80[0-9]*  *10\.' k get endpointslices -n shop
  check 'shop +Active' k get namespaces
  check '^web +10\.96' k get svc -n shop web -o custom-columns=N:.metadata.name,IP:.spec.clusterIP
  check '^3$' k get deploy -n shop web -o 'jsonpath={.status.readyReplicas}'
  check 'web-.*1/1' timeout 3 "$kubectl" get pods -n shop --sort-by=.metadata.name
  check '^Name: +web$' k describe deploy -n shop web
  check 'Ready +True' k describe node node1
  check 'default-scheduler|Node: +node' k describe pod -n shop
  check 'No events found|LAST SEEN' k events -n shop
  check 'No resources found|LAST SEEN' k get events -n shop
  check 'Server Version: v1\.34' k version
  check '^deployments +deploy +apps/v1' k api-resources
  check 'control plane is running' k cluster-info
}

ask() {
  check '^ok$' k get --raw /healthz
  check '^ok$' k get --raw /readyz
  check '^ok$' k get --raw /livez
  check 'apiserver_storage_objects\{resource="pods"\} [1-9]' k get --raw /metrics
  check '/openapi/v3' k get --raw /
  check '"kind":"PodList"' k get --raw /api/v1/namespaces/shop/pods
  check '^yes$' k auth can-i delete pods -n shop
  check '\*\.\*' k auth can-i --list
  check 'lab' k auth whoami
}

refuse() {
  local pod
  pod=$(k get pods -n shop -o name | sed -n 1p)
  check 'Metrics API not available' ! k top pods -n shop
  check 'Metrics API not available' ! k top nodes
  check "the lab's containers run no program, and write no logs" ! k logs -n shop "$pod"
  check "the lab's containers run no program" ! k exec -n shop "$pod" -- true
  check 'the lab forwards nothing to pods' ! k port-forward -n shop "$pod" 0:8080
  check 'not found' ! k get pod -n shop none
  check "the server doesn't have a resource type" ! k get widgets
  check 'may not be deleted' ! k delete namespace default
}

write() {
  cat >"$work/app.yaml" <<'YAML'
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: default}
data: {a: "1"}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: app, namespace: default}
spec:
  replicas: 2
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec: {containers: [{name: app, image: "app:1", ports: [{containerPort: 80}]}]}
YAML
  check 'deployment.apps/app created \(server dry run\)' k apply -f "$work/app.yaml" --dry-run=server
  check 'deployment.apps/app created' k apply -f "$work/app.yaml"
  check 'deployment.apps/app unchanged' k apply -f "$work/app.yaml"
  sed -i 's/"app:1"/"app:2"/; s/a: "1"/a: "2"/' "$work/app.yaml"
  check '^\+ +- image: app:2|^\+.*image: app:2' ! k diff -f "$work/app.yaml"
  check 'deployment.apps/app configured' k apply -f "$work/app.yaml"
  check 'successfully rolled out' k rollout status deploy/app --timeout=50s
  check '^2 +<none>' k rollout history deploy/app
  check 'rolled back' k rollout undo deploy/app
  check '^app:1$' k get deploy app -o 'jsonpath={.spec.template.spec.containers[0].image}'
  check 'restarted' k rollout restart deploy/app
  check 'scaled' k scale deploy/app --replicas=3
  check 'labeled' k label deploy/app tier=web
  check 'annotated' k annotate deploy/app note=yes
  check 'patched' k patch deploy/app -p '{"spec":{"minReadySeconds":1}}'
  check 'patched' k patch deploy/app --type=json -p '[{"op":"add","path":"/metadata/labels/x","value":"y"}]'
  check 'edited' env KUBE_EDITOR='sed -i s/tier:.web/tier:\ db/' "$kubectl" edit deploy/app
  check '^db y$' k get deploy app -o 'jsonpath={.metadata.labels.tier} {.metadata.labels.x}'
  check 'image updated' k set image deploy/app app=app:3
  check 'env updated' k set env deploy/app KEY=value
  check 'autoscaled' k autoscale deploy/app --min=1 --max=5 --cpu-percent=80
  check '^app +Deployment/app +cpu: ' k get hpa
  check 'exposed' k expose deploy/app --port=80
  check 'configmap/made created' k create configmap made --from-literal=a=b
  check 'secret/made created' k create secret generic made --from-literal=a=b
  check '^b$' k get configmap made -o 'jsonpath={.data.a}'
  check 'replaced' k replace -f "$work/app.yaml"
  check 'pod/one created' k run one --image=one --restart=Never
  check 'condition met' k wait pod/one --for=condition=Ready --timeout=30s
  check 'deleted' k delete pod one --wait --timeout=50s
  # One that is gone already is nothing to wait for.
  check '^(pod/one condition met)?$' k wait pod/one --for=delete --timeout=10s
}

apply_on_server() {
  cat >"$work/applied.yaml" <<'YAML'
apiVersion: apps/v1
kind: Deployment
metadata: {name: applied, namespace: default}
spec:
  replicas: 2
  selector: {matchLabels: {app: applied}}
  template:
    metadata: {labels: {app: applied}}
    spec: {containers: [{name: app, image: "app:1"}]}
YAML
  check 'serverside-applied' k apply --server-side -f "$work/applied.yaml"
  check 'manager: kubectl' k get deploy applied -o yaml --show-managed-fields
  check 'scaled' k scale deploy/applied --replicas=1
  check 'conflict with "kubectl" with subresource "scale" using apps/v1: \.spec\.replicas' ! k apply --server-side -f "$work/applied.yaml"
  check 'serverside-applied' k apply --server-side --force-conflicts -f "$work/applied.yaml"
  check '^2$' k get deploy applied -o 'jsonpath={.spec.replicas}'
  # What kubectl applied by itself before is no conflict.
  sed -i 's/a: "2"/a: "3"/' "$work/app.yaml"
  check 'configmap/settings serverside-applied' k apply --server-side --field-manager=kubectl -f "$work/app.yaml" --force-conflicts
}

disrupt() {
  check 'cordoned' k cordon node1
  check 'node1 +Ready,SchedulingDisabled' k get nodes
  check 'uncordoned' k uncordon node1
  check 'tainted' k taint node node2 a=b:NoSchedule
  check 'untainted' k taint node node2 a:NoSchedule-
  check 'node/node1 drained' k drain node1 --ignore-daemonsets --delete-emptydir-data --force --timeout=55s
  check 'uncordoned' k uncordon node1
  check 'condition met' k wait -n shop --for=condition=Available deploy/web --timeout=30s
  check 'deleted' k delete pods -n shop -l app=web --wait --timeout=55s
  check 'Terminating|Running' timeout 5 "$kubectl" get pods -n shop --watch --request-timeout=3s
}

remove() {
  check 'namespace/extra created' k create namespace extra
  check 'pod/one created' k run one -n extra --image=one
  check 'namespace "extra" deleted' k delete namespace extra --wait --timeout=55s
  check 'NotFound' ! k get namespace extra
  check 'deleted' k delete deploy applied --cascade=orphan
  check '^applied-' k get replicasets
  check 'deleted' k delete deploy app --cascade=foreground --timeout=55s
  check 'No resources found' k get pods -l app=app
}

look
ask
refuse
write
apply_on_server
disrupt
remove
verdict "$(basename "$0")"
