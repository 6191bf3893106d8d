//! The node that the pods run on: a separate network in which a service routes new connections to a
//! pod.
//!
//! The network is in unnamed namespaces, which the kernel removes when the bench ends for any
//! reason. The real network is neither changed nor reachable.

use std::io::{self, Read, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU16, Ordering};
use std::{env, fs, thread};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use testkit::gateway::children;
use tokio::task::spawn_blocking;

/// The address of the bench, on which the upstream listens.
pub(crate) const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 1);
/// The environment variable with the directory for files; it is set only inside the namespaces.
const DIRECTORY: &str = "BENCH_ROLLOUT_DIRECTORY";
/// The namespaces for the network and for the processes, so that no process is left at the end.
const UNSHARE: [&str; 5] = ["--net", "--pid", "--fork", "--mount-proc", "--kill-child"];
const TOOLS: [(&str, &str); 4] =
    [("ip", "iproute2"), ("nft", "nftables"), ("nsenter", "util-linux"), ("wrk", "wrk")];

/// Runs the bench again inside the namespaces and returns the exit code. Returns `None` if this
/// process is already inside the namespaces.
pub(crate) fn enter() -> io::Result<Option<ExitCode>> {
    if env::var_os(DIRECTORY).is_some() {
        set_up()?;
        return Ok(None);
    }
    let path = format!("{}:/usr/sbin:/sbin", env::var("PATH").unwrap_or_default());
    for (tool, package) in TOOLS {
        if !env::split_paths(&path).any(|directory| directory.join(tool).is_file()) {
            return Err(io::Error::other(format!("`{tool}` is missing: install {package}")));
        }
    }
    // An ordinary user can become root in a new user namespace.
    let user: &[&str] = if geteuid().is_root() { &[] } else { &["--user", "--map-root-user"] };
    let mut unshare = Command::new("unshare");
    unshare.args(user).args(UNSHARE);
    let probe = unshare.arg("true").output()?;
    if !probe.status.success() {
        return Err(io::Error::other(format!(
            "network namespaces are not permitted here ({}): run it as root on a machine, or in a privileged container",
            String::from_utf8_lossy(&probe.stderr).trim()
        )));
    }
    let directory = env::temp_dir().join(format!("bench-rollout-{}", std::process::id()));
    fs::create_dir_all(&directory)?;
    // With --pdeathsig, no process is left even if this process is killed.
    let inside = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "unshare"])
        .args(user)
        .args(UNSHARE)
        .arg(env::current_exe()?)
        .args(env::args_os().skip(1))
        .env(DIRECTORY, &directory)
        .env("PATH", path)
        .spawn();
    let ended = inside.and_then(|mut inside| {
        let signalled = end_with_signals(inside.id())?;
        Ok((inside.wait()?, signalled.load(Ordering::Relaxed)))
    });
    let _ = fs::remove_dir_all(&directory);
    let (status, signal) = ended?;
    let code = if signal > 0 { 128 + signal } else { status.code().unwrap_or(1) };
    Ok(Some(ExitCode::from(u8::try_from(code).unwrap_or(1))))
}

/// A directory for the files of this run, which is removed at the end of the run.
pub(crate) fn directory() -> PathBuf {
    env::var_os(DIRECTORY).map_or_else(env::temp_dir, PathBuf::from)
}

/// Kills the first process of the namespace on Ctrl-C. The kernel then ends the other processes and
/// removes the networks, before `unshare` learns of the end. Returns the variable that receives the
/// number of the signal.
fn end_with_signals(unshare: u32) -> io::Result<Arc<AtomicI32>> {
    let signalled = Arc::new(AtomicI32::new(0));
    let received = Arc::clone(&signalled);
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    thread::spawn(move || {
        for signal in signals.forever() {
            received.store(signal, Ordering::Relaxed);
            for pid in children(unshare) {
                let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
            }
        }
    });
    Ok(signalled)
}

/// Creates a bridge for the pods and forwards connections as kube-proxy does: a new connection to
/// the address of a service goes to an endpoint, and conntrack keeps the connection there.
fn set_up() -> io::Result<()> {
    let rules = "add table ip services; \
        add map ip services endpoints { type ipv4_addr : ipv4_addr; }; \
        add chain ip services output { type nat hook output priority -100; }; \
        add rule ip services output dnat to ip daddr map @endpoints";
    for command in [
        "ip link set lo up",
        "ip link add node0 type bridge",
        &format!("ip addr add {ADDRESS}/16 dev node0"),
        "ip link set node0 up",
        // The route to the addresses of services does not matter, because no packet reaches them.
        "ip route add 10.96.0.0/16 dev node0",
    ] {
        run(&command.split(' ').collect::<Vec<_>>())?;
    }
    run(&["nft", rules])
}

/// The network namespace of a pod. An idle process holds the namespace, like the `pause` container
/// of Kubernetes. The namespace thus outlives the processes of the pod: a late connection reaches
/// the address and is refused.
#[derive(Debug)]
pub(crate) struct Network {
    pause: Child,
    quota: Option<Quota>,
    /// The address of the pod.
    pub(crate) address: Ipv4Addr,
}

impl Network {
    /// Creates the namespace and connects it to the bridge.
    pub(crate) fn new(quota: Option<Quota>) -> io::Result<Self> {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let [high, low] = number.to_be_bytes();
        let address = Ipv4Addr::new(10, 64, high + 1, low);
        // `cat` ends with the bench, and answers as soon as it runs in the namespace.
        let mut pause = Command::new("unshare")
            .args(["--net", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        if let (Some(stdin), Some(stdout)) = (&mut pause.stdin, &mut pause.stdout) {
            stdin.write_all(b"?")?;
            stdout.read_exact(&mut [0])?;
        }
        let network = Self { pause, quota, address };
        let (pid, link) = (network.pause.id().to_string(), format!("pod{number}"));
        run(&[
            "ip", "link", "add", &link, "master", "node0", "up", "type", "veth", "peer", "name",
            "eth0", "netns", &pid,
        ])?;
        let inside = format!(
            "ip link set lo up && ip addr add {address}/16 dev eth0 && ip link set eth0 up"
        );
        run(&["nsenter", "--net", "--target", &pid, "sh", "-c", &inside])?;
        Ok(network)
    }

    /// Returns a command that runs in the namespace, and within the quota.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.arg("--net").arg("--target").arg(self.pause.id().to_string()).arg("--");
        if let Some(Quota(group)) = &self.quota {
            let joins = "echo 0 >\"$0\"/cgroup.procs && exec \"$@\"";
            command.args(["sh", "-c", joins]).arg(group);
        }
        command.arg(program);
        command
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = self.pause.kill();
        let _ = self.pause.wait();
    }
}

/// A cgroup that may use only a share of a processor, like a container with a limit. Removed on
/// drop.
#[derive(Debug)]
pub(crate) struct Quota(PathBuf);

impl Quota {
    /// Creates the cgroup. Needs root and the controller `cpu`.
    pub(crate) fn new(number: u32, processors: f64) -> io::Result<Self> {
        let (v1, v2) = (Path::new("/sys/fs/cgroup/cpu"), Path::new("/sys/fs/cgroup"));
        let (parent, key, end) =
            if v1.is_dir() { (v1, "cpu.cfs_quota_us", "") } else { (v2, "cpu.max", " 100000") };
        let group = parent.join(format!("bench-rollout-{number}"));
        fs::create_dir_all(&group)?;
        fs::write(group.join(key), format!("{:.0}{end}", processors * 100_000.0))?;
        Ok(Self(group))
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// A process that keeps a core busy until it is dropped.
#[derive(Debug)]
pub(crate) struct Loop(Child);

impl Loop {
    pub(crate) fn start() -> io::Result<Self> {
        Command::new("sh").args(["-c", "while :; do :; done"]).spawn().map(Self)
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A service: an address that stays the same while its endpoint changes.
#[derive(Debug)]
pub(crate) struct Service {
    /// The address of the service.
    pub(crate) address: Ipv4Addr,
    endpoint: Ipv4Addr,
}

impl Service {
    /// Creates a service with this endpoint.
    pub(crate) fn new(endpoint: Ipv4Addr) -> io::Result<Self> {
        static NEXT: AtomicU16 = AtomicU16::new(1);
        let [high, low] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let address = Ipv4Addr::new(10, 96, high, low);
        run(&["nft", &format!("add element ip services endpoints {{ {address} : {endpoint} }}")])?;
        Ok(Self { address, endpoint })
    }

    /// Routes new connections to this endpoint; open connections stay with the old endpoint. The
    /// change is one transaction, so the service is never without an endpoint.
    pub(crate) async fn move_to(&mut self, endpoint: Ipv4Addr) -> io::Result<()> {
        let Self { address, endpoint: old } = *self;
        self.endpoint = endpoint;
        let change = format!(
            "delete element ip services endpoints {{ {address} : {old} }}; \
             add element ip services endpoints {{ {address} : {endpoint} }}"
        );
        spawn_blocking(move || run(&["nft", &change])).await?
    }
}

/// Returns how many connections of the clients were refused so far: tcpAttemptFails of RFC 4022.
pub(crate) fn refused() -> io::Result<u64> {
    let counters = fs::read_to_string("/proc/net/snmp")?;
    let mut tcp = counters.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let names = tcp.next().into_iter().flat_map(|line| line.split(' '));
    let mut both = names.zip(tcp.next().into_iter().flat_map(|line| line.split(' ')));
    let found = both.find(|(name, _)| *name == "AttemptFails");
    let count = found.and_then(|(_, count)| count.parse().ok());
    count.ok_or_else(|| io::Error::other("/proc/net/snmp has no AttemptFails"))
}

fn run(command: &[&str]) -> io::Result<()> {
    let [program, arguments @ ..] = command else { return Ok(()) };
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("`{}`: {}", command.join(" "), said.trim())))
}
