//! The large Compose file of tests/fixtures/migrations, run by Compose itself. `crate::migrations`
//! runs its draft, and asserts the same.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testkit::docker::{LABEL, docker};
use testkit::event::{LOG_VARIABLE, now};

use super::compose::installed;
use crate::migrations::{SHOP, assert_shop, shop, starts};
use crate::support::docker_images::possible;
use crate::support::namespace::skip_unless;
use crate::support::record::{Line, Record, Stream};
use crate::support::temp_dir::TempDir;
use crate::support::{Duration, Rig};

const SERVICES: [&str; 6] = ["db", "cache", "migrate", "web", "worker", "mailer"];
/// Of the host, for the programs and the shell of all services.
const SYSTEM: [&str; 4] = ["/usr", "/bin", "/lib", "/lib64"];

#[test]
fn compose_runs_the_large_file_as_its_draft_does() {
    if !skip_unless(possible()) {
        return;
    }
    let (Some(command), Some(rig)) = (installed(), shop()) else { return };
    // Version 1.29, which Debian has, does not know these.
    let mut file = fs::read_to_string(rig.path("compose.yaml")).unwrap();
    let env_file = rig.fill("{path: DIR/worker.env, required: false}");
    for (from, to) in
        [("name: shop\n", ""), (", restart: true", ""), (&*env_file, &*rig.fill("DIR/worker.env"))]
    {
        assert!(file.contains(from), "no {from:?} in:\n{file}");
        file = file.replace(from, to);
    }
    rig.write("compose.yaml", file);
    let project = Project::new(command, &rig);
    let recorder = rig.recorder();
    let wait = |what: &str, is_so: &dyn Fn(&Record) -> bool| {
        let found = recorder.wait(Duration::from_secs(30), |record| is_so(record).then_some(()));
        found.unwrap_or_else(|record| panic!("not {what}:\n{record}"));
    };
    project.compose(&["up", "--detach", "--no-build"]);
    wait("started", &|record| {
        record.event("web", "report").is_some()
            && record.event("mailer", "exit 4").is_some()
            && starts(record, "worker") == 2
            && starts(record, "cache") == 1
    });
    for name in ["cache", "worker"] {
        let before = starts(&recorder.snapshot(), name);
        // `docker kill` would be a stop, after which Docker restarts nothing.
        let pid = project.inspect(name, "{{.State.Pid}}")[0].parse().unwrap();
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
        wait("restarted", &|record| starts(record, name) > before);
    }
    project.compose(&["stop"]);

    for name in SERVICES {
        let state = if name == "mailer" { "exited 4" } else { "exited 0" };
        for found in project.inspect(name, "{{.State.Status}} {{.State.ExitCode}}") {
            assert_eq!(found, state, "{name}:\n{}", recorder.snapshot());
        }
    }
    let logs = project.compose(&["logs", "--no-color"]);
    recorder.update(|record| {
        let line = |text: &str| Line { at: now(), stream: Stream::Stdout, text: text.to_owned() };
        record.lines.extend(logs.lines().map(line));
    });
    drop(project);
    assert_shop(&rig.ended(recorder.snapshot()), 1);
}

/// A project of Compose, removed on drop.
struct Project {
    command: &'static [&'static str],
    name: String,
    files: [String; 2],
    image: String,
}

impl Project {
    fn new(command: &'static [&'static str], rig: &Rig) -> Self {
        let dir = TempDir::new();
        let name = dir.path().file_name().unwrap().to_str().unwrap().to_owned();
        // Nothing but the user that the file names.
        dir.write("passwd", "root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n");
        dir.write("Dockerfile", "FROM scratch\nCOPY passwd /etc/\n");
        let image = format!("{name}:shop");
        let context = dir.path().to_str().unwrap();
        docker(&["build", "--quiet", "--label", LABEL, "--tag", &image, context]);
        let system = SYSTEM.into_iter().filter(|path| Path::new(path).exists());
        let mounts = system.map(|path| format!(", '{path}:{path}:ro'")).collect::<String>();
        let service = rig.fill(&format!(
            "{{image: '{image}', labels: {{{LABEL}: '{}'}}, volumes: ['DIR:DIR'{mounts}], \
             environment: {{{LOG_VARIABLE}: DIR/events}}}}",
            std::process::id()
        ));
        let services = SERVICES.map(|name| format!("  {name}: {service}\n")).concat();
        rig.write("test.yaml", format!("services:\n{services}"));
        let files = ["DIR/compose.yaml", "DIR/test.yaml"].map(|file| rig.fill(file));
        Self { command, name, files, image }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.command[0]);
        command.args(&self.command[1..]).args(["--project-name", &self.name]);
        command.args(["--file", &self.files[0], "--file", &self.files[1], "--profile", "debug"]);
        command.args(args).envs(SHOP).stdin(Stdio::null());
        command
    }

    /// Runs a command of Compose to its end, which must be good.
    #[track_caller]
    fn compose(&self, args: &[&str]) -> String {
        let output = self.command(args).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "compose {args:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What `docker inspect` shows of the containers of a service, those that have ended, too.
    #[track_caller]
    fn inspect(&self, service: &str, format: &str) -> Vec<String> {
        let ids = self.compose(&["ps", "--all", "--quiet", service]);
        let ids: Vec<&str> = ids.split_whitespace().collect();
        let output = docker(&[&["inspect", "--format", format], &ids[..]].concat());
        output.lines().map(str::to_owned).collect()
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        let _ = self.command(&["down", "--volumes", "--timeout=0"]).output();
        let _ = Command::new("docker").args(["rmi", &self.image]).output();
    }
}
