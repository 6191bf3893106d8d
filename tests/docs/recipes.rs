//! Tests the recipes: each patch is short, and the patched manifest of its project passes `drainit
//! check --strict --pod`.

use super::script;
use crate::support::*;

const PROJECTS: [&str; 5] = ["envoy-gateway", "contour", "kgateway", "kourier", "istio"];

/// The patches of `examples/kubernetes`, with their names.
fn patches() -> Vec<(String, String)> {
    let patch = |name: &str, file: &str| {
        let path = checkout().join("examples/kubernetes").join(file);
        (name.to_owned(), fs::read_to_string(path).unwrap())
    };
    let projects = PROJECTS.iter().map(|name| patch(name, &format!("recipes/{name}.yaml")));
    projects.chain([patch("sidecar", "sidecar-patch.yaml")]).collect()
}

#[test]
fn the_patch_of_kustomize_does_what_the_policy_does() {
    let Some(tool) = python_tool("kubernetes-validate") else { return };
    match Command::new("kubectl").arg("kustomize").arg("--help").output() {
        Ok(_) => drop(script(&tool, "kustomize.py", &[])),
        Err(error) => skip(&format!("kubectl: {error}, and Debian has none with this Kustomize")),
    }
}

// holds: C901
#[test]
fn the_patch_of_istio_shows_every_statistic_that_a_drain_needs() {
    let page = fs::read_to_string(checkout().join("docs/envoy.md")).unwrap();
    let (_, needed) = page.split_once("A `stats_config` of Envoy must include ").unwrap();
    let (needed, _) = needed.split_once("\n\n").unwrap();
    let patches = patches();
    let (_, patch) = patches.iter().find(|(name, _)| name == "istio").unwrap();
    let names: Vec<_> = needed.split('`').filter(|name| name.starts_with("downstream_")).collect();
    assert_eq!(names.len(), 10, "{needed}");
    let shown: Vec<_> = patch.split([',', ']', '[', ' ', '\n']).collect();
    assert!(names.iter().all(|name| shown.contains(name)), "{names:?} are not all in {patch}");
}

/// If an init container runs again in its pod, the volume already has a drainit.
#[test]
fn every_init_container_that_installs_replaces_another_drainit() {
    let examples = ["init-container.yaml", "sidecar-patch.yaml", "library/templates/_drainit.tpl"];
    let examples = examples.map(|name| format!("examples/kubernetes/{name}"));
    let recipes = PROJECTS.map(|name| format!("examples/kubernetes/recipes/{name}.yaml"));
    let others = ["compose/without-build.yaml", "walkthrough/gateway.yaml"];
    let others = others.map(|name| format!("examples/{name}"));
    for file in examples.into_iter().chain(recipes).chain(others) {
        let text = fs::read_to_string(checkout().join(&file)).unwrap();
        let lines: Vec<_> = text.lines().filter(|line| line.contains(": [install,")).collect();
        assert!(!lines.is_empty(), "{file}");
        assert!(lines.iter().all(|line| line.contains("[install, --force, ")), "{file}: {lines:?}");
    }
}

// holds: C901
#[test]
fn every_patched_manifest_passes_the_strict_check() {
    let Some(tool) = python_tool("kubernetes-validate") else { return };
    let dir = TempDir::for_everybody();
    let patches = patches();
    assert_eq!(patches.len(), 6, "{patches:?}");
    for (name, patch) in patches {
        assert!(patch.lines().count() < 40, "the patch of {name} is long");
        // The image of the init container has a file /drainit, over which no volume can be mounted.
        let init = patch.split("initContainers:").nth(1).unwrap().split(" containers:").next();
        assert!(!init.unwrap().contains("mountPath: /drainit"), "{name}: {init:?}");
        dir.write("patch.yaml", &patch);
        let fixture = checkout().join(format!("tests/fixtures/recipes/{name}.yaml"));
        dir.write("manifest.yaml", script(&tool, "patch.py", &[fixture, dir.path("patch.yaml")]));
        let output = Command::new(env!("CARGO_BIN_EXE_drainit"))
            .args(["check", "--strict", "--pod"])
            .arg(dir.path("manifest.yaml"))
            .env_clear()
            .output()
            .unwrap();
        let said = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
        assert!(output.status.success() && said[0].contains("ok: "), "{name}: {said:?}");
    }
}
