#!/usr/bin/env python3
"""Tries the gateway in a real Kubernetes: main.py [NAME…], within the node of node.sh; `make kubernetes` does all.

Each test prints one row. The test fails if drainit loses a request, or does not end as it should.
"""

import json
import re
import subprocess
import sys
import tempfile
import time

from cluster import *

TESTS = {}
NATIVE = (1, 29)
DRAINIT = "/opt/drainit/drainit"
LOSSES = TOP / "examples/kubernetes/losses.jq"
DRAIN = {"preStop": {"exec": {"command": ["/usr/local/bin/drainit", "drain"]}}}


def test(function):
    TESTS[function.__name__] = function
    return function


def row(name, counts, note=""):
    """Prints a row, and returns the number of failed requests."""
    failures = {kind: count for kind, count in counts.items() if kind != "requests"}
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(failures.items()))
    print(f"{name:<34}{counts['requests']:>8}{sum(failures.values()):>8}  {note}{kinds}", flush=True)
    return sum(failures.values())


def too_old(least, what):
    """Whether this Kubernetes is too old for a feature. If so, prints a row that names the feature."""
    is_lacking = version() < least
    if is_lacking:
        print(f"{what} needs Kubernetes {least[0]}.{least[1]}: not tried", flush=True)
    return is_lacking


def expect(condition, what):
    if not condition:
        raise AssertionError(what)


def tried(name, action, *objects, app="gateway", load=Load, **settings):
    """Counts the failed requests while an action replaces pods."""
    begin(*objects, app=app)
    load = load(**settings)
    action()
    failed = row(name, load.end())
    clean(app)
    return failed


def rolled(name, *objects, times=3, app="gateway", **settings):
    return tried(name, lambda: roll(times, app), *objects, app=app, **settings)


@test
def rollout():
    """Three pods, `kubectl rollout restart` three times: the bash entrypoints in three ways, and drainit."""
    live = {"livenessProbe": {"tcpSocket": {"port": "http"}, "initialDelaySeconds": 20}}
    sleep = {"lifecycle": {"preStop": {"exec": {"command": ["sleep", "15"]}}}}
    lost = rolled("bash under tini", gateway("bash", **live))
    expect(lost > 0, "nothing failed without drainit, so this test proves nothing")
    rolled("bash, preStop: sleep 15", gateway("bash", **live, **sleep))
    rolled("bash, drain_listeners and sleep", gateway("bash", **live, variables={"ROUTER_ADMIN_ENABLED": "true"}))
    lost = rolled("drainit", gateway("drainit"))
    expect(lost == 0, "drainit lost requests in a rollout")


@test
def pre_stop():
    lost = rolled("drainit, preStop: drainit drain", gateway("drainit", lifecycle=DRAIN))
    expect(lost == 0, "drainit lost requests in a rollout with preStop")


@test
def manifests():
    """The files of examples/kubernetes as they are, the chart with its values."""
    folder = TOP / "examples/kubernetes"
    texts = {name: (folder / name).read_text() for name in ("deployment.yaml", "deployment-prestop.yaml")}
    texts["chart"] = (folder / "chart/templates/deployment.yaml").read_text()
    values = (line.split(": ") for line in (folder / "chart/values.yaml").read_text().splitlines() if ": " in line)
    for name, value in values:
        texts["chart"] = texts["chart"].replace("{{ .Values.%s }}" % name, value)
        texts["chart"] = texts["chart"].replace("{{ .Values.%s | quote }}" % name, f'"{value}"')
    for name, text in texts.items():
        kubectl("apply", "-f", "-", data=text)
        expect(rolled(name, times=2, delay=0) == 0, f"{name} lost requests")


@test
def single():
    """The only pod of deployment.yaml is deleted: requests fail without `unready_delay`, and not with it."""
    if too_old((1, 28), "a pod that serves while it is the last and terminates"):
        return
    kubectl("create", "configmap", "without", "--from-literal=overlay.yaml=shutdown: {unready_delay: 0s}")
    file = str(TOP / "examples/kubernetes/deployment.yaml")
    lost = []
    for name, overlay in ("single pod, no unready_delay", ["-c", "/etc/without/overlay.yaml"]), ("single pod", []):
        app = json.loads(kubectl("create", "--dry-run=client", "-o", "json", "-f", file))
        app["spec"]["replicas"] = 1
        pod = app["spec"]["template"]["spec"]
        container = pod["containers"][0]
        container["command"] = ["/usr/local/bin/drainit", "run", "-c", "/etc/drainit.yaml", *overlay, "--"]
        container["volumeMounts"].append({"name": "without", "mountPath": "/etc/without"})
        pod["volumes"].append({"name": "without", "configMap": {"name": "without"}})

        def action():
            old = names()
            kubectl("delete", "pod", *old)
            await_rollout()
            wait_until("the old pod is gone", lambda: not set(old) & set(names()))

        lost.append(tried(name, action, app, delay=0))
    kubectl("delete", "configmap", "without")
    expect(lost[0] > 0 and lost[1] == 0, f"failed without `unready_delay` and with it: {lost}")


@test
def walkthrough():
    """The pods of examples/walkthrough, into which an init container copies drainit."""
    folder = TOP / "examples/walkthrough"
    files = [f"--from-file={folder / name}" for name in ("drainit.yaml", "envoy.yaml")]
    kubectl("create", "configmap", "gateway", *files)
    kubectl("apply", "-f", "-", data=(folder / "gateway.yaml").read_text().split("\n---\n")[0])
    lost = rolled("walkthrough", times=2, delay=0)
    kubectl("delete", "configmap", "gateway")
    expect(lost == 0, "the walkthrough lost requests")


@test
def untouched():
    """An Envoy with an unchanged image: init-container.yaml, also in the node's network, and the library chart.

    Only one such pod fits into the network of the node, so no connection to it can begin while the pod is replaced.
    """
    envoy = TOP / "examples/walkthrough/envoy.yaml"
    kubectl("create", "configmap", "envoy", f"--from-file={envoy}")
    init = TOP / "examples/kubernetes/init-container.yaml"
    lost = {}
    for name, file in (("init container", init), ("library chart", TOP / "tests/fixtures/library-chart.yaml")):
        kubectl("apply", "-f", str(file))
        lost[name] = rolled(name, times=2, app="envoy", delay=0)
    host = json.loads(kubectl("create", "--dry-run=client", "-o", "json", "-f", str(init)))
    host["spec"].update({"replicas": 1, "strategy": {"rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}}})
    host["spec"]["template"]["spec"]["hostNetwork"] = True
    begin(host, app="envoy")
    load, logs = Load(delay=0), Logs("envoy", "envoy")
    roll(1, "envoy")
    counts = load.end()
    begun = {kind: count for kind, count in counts.items() if not kind.startswith("no connection")}
    note = f"no connection {sum(counts.values()) - sum(begun.values())} times; "
    lost["hostNetwork"] = row("hostNetwork", begun, note)
    clean("envoy")
    kubectl("delete", "configmap", "envoy")
    for pod, text in logs.texts().items():
        expect(re.search(r"drain envoy: .*, 0 cut", text), f"{pod} has cut a request, or has no report:\n{text}")
    expect(not any(lost.values()), f"requests were lost: {lost}")


@test
def image_volume():
    """image-volume.yaml: drainit's image is a volume, and the config of drainit comes from a ConfigMap."""
    if too_old((1, 36), "an image volume"):
        return
    envoy, drainit = TOP / "examples/walkthrough/envoy.yaml", TOP / "examples/kubernetes/envoy.drainit.yaml"
    kubectl("create", "configmap", "envoy", f"--from-file={envoy}")
    kubectl("create", "configmap", "drainit", f"--from-file=drainit.yaml={drainit}")
    kubectl("apply", "-f", str(TOP / "examples/kubernetes/image-volume.yaml"))
    lost = rolled("image volume", times=2, app="envoy", delay=0)
    kubectl("delete", "configmap", "envoy", "drainit")
    expect(lost == 0, "drainit lost requests from an image volume")


@test
def fleet():
    """examples/kubernetes/fleet as it is: a label puts drainit into unchanged Deployments, until the policy goes.

    Without the label, Celery finishes its jobs as well.
    """
    if too_old((1, 36), "a MutatingAdmissionPolicy"):
        return
    folder = TOP / "examples/kubernetes/fleet"
    configs = [f"--from-file={folder / name}.yaml" for name in ("nginx", "php-fpm", "worker")]
    kubectl("create", "configmap", "drainit", *configs)
    kubectl("create", "configmap", "envoy", f"--from-file={TOP / 'examples/walkthrough/envoy.yaml'}")
    kubectl("apply", "-f", str(folder / "parameters.yaml"), "-f", str(folder / "policy.yaml"))
    kubectl("apply", "-f", str(HERE / "fleet/deployments.yaml"))
    loads = {"envoy": lambda: Load(delay=0), "php": lambda: Load(delay=0), "worker": Batches, "celery": Celery}
    lost = {}
    for app, load in loads.items():
        for name in app, f"{app}, labelled":
            if name != app:
                label = {"spec": {"template": {"metadata": {"labels": {"drainit": app}}}}}
                kubectl("patch", "deployment", app, "-p", json.dumps(label))
            await_old_pods(app)
            expect(has_drainit(app) == (name != app), f"{name}: drainit is not where the label says")
            if app in ("envoy", "php"):
                begin(app=app)
            running = load()
            roll(1 if name == app else 2, app)
            lost[name] = row(name, running.end())
    # As an autoscaler does it. The longest job takes a quarter of the grace period.
    running = Celery()
    for count in 3, 1, 3, 1:
        kubectl("scale", "deployment/celery", f"--replicas={count}")
        await_old_pods("celery")
        time.sleep(10)  # each worker has taken jobs
    lost["celery, scaled, labelled"] = row("celery, labelled, scaled", running.end())
    kubectl("delete", "-f", str(folder / "policy.yaml"))
    probe = ("run", "probe", "--image=app:1", "--labels=drainit=envoy", "--dry-run=server", "-o", "json", "--command", "--", "true")
    wait_until("the API server has no policy", lambda: DRAINIT not in kubectl(*probe))
    for app in loads:
        roll(1, app)
        expect(not has_drainit(app), f"{app} has drainit without the policy")
    for app in loads:
        clean(app)
    kubectl("delete", "configmap", "envoy", "drainit")
    kubectl("delete", "namespace", "drainit")
    expect(lost["envoy"] and lost["worker"], "nothing failed without drainit, so this test proves nothing")
    expect(not any(lost[name] for name in lost if name.endswith("labelled")), f"something was lost with drainit: {lost}")


def has_drainit(app):
    """Whether drainit is before the commands of an app's pods."""
    has = {DRAINIT in json.dumps(pod["spec"]["containers"]) for pod in pods(app)}
    expect(len(has) == 1, f"some pods of {app} have drainit, and some do not")
    return has.pop()


@test
def ledger():
    """20 pods are replaced at once, and seven of them must cut a request. The step in the header of losses.jq says so, and
    next time says 0."""
    # The kubelet of 1.20 shows no message of a container that ends while many pods are deleted.
    if too_old((1, 36), "the ledger"):
        return
    kubectl("create", "configmap", "ledger", f"--from-file={HERE / 'ledger/drainit.yaml'}")
    kubectl("apply", "-f", str(HERE / "ledger/deployment.yaml"))
    lines = [line[4:] for line in LOSSES.read_text().splitlines() if line.startswith("#   ")]
    step = "\n".join(lines).replace("web", "ledger").replace("losses.jq", str(LOSSES))
    for planted in 7, 0:
        await_old_pods("ledger")
        addresses = {pod["metadata"]["name"]: pod["status"]["podIP"] for pod in pods("ledger")}
        cut = sorted(addresses)[:planted]
        # The drain waits up to 20 s for the answers.
        ask = {name: f"http://{ip}:8000/{600 if name in cut else 10}" for name, ip in addresses.items()}
        asks = [subprocess.Popen(["curl", "-s", it], text=True, stdout=subprocess.PIPE) for it in ask.values()]
        with tempfile.TemporaryDirectory() as place:
            table = subprocess.run(["sh", "-ec", step], cwd=place, text=True, capture_output=True, timeout=1200)
        answers = [it.communicate()[0] for it in asks]
        lines = [line.split("\t") for line in table.stdout.splitlines()]
        counts = {line[0]: line[5] for line in lines if line[0] in addresses}
        print(f"{planted} of 20 pods must cut a request: the table says {lines[-1][5]}", flush=True)
        expect(answers.count("ok\n") == 20 - planted, f"the clients got {answers}")
        is_right = counts == {name: str(int(name in cut)) for name in addresses} and lines[-1][5] == str(planted)
        expect(is_right, f"the table is wrong for {cut}:\n{table.stdout}")
        expect(table.returncode == bool(planted), f"losses.jq ended with {table.returncode}: {table.stderr}")
    clean("ledger")
    kubectl("delete", "configmap", "ledger")


@test
def http2():
    lost = rolled("drainit, HTTP/2", gateway("drainit"), load=Http2)
    expect(lost == 0, "drainit lost streams in a rollout")


@test
def sidecar():
    """sidecar.yaml. A Kubernetes without native sidecars runs the Envoy as a container like the application's.

    A native sidecar gets SIGTERM after the application has ended. In an older Kubernetes, the hook waits for another
    10 s after the drain, so that the application ends first.
    """
    file = str(TOP / "examples/kubernetes/sidecar.yaml")
    app = json.loads(kubectl("create", "--dry-run=client", "--validate=false", "-o", "json", "-f", file))
    if version() < NATIVE:
        pod = app["spec"]["template"]["spec"]
        envoy = pod.pop("initContainers")[0]
        del envoy["restartPolicy"]
        envoy["lifecycle"]["preStop"]["exec"]["command"] = ["sh", "-c", "/usr/local/bin/drainit drain && sleep 10"]
        pod["containers"][0]["lifecycle"] = {"preStop": {"exec": {"command": ["sleep", "15"]}}}
        pod["containers"].append(envoy)
    rolled_sidecar("sidecar.yaml", app)


@test
def sidecar_patch():
    """The Envoy of sidecar-patch.yaml, with an unchanged image, before the application of sidecar.yaml."""
    if too_old(NATIVE, "a native sidecar"):
        return
    folder = TOP / "examples/kubernetes"
    envoy = (TOP / "tests/kubernetes/sidecar/envoy.yaml").read_text()
    envoy = envoy.replace("pipe: {path: /run/envoy/admin.sock, mode: 384}", "socket_address: {address: 127.0.0.1, port_value: 9901}")
    kubectl("create", "configmap", "envoy", "--from-literal", f"envoy.yaml={envoy}")
    file = str(folder / "sidecar.yaml")
    app = json.loads(kubectl("create", "--dry-run=client", "-o", "json", "-f", file))
    pod = app["spec"]["template"]["spec"]
    del pod["initContainers"], pod["volumes"], pod["containers"][0]["lifecycle"]
    patch = ("patch", "--local", "--patch-file", str(folder / "sidecar-patch.yaml"), "-o", "json", "-f", "-")
    rolled_sidecar("sidecar-patch.yaml", json.loads(kubectl(*patch, data=json.dumps(app))))
    kubectl("delete", "configmap", "envoy")


def rolled_sidecar(name, app):
    logs = []

    def action():
        logs.append(Logs("app", "envoy"))
        roll(2, "app")

    lost = tried(name, action, app, app="app", delay=0)
    expect(lost == 0, "drainit lost requests as a sidecar")
    for pod, text in logs[0].texts().items():
        left = re.search(r"stopping: SIGTERM received; ([\d.]+)s until the deadline", text)
        expect(left and float(left[1]) <= 30, f"{pod} does not count its grace period of 45 s from the hook:\n{text}")


@test
def short_grace():
    """10 s for a drain that may take 15 s: each pod ends before SIGKILL, with its report."""
    logs = []

    def action():
        logs.append(Logs("gateway", "gateway"))
        roll(1)

    lost = tried("drainit, grace period 10 s", action, gateway("drainit", grace=10))
    expect(lost == 0, "drainit lost requests with a grace period of 10 s")
    for pod, text in logs[0].texts().items():
        expect("stopped in" in text, f"{pod} was killed without a report:\n{text}")


@test
def liveness():
    """A drain does not fail the livenessProbe. If drainit hangs, the kubelet restarts the container."""
    live = {"livenessProbe": {"httpGet": {"path": "/livez", "port": "control"}, "periodSeconds": 2, "failureThreshold": 2}}

    def restarts(pod):
        return json.loads(kubectl("get", "pod", pod, "-o", "json"))["status"]["containerStatuses"][0]["restartCount"]

    def action():
        drained = names()[0]
        kubectl("exec", drained, "--", "/usr/local/bin/drainit", "drain")
        time.sleep(10)  # two failures of the probe take 4 s
        expect(restarts(drained) == 0, "the livenessProbe failed during a drain")

    lost = tried("drainit drain, livenessProbe", action, gateway("drainit", **live))
    expect(lost == 0, "drainit lost requests in a drain by hand")

    def hang():
        # PID 1 of a container ignores a SIGSTOP from its own namespace.
        subprocess.run(["kill", "-STOP", str(first_process(names()[0]))], check=True)
        wait_until("the kubelet restarts what hangs", lambda: any(restarts(pod) for pod in names()))

    tried("drainit hangs, livenessProbe", hang, gateway("drainit", grace=20, **live))


@test
def node_drain():
    """`kubectl drain` with a PodDisruptionBudget: the pods are evicted one by one."""
    budget = {
        "apiVersion": "policy/v1" if version() >= (1, 21) else "policy/v1beta1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "gateway"},
        "spec": {"minAvailable": 2, "selector": {"matchLabels": {"app": "gateway"}}},
    }

    def action():
        old = set(names())
        flags = ["--pod-selector=app=gateway", "--delete-emptydir-data", "--timeout=170s"]
        drain = subprocess.Popen(["kubectl", "drain", "node1", *flags], stdout=subprocess.DEVNULL)
        unschedulable = ("get", "node", "node1", "-o", "jsonpath={.spec.unschedulable}")
        wait_until("the node is cordoned", lambda: kubectl(*unschedulable) == "true")
        kubectl("uncordon", "node1")  # there is no other node for the new pods
        expect(drain.wait() == 0, "kubectl drain failed")
        wait_until("the old pods are gone", lambda: not old & set(names()))

    lost = tried("drainit, kubectl drain", action, gateway("drainit"), budget)
    kubectl("delete", "poddisruptionbudget", "gateway")
    expect(lost == 0, "drainit lost requests while its pods were evicted")


def main():
    wanted = sys.argv[1:] or list(TESTS)
    if unknown := set(wanted) - set(TESTS):
        sys.exit(f"unknown: {', '.join(unknown)}; there are {', '.join(TESTS)}")
    print(f"{'':<34}{'requests':>8}{'failed':>8}")
    failed = []
    for name in wanted:
        began = time.time()
        try:
            TESTS[name]()
        except Exception as error:
            failed.append(name)
            print(f"{name}: {error}", flush=True)
            kubectl("delete", "pod", "load", "--grace-period=0", "--force", check=False)
            clean()
        print(f"{name}: {time.time() - began:.0f} s", file=sys.stderr, flush=True)
    print(f"{len(wanted) - len(failed)} passed, {len(failed)} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
