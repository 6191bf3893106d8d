//! The images: a gateway with a bash entrypoint, and an image that `../Dockerfile` builds by adding
//! drainit to that gateway.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use testkit::docker::{LABEL, docker};
use testkit::envoy;

/// Names of images.
#[derive(Debug)]
pub(crate) struct Images {
    /// A small Debian, with HAProxy.
    pub(crate) base: String,
    /// The gateway with its bash entrypoint.
    pub(crate) bash: String,
    /// The gateway with drainit.
    pub(crate) drainit: String,
}

/// Builds the images. Docker's cache makes the next build short.
pub(crate) fn build() -> Images {
    let top = envoy::checkout();
    let here = top.join("examples/api-gateway/rollout");
    let context = Context::new();
    let base = import(&here.join("base-image.sh"));

    let gateway = context.dir("gateway");
    fs::copy(here.join("Dockerfile"), gateway.join("Dockerfile")).unwrap();
    let envoy = envoy::binary(envoy::DEFAULT).unwrap();
    let engine = std::env::current_exe().unwrap().with_file_name("policy-engine");
    let python = top.join("examples/gateway");
    for (from, to) in [
        (envoy, "usr/local/bin/envoy"),
        (engine, "app/policy-engine"),
        (python.join("python_executor.py"), "app/python-executor/main.py"),
        (python.join("unix_http.py"), "app/python-executor/unix_http.py"),
        (here.join("envoy.yaml"), "etc/envoy/envoy.yaml"),
        (here.join("config-override.yaml"), "etc/envoy/config-override.yaml"),
        (here.join("entrypoint.sh"), "usr/local/bin/docker-entrypoint.sh"),
    ] {
        put(&from, &gateway.join("root").join(to));
    }
    fs::write(gateway.join("root/app/python-executor/python_policy_registry.py"), "").unwrap();
    let bash = image("gateway", &gateway, &[("BASE", &base)]);

    let binary = context.dir("binary");
    put(&top.join("target/static/drainit"), &binary.join("drainit"));
    fs::write(binary.join("Dockerfile"), "FROM scratch\nCOPY drainit /drainit\n").unwrap();
    let drainit = image("binary", &binary, &[]);
    let drop_in = top.join("examples/api-gateway");
    let drainit = image("drainit", &drop_in, &[("DRAINIT", &drainit), ("GATEWAY", &bash)]);
    Images { base, bash, drainit }
}

fn put(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::copy(from, to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
    let mode =
        if fs::metadata(from).unwrap().permissions().mode() & 0o100 == 0 { 0o644 } else { 0o755 };
    fs::set_permissions(to, Permissions::from_mode(mode)).unwrap();
}

/// Runs a script that writes a file system as tar, and imports it as an image.
fn import(script: &Path) -> String {
    let name = "drainit-rollout-base:latest".to_owned();
    let mut tar = Command::new(script).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let label = format!("LABEL {LABEL}=");
    let import = Command::new("docker")
        .args(["import", "--change", &label, "-", &name])
        .stdin(tar.stdout.take().unwrap())
        .output()
        .unwrap();
    assert!(tar.wait().unwrap().success(), "{} failed", script.display());
    assert!(import.status.success(), "{}", String::from_utf8_lossy(&import.stderr));
    name
}

fn image(name: &str, context: &Path, arguments: &[(&str, &str)]) -> String {
    let name = format!("drainit-rollout-{name}:latest");
    let arguments: Vec<_> =
        arguments.iter().map(|(key, value)| format!("--build-arg={key}={value}")).collect();
    let mut words = vec!["build", "--quiet", "--label", LABEL, "--tag", &name];
    words.extend(arguments.iter().map(String::as_str));
    words.push(context.to_str().unwrap());
    docker(&words);
    name
}

/// A directory that is removed when this value is dropped.
struct Context(PathBuf);

impl Context {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("drainit-rollout-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn dir(&self, name: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir(&path).unwrap();
        path
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
