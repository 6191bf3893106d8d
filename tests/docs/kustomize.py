#!/usr/bin/env python3
"""Runs the block of Kustomize in examples/kubernetes/fleet/README.md on the Deployments of `make kubernetes ROW=fleet`:
kustomize.py

The Deployment with the Envoy must get what policy.yaml gives it for the recipe `envoy`, without the variable of the grace
period and the ConfigMap, which this recipe does not need. All others must stay as they are. The Deployment must get this
with and without volumes of its own.
"""

import pathlib
import re
import shutil
import subprocess
import tempfile

import yaml

TOP = pathlib.Path(__file__).resolve().parents[2]
FLEET = TOP / "examples/kubernetes/fleet"
DEPLOYMENTS = TOP / "tests/kubernetes/fleet/deployments.yaml"


def objects(text):
    return {(it["kind"], it["metadata"]["name"]): it for it in yaml.safe_load_all(text)}


def pod_of(all_objects):
    """The pod of the Envoy, with its volumes in the order of their names, which means nothing."""
    pod = all_objects["Deployment", "envoy"]["spec"]["template"]["spec"]
    for volumes in (pod.get("volumes", []), pod["containers"][0].get("volumeMounts", [])):
        volumes.sort(key=lambda it: it["name"])
    return pod


def without_volumes(text):
    all_objects = objects(text)
    pod = pod_of(all_objects)
    del pod["volumes"], pod["containers"][0]["volumeMounts"]
    return yaml.safe_dump_all(all_objects.values())


def main():
    deployments = DEPLOYMENTS.read_text()
    for text in (deployments, without_volumes(deployments)):
        check(text)


def check(deployments):
    blocks = re.findall(r"(?s)```yaml\n(.*?)```", (FLEET / "README.md").read_text())
    block = next(it for it in blocks if "kustomize.yaml" in it)
    with tempfile.TemporaryDirectory() as place:
        place = pathlib.Path(place)
        for patch in ("kustomize.yaml", "kustomize-volume.yaml"):
            shutil.copy(FLEET / patch, place)
        (place / "deployments.yaml").write_text(deployments)
        (place / "kustomization.yaml").write_text(f"resources: [deployments.yaml]\n{block}")
        done = subprocess.run(["kubectl", "kustomize", place], check=True, text=True, stdout=subprocess.PIPE)
    expected = objects(deployments)
    parameters = list(yaml.safe_load_all((FLEET / "parameters.yaml").read_text()))[-1]["data"]
    pod = expected["Deployment", "envoy"]["spec"]["template"]["spec"]
    container = pod["containers"][0]
    grace = str(pod["terminationGracePeriodSeconds"])
    recipe = parameters["envoy"].replace("$(TERMINATION_GRACE_PERIOD_SECONDS)", grace).split()
    container["command"] = ["/opt/drainit/drainit", *recipe, *container["command"]]
    container.setdefault("volumeMounts", []).append({"name": "drainit", "mountPath": "/opt/drainit", "readOnly": True})
    pod.setdefault("volumes", []).append({"name": "drainit", "image": {"reference": parameters["image"]}})
    found = objects(done.stdout)
    pod_of(found), pod_of(expected)
    assert found == expected, f"{found}\nis not\n{expected}"


if __name__ == "__main__":
    main()
