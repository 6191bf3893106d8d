//! The node that the pods run on: a separate network in which a service routes new connections to a
//! pod.
//!
//! The network is in unnamed namespaces, which the kernel removes when the bench ends for any
//! reason. The real network is neither changed nor reachable.

use std::io::{self, Read, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::{env, fs};

use nix::unistd::geteuid;
use testkit::envoy::checkout;
use tokio::task::spawn_blocking;

/// The address of the bench, on which the upstream listens.
pub(crate) const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 1);
/// The environment variable that is set only inside the namespaces.
const INSIDE: &str = "BENCH_ROLLOUT_INSIDE";
/// The namespaces for the network and for the processes, so that no process is left at the end.
const UNSHARE: [&str; 5] = ["--net", "--pid", "--fork", "--mount-proc", "--kill-child"];

/// Runs the bench again inside the namespaces and returns the exit code. Returns `None` if this
/// process is already inside the namespaces.
pub(crate) fn enter() -> io::Result<Option<ExitCode>> {
    if env::var_os(INSIDE).is_some() {
        set_up()?;
        return Ok(None);
    }
    // An ordinary user can become root in a new user namespace.
    let user: &[&str] = if geteuid().is_root() { &[] } else { &["--user", "--map-root-user"] };
    fs::create_dir_all(directory())?;
    // With --pdeathsig, no process is left if this process is killed, for example by Ctrl-C.
    let status = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "unshare"])
        .args(user)
        .args(UNSHARE)
        .arg(env::current_exe()?)
        .args(env::args_os().skip(1))
        .env(INSIDE, "")
        .env("PATH", format!("{}:/usr/sbin:/sbin", env::var("PATH").unwrap_or_default()))
        .status()?;
    Ok(Some(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }))
}

/// The directory for the files of the pods. In the namespaces it is in memory, so that nothing is
/// left at the end.
pub(crate) fn directory() -> PathBuf {
    checkout().join("target/bench-rollout")
}

/// Creates a bridge for the pods and forwards connections as kube-proxy does: a new connection to
/// the address of a service goes to an endpoint, and conntrack keeps the connection there.
fn set_up() -> io::Result<()> {
    let rules = "add table ip services; \
        add map ip services endpoints { type ipv4_addr : ipv4_addr; }; \
        add chain ip services output { type nat hook output priority -100; }; \
        add rule ip services output dnat to ip daddr map @endpoints";
    for command in [
        &format!("mount -t tmpfs tmpfs {}", directory().display()),
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
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| io::Error::other(format!("`{program}`: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("`{}`: {}", command.join(" "), said.trim())))
}
