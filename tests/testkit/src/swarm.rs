//! Services of a Docker Swarm with one node: the swarm of this machine if it is in one, or else one
//! that ends with the test.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use super::docker::{self, LABEL, command, docker, label};

/// The longest wait for the orchestrator, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(100);
/// Docker makes this network for the first overlay network, and keeps it when the swarm ends.
const GATEWAY_BRIDGE: &str = "docker_gwbridge";

/// An overlay network. It is removed on drop, together with the swarm if that was made for it; drop
/// its services first.
#[derive(Debug)]
pub struct Swarm {
    network: String,
    node: String,
    made: bool,
    made_bridge: bool,
}

/// A service, removed on drop with all its containers.
#[derive(Debug)]
pub struct Service {
    name: String,
}

/// The end of a container of a service.
#[derive(Clone, Copy, Debug)]
pub struct Stop {
    /// From the stop signal to the end.
    pub took: Duration,
    /// The exit code.
    pub code: i32,
}

impl Swarm {
    /// Makes a network, and a swarm unless there is one.
    ///
    /// # Errors
    ///
    /// Why this machine cannot start services: it is a worker in somebody's swarm, or Docker or the
    /// kernel can make no overlay network.
    pub fn new() -> Result<Self, String> {
        remove_orphans();
        let made_bridge = !succeeds(&["network", "inspect", GATEWAY_BRIDGE]);
        let made = match &*info("{{.Swarm.LocalNodeState}} {{.Swarm.ControlAvailable}}") {
            "active true" => false,
            "inactive false" => {
                let address = ["--advertise-addr", "127.0.0.1", "--listen-addr", "127.0.0.1:2377"];
                attempt(&[&["swarm", "init"], &address[..]].concat())?;
                true
            }
            other => return Err(format!("this machine manages no swarm and is in one: {other}")),
        };
        let network = format!("drainit-test-{}", std::process::id());
        let swarm = Self { network, node: info("{{.Swarm.NodeID}}"), made, made_bridge };
        if made {
            docker(&["node", "update", "--label-add", &label(), &swarm.node]);
        }
        let overlay = ["network", "create", "--driver", "overlay", "--label", &label()];
        attempt(&[&overlay[..], &[&swarm.network]].concat())?;
        Ok(swarm)
    }
}

impl Drop for Swarm {
    fn drop(&mut self) {
        // The network is in use until the last container has left it.
        let _ = wait(|| {
            succeeds(&["network", "rm", &self.network])
                || !succeeds(&["network", "inspect", &self.network])
        });
        if self.made {
            leave();
            if self.made_bridge {
                succeeds(&["network", "rm", GATEWAY_BRIDGE]);
            }
        }
    }
}

impl Service {
    /// Starts a service whose containers are found by this name in DNS, without a virtual address
    /// (`dnsrr`), and waits until they run and are healthy. `options` precede the image, `args`
    /// follow it.
    #[track_caller]
    pub fn start(swarm: &Swarm, name: &str, image: &str, options: &[&str], args: &[&str]) -> Self {
        let service = Self { name: format!("{}-{name}", swarm.network) };
        let label = label();
        let network = format!("name={},alias={name}", swarm.network);
        let here = format!("node.id=={}", swarm.node);
        let fixed = [
            &["service", "create", "--detach", "--no-resolve-image", "--endpoint-mode", "dnsrr"],
            &["--name", &service.name, "--label", &label, "--container-label", &label][..],
            &["--network", &network, "--constraint", &here],
        ];
        docker(&[&fixed.concat(), options, &[image], args].concat());
        let served = wait(|| service.is_complete());
        assert!(served, "{name} does not start: {}\n{}", service.tasks(), service.logs());
        service
    }

    /// Replaces every container of the service by a new one, with these options of `docker service
    /// update`, and waits until the old ones have ended. Returns how each of them did.
    #[track_caller]
    pub fn update(&self, options: &[&str]) -> Vec<Stop> {
        let mut old = self.containers();
        let (filter, since) = (self.filter(), seconds());
        // Docker remembers only the last 256 events, and every health check is one.
        let mut events = Command::new("timeout");
        events.args(["600", "docker", "events", "--filter", &filter, "--since", &since]);
        let code = "{{with .Actor.Attributes.exitCode}}{{.}}{{end}}";
        let format = format!("{{{{.TimeNano}}}} {{{{.Action}}}} {{{{.Actor.ID}}}} {code}");
        events.args(["--filter", "event=kill", "--filter", "event=die", "--format", &format]);
        let mut events = events.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(events.stdout.take().unwrap()).lines();

        let force = ["service", "update", "--quiet", "--force"];
        docker(&[&force[..], options, &[&self.name]].concat());
        let mut signalled = HashMap::new();
        let mut stops = Vec::new();
        while !old.is_empty() {
            let line = lines.next().unwrap_or_else(|| panic!("still there: {}", self.tasks()));
            let line = line.unwrap();
            let [time, action, id, code] = line.split(' ').collect::<Vec<_>>()[..] else {
                panic!("an unknown event: {line}")
            };
            let time = Duration::from_nanos(time.parse().unwrap());
            let signal = *signalled.entry(id.to_owned()).or_insert(time);
            if let ("die", Some(place)) = (action, old.iter().position(|it| it == id)) {
                old.remove(place);
                stops.push(Stop { took: time - signal, code: code.parse().unwrap() });
            }
        }
        let _ = events.kill();
        let _ = events.wait();
        stops
    }

    /// The ids of its running containers.
    #[track_caller]
    pub fn containers(&self) -> Vec<String> {
        self.list(&["--filter", "status=running"])
    }

    /// The address at which the host reaches this port of its only container.
    #[track_caller]
    pub fn address(&self, port: u16) -> SocketAddr {
        docker::address(&self.containers()[0], port)
    }

    /// The output of its containers, including those that have ended.
    #[track_caller]
    pub fn logs(&self) -> String {
        let logs = |id: &String| {
            let output = command(&["logs", id]).output().unwrap();
            [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat()
        };
        self.list(&["--all"]).iter().map(logs).collect()
    }

    /// Whether all its tasks run, which they do when they are healthy.
    fn is_complete(&self) -> bool {
        let filter = format!("name={}", self.name);
        let replicas = docker(&["service", "ls", "--filter", &filter, "--format", "{{.Replicas}}"]);
        replicas.split_once('/').is_some_and(|(now, wanted)| now == wanted)
    }

    fn tasks(&self) -> String {
        docker(&["service", "ps", "--no-trunc", &self.name])
    }

    fn list(&self, filters: &[&str]) -> Vec<String> {
        let ours = ["ps", "--quiet", "--no-trunc", "--filter", &self.filter()];
        let ids = docker(&[&ours[..], filters].concat());
        ids.lines().map(str::to_owned).collect()
    }

    /// The filter that selects its containers.
    fn filter(&self) -> String {
        filter(&self.name)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        remove_service(&self.name);
    }
}

/// The option that mounts a file of the host into the containers of a service, read-only.
pub fn mount(file: &Path, inside: &str) -> String {
    format!("--mount=type=bind,source={},target={inside},readonly", file.display())
}

/// Removes a service and its containers, without their grace period.
fn remove_service(name: &str) {
    succeeds(&["service", "rm", name]);
    for id in docker(&["ps", "--all", "--quiet", "--filter", &filter(name)]).lines() {
        docker::remove(id);
    }
}

/// The filter that selects the containers of a service.
fn filter(service: &str) -> String {
    format!("label=com.docker.swarm.service.name={service}")
}

/// Removes what test runs that were killed have left in the swarm, and the swarm if one of them has
/// made it.
fn remove_orphans() {
    if info("{{.Swarm.ControlAvailable}}") != "true" {
        return;
    }
    let filter = format!("label={LABEL}");
    let lost = |kind: &str| {
        let names = docker(&[kind, "ls", "--quiet", "--filter", &filter]);
        let lost = |id: &&str| is_orphan(&docker(&[kind, "inspect", id]));
        names.lines().filter(lost).map(str::to_owned).collect::<Vec<_>>()
    };
    for id in lost("service") {
        let name = docker(&["service", "inspect", "--format", "{{.Spec.Name}}", &id]);
        remove_service(&name);
    }
    for id in lost("network") {
        let _ = wait(|| succeeds(&["network", "rm", &id]));
    }
    if is_orphan(&docker(&["node", "inspect", "self"])) {
        leave();
    }
}

/// Ends a swarm. On a busy machine Docker may give up half-way, when the manager has already ended.
fn leave() {
    let _ = wait(|| {
        succeeds(&["swarm", "leave", "--force"]);
        info("{{.Swarm.LocalNodeState}}") == "inactive"
    });
}

/// Whether something, as `docker inspect` shows it, has the label of a test run that is over.
fn is_orphan(inspected: &str) -> bool {
    let value = inspected.split_once(&format!("\"{LABEL}\": \"")).map(|(_, rest)| rest);
    let pid = value.and_then(|rest| rest.split('"').next());
    pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists())
}

fn info(format: &str) -> String {
    docker(&["info", "--format", format])
}

fn seconds() -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    format!("{}.{:09}", now.as_secs(), now.subsec_nanos())
}

fn wait(mut is_so: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while !is_so() {
        if start.elapsed() > PATIENCE {
            return false;
        }
        sleep(POLL);
    }
    true
}

fn attempt(args: &[&str]) -> Result<(), String> {
    let output = command(args).output().map_err(|error| error.to_string())?;
    let complaint = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    output.status.success().then_some(()).ok_or(complaint)
}

fn succeeds(args: &[&str]) -> bool {
    let quiet = command(args).stdout(Stdio::null()).stderr(Stdio::null()).status();
    quiet.is_ok_and(|status| status.success())
}
