//! The test rig, which runs the real binary, records the actions of drainit and its processes, and
//! cleans up. The tests import all of it, and the parts of the standard library that most of them
//! need, as one prelude.

pub(crate) mod client;
pub(crate) mod docker_gateway;
pub(crate) mod docker_images;
pub(crate) mod elf;
pub(crate) mod example;
pub(crate) mod fake_admin;
pub(crate) mod http;
pub(crate) mod lease;
pub(crate) mod namespace;
pub(crate) mod peer;
pub(crate) mod real_envoy;
pub(crate) mod record;
pub(crate) mod rig;
pub(crate) mod running;
pub(crate) mod said;
pub(crate) mod temp_dir;
pub(crate) mod terminal;

pub(crate) use nix::sys::signal::Signal;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, bind, socket};
pub(crate) use serde_json::{Value, json};
pub(crate) use std::fs;
pub(crate) use std::net::SocketAddr;
use std::os::fd::AsRawFd;
pub(crate) use std::path::{Path, PathBuf};
pub(crate) use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
pub(crate) use std::thread;
use std::time::SystemTime;
pub(crate) use std::time::{Duration, Instant};

pub(crate) use client::{CLOSES, Client, Request, RequestResult, STAYS};
pub(crate) use docker_images::{envoy_image, images, static_drainit};
pub(crate) use example::is_installed;
pub(crate) use fake_admin::{Admin, Answer};
pub(crate) use http::{free_address, get, get_unix};
pub(crate) use namespace::{is_root_for, skip, skip_unless};
pub(crate) use real_envoy::{RealEnvoy, add_control_plane};
pub(crate) use record::Stream;
pub(crate) use rig::Rig;
pub(crate) use running::{Ended, Running, Said};
pub(crate) use temp_dir::TempDir;
pub(crate) use testkit::envoy::checkout;
pub(crate) use testkit::event::now;

/// Leaves a socket at `path` that nobody serves, as a killed program does.
///
/// The socket never listens. A child that another test forks may hold the descriptor until its
/// exec, and a listener would accept connections for as long.
pub(crate) fn leave_socket(path: impl AsRef<Path>) {
    let socket =
        socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    bind(socket.as_raw_fd(), &UnixAddr::new(path.as_ref()).unwrap()).unwrap();
}

/// The limit of a wait that measures nothing. This limit is far longer than any step of a test,
/// even on a machine that pauses for seconds, and shorter than the default grace period.
pub(crate) const LONG: Duration = Duration::from_secs(20);

/// The limit of a wait that ends as soon as something is seen. On a machine with many compilers, a
/// program may need 20 s to start.
pub(crate) const PATIENT: Duration = Duration::from_secs(60);

/// The delay after which a second stop signal counts. drainit merges stop signals within 20 ms.
pub(crate) const PATIENCE: Duration = ms(100);

/// Returns the path of the program that drainit supervises in tests (`testkit/src/bin/child`).
/// `cargo test --test main` does not build the program, so the first test that needs the program
/// builds it.
pub(crate) fn child() -> PathBuf {
    static CHILD: LazyLock<PathBuf> = LazyLock::new(|| {
        let path = Path::new(env!("CARGO_BIN_EXE_drainit")).with_file_name("child");
        let built = path.metadata().and_then(|file| file.modified()).ok();
        if built < newest(&checkout().join("tests/testkit/src")) {
            let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
            let [profile, target] = [1, 2].map(|above| path.ancestors().nth(above).unwrap());
            let profile = match profile.file_name().unwrap() {
                name if name == "debug" => "dev".as_ref(),
                name => name,
            };
            let mut build = Command::new(cargo);
            build.args(["build", "--quiet", "--locked", "--package", "testkit"]);
            build.arg("--profile").arg(profile).arg("--target-dir").arg(target);
            build.current_dir(checkout());
            assert!(build.status().unwrap().success(), "cannot build {}", path.display());
        }
        path
    });
    CHILD.clone()
}

/// Returns the time of the last change to a file below this directory.
fn newest(directory: &Path) -> Option<SystemTime> {
    let entries = directory.read_dir().unwrap().map(|entry| entry.unwrap().path());
    let times = entries.map(|path| match path.is_dir() {
        true => newest(&path),
        false => path.metadata().unwrap().modified().ok(),
    });
    times.max().flatten()
}

/// Returns the directory in which `make deps` has installed this program from PyPI with its
/// dependencies. Without the program, the test is skipped.
pub(crate) fn python_tool(name: &str) -> Option<PathBuf> {
    let versions = std::fs::read_dir(checkout().join("target").join(name)).into_iter().flatten();
    let versions = versions.flatten().map(|entry| entry.path());
    let newest = versions.filter(|path| path.extension().is_none_or(|end| end != "new")).max();
    let missing = format!("{name} is not installed: make deps");
    namespace::skip_unless(newest.as_ref().map(drop).ok_or(missing)).then(|| newest.unwrap())
}

/// Runs all cases of a test in parallel, because most of them wait. Fails if any case fails.
pub(crate) fn in_parallel<T: Send>(cases: impl IntoIterator<Item = T>, test: impl Fn(T) + Sync) {
    let name = thread::current().name().unwrap_or("a test").to_owned();
    thread::scope(|scope| {
        for case in cases {
            let test = &test;
            let thread = thread::Builder::new().name(name.clone());
            thread.spawn_scoped(scope, move || test(case)).unwrap();
        }
    });
}

/// When this value is dropped, it sets the flag that ends the threads of a test. Without this flag,
/// `thread::scope` would wait forever for the threads of a failed test.
pub(crate) struct Over<'a>(pub(crate) &'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

pub(crate) const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}
