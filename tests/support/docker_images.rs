//! Builds the images of the container tests from `Dockerfile.example`, as a user does.
//!
//! Nothing is pulled: the two base images are assembled from the files of this machine and tagged
//! with a hash of their content. These images and their layers are kept, so that a second run takes
//! about a second. Images older than a week are removed.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::{env, fs};

use testkit::docker::{LABEL, docker, remove_orphans};
use testkit::envoy;

use super::namespace::skip_unless;
use super::temp_dir::TempDir;

/// The ids of the images.
#[derive(Debug)]
pub(crate) struct Images {
    /// The image with nothing but drainit.
    pub(crate) drainit: String,
    /// The image with drainit on top of Envoy.
    pub(crate) gateway: String,
}

/// Returns the images. The first test that needs them builds them. Returns `None` if they cannot be
/// built; the test is then skipped, which is an error in CI.
pub(crate) fn images() -> Option<&'static Images> {
    static POSSIBLE: OnceLock<Result<(), String>> = OnceLock::new();
    static IMAGES: OnceLock<Images> = OnceLock::new();
    skip_unless(POSSIBLE.get_or_init(possible).clone()).then(|| IMAGES.get_or_init(build))
}

/// Returns an image with drainit as its entrypoint and the testkit's child as `/child`, or `None`
/// if [`images`] returns `None`.
pub(crate) fn child_image() -> Option<&'static str> {
    static IMAGE: OnceLock<String> = OnceLock::new();
    let images = images()?;
    Some(IMAGE.get_or_init(|| {
        let helper = super::child();
        let content = fs::read(&helper).unwrap();
        let helper = import("child", &[helper], "ENTRYPOINT []", &content);
        let dir = TempDir::for_everybody();
        dir.write(
            "Dockerfile",
            format!(
                "FROM {} AS drainit\nFROM {helper}\nCOPY --from=drainit /drainit /drainit\n\
                ENTRYPOINT [\"/drainit\"]\n",
                images.drainit
            ),
        );
        docker_build(&[dir.root().to_str().unwrap()])
    }))
}

/// Returns an image with PostgreSQL, gunicorn and psycopg2, or `None` if [`images`]
/// returns `None` or if a package is not installed.
pub(crate) fn postgresql_image() -> Option<&'static str> {
    static IMAGE: OnceLock<Result<String, String>> = OnceLock::new();
    images()?;
    let image = IMAGE.get_or_init(|| {
        let packages = ["postgresql", "gunicorn", "python3-psycopg2"];
        let versions = Command::new("dpkg-query").arg("--show").args(packages).output().unwrap();
        let missing = String::from_utf8_lossy(&versions.stderr).trim().to_owned();
        if !versions.status.success() {
            return Err(format!("{missing}; `make deps` installs it"));
        }
        let script = "ls -d /usr/lib/postgresql/*/bin | tail -n 1";
        let bin = Command::new("sh").args(["-c", script]).output().unwrap();
        let bin = String::from_utf8(bin.stdout).unwrap();
        let path = format!("ENV PATH=/usr/local/bin:/usr/bin:{}", bin.trim());
        Ok(import("postgresql", &[], &path, &versions.stdout))
    });
    skip_unless(image.as_ref().map(drop).map_err(Clone::clone)).then(|| image.as_deref().unwrap())
}

/// Returns an image with systemd as PID 1, the gateway of [`images`] and the unit of
/// `examples/systemd`. Returns `None` if [`images`] returns `None` or systemd is not installed.
pub(crate) fn systemd_image() -> Option<&'static str> {
    static IMAGE: OnceLock<Result<String, String>> = OnceLock::new();
    let images = images()?;
    let image = IMAGE.get_or_init(|| {
        let version = Command::new("/lib/systemd/systemd").arg("--version").output();
        let version = version.map_err(|error| format!("systemd: {error}"))?.stdout;
        let systemd = import("package", &["systemd".into()], "ENTRYPOINT []", &version);
        let dir = TempDir::for_everybody();
        let unit = fs::read(envoy::checkout().join("examples/systemd/gateway.service")).unwrap();
        dir.write("gateway.service", unit);
        let config = envoy::checkout().join("examples/stock-envoy.yaml");
        let config = fs::read_to_string(config).unwrap();
        let socket = "\ncontrol: {socket: /run/drainit/control.sock}\n";
        dir.write("drainit.yaml", config + socket);
        dir.write(
            "Dockerfile",
            format!(
                "FROM {} AS gateway\nFROM {systemd}\n\
                COPY --from=gateway /usr/local/bin /usr/local/bin\n\
                COPY --from=gateway /etc/envoy /etc/envoy\n\
                COPY drainit.yaml /etc/\n\
                COPY gateway.service /etc/systemd/system/\n\
                ENV container=docker\n\
                CMD [\"/lib/systemd/systemd\", \"--unit=basic.target\"]\n",
                images.gateway
            ),
        );
        Ok(docker_build(&[dir.root().to_str().unwrap()]))
    });
    skip_unless(image.as_ref().map(drop).map_err(Clone::clone)).then(|| image.as_deref().unwrap())
}

/// Returns the static binary, copied out of its image, or `None` if [`images`] returns `None`.
pub(crate) fn static_drainit() -> Option<&'static Path> {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    let images = images()?;
    Some(BINARY.get_or_init(|| {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("drainit-static");
        let _ = fs::remove_file(&path);
        let container = docker(&["create", "--label", LABEL, &images.drainit]);
        docker(&["cp", &format!("{container}:/drainit"), path.to_str().unwrap()]);
        docker(&["rm", &container]);
        path
    }))
}

/// Checks that Docker, dpkg and Envoy are available.
fn possible() -> Result<(), String> {
    for (program, args) in
        [("docker", &["version", "--format", "{{.Server.Version}}"][..]), ("dpkg", &["--version"])]
    {
        let output = Command::new(program).args(args).stdin(Stdio::null()).output();
        let output = output.map_err(|error| format!("{program}: {error}"))?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
        }
    }
    envoy::binary(envoy::DEFAULT).map(drop).map_err(|error| error.to_string())
}

fn build() -> Images {
    remove_orphans();
    let ours = format!("label={LABEL}");
    docker(&["image", "prune", "--all", "--force", "--filter", &ours, "--filter", "until=168h"]);
    let rust = format!("RUST_IMAGE={}", rust_image());
    let envoy = format!("ENVOY_IMAGE={}", envoy_image());
    let args = ["--build-arg", &rust, "--build-arg", &envoy];
    // The compile stage is built as a separate target, so that its image gets the label, by which
    // old images are pruned.
    build_image(&[&args[..], &["--target", "build"]].concat());
    Images {
        drainit: build_image(&[&args[..], &["--target", "drainit"]].concat()),
        gateway: build_image(&args),
    }
}

/// Builds `Dockerfile.example` and returns the id of the image.
fn build_image(args: &[&str]) -> String {
    let file = envoy::checkout().join("Dockerfile.example").display().to_string();
    docker_build(&[&["--file", &file], args, &[envoy::checkout().to_str().unwrap()]].concat())
}

/// Runs `docker build` and returns the id of the image.
pub(crate) fn docker_build(args: &[&str]) -> String {
    docker(&[&["build", "--quiet", "--label", LABEL], args].concat())
}

/// Returns the stand-in for `rust:1-bookworm`. If `DRAINIT_STATIC` names a static binary, nothing is
/// compiled in it.
fn rust_image() -> String {
    if let Some(drainit) = env::var_os("DRAINIT_STATIC") {
        let drainit = envoy::checkout().join(drainit);
        let content = fs::read(&drainit).unwrap();
        return import("built", &[drainit], "ENV PATH=/usr/local/bin:/usr/bin:/bin", &content);
    }
    let version = |program| Command::new(program).arg("--version").output().unwrap().stdout;
    let lock = fs::read(envoy::checkout().join("Cargo.lock")).unwrap();
    // CI builds faster than a release.
    let profile = env::vars().filter(|(name, _)| name.starts_with("CARGO_PROFILE_RELEASE_"));
    let profile: String = profile.map(|(name, value)| format!(" {name}={value}")).collect();
    let environment =
        format!("ENV PATH=/usr/local/bin:/usr/bin CARGO_HOME=/usr/local/cargo{profile}");
    import("rust", &[], &environment, &(version("rustc"), version("cc"), lock))
}

/// Returns the stand-in for `envoyproxy/envoy`, with its default command, which drainit's
/// entrypoint has to replace.
pub(crate) fn envoy_image() -> String {
    let envoy = envoy::binary(envoy::DEFAULT).unwrap();
    let config = envoy::checkout().join("tests/fixtures/docker-envoy.yaml");
    let content = (envoy::DEFAULT, fs::metadata(&envoy).unwrap().len(), fs::read(&config).unwrap());
    let command = r#"CMD ["envoy", "-c", "/etc/envoy/envoy.yaml"]"#;
    import("envoy", &[envoy, config], command, &content)
}

/// Imports the tar archive that a script writes, unless an image with the same content exists.
fn import(name: &str, args: &[PathBuf], change: &str, content: &impl Hash) -> String {
    let script = envoy::checkout().join(format!("tests/testkit/scripts/{name}-image.sh"));
    let mut hasher = DefaultHasher::new();
    (fs::read(&script).unwrap(), change, content).hash(&mut hasher);
    let tag = format!("drainit-test-{name}:{:016x}", hasher.finish());
    if docker(&["images", "--quiet", &tag]).is_empty() {
        let _ = writeln!(io::stderr(), "making the image {tag}");
        let label = format!("LABEL {LABEL}=");
        let mut command = Command::new(script);
        let tar = command.args(args).current_dir(envoy::checkout()).stdin(Stdio::null());
        let mut tar = tar.stdout(Stdio::piped()).spawn().unwrap();
        let import = ["import", "--change", change, "--change", &label, "-", &tag];
        let import =
            Command::new("docker").args(import).stdin(tar.stdout.take().unwrap()).output().unwrap();
        let complete = tar.wait().unwrap().success();
        if !complete {
            // The next run must not reuse an incomplete image. The result is ignored, because the
            // message of a failed import is more useful.
            let _ = Command::new("docker").args(["rmi", &tag]).output();
        }
        let complaint = String::from_utf8_lossy(&import.stderr);
        assert!(import.status.success() && complete, "no image {tag}: {complaint}");
    }
    tag
}
