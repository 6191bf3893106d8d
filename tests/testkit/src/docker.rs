//! Containers of a real Docker, or of Podman, which has the same commands. Each container is
//! removed at the end of the test run that made it. With Docker, a label of the container has the
//! PID of that run.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// The label of every image and container that a test makes. Its value on a container is the PID of
/// the test run.
pub const LABEL: &str = "drainit-test";

/// A container, removed on drop with all its processes.
#[derive(Debug)]
pub struct Container {
    engine: &'static str,
    id: String,
}

/// The result of `docker run` without `--detach`.
#[derive(Debug)]
pub struct Finished {
    /// The container's exit code, or 125 if Docker itself failed.
    pub code: i32,
    /// The stdout of the container, then its stderr.
    pub output: String,
}

/// A process as `docker top` shows it, with the ids of the host.
#[derive(Debug)]
pub struct Process {
    pub pid: u32,
    pub parent: u32,
    pub user: u32,
    /// The program with its arguments.
    pub command: String,
}

impl Container {
    /// Starts a container; `options` precede the image, `args` follow it.
    #[track_caller]
    pub fn start(image: &str, options: &[&str], args: &[&str]) -> Self {
        let label = label();
        let all = [&["run", "--detach", "--label", &label], options, &[image], args].concat();
        Self::of(docker(&all))
    }

    /// Takes over a container that another command has made.
    pub fn of(id: String) -> Self {
        Self { engine: "docker", id }
    }

    /// Takes over a container that Podman has made.
    pub fn of_podman(id: String) -> Self {
        Self { engine: "podman", id }
    }

    /// The id of the container.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Waits until the output has a line with this text. Fails if the container ends without such a
    /// line, or after a minute.
    #[track_caller]
    pub fn await_line(&self, text: &str) {
        self.await_line_again(text, 1);
    }

    /// Waits like [`Self::await_line`], but until `times` lines of the output have this text. Lines
    /// from before a restart count, too.
    #[track_caller]
    pub fn await_line_again(&self, text: &str, times: usize) {
        let (lines, output) = io::pipe().unwrap();
        let mut follow = Command::new("timeout");
        follow.args(["60", self.engine, "logs", "--follow", &self.id]).stdin(Stdio::null());
        follow.stdout(output.try_clone().unwrap()).stderr(output);
        let mut following = follow.spawn().unwrap();
        drop(follow); // closes the write ends, so that the lines end
        let mut lines = BufReader::new(lines).lines().map_while(Result::ok);
        let found = lines.by_ref().filter(|line| line.contains(text)).take(times).count() == times;
        let _ = following.kill();
        let _ = following.wait();
        assert!(found, "the container did not write {text:?}:\n{}", self.logs());
    }

    /// The address at which the host reaches this port of the container.
    #[track_caller]
    pub fn address(&self, port: u16) -> SocketAddr {
        let addresses = docker(&["port", &self.id, &port.to_string()]);
        addresses.lines().next().unwrap_or_default().parse().unwrap()
    }

    /// The processes of the container, beginning with its PID 1.
    #[track_caller]
    pub fn processes(&self) -> Vec<Process> {
        let init: u32 = self.inspect("{{.State.Pid}}").parse().unwrap();
        let table = docker(&["top", &self.id, "-e", "-o", "pid,ppid,uid,args"]);
        let mut processes: Vec<Process> = table.lines().skip(1).map(Process::parse).collect();
        processes.sort_by_key(|process| process.pid != init);
        processes
    }

    /// `docker stop` with a grace period in seconds; returns when the container has ended.
    #[track_caller]
    pub fn stop(&self, seconds: u32) {
        docker(&["stop", "--time", &seconds.to_string(), &self.id]);
    }

    /// Sends a signal to PID 1.
    #[track_caller]
    pub fn signal(&self, name: &str) {
        docker(&["kill", "--signal", name, &self.id]);
    }

    /// Waits until the container has ended, and returns its exit code.
    #[track_caller]
    pub fn wait(&self) -> i32 {
        docker(&["wait", &self.id]).parse().unwrap()
    }

    /// Runs `docker exec` to its end.
    #[track_caller]
    pub fn exec(&self, command_line: &[&str]) -> Finished {
        let output = of("docker", &[&["exec", &self.id], command_line].concat()).output().unwrap();
        Finished { code: output.status.code().unwrap(), output: text(&output) }
    }

    /// Runs `docker exec` to its end, and returns the output. If the command fails, the test fails.
    #[track_caller]
    pub fn succeed(&self, command_line: &[&str]) -> String {
        let Finished { code, output } = self.exec(command_line);
        assert_eq!(code, 0, "{command_line:?}: {output}\n{}", self.logs());
        output
    }

    /// The health status of the container: `starting`, `healthy` or `unhealthy`.
    #[track_caller]
    pub fn health(&self) -> String {
        self.inspect("{{.State.Health.Status}}")
    }

    /// The stdout and stderr of the container so far.
    #[track_caller]
    pub fn output(&self) -> (String, String) {
        let output = of("docker", &["logs", &self.id]).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(&output.stdout), text(&output.stderr))
    }

    /// The exit code of a container that has ended.
    #[track_caller]
    pub fn exit_code(&self) -> i32 {
        assert_eq!(self.inspect("{{.State.Status}}"), "exited");
        self.inspect("{{.State.ExitCode}}").parse().unwrap()
    }

    /// Asserts that the container has ended with code 0, and that its output has these texts.
    #[track_caller]
    pub fn assert_ended(&self, texts: &[&str]) -> String {
        let logs = self.logs();
        assert_eq!(self.exit_code(), 0, "{logs}");
        for text in texts {
            assert!(logs.contains(text), "no {text:?} in the report:\n{logs}");
        }
        logs
    }

    /// The stdout of the container so far, then its stderr.
    #[track_caller]
    pub fn logs(&self) -> String {
        text(&of(self.engine, &["logs", &self.id]).output().unwrap())
    }

    /// Returns the output of `docker inspect` with this Go template.
    #[track_caller]
    pub fn inspect(&self, format: &str) -> String {
        succeed(self.engine, &["inspect", "--format", format, &self.id])
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = of(self.engine, &["rm", "--force", "--volumes", &self.id]).output();
    }
}

impl Process {
    /// The IPv4 addresses at which the container of the process accepts TCP connections.
    #[track_caller]
    pub fn listening(&self) -> Vec<(Ipv4Addr, u16)> {
        // Fields after the line's number: local address, peer address and state, in hexadecimal.
        // `0A` is LISTEN.
        let table = fs::read_to_string(format!("/proc/{}/net/tcp", self.pid)).unwrap();
        let listening = table.lines().skip(1).filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (address, port) = fields[1].split_once(':').unwrap();
            let address = u32::from_str_radix(address, 16).unwrap().to_ne_bytes();
            (fields[3] == "0A").then(|| (address.into(), u16::from_str_radix(port, 16).unwrap()))
        });
        listening.collect()
    }

    fn parse(line: &str) -> Self {
        let mut words = line.split_whitespace();
        let mut number = || words.next().and_then(|word| word.parse().ok()).unwrap();
        let (pid, parent, user) = (number(), number(), number());
        Self { pid, parent, user, command: words.collect::<Vec<_>>().join(" ") }
    }
}

/// Runs a container to its end.
#[track_caller]
pub fn run(image: &str, options: &[&str], args: &[&str]) -> Finished {
    let label = label();
    let all = [&["run", "--rm", "--label", &label], options, &[image], args].concat();
    let output = of("docker", &all).output().unwrap();
    Finished { code: output.status.code().unwrap(), output: text(&output) }
}

/// The option that mounts a file of the host into the container, read-only.
pub fn mount(file: &Path, inside: &str) -> String {
    format!("--volume={}:{inside}:ro", file.display())
}

/// Runs one Docker command and returns its stdout. If the command fails, the test fails.
#[track_caller]
pub fn docker(args: &[&str]) -> String {
    succeed("docker", args)
}

/// Runs one command of Docker or Podman, like [`docker`].
#[track_caller]
pub fn succeed(engine: &str, args: &[&str]) -> String {
    let output = of(engine, args).output().unwrap();
    assert!(output.status.success(), "{engine} {}: {}", args.join(" "), text(&output));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// The paths of all files of an image, without the leading slash.
#[track_caller]
pub fn files(image: &str) -> Vec<String> {
    let container = Container::of(docker(&["create", "--label", &label(), image]));
    let mut export =
        of("docker", &["export", &container.id]).stdout(Stdio::piped()).spawn().unwrap();
    let tar = export.stdout.take().unwrap();
    let list = Command::new("tar").args(["--list", "--file=-"]).stdin(tar).output().unwrap();
    assert!(list.status.success() && export.wait().unwrap().success(), "{}", text(&list));
    text(&list).lines().map(str::to_owned).collect()
}

/// Removes the containers of test runs that were killed.
pub fn remove_orphans() {
    let filter = format!("label={LABEL}");
    let format = format!("{{{{.ID}}}} {{{{.Label \"{LABEL}\"}}}}");
    let containers = docker(&["ps", "--all", "--filter", &filter, "--format", &format]);
    for (id, pid) in containers.lines().filter_map(|line| line.split_once(' ')) {
        if !Path::new("/proc").join(pid).exists() {
            drop(Container::of(id.to_owned()));
        }
    }
}

/// The label of the containers of this test run.
fn label() -> String {
    format!("{LABEL}={}", std::process::id())
}

fn of(engine: &str, args: &[&str]) -> Command {
    let mut command = Command::new(engine);
    command.args(args).stdin(Stdio::null());
    command
}

fn text(output: &Output) -> String {
    let (stdout, stderr) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(stdout), String::from_utf8_lossy(stderr))
}
