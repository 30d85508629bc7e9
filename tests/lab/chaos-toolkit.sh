#!/usr/bin/env bash
# Lets Chaos Toolkit kill a pod of `squall lab serve`: the tool as it is, and the experiment with which the benchmarks run it on a real
# cluster. Its packages come from PyPI once.
#
#   chaos-toolkit.sh SQUALL
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
name='lab-tools'
# shellcheck source=benches/common/common.sh
source benches/common/common.sh
# shellcheck source=tests/lab/serve.sh
source tests/lab/serve.sh
squall=$1
cache=${XDG_CACHE_HOME:-$HOME/.cache}/squall/bench
lock "$cache"
environment benches/run/requirements.txt "$cache/venv"

serve_lab "$squall" 9>&-
# Services are reached by their names through the lab itself.
export http_proxy=http://$address no_proxy=127.0.0.1
api=http://$address/api/v1/namespaces/shop/pods
for _ in {1..100}; do
  ready=$(curl -fsS "$api" | grep -o '"status":"True","type":"Ready"' | wc -l) || ready=0
  # kube-proxy follows the endpoints a little later.
  if ((ready == 3)) && curl -fsS -m 2 -o /dev/null http://web.shop.svc.cluster.local/; then break; fi
  sleep 0.2
done
before=$(curl -fsS "$api" | grep -o '"uid":"[^"]*"' | sort)

check 'Experiment ended with status: completed' "$cache/venv/bin/chaos" --no-version-check --log-file "$work/chaos.log" \
  run --journal-path "$work/journal.json" --var namespace=shop benches/run/pod-kill.chaostoolkit.yaml
check '"status": "completed"' cat "$work/journal.json"
check '"steady_state_met": true' cat "$work/journal.json"
# It has its grace, in which it drains.
for _ in {1..100}; do
  gone=$(comm -23 <(printf '%s\n' "$before") <(curl -fsS "$api" | grep -o '"uid":"[^"]*"' | sort) | wc -l)
  ((gone == 0)) || break
  sleep 0.5
done
check '^[1-9]' echo "$gone of the pods that were there are gone"
verdict "$name"
