//! Validates every manifest of the examples and the docs, and the output of the chart, with
//! `kubernetes-validate --strict`, which has the schemas of Kubernetes itself.

use std::process::Output;

use crate::config::pod::rendered;
use crate::docs::pages::{pages, split};
use crate::support::*;

/// The newest version of Kubernetes that the tool knows, and the oldest version for which the
/// manifests without [`NEWER`] are meant.
const VERSIONS: [&[&str]; 2] = [&[], &["--kubernetes-version", "1.30"]];
/// An image volume and a policy, which older versions of Kubernetes do not have.
const NEWER: [&str; 2] = [", image: {reference: ", "kind: MutatingAdmissionPolicy\n"];

#[test]
fn kubernetes_validate_accepts_every_manifest() {
    let Some(tool) = python_tool("kubernetes-validate") else { return };
    let dir = TempDir::for_everybody();
    dir.write("chart.yaml", rendered());
    let library = checkout().join("tests/fixtures/library-chart.yaml");
    let mut manifests = vec![dir.path("chart.yaml"), library];
    for folder in ["kubernetes", "kubernetes/fleet", "walkthrough"] {
        for entry in fs::read_dir(checkout().join("examples").join(folder)).unwrap() {
            let path = entry.unwrap().path();
            // A patch of Kustomize is only a part of a manifest.
            let is_patch = path.to_string_lossy().contains("/kustomize");
            let is_manifest =
                |path: &Path| fs::read_to_string(path).unwrap().contains("\napiVersion: ");
            if path.is_file() && !is_patch && is_manifest(&path) {
                manifests.push(path);
            }
        }
    }
    assert_eq!(manifests.len(), 10, "{manifests:?}");
    for path in &manifests {
        let text = fs::read_to_string(path).unwrap();
        for config in text.split(" run, -c, ").skip(1) {
            let (directory, _) = config.split([',', ']']).next().unwrap().rsplit_once('/').unwrap();
            let mounted = format!("mountPath: {directory}");
            let is_mounted = text.lines().any(|line| {
                line.contains(&format!("{mounted},")) || line.contains(&format!("{mounted}}}"))
            });
            assert!(is_mounted, "{path:?} mounts no volume at {directory}");
        }
    }
    for page in pages() {
        let (_, blocks) = split(&fs::read_to_string(&page).unwrap());
        // The tool does not know the kinds of other projects, whose version is `v1alpha1` here.
        let is_known = |block: &str| block.contains("apiVersion: ") && !block.contains("/v1alpha1");
        for (_, block) in blocks.iter().filter(|(_, block)| is_known(block)) {
            let name = format!("{}.yaml", manifests.len());
            dir.write(&name, block);
            manifests.push(dir.path(&name));
        }
    }
    let objects = |path: &PathBuf| {
        let text = fs::read_to_string(path).unwrap();
        text.lines().filter(|line| line.starts_with("apiVersion: ")).count()
    };
    for version in VERSIONS {
        let is_new = |path: &PathBuf| {
            let text = fs::read_to_string(path).unwrap();
            NEWER.iter().any(|it| text.contains(it))
        };
        let manifests: Vec<_> =
            manifests.iter().filter(|it| version.is_empty() || !is_new(it)).cloned().collect();
        let all: usize = manifests.iter().map(objects).sum();
        let output = validate(&tool, version, &manifests);
        assert!(output.status.success(), "{version:?}: {}", text(&output));
        assert_eq!(text(&output).matches(" passed ").count(), all, "{}", text(&output));
    }
}

fn validate(tool: &Path, options: &[&str], manifests: &[PathBuf]) -> Output {
    let mut command = Command::new("python3");
    command.arg(tool.join("bin/kubernetes-validate")).env("PYTHONPATH", tool);
    command.arg("--strict").args(options).args(manifests).stdin(Stdio::null()).output().unwrap()
}

fn text(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text)).concat()
}
