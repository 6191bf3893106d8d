//! Runs the containers of `scenarios`, a few at a time, and records each.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use regex_lite::Regex;
use serde_json::Value;
use testkit::docker::{Container, Finished, Process, run};
use testkit::event::{Event, LOG_VARIABLE};

use super::scenarios::{self, Scenario};
use crate::support::docker_gateway::{GatewayImages, examples, gateway_images};
use crate::support::temp_dir::TempDir;

/// The number of containers that run at a time; each has an Envoy to start, and then mostly waits.
const AT_ONCE: usize = 5;

/// The options of every container.
const OPTIONS: [&str; 4] = [
    "--read-only",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--publish=127.0.0.1::8080",
];

/// The record of a container that has ended.
#[derive(Debug, Default)]
pub(super) struct Run {
    pub(super) stdout: String,
    pub(super) stderr: String,
    code: i32,
    events: Vec<Event>,
    notes: Vec<String>,
    files: HashMap<String, String>,
    commands: HashMap<&'static str, String>,
    environments: HashMap<&'static str, String>,
}

/// Returns the record of a scenario, or `None` without Docker. The first call runs all scenarios.
#[track_caller]
pub(super) fn seen(name: &str) -> Option<&'static Run> {
    let runs = all()?;
    let (_, run) = runs.iter().find(|(other, _)| *other == name).expect("no such scenario");
    match run {
        Ok(run) => Some(run),
        Err(why) => panic!("{name} could not be run to its end: {why}"),
    }
}

/// Returns the records of all scenarios that ran to their end.
pub(super) fn all_seen() -> Option<impl Iterator<Item = &'static Run>> {
    Some(all()?.iter().filter_map(|(_, run)| run.as_ref().ok()))
}

/// Runs a container that ends by itself, with these options and arguments.
pub(super) fn once(options: &[&str], args: &[&str]) -> Option<Finished> {
    let images = gateway_images()?;
    let sockets = "--tmpfs=/var/run/api-platform:mode=1777";
    let steps = "--env=POLICY_ENGINE_STEPS=exit=0"; // should it be started
    let options = [&OPTIONS[..3], &[sockets, steps], options].concat();
    Some(run(&images.production, &options, args))
}

type Outcome = (&'static str, Result<Run, String>);

fn all() -> Option<&'static [Outcome]> {
    static ALL: OnceLock<Vec<Outcome>> = OnceLock::new();
    let images = gateway_images()?;
    Some(ALL.get_or_init(|| {
        let todo = Mutex::new(scenarios::all().into_iter());
        let done = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for _ in 0..AT_ONCE {
                scope.spawn(|| {
                    loop {
                        let Some(scenario) = todo.lock().unwrap().next() else { break };
                        let run = catch_unwind(AssertUnwindSafe(|| Live::run(&scenario, images)));
                        let run = run.map_err(|panic| {
                            let text = panic.downcast_ref::<String>().cloned();
                            text.unwrap_or_else(|| "see above".to_owned())
                        });
                        done.lock().unwrap().push((scenario.name, run));
                    }
                });
            }
        });
        done.into_inner().unwrap()
    }))
}

/// A running container.
pub(super) struct Live {
    pub(super) container: Container,
    /// `/out` in the container.
    pub(super) out: TempDir,
    /// The directory of the sockets, unless it is a tmpfs.
    pub(super) sockets: Option<TempDir>,
    run: RefCell<Run>,
}

impl Live {
    fn run(scenario: &Scenario, images: &GatewayImages) -> Run {
        let out = TempDir::new();
        for (name, content) in scenario.files {
            out.write(name, content);
        }
        out.write("events", "");
        fs::set_permissions(out.join("events"), Permissions::from_mode(0o666)).unwrap();
        let sockets = scenario.prepare_sockets.map(|prepare| {
            let dir = TempDir::new();
            prepare(&dir);
            dir
        });
        let sockets_option = match &sockets {
            Some(dir) => format!("--volume={}:/var/run/api-platform", dir.path().display()),
            None => "--tmpfs=/var/run/api-platform:mode=1777".to_owned(),
        };
        let mut options: Vec<String> = OPTIONS.map(str::to_owned).to_vec();
        options.extend([sockets_option, format!("--volume={}:/out", out.path().display())]);
        options.push(format!("--env={LOG_VARIABLE}=/out/events"));
        // Docker's health check is one more process, so it runs only where a scenario asks for it.
        options.push("--health-interval=1h".to_owned());
        let out_dir = format!("{}/", out.path().display());
        let examples = format!("{}/", examples().display());
        options.extend(
            scenario
                .options
                .iter()
                .map(|option| option.replace("OUT/", &out_dir).replace("EXAMPLES/", &examples)),
        );
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let image = if scenario.debug { &images.debug } else { &images.production };
        let container = Container::start(image, &options, scenario.args);
        let live = Self { container, out, sockets, run: RefCell::default() };
        (scenario.act)(&live);
        live.end()
    }

    /// Waits for the end of the container.
    fn end(self) -> Run {
        let code = self.container.wait();
        let (stdout, stderr) = self.container.output();
        let events = fs::read_to_string(self.out.join("events")).unwrap();
        if let Some(sockets) = &self.sockets {
            let left: Vec<_> =
                fs::read_dir(sockets.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
            let left = if left.is_empty() { "nothing".to_owned() } else { format!("{left:?}") };
            self.note(format!("left in the directory of the sockets: {left}"));
        }
        let files = fs::read_dir(self.out.path()).unwrap().filter_map(|entry| {
            let entry = entry.ok()?;
            Some((entry.file_name().into_string().ok()?, fs::read_to_string(entry.path()).ok()?))
        });
        let files = files.collect();
        let events = events.lines().filter_map(Event::parse).collect();
        Run { stdout, stderr, code, events, files, ..self.run.take() }
    }

    /// Records something that is visible only while the container runs.
    pub(super) fn note(&self, text: impl Into<String>) {
        self.run.borrow_mut().notes.push(text.into());
    }

    /// Waits until drainit has started everything, and records how the processes were started.
    pub(super) fn await_ready(&self) {
        self.container.await_line("everything is ready");
        let processes = self.container.processes();
        self.note(format!("init: {}", processes[0].command));
        for (name, part) in [
            ("python-executor", "/app/python-executor/main.py"),
            ("policy-engine", "/app/policy-engine -xds-server"),
            ("router", "/usr/local/bin/envoy"),
        ] {
            let Some(process) = processes.iter().find(|p| p.command.contains(part)) else {
                continue;
            };
            let environment = fs::read(format!("/proc/{}/environ", process.pid)).unwrap();
            let environment = String::from_utf8_lossy(&environment).replace('\0', "\n");
            let mut run = self.run.borrow_mut();
            run.commands.insert(name, process.command.clone());
            run.environments.insert(name, environment);
        }
    }

    /// Returns the process with this text in its command line, and fails if there is none.
    #[track_caller]
    pub(super) fn process(&self, part: &str) -> Process {
        let mut processes = self.container.processes().into_iter();
        processes
            .find(|process| process.command.contains(part))
            .unwrap_or_else(|| panic!("no {part} runs"))
    }

    /// Returns the address on which the Router listens.
    pub(super) fn router(&self) -> SocketAddr {
        self.container.address(8080)
    }
}

impl Run {
    /// Returns all lines of the output and all events.
    fn lines(&self) -> impl Iterator<Item = &str> {
        self.stdout.lines().chain(self.stderr.lines()).chain(self.notes.iter().map(String::as_str))
    }

    /// Returns the value of a variable of a process.
    #[track_caller]
    pub(super) fn variable(&self, process: &str, name: &str) -> &str {
        let value = self.find_variable(process, name);
        value.unwrap_or_else(|| panic!("{process} has no {name}:\n{}", self.environments[process]))
    }

    /// Returns whether a process has a variable.
    pub(super) fn has_variable(&self, process: &str, name: &str) -> bool {
        self.find_variable(process, name).is_some()
    }

    fn find_variable(&self, process: &str, name: &str) -> Option<&str> {
        let mut lines = self.environments[process].lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
    }

    /// Returns the command line of a process, as `ps` shows it.
    pub(super) fn command(&self, process: &str) -> &str {
        &self.commands[process]
    }

    /// Returns the report of a stand-in.
    #[track_caller]
    pub(super) fn report(&self, process: &str) -> Value {
        serde_json::from_str(&self.files[&format!("{process}.json")]).unwrap()
    }

    /// Returns the arguments of a stand-in, without its steps.
    #[track_caller]
    pub(super) fn given(&self, process: &str) -> Vec<String> {
        let report = self.report(process);
        let args = report["args"].as_array().unwrap().iter().map(|arg| arg.as_str().unwrap());
        let is_first = |arg: &&str| arg.starts_with('-') || arg.starts_with("/app/");
        args.skip_while(|arg| !is_first(arg)).map(str::to_owned).collect()
    }

    /// Returns the duration after this text in the log.
    #[track_caller]
    pub(super) fn duration(&self, text: &str) -> Duration {
        let pattern = Regex::new(&format!("{text}([0-9.]+)(ms|s)")).unwrap();
        let found = self.lines().find_map(|line| pattern.captures(line));
        let found = found.unwrap_or_else(|| panic!("no {text:?}:\n{self}"));
        let number: f64 = found[1].parse().unwrap();
        Duration::from_secs_f64(if &found[2] == "s" { number } else { number / 1000.0 })
    }

    /// Returns the time of day, in seconds, of drainit's line with this text.
    pub(super) fn moment(&self, text: &str) -> Option<f64> {
        let pattern = Regex::new("T([0-9]{2}):([0-9]{2}):([0-9.]+)Z ").unwrap();
        let line = self.stderr.lines().find(|line| line.contains(text))?;
        let at = pattern.captures(line)?;
        let number = |index: usize| at[index].parse::<f64>().unwrap();
        Some(number(1) * 3600.0 + number(2) * 60.0 + number(3))
    }

    /// Returns the first event of a stand-in that begins with `what`.
    pub(super) fn event(&self, name: &str, what: &str) -> Option<&Event> {
        self.events.iter().find(|event| event.name == name && event.what.starts_with(what))
    }

    #[track_caller]
    pub(super) fn assert_code(&self, code: i32) -> &Self {
        assert_eq!(self.code, code, "\n{self}");
        self
    }

    #[track_caller]
    pub(super) fn assert_line(&self, text: &str) -> &Self {
        assert!(self.lines().any(|line| line.contains(text)), "no {text:?}:\n{self}");
        self
    }

    #[track_caller]
    pub(super) fn assert_no_line(&self, text: &str) -> &Self {
        assert!(!self.lines().any(|line| line.contains(text)), "there is {text:?}:\n{self}");
        self
    }

    #[track_caller]
    pub(super) fn assert_no_event(&self, name: &str, what: &str) -> &Self {
        assert!(self.event(name, what).is_none(), "{name} {what}:\n{self}");
        self
    }

    /// Fails unless drainit has written lines with these texts, in this order.
    #[track_caller]
    pub(super) fn assert_lines_in_order(&self, texts: &[&str]) -> &Self {
        let mut lines = self.stderr.lines();
        for text in texts {
            assert!(lines.any(|line| line.contains(text)), "no {text:?} where it belongs:\n{self}");
        }
        self
    }

    /// Fails unless the Router, the Policy Engine and the Python Executor were stopped in this
    /// order, each only after the one before had ended.
    #[track_caller]
    pub(super) fn assert_stopped_in_order(&self) -> &Self {
        self.assert_lines_in_order(&[
            "router: SIGTERM, then KILL after",
            "after it was asked to stop",
            "policy-engine: SIGTERM, then KILL after",
            "after it was asked to stop",
            "python-executor: SIGTERM, then KILL after",
        ]);
        let asked = |name: &str| {
            self.event(name, "got SIG").unwrap_or_else(|| panic!("{name} was not asked:\n{self}"))
        };
        let (engine, python) = (asked("policy-engine"), asked("python-executor"));
        assert!(!python.what.contains("policy-engine"), "the engine was still there:\n{self}");
        assert!(engine.at < python.at, "{self}");
        self
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "exit code {}\nstdout:\n{}\nstderr:\n{}", self.code, self.stdout, self.stderr)?;
        writeln!(f, "noted:\n{}", self.notes.join("\n"))?;
        self.events.iter().try_for_each(|event| writeln!(f, "{event}"))
    }
}
