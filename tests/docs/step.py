#!/usr/bin/env python3
"""Runs the step for CI in the header of examples/kubernetes/losses.jq, with a kubectl that plays the rollout of a pod: step.py"""

import json
import os
import pathlib
import subprocess
import tempfile

LOSSES = pathlib.Path(__file__).resolve().parents[2] / "examples/kubernetes/losses.jq"
# The old pod ends only while somebody waits for its end, and the watch goes on.
KUBECTL = """#!/bin/sh
case "$*" in
*--watch*) echo $$ >watch; cat stopping; until [ -e gone ]; do sleep 0.1; done; cat stopped; exec $THEN ;;
*' -o name') echo pod/web-1 ;;
*--for=delete*' pod/web-1') touch gone ;;
*rollout*) ;;
*) exit 1 ;;
esac
"""


def pod(state):
    status = {"name": "web", "containerID": "a", "state": state}
    metadata = {"name": "web-1", "uid": "1", "deletionTimestamp": "2026-11-30T00:00:00Z"}
    return json.dumps({"kind": "Pod", "metadata": metadata, "status": {"containerStatuses": [status]}})


def run(cut, then="sleep 60"):
    """The exit code of the step, which must leave no watch behind."""
    lines = [line for line in LOSSES.read_text().splitlines() if line.startswith("#   ")]
    step = "\n".join(line[4:] for line in lines).replace("losses.jq", str(LOSSES))
    message = (
        "stopped in 5.04s of 28s, exit code 0: SIGTERM received; "
        f"connections 9, requests 3, cut {cut}, killed 0, counted by envoy and kernel"
    )
    with tempfile.TemporaryDirectory() as place:
        place = pathlib.Path(place)
        (place / "kubectl").write_text(KUBECTL)
        (place / "kubectl").chmod(0o755)
        (place / "stopping").write_text(pod({"running": {}}))
        (place / "stopped").write_text(pod({"terminated": {"containerID": "a", "message": message}}))
        environment = {**os.environ, "PATH": f"{place}:{os.environ['PATH']}", "THEN": then}
        done = subprocess.run(["sh", "-ec", step], cwd=place, env=environment, capture_output=True, text=True, timeout=60)
        watch = pathlib.Path("/proc", (place / "watch").read_text().strip(), "stat")
        assert not watch.exists() or watch.read_text().split()[2] == "Z", f"the watch still runs: {watch}"
        assert done.returncode == 0 or then == "true" or f"cut: {cut}\n" in done.stderr, f"{done}"
        return done.returncode


assert run(0) == 0
assert run(2) == 1
assert run(0, then="true") != 0, "the watch has ended, and nobody noticed"
