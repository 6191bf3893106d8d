#!/usr/bin/env bash
# Hypercorn with HTTP/3: with --quic-bind each stop takes the whole graceful_timeout, also without any client.
#
# hypercorn.readthedocs.io, Configuring, graceful_timeout: "Time to wait after SIGTERM or Ctrl-C for any remaining
# requests (tasks) to complete." Expected: an idle server exits at once at SIGTERM, as it does without QUIC, so the time
# can be as long as the longest request. In fact the task that serves the UDP socket waits for the next packet, and
# counts as one that remains. With a time of 10 s or more, `docker stop` kills each server, and the shutdown of the
# application's lifespan, which comes after the wait, does not run.
set -euo pipefail
. "$(dirname "$0")/kit.sh"

pypi 'hypercorn[h3]==0.18.0' aioquic==1.7.2
"$place/venv/bin/pip" list 2>/dev/null | grep -i 'hypercorn\|aioquic'
cat >"$place/app.py" <<'END'
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        for step in ("startup", "shutdown"):
            await receive()
            print(step, flush=True)
            await send({"type": f"lifespan.{step}.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})
END
"$place/venv/bin/python" - "$place" <<'END'
import datetime, sys
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
now = datetime.datetime.now(datetime.timezone.utc)
certificate = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
certificate = certificate.serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(1)).sign(key, hashes.SHA256())
with open(f"{sys.argv[1]}/pem", "wb") as file:
    file.write(certificate.public_bytes(serialization.Encoding.PEM))
    file.write(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
END

# When a server that never had a client ends, and what its application had been told 5 s after SIGTERM.
stop_with() {
    start "$1" "$place/venv/bin/hypercorn" app:app --graceful-timeout 15 --bind "127.0.0.1:$(free_port)" \
        --certfile "$place/pem" --keyfile "$place/pem" "${@:2}"
    local server began told took
    server=$(last)
    until_ok grep -q "Running on" "$place/$1.log"
    sleep 1
    kill -TERM "$(program)"
    began=$(date +%s)
    sleep 5
    told=$(grep -q shutdown "$place/$1.log" && echo told || echo "not told")
    until_ok test ! -e "/proc/$server/exe"
    took=$(($(date +%s) - began))
    if [ "$took" -ge 14 ]; then took="after the graceful_timeout"; else took="before"; fi
    echo "ended $took, the application $told"
}
cd "$place"
tcp=$(stop_with tcp)
quic=$(stop_with quic --quic-bind "127.0.0.1:$(free_port)")
seen "TCP: ended before, the application told; QUIC: ended after the graceful_timeout, the application not told" \
    "TCP: $tcp; QUIC: $quic"
