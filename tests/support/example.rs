//! Runs an example as a pod, with drainit as PID 1 on a free port, and replaces it with a second
//! such pod under load.

use crate::support::said;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Instant;

use testkit::envoy::{self, checkout};
use testkit::gateway::free_address;
use testkit::load::{IdleClose, Load, Plan, Report, Service};

use super::namespace::skip_unless;
use super::{Duration, Ended, LONG, Rig, Running, Signal, ms};

/// The time under load before the restart begins.
const BEFORE: Duration = ms(1000);
/// The time from T0 until the load balancers learn the new endpoint.
const LEARN: Duration = ms(1000);
/// The time under load after the old pod has ended.
const AFTER: Duration = ms(1000);
/// The number of clients. They pause between requests, so the server often closes an idle
/// connection.
const CLIENTS: u32 = 50;
const RATE: f64 = 3.0;
/// The load is sufficient if there are more answers than this.
const LEAST: u64 = 500;

/// A running pod.
#[derive(Debug)]
pub(crate) struct Pod {
    pub(crate) running: Running,
    /// The address on which the pod serves.
    pub(crate) address: SocketAddr,
}

/// An example that can be started as a pod.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Example {
    /// The name of the example's directory in `examples`.
    pub(crate) name: &'static str,
    /// The prefix of its address variables: `NGINX_` for `NGINX_ADDRESS` and `NGINX_PORT`.
    pub(crate) prefix: &'static str,
    /// The version of Envoy, if the example has one.
    pub(crate) envoy: &'static str,
    /// Overlays on the example, relative to the checkout.
    pub(crate) overlays: &'static [&'static str],
}

impl Example {
    pub(crate) const fn new(name: &'static str, prefix: &'static str) -> Self {
        Self { name, prefix, envoy: envoy::DEFAULT, overlays: &[] }
    }

    /// Starts the example with an overlay, which may be empty, and waits until all processes are
    /// ready. Returns `None` if PID namespaces are not permitted; the test is then skipped.
    pub(crate) fn start(&self, overlay: &str) -> Option<Pod> {
        let address = free_address().unwrap();
        let variable = |name: &str| format!("{}{name}", self.prefix);
        let rig = rig()?
            .env(&variable("ADDRESS"), &address.ip().to_string())
            .env(&variable("PORT"), &address.port().to_string())
            .env(&variable("RUN_DIR"), "DIR")
            .env("ENVOY", &envoy::binary(self.envoy).unwrap_or_default().display().to_string());
        rig.write("overlay.yaml", format!("x-nothing: 0\n{overlay}\n"));
        let base = format!("examples/{}/drainit.yaml", self.name);
        let configs = [&[&*base][..], self.overlays, &["DIR/overlay.yaml"]].concat();
        Some(Pod { running: run(rig, &configs), address })
    }
}

/// A rig in the checkout, with what any example may need: programs, free ports and a grace period.
pub(crate) fn rig() -> Option<Rig> {
    let programs = Path::new(env!("CARGO_BIN_EXE_drainit")).with_file_name("examples");
    let program = |name: &str| programs.join(name).display().to_string();
    let port = || free_address().unwrap().port().to_string();
    let envoy = envoy::binary(envoy::DEFAULT).unwrap_or_default().display().to_string();
    let rig = Rig::new()?.cwd(checkout()).env("ENVOY", &envoy);
    let rig = rig.env("DRAINIT", env!("CARGO_BIN_EXE_drainit"));
    let rig =
        rig.env("SERVER", &program("axum_server")).env("POLICY_ENGINE", &program("policy-engine"));
    let rig = rig.env("APP_PORT", &port()).env("ADMIN_PORT", &port());
    Some(rig.env("TERMINATION_GRACE_PERIOD_SECONDS", "30"))
}

/// Runs these configs, and waits until everything is ready.
pub(crate) fn run(rig: Rig, configs: &[&str]) -> Running {
    let options = configs.iter().flat_map(|config| ["-c", config]);
    let running = rig.start_with(&["run"].into_iter().chain(options).collect::<Vec<_>>());
    running.wait_for_line(said::ALL_READY);
    running
}

/// Checks whether a server is installed. If it is not, reports that the running test is skipped,
/// which is an error in CI.
pub(crate) fn is_installed(program: &str) -> bool {
    let mut command = Command::new(program);
    let command = command.arg("--version").stdin(Stdio::null());
    let found = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    let missing = |error| format!("{program}: {error}; `make deps` installs it");
    skip_unless(found.map(drop).map_err(missing))
}

/// Runs `then` while clients send requests to an address, and returns the report of the clients.
pub(crate) fn under_load(address: SocketAddr, plan: Plan, then: impl FnOnce()) -> Report {
    let load = Load::start(&Service::new(&[address]), plan);
    then();
    load.end_after(Duration::ZERO)
}

#[derive(Debug)]
pub(crate) struct Rolled {
    /// The report on the requests and connections.
    pub(crate) report: Report,
    /// The ended drainit of the old pod.
    pub(crate) ended: Ended,
    /// The time of the stop signal to the old pod.
    pub(crate) t0: Duration,
}

impl Rolled {
    /// Asserts that every request was answered and that the old pod ended without SIGKILL.
    #[track_caller]
    pub(crate) fn assert_nothing_lost(&self) -> &Self {
        let total = self.report.total;
        assert_eq!(total.failed, 0, "{}\n{}", self.report, self.ended.record);
        // The test is meaningful only if there was load, and the clients moved to the new pod.
        assert!(total.ok > LEAST && total.opened >= 100, "{}", self.report);
        self.ended.assert_code(0).assert_no_line("warning|killed");
        self
    }
}

/// Replaces a pod of the example with a second pod under load. Both pods have the overlay. The
/// clients notice a closed connection only when they use it.
pub(crate) fn roll(example: &Example, overlay: &str) -> Option<Rolled> {
    let [old, new] = [example.start(overlay)?, example.start(overlay)?];
    Some(replace(old, &new, IdleClose::Unnoticed))
}

/// Replaces a pod with another pod under load.
pub(crate) fn replace(old: Pod, new: &Pod, idle_close: IdleClose) -> Rolled {
    let service = Service::new(&[old.address]);
    let plan = Plan { clients: CLIENTS, rate: RATE, length: LONG * 3, idle_close };
    let load = Load::start(&service, plan);
    sleep(BEFORE);
    let t0 = old.running.signal(Signal::SIGTERM);
    sleep(LEARN);
    service.set(&[new.address]);
    let until = Instant::now() + LONG * 2;
    // Waits for a sufficient load, too: on a slow machine, the clients need more time.
    let is_enough = || old.running.record().ended.is_some() && load.report().total.ok > LEAST;
    while !is_enough() && Instant::now() < until {
        sleep(ms(10));
    }
    let report = load.end_after(AFTER);
    Rolled { report, ended: old.running.wait_exit(LONG), t0 }
}
