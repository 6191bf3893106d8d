#!/usr/bin/env python3
"""Applies a patch of examples/kubernetes/recipes to a manifest, by the rules of Kubernetes' strategic merge: patch.py MANIFEST PATCH

The patch is for the first document of the manifest. Lists of mappings merge by their `name` or `mountPath`. The result goes to standard output.
"""

import sys

import yaml


def merged(old, new):
    if isinstance(new, dict):
        if "$patch" in new:  # replace or delete: nothing of the old mapping is left
            return {key: value for key, value in new.items() if key != "$patch"}
        assert None not in new.values(), f"kubectl apply leaves out what is null: {new}"
        result = dict(old) if isinstance(old, dict) else {}
        for key, value in new.items():
            result[key] = merged(result.get(key), value)
        return result
    key = merge_key(new)
    if key is None:
        return new
    result = list(old or [])
    for item in new:
        at = [number for number, other in enumerate(result) if other[key] == item[key]]
        if item.get("$patch") == "delete":
            assert at, f"there is no {item[key]}"
            del result[at[0]]
        elif at:
            result[at[0]] = merged(result[at[0]], item)
        else:
            result.append(item)
    return result


def merge_key(items):
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        return None
    return next((key for key in ("mountPath", "name") if all(key in item for item in items)), None)


def patch_of(document):
    """The patch of a Deployment that a resource of another project contains, or the patch itself."""
    spec = document["spec"]
    if document.get("kind") == "EnvoyProxy":
        return spec["provider"]["kubernetes"]["envoyDeployment"]["patch"]["value"]
    if document.get("kind") == "GatewayParameters":
        return {"spec": spec["kube"]["deploymentOverlay"]["spec"]}
    return document


(manifest, *others), (patch,) = (yaml.safe_load_all(open(path)) for path in sys.argv[1:])
print(yaml.safe_dump_all([merged(manifest, patch_of(patch)), *others], sort_keys=False))
