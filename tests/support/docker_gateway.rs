//! Builds the images of `examples/api-gateway`: a stand-in for the gateway's runtime image, and the
//! example's Dockerfile built on it.
//!
//! The Router is a real Envoy. At the real paths of the Policy Engine and the Python Executor,
//! `child` stands in for them, and takes its steps from `POLICY_ENGINE_STEPS` and
//! `PYTHON_EXECUTOR_STEPS`. The image has no shell.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use testkit::docker::docker;
use testkit::envoy::checkout;

use super::child;
use super::docker_images::{docker_build, envoy_image, images};
use super::temp_dir::TempDir;

/// The ids of the images.
#[derive(Debug)]
pub(crate) struct GatewayImages {
    /// The image built from `examples/api-gateway/Dockerfile`.
    pub(crate) production: String,
    /// The production image with a stand-in for a debugger, built from `Dockerfile.debug`.
    pub(crate) debug: String,
}

/// The bootstrap config of Envoy. Some tests mount another config in its place.
pub(crate) const BOOTSTRAP: &str = include_str!("../fixtures/api-gateway/envoy.yaml");
/// Overrides of the config. The entrypoint that drainit replaces passes them through `envsubst`.
const OVERRIDE: &str = include_str!("../fixtures/api-gateway/config-override.yaml");

/// Returns the images, or `None` if [`images`] returns `None`.
pub(crate) fn gateway_images() -> Option<&'static GatewayImages> {
    static IMAGES: OnceLock<GatewayImages> = OnceLock::new();
    let drainit = &images()?.drainit;
    Some(IMAGES.get_or_init(|| {
        let context = checkout().join("examples/api-gateway");
        let drainit = format!("DRAINIT={}", named("drainit", drainit));
        let gateway = format!("GATEWAY={}", named("runtime", &runtime()));
        let context = context.to_str().unwrap();
        let production = docker_build(&["--build-arg", &drainit, "--build-arg", &gateway, context]);
        let gateway = format!("GATEWAY={}", named("production", &production));
        let debugger = format!("DEBUGGER={}", named("debugger", &debugger()));
        let file = format!("{context}/Dockerfile.debug");
        let args = ["--file", &file, "--build-arg", &gateway, "--build-arg", &debugger, context];
        GatewayImages { production, debug: docker_build(&args) }
    }))
}

/// Builds a stand-in for an image that has a debugger.
fn debugger() -> String {
    let dir = TempDir::for_everybody();
    fs::copy(child(), dir.path("dlv")).unwrap();
    dir.write("Dockerfile", "FROM scratch\nCOPY dlv /usr/local/bin/dlv\n");
    docker_build(&[dir.root().to_str().unwrap()])
}

/// Builds a stand-in for the gateway's runtime image, without its scripts.
fn runtime() -> String {
    let dir = TempDir::for_everybody();
    let helper = child();
    let stand_in = fs::read(&helper).unwrap();
    let files = [
        ("app/python-executor/main.py", &[][..]),
        ("app/python-executor/python_policy_registry.py", &[]),
        ("etc/envoy/envoy.yaml", BOOTSTRAP.as_bytes()),
        ("etc/envoy/config-override.yaml", OVERRIDE.as_bytes()),
        ("app/policy-engine", &stand_in),
        ("usr/bin/python3", &stand_in),
    ];
    let files = files.map(|(path, content)| (path.to_owned(), content.to_vec()));
    let read = |path: String| (path.trim_start_matches('/').to_owned(), fs::read(path).unwrap());
    for (path, content) in files.into_iter().chain(libraries(&helper).into_iter().map(read)) {
        let file = dir.path("root").join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, content).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o755)).unwrap();
    }
    dir.write("Dockerfile", format!("FROM {}\nCOPY root /\n", envoy_image()));
    docker_build(&[dir.root().to_str().unwrap()])
}

/// Returns the directory of the built examples.
pub(crate) fn examples() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_drainit")).with_file_name("examples")
}

/// Returns the paths of a program's shared libraries.
fn libraries(program: &Path) -> Vec<String> {
    let output = Command::new("ldd").arg(program).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace().filter(|word| word.starts_with('/')).map(str::to_owned).collect()
}

/// Tags an image, because not every builder accepts an id after `FROM`.
fn named(name: &str, id: &str) -> String {
    let short: String = id.trim_start_matches("sha256:").chars().take(16).collect();
    let tag = format!("drainit-test-{name}:{short}");
    docker(&["tag", id, &tag]);
    tag
}
