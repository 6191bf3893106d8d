//! Compares the events that the processes of a run have recorded with drainit's promises, and with
//! drainit's log.

use std::collections::BTreeMap;
use std::time::SystemTime;

use testkit::event::Event;

use super::answers::{self, Answer};
use super::graph::{Graph, PATIENT, Process};
use crate::support::record::{Line, Record};
use crate::support::*;

/// The precision of the time at which a process was forked.
const TICK: Duration = Duration::from_millis(10);

/// The longest time between two steps of drainit on a busy machine.
pub(crate) const MOMENT: Duration = Duration::from_millis(100);

/// The events that a process has recorded.
#[derive(Debug, Default)]
pub(crate) struct Life<'a> {
    pub(crate) name: &'a str,
    pub(crate) events: Vec<&'a Event>,
}

impl<'a> Life<'a> {
    fn event(&self, what: &str) -> Option<&'a Event> {
        self.events.iter().find(|event| event.what.starts_with(what)).copied()
    }

    /// The code with which the process says that it ends.
    pub(crate) fn exit(&self) -> Option<u64> {
        self.event("exit ")?.what["exit ".len()..].parse().ok()
    }

    /// Whether the process was killed: it could handle signals, and has not ended by itself.
    fn is_killed(&self) -> bool {
        self.event("handling").is_some() && self.exit().is_none()
    }

    /// The process of the config; `None` for a hook and the other processes of a process.
    fn process<'b>(&self, graph: &'b Graph) -> Option<&'b Process> {
        graph.processes.iter().find(|process| process.name == self.name)
    }
}

/// An event that drainit has logged.
pub(crate) struct Logged {
    pub(crate) at: Duration,
    pub(crate) event: String,
    /// The name and the pid of the process.
    of: Option<(String, i32)>,
    pub(crate) fields: Value,
}

impl Logged {
    fn is(&self, name: &str, pid: i32) -> bool {
        self.of.as_ref().is_some_and(|of| *of == (name.to_owned(), pid))
    }
}

/// The events of drainit's log, on the clock of the record.
fn logged(record: &Record) -> Vec<Logged> {
    let (wall, here) = (SystemTime::now(), now());
    let values = record.lines.iter().filter_map(|line| serde_json::from_str(&line.text).ok());
    let event = |fields: Value| {
        let at = humantime::parse_rfc3339(fields["time"].as_str()?).unwrap();
        let at = here - wall.duration_since(at).unwrap_or_default();
        let of = fields["name"].as_str().map(str::to_owned);
        let of = of.zip(fields["pid"].as_i64().map(|pid| pid as i32));
        Some(Logged { at, event: fields["event"].as_str()?.to_owned(), of, fields })
    };
    values.filter_map(event).collect()
}

/// A run that is over.
pub(crate) struct Run<'a> {
    pub(crate) graph: &'a Graph,
    pub(crate) ended: &'a Ended,
    /// The indices of the processes that were killed from outside.
    pub(crate) killed: Vec<usize>,
    pub(crate) is_hurried: bool,
    /// The name, the pid and the generation of the processes that ran at the end of the schedule.
    pub(crate) shown: Vec<(String, i32, u64)>,
    pub(crate) answers: Vec<Answer>,
}

/// Returns everything that must not have happened in a run.
pub(crate) fn faults(run: &Run) -> Vec<String> {
    let Run { graph, ended, .. } = run;
    let record = &ended.record;
    let log = logged(record);
    let mut lives: BTreeMap<i32, Life> = BTreeMap::new();
    for event in &record.events {
        let life = lives.entry(event.pid).or_default();
        life.name = &event.name;
        life.events.push(event);
    }
    let mut faults = Vec::new();
    let Some(shutdown) = log.iter().find(|logged| logged.event == "shutdown") else {
        return vec!["drainit ended without a shutdown".to_owned()];
    };
    let t0 = shutdown.at;
    for (pid, life) in &lives {
        let fault = |why: String| format!("{} (pid {pid}) {why}", life.name);
        let process = life.process(graph);
        // drainit kills a process whose exec is still under way at T0. Such a process may have
        // recorded some events.
        let given_up =
            !log.iter().any(|logged| logged.is(life.name, *pid)) && life.events[0].at + MOMENT > t0;
        faults.extend(starts_well(life, t0).map(fault));
        faults.extend(stops_well(run, life, &log).filter(|_| !given_up).map(fault));
        let unlogged = unlogged_stop(life, &log).filter(|_| !given_up);
        faults.extend(
            unlogged.map(|_| fault("was asked to stop, and the log does not say so".into())),
        );
        faults.extend(life.event("lost").map(|_| fault("lost its socket while it served".into())));
        let shares = process.is_none_or(Process::overlaps);
        let in_use = life.event("in use").filter(|_| !shares);
        faults.extend(in_use.map(|_| fault("found an old socket".into())));
        let Some(_) = process else { continue };
        let of_it = |what: &[&str]| {
            let is_it =
                |logged: &&Logged| logged.is(life.name, *pid) && what.contains(&&*logged.event);
            log.iter().filter(is_it).collect::<Vec<_>>()
        };
        if life.event("handling").is_some() && of_it(&["started"]).len() != 1 && !given_up {
            faults.push(fault("started, and the log does not say so once".into()));
        }
        // drainit stops a new instance at once if it has not taken over yet, without waiting for
        // dependents.
        let count = |event: &str| {
            let is_it = |it: &&Logged| it.event == event && it.fields["name"] == life.name;
            log.iter().filter(is_it).count()
        };
        let asked = of_it(&["stopping"]).into_iter().find(|asked| asked.at >= t0);
        // A stop after T0 may belong to a restart that began before T0, and then need not wait for
        // dependents.
        let begins = |it: &Logged| ["request_began", "file_changed"].contains(&&*it.event);
        let is_over = |it: &&Logged| {
            (begins(it) || it.event.starts_with("request_")) && it.fields["name"] == life.name
        };
        let last = log.iter().filter(|it| it.at < t0).rfind(is_over);
        let belongs = |last: &Logged| {
            begins(last) || last.fields["cause"] == "the container is shutting down"
        };
        let asked = asked.filter(|_| !last.is_some_and(belongs));
        let asked = asked.filter(|_| count("replacing") == count("takes_over"));
        faults.extend(asked.and_then(|_| outlives(life, graph)).map(fault));
        let ends = of_it(&["ended", "stopped"]);
        if let Some(code) = life.exit().filter(|_| !process.is_some_and(|it| it.hands_over)) {
            let said: Vec<_> = ends.iter().map(|end| end.fields["exit_code"].as_u64()).collect();
            if said != [Some(code)] {
                faults.push(fault(format!("exited with {code}, and the log says {said:?}")));
            }
        }
        let kills = of_it(&["killed"]).into_iter().filter(|_| !graph.is_hasty);
        for after in kills.filter_map(|kill| kill.fields["seconds"].as_f64()) {
            if after * 1e3 + 5.0 < PATIENT as f64 {
                faults.push(fault(format!("was killed after {after} s of its time")));
            }
        }
    }
    let named = log.iter().filter(|logged| logged.event == "started");
    for (name, pid) in named.filter_map(|logged| logged.of.as_ref()) {
        if lives.get(pid).is_some_and(|life| life.name != name) {
            faults.push(format!("the log gives the pid {pid} to {name}"));
        }
    }
    for (name, pid, generation) in &run.shown {
        let wanted = format!("audit {generation} ");
        match lives.get(pid) {
            Some(life) if life.name == name && life.event(&wanted).is_some() => {}
            Some(life) if life.event("audit").is_none() => {}
            // A signal has ended the process before it could record its start.
            None if log.iter().any(|it| it.is(name, *pid) && is_by_signal(it)) => {}
            _ => {
                faults.push(format!("the status shows {name} as pid {pid} of change {generation}"))
            }
        }
    }
    faults.extend(answers::faults(run, &lives, &log, t0));
    faults.extend(ends_well(run, &lives, &log, t0));
    faults
}

/// Whether the event says that a signal has ended a process.
fn is_by_signal(event: &Logged) -> bool {
    event.event == "stopped"
        && ["signal", "killed"].contains(&event.fields["reason"].as_str().unwrap_or_default())
}

/// Returns the faults of a run in which calls of the kernel have failed: what has happened although
/// these failures do not excuse it.
pub(crate) fn faults_beside_errors(run: &Run) -> Vec<String> {
    let Run { graph, ended, .. } = run;
    let log = logged(&ended.record);
    let at = |event: &str| log.iter().find(|logged| logged.event == event).map(|it| it.at);
    let own = ended.record.events.iter().filter(|event| event.what.starts_with("exit "));
    let own = own.filter_map(|event| event.what["exit ".len()..].parse().ok());
    let mut faults = Vec::new();
    let codes: Vec<i32> = own.chain([0, 1, 70, 78, 126, 127, 137]).collect();
    if !codes.contains(&ended.code) {
        faults.push(format!("the code is {}", ended.code));
    }
    let lines = || ended.record.lines.iter().map(|line| &line.text);
    // drainit gives up only because of an error of the kernel. A panic of drainit is noticed
    // elsewhere: `Running` makes the test fail.
    let gives_up = |line: &&String| {
        let words = ["drainit cannot continue: ", "error: cannot set up: "];
        words.iter().any(|words| line.contains(words)) && line.contains("(os error ")
    };
    if ended.code == 70 && lines().find(gives_up).is_none() {
        faults.push("the code is 70, and no line says why".to_owned());
    }
    // A process that drainit cannot find in /proc stays, and drainit says so.
    if at("leftovers_remain").is_none() {
        faults.extend(lines().filter(|line| line.starts_with("left: ")).cloned());
    }
    let Some(t0) = at("shutdown") else { return faults };
    for event in ended.record.events.iter().filter(|event| event.what.starts_with("audit ")) {
        let life = Life { name: &event.name, events: vec![event] };
        faults.extend(starts_well(&life, t0).map(|why| format!("{} {why}", life.name)));
    }
    match at("exit").map(|exit| exit.saturating_sub(t0)) {
        Some(took) => faults.extend(is_too_long(graph, took)),
        None => faults.push("drainit has logged no exit".to_owned()),
    }
    faults
}

/// Reports a shutdown that takes longer than the grace period, after which a container's runtime
/// would kill drainit.
fn is_too_long(graph: &Graph, took: Duration) -> Option<String> {
    let longest = Duration::from_millis(graph.grace_period()) + MOMENT;
    (took > longest).then(|| format!("the shutdown took {took:?}"))
}

/// Checks that the process has not started after T0, and has inherited nothing from drainit.
fn starts_well(life: &Life, t0: Duration) -> impl Iterator<Item = String> {
    let audit = life.event("audit").map(|event| event.what.splitn(4, ' ').skip(2));
    let mut words = audit.into_iter().flatten();
    let ticks: u32 = words.next().map_or(0, |ticks| ticks.parse().unwrap());
    let late = (TICK * ticks).saturating_sub(t0 + TICK);
    let is_start = !life.name.ends_with("-pre_stop") && !life.name.ends_with("-post_stop");
    let late = (is_start && !late.is_zero()).then(|| format!("was started {late:?} after T0"));
    let inherited = words.next().filter(|inherited| !inherited.is_empty());
    late.into_iter().chain(inherited.map(|what| format!("has inherited {what}")))
}

/// Checks that drainit asked the process to stop once, and did not kill it too early. A daemon may be
/// asked each time before its process starts again, and once more, if the container stops meanwhile.
fn stops_well(run: &Run, life: &Life, log: &[Logged]) -> impl Iterator<Item = String> {
    let Run { graph, killed, .. } = run;
    let base = life.name.split('-').next();
    let is_clearing =
        |it: &&Logged| it.event == "leftovers_found" && it.fields["name"].as_str() == base;
    let given_up = format!("\"{}: left behind by an earlier instance", base.unwrap_or_default());
    let is_given_up = |line: &&Line| {
        line.text.contains(&given_up) && line.text.contains("before the start was given up")
    };
    let given_up = run.ended.record.lines.iter().filter(is_given_up).count();
    let clearings = log.iter().filter(is_clearing).count() + given_up;
    let asked: Vec<_> = life.events.iter().filter(|event| event.what.starts_with("got ")).collect();
    let most = if life.name.ends_with("-daemon") { 1 + clearings.max(1) } else { 1 };
    let twice = (asked.len() > most).then(|| format!("was asked to stop {} times", asked.len()));
    let of = graph.processes.iter().position(|process| Some(&*process.name) == base).unwrap();
    let is_hook = life.name.contains("-p");
    let is_ours = !is_hook && !killed.contains(&of) && life.is_killed();
    // If a process ignores its signal, drainit kills its group together with the process.
    let is_member = life.name.ends_with("-rest") || life.name.ends_with("-kin");
    let is_ours = is_ours && !(is_member && graph.processes[of].is_stubborn());
    let unasked = (is_ours && !graph.is_hasty && asked.is_empty())
        .then(|| "was killed without a signal".to_owned());
    let patient = is_ours && !run.is_hurried && !graph.is_hasty;
    let patient = patient && !graph.processes[of].is_stubborn();
    let early = patient.then(|| "was killed, although it obeys".to_owned());
    [twice, unasked, early].into_iter().flatten()
}

/// The request to stop that the log does not explain. The process is an instance, or its `pN-main`.
fn unlogged_stop<'a>(life: &Life<'a>, log: &[Logged]) -> Option<&'a Event> {
    let got = life.event("got ")?;
    let name = life.name.trim_end_matches("-main");
    let of_it = || log.iter().filter(|it| it.fields["name"] == name);
    let first = life.events[0];
    let is_before = |it: &Logged| it.is(name, first.pid) || it.at < first.at;
    let began = of_it().rfind(|it| it.event == "started" && is_before(it))?;
    let is_why = |it: &&Logged| ["stopping", "group_remains"].contains(&&*it.event);
    // A group that outlives its main process gets the stop signal, too. On a busy machine, drainit may
    // be held up between the signal and the line, and then only the instance counts.
    let since = || of_it().skip_while(|it| it.at < began.at);
    let mut alone = since().skip(1).take_while(|it| it.event != "started");
    let is_its = |it: &Logged| it.at <= got.at + MOMENT || it.is(name, first.pid);
    (!alone.any(|it| is_why(&it)) && !since().filter(is_why).any(is_its)).then_some(got)
}

/// The first dependent, or other member of a dependent's group, that was alive when the process was
/// asked to stop.
fn outlives(life: &Life, graph: &Graph) -> Option<String> {
    let (_, alive) = life.event("got ")?.what.split_once("alive:")?;
    let of = graph.processes.iter().position(|process| process.name == life.name)?;
    let dependents = graph.dependents(of);
    let first = alive.split('+').find(|name| dependents.contains(&name.trim_end_matches("-rest")));
    first.map(|name| format!("was asked to stop before {name} had ended"))
}

/// Checks the exit code, and that nothing is left after the end.
fn ends_well(run: &Run, lives: &BTreeMap<i32, Life>, log: &[Logged], t0: Duration) -> Vec<String> {
    let Run { graph, ended, .. } = run;
    let mut faults = Vec::new();
    let left = ended.record.lines.iter().filter(|line| line.text.starts_with("left: "));
    faults.extend(left.map(|line| line.text.clone()));
    for Process { name, .. } in &graph.processes {
        let has_run = ended.record.event(name, "start").is_some();
        if has_run && ended.path(&format!("{name}.sock")).exists() {
            faults.push(format!("the socket of {name} is left"));
        }
    }
    let text = |record: &Record, name: &str| {
        let of_it = format!("\"process\":\"{name}\"");
        let lines = record.lines.iter().filter(|line| line.text.contains(&of_it));
        lines.filter(|line| line.text.contains("\"word")).count()
    };
    for Process { name, generation, .. } in &graph.processes {
        // A daemon writes a line only at SIGTERM.
        let daemon = format!("{name}-daemon");
        let has_said = |life: &&Life| {
            life.name == daemon && life.event("got SIGTERM").is_some() && life.exit() == Some(0)
        };
        let by_daemons = lives.values().filter(has_said).count();
        let wrote = 3 * ended.record.count(name, "lines") + by_daemons;
        // The last reload may have failed only after the start of a process.
        let files = (0..=generation + 1).map(|it| ended.path(&format!("{name}.{it}.log")));
        let files = files.map(|path| std::fs::read_to_string(path).unwrap_or_default());
        let in_files: usize = files.map(|file| file.matches("\"word").count()).sum();
        let said = text(&ended.record, name) + in_files;
        if said < wrote {
            faults.push(format!("{said} of {wrote} lines of {name} came out"));
        }
    }
    let Some(exit) = log.iter().find(|logged| logged.event == "exit") else {
        faults.push("drainit has logged no exit".to_owned());
        return faults;
    };
    faults.extend(is_too_long(graph, exit.at.saturating_sub(t0)));
    let shutdown = log.iter().find(|logged| logged.event == "shutdown").unwrap();
    let cause = shutdown.fields["cause"].as_str().unwrap_or_default();
    let is_asked = cause.ends_with(" received");
    let is_late = |life: &&Life| life.event("got ").is_some_and(|event| event.at > t0);
    let is_hook = |life: &&Life| life.name.contains("-p");
    let killed = lives.values().filter(|life| life.is_killed() && !is_hook(life));
    let (before, after): (Vec<_>, Vec<_>) = killed.partition(|life| !is_late(life));
    let expected = match (is_asked, after.is_empty(), before.is_empty()) {
        (true, true, true) => vec![0],
        (true, false, _) if run.killed.is_empty() => vec![137],
        // SIGKILL may come while the process exits.
        (true, true, _) if log.iter().any(|it| it.event == "killed") => vec![0, 137],
        (true, ..) => vec![0, 137],
        (false, ..) => {
            let own = lives.values().filter(|life| life.process(graph).is_some());
            let own = own.filter_map(Life::exit).map(|code| code as i32);
            let killed = run.killed.iter().map(|_| 137);
            let unready = cause.contains("ready").then_some(1);
            let has_killed = cause == "every process has ended" && !after.is_empty();
            let kills = has_killed.then_some(137);
            own.chain(killed).chain(unready).chain(kills).chain([0]).collect()
        }
    };
    let names: Vec<_> = after.iter().map(|life| life.name).collect();
    if !expected.contains(&ended.code) {
        let code = ended.code;
        faults.push(format!("the code is {code}, not {expected:?}; killed after T0: {names:?}"));
    }
    if exit.fields["exit_code"].as_i64() != Some(ended.code.into()) {
        faults.push(format!("drainit exits with {}, and logs another code", ended.code));
    }
    faults
}
