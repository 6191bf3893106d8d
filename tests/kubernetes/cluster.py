"""The node of node.sh as seen from within its namespaces: objects, pods and load."""

import json
import os
import pathlib
import subprocess
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parent.parent
ADDRESS = "10.96.0.80"
CONTROL = {"path": "/readyz", "port": "control"}


def kubectl(*arguments, data=None, check=True):
    done = subprocess.run(["kubectl", *arguments], input=data, text=True, capture_output=True)
    if check and done.returncode:
        raise RuntimeError(f"kubectl {' '.join(arguments)}: {done.stderr}")
    return done.stdout


def version():
    """The version of the API server, such as (1, 36)."""
    git = json.loads(kubectl("version", "-o", "json"))["serverVersion"]["gitVersion"]
    return tuple(int(part) for part in git.removeprefix("v").split(".")[:2])


def apply(*objects):
    kubectl("apply", "-f", "-", data=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))


def service(app="gateway"):
    ports = [{"name": "http", "port": 80, "targetPort": "http"}]
    spec = {"clusterIP": ADDRESS, "selector": {"app": app}, "ports": ports}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "gateway"}, "spec": spec}


def gateway(image, grace=45, variables=None, **container):
    """A Deployment of the gateway of examples/api-gateway, with the `image` of one entrypoint."""
    is_drainit = image == "drainit"
    env = {"LOG_LEVEL": "error", "TERMINATION_GRACE_PERIOD_SECONDS": str(grace), **(variables or {})}
    path = CONTROL if is_drainit else {"path": "/", "port": "http"}
    ready = {"httpGet": path, "periodSeconds": 1, "failureThreshold": 1}
    container = {
        "name": "gateway",
        "image": f"drainit-kubernetes-{image}:1",
        "env": [{"name": name, "value": value} for name, value in env.items()],
        "ports": [{"name": "http", "containerPort": 8080}, {"name": "control", "containerPort": 9902}],
        "readinessProbe": ready,
        "volumeMounts": [{"name": "run", "mountPath": "/var/run/api-platform"}],
        **container,
    }
    volumes = [{"name": "run", "emptyDir": {"medium": "Memory"}}]
    pod = {"terminationGracePeriodSeconds": grace, "containers": [container], "volumes": volumes}
    labels = {"app": "gateway"}
    spec = {
        "replicas": 3,
        "selector": {"matchLabels": labels},
        "strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "gateway"}, "spec": spec}


def pods(app="gateway"):
    return json.loads(kubectl("get", "pods", "-l", f"app={app}", "-o", "json"))["items"]


def names(app="gateway"):
    return [pod["metadata"]["name"] for pod in pods(app)]


def await_rollout(name="gateway"):
    kubectl("rollout", "status", f"deployment/{name}", "--timeout=180s")


def await_old_pods(app):
    """Waits until the new pods of an app are ready, and the old ones are gone."""
    await_rollout(app)
    wait_until("the old pods are gone", lambda: len(pods(app)) == replicas(app))


def wait_until(what, condition, limit=120):
    end = time.time() + limit
    while not condition():
        if time.time() > end:
            raise RuntimeError(f"not after {limit} s: {what}")
        time.sleep(0.2)


def first_process(pod):
    """The PID of a pod's container as the node sees it."""
    place = kubectl("get", "pod", pod, "-o", "jsonpath={.status.containerStatuses[0].containerID}")
    command = ["ctr", "-a", "/run/node-containerd/containerd.sock", "-n", "k8s.io", "tasks", "list"]
    tasks = subprocess.run(command, text=True, capture_output=True, check=True).stdout
    return next(int(line.split()[1]) for line in tasks.splitlines() if line.startswith(place.split("//")[1]))


def begin(*objects, app="gateway"):
    """Applies objects and waits until the Deployment serves."""
    # The kernel's table still has the connections to pods that are gone. A new connection from the same port would go
    # to such a pod, so the table is cleared.
    subprocess.run(["conntrack", "-F"], capture_output=True)
    apply(service(app), *objects)
    await_rollout(app)
    wait_until("the service answers", lambda: answers(ADDRESS, 80))


def answers(host, port):
    command = ["curl", "-s", "-o", "/dev/null", "-m", "2", f"http://{host}:{port}/"]
    return subprocess.run(command).returncode == 0


def clean(app="gateway"):
    kubectl("delete", "deployment,service", "--all", check=False)
    wait_until("all pods are gone", lambda: not pods(app))


def roll(times, app="gateway"):
    for _ in range(times):
        kubectl("rollout", "restart", f"deployment/{app}")
        await_rollout(app)
    await_old_pods(app)


def replicas(app):
    return json.loads(kubectl("get", "deployment", app, "-o", "json"))["spec"]["replicas"]


class Logs:
    """Collects the lines of a container of each pod from now on, because the kubelet removes them with the pod."""

    def __init__(self, app, container):
        self.files = {name: tempfile.NamedTemporaryFile("r", prefix=name) for name in names(app)}
        for name, file in self.files.items():
            out = open(file.name, "w")
            subprocess.Popen(["kubectl", "logs", "-f", name, "-c", container], stdout=out, stderr=subprocess.STDOUT)

    def texts(self):
        return {name: file.read() for name, file in self.files.items()}


class Http2:
    """Requests from the node over HTTP/2, as http2.py sends them."""

    def __init__(self):
        self.place = tempfile.mkdtemp(dir="/run")
        load = [str(HERE / "http2.py"), f"{ADDRESS}:80", f"{self.place}/end"]
        self.node = subprocess.Popen(load, text=True, stdout=subprocess.PIPE)
        time.sleep(3)  # every client has asked at least once

    def end(self):
        pathlib.Path(self.place, "end").touch()
        return json.loads(self.node.communicate(timeout=60)[0])["HTTP/2"]


class Load:
    """Requests from the node and from a pod, as load.py sends them."""

    def __init__(self, delay=500):
        self.place = tempfile.mkdtemp(dir="/run")
        os.chmod(self.place, 0o755)
        arguments = [f"{ADDRESS}:80", f"{self.place}/end", str(delay)]
        load = ["python3", str(HERE / "load.py"), *arguments]
        self.node = subprocess.Popen(load, text=True, stdout=subprocess.PIPE)
        volume = {"name": "end", "hostPath": {"path": self.place}}
        container = {
            "name": "load",
            "image": "drainit-kubernetes-bash:1",
            "command": ["python3", "/load.py", *arguments],
            "volumeMounts": [{"name": "end", "mountPath": self.place}],
        }
        spec = {"restartPolicy": "Never", "containers": [container], "volumes": [volume]}
        apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "load"}, "spec": spec})
        kubectl("wait", "--for=condition=Ready", "pod/load", "--timeout=60s")
        time.sleep(3)  # every client has asked at least once

    def end(self):
        """The counts of all requests, and of the failures by kind."""
        pathlib.Path(self.place, "end").touch()
        phase = ("get", "pod", "load", "-o", "jsonpath={.status.phase}")
        wait_until("the load has ended", lambda: kubectl(*phase) == "Succeeded")
        both = [self.node.communicate(timeout=60)[0], kubectl("logs", "load")]
        kubectl("delete", "pod", "load", "--grace-period=0", "--force", check=False)
        total = {}
        for counts in (kind for text in both for kind in json.loads(text).values()):
            for name, count in counts.items():
                total[name] = total.get(name, 0) + count
        return total


def files(place):
    return sum(path.is_file() for path in place.rglob("*"))


class Jobs:
    """Jobs for the pods of an app, until the end. The workers leave files at a place of the node."""

    def __init__(self, app, *folders):
        self.place = pathlib.Path("/run/jobs", app)
        for folder in self.place, *map(self.place.joinpath, folders):
            folder.mkdir(parents=True, exist_ok=True)
        for path in self.place.rglob("*"):
            if path.is_file():
                path.unlink()
        self.is_over = threading.Event()

    def settled(self, sent):
        """The counts when no job is left, or no further job ends for 10 s."""
        done, since = 0, time.time()
        while done < sent and time.time() - since < 10:
            time.sleep(0.2)
            if files(self.place / "done") > done:
                done, since = files(self.place / "done"), time.time()
        return {"requests": sent, "cut": sent - done}


class Batches(Jobs):
    """Items of 0.1 s for the workers of examples/queue-worker, which take up to 20 at a time."""

    def __init__(self):
        super().__init__("worker", "todo", "done")
        self.sent = 0
        self.sender = threading.Thread(target=self.send)
        self.sender.start()

    def send(self):
        while not self.is_over.wait(0.1):
            while len(list((self.place / "todo").iterdir())) < 200:
                (self.place / "todo" / f"{self.sent:06}").touch()
                self.sent += 1

    def end(self):
        self.is_over.set()
        self.sender.join()
        return self.settled(self.sent)


class Celery(Jobs):
    """Jobs of 0.1 to 8 s, which jobs.py sends."""

    def __init__(self):
        super().__init__("celery", "done")
        env = {**os.environ, "PYTHONPATH": str(TOP / "target/kubernetes/celery")}
        load = ["python3", str(HERE / "fleet/jobs.py"), str(self.place / "end")]
        self.sender = subprocess.Popen(load, env=env, text=True, stdout=subprocess.PIPE)

    def end(self):
        (self.place / "end").touch()
        counts = self.settled(int(self.sender.communicate(timeout=60)[0]))
        time.sleep(10)  # what runs again has ended
        twice = sum(path.read_text().count("\n") > 1 for path in (self.place / "done").iterdir())
        return {**counts, "done twice": twice}
