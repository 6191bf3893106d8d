#!/usr/bin/env python3
"""Checks that a workflow is YAML, and does what the docs say: workflow.py rehearse|rebuild"""

import json
import pathlib
import re
import sys

import yaml

TOP = pathlib.Path(__file__).resolve().parents[2]
DAYS = "Sunday Monday Tuesday Wednesday Thursday Friday Saturday".split()
name = sys.argv[1]
workflow = yaml.load((TOP / f".github/workflows/{name}.yml").read_text(), yaml.BaseLoader)


def rehearse():
    """The workflow runs the documented script, and each of its variables is one of the script."""
    steps = workflow["jobs"]["rehearse"]["steps"]
    text = json.dumps(steps)
    for key in workflow["on"]["workflow_call"]["inputs"]:
        assert f"inputs.{key} " in text, f"nothing uses {key}: {text}"
    run = steps[-1]
    script, _, arguments = run["run"].removeprefix(".drainit/").partition(" ")
    assert arguments == '"$IMAGE" "$PORT" "$REQUEST_PATH"', arguments
    page = (TOP / "docs/docker.md").read_text()
    assert run["run"].startswith(".drainit/") and f"\n{script} my-gateway 8080 /health\n" in page, page
    # Each variable of the step is an argument, or a variable that the script reads.
    documented = set(re.findall(r"^#   ([^=\n]*)=", (TOP / script).read_text(), re.M))
    for key in run["env"]:
        assert key in documented or f"${key}" in arguments, f"{key} is not one of {documented}"


def rebuild():
    """The days of the schedule are in SECURITY.md, and leave the promised 7 days at least 2 for the tests and the release."""
    (schedule,) = workflow["on"]["schedule"]
    days = sorted(int(it) for it in schedule["cron"].split()[4].split(","))
    longest = max(after - before for before, after in zip(days, [*days[1:], days[0] + 7]))
    assert longest <= 5, f"an advisory may wait for {longest} days"
    rule = f"Each {' and '.join(DAYS[it] for it in days)}, [a workflow](workflows/rebuild.yml)"
    assert rule in (TOP / ".github/SECURITY.md").read_text(), rule


{"rehearse": rehearse, "rebuild": rebuild}[name]()
