//! Compares the answers to commands with what has happened in the run, and with drainit's log.

use super::graph::{Act, Process};
use super::history::{Life, Logged, MOMENT, Run};
use crate::support::*;
use std::collections::BTreeMap;

/// The answer to a command.
pub(crate) struct Answer {
    pub(crate) act: Act,
    /// The times before the command began and after it had ended.
    pub(crate) asked: Duration,
    pub(crate) at: Duration,
    pub(crate) said: Said,
}

impl Answer {
    /// Whether the command is one of these.
    fn is_of(&self, commands: &[&str]) -> bool {
        commands.contains(match &self.act {
            Act::Request(request, _) => request,
            Act::Drain => &"drain",
            Act::Kill(_) => &"kill",
            Act::Reload(_) => &"reload",
            Act::Write(..) => &"",
        })
    }

    /// Whether no other command, and no watched file, may have stopped a process meanwhile.
    fn is_alone(&self, run: &Run) -> bool {
        let is_beside = |other: &Answer| {
            let is_it = other.is_of(&["start", "stop", "restart", "reload"]);
            is_it && other.asked != self.asked && other.asked < self.at && other.at > self.asked
        };
        let mut processes = run.graph.processes.iter();
        !processes.any(|process| process.is_watched) && !run.answers.iter().any(is_beside)
    }
}

/// Returns every answer that is not true. `t0` is the beginning of the shutdown.
pub(crate) fn faults(
    run: &Run,
    lives: &BTreeMap<i32, Life>,
    log: &[Logged],
    t0: Duration,
) -> Vec<String> {
    let one = |answer: &Answer| {
        let fault = match answer.said.code {
            0 if !is_logged(run, log, answer) => Some("the log does not say so".to_owned()),
            0 => done(run, lives, answer, since(run, log, answer), t0),
            _ => failed(run, lives, answer, log, t0),
        };
        fault.map(|why| format!("{:?} was answered, but {why}: {:?}", answer.act, answer.said))
    };
    run.answers.iter().filter_map(one).collect()
}

/// Whether the log says that what the command has requested is done.
fn is_logged(run: &Run, log: &[Logged], answer: &Answer) -> bool {
    let (event, request, name) = match answer.act {
        Act::Request(request, process) => {
            ("request_done", Some(request), Some(&*run.graph.processes[process].name))
        }
        Act::Reload(_) => ("reload_done", None, None),
        _ => return true,
    };
    let is_it = |it: &Logged| {
        let of = (it.fields["request"].as_str(), it.fields["name"].as_str());
        it.event == event && of == (request, name)
    };
    let mut since = log.iter().filter(|it| it.at + MOMENT > answer.asked);
    since.any(|it| is_it(it) && it.at < answer.at + MOMENT)
}

/// The time since which the log says that drainit carries out what the command has requested. If an
/// equal request was under way when the command came, this time is before the command.
fn since(run: &Run, log: &[Logged], answer: &Answer) -> Duration {
    let Act::Request(request, process) = answer.act else { return answer.asked };
    let is_it = |it: &&Logged| {
        it.fields["request"] == request && it.fields["name"] == run.graph.processes[process].name
    };
    let mut of_it = log.iter().rev().filter(is_it).skip_while(|it| it.at >= answer.at + MOMENT);
    of_it.find(|it| it.event == "request_done");
    let mut before = of_it.take_while(|it| it.event != "request_done");
    let began = before.find(|it| ["request_began", "file_changed"].contains(&&*it.event));
    began.map_or(answer.asked, |began| began.at.min(answer.asked))
}

/// Returns what contradicts the success of a command. `since` is the time since which drainit
/// carries out its request.
fn done(
    run: &Run,
    lives: &BTreeMap<i32, Life>,
    answer: &Answer,
    since: Duration,
    t0: Duration,
) -> Option<String> {
    let (request, process) = match answer.act {
        Act::Request(request, process) => (request, process),
        Act::Kill(_) => {
            let pid = answer.said.stdout.rsplit(' ').next()?.trim().parse().ok()?;
            let last = lives.get(&pid)?.events.last()?;
            return (last.at > answer.at + MOMENT).then(|| format!("{pid} was alive"));
        }
        _ => return None,
    };
    let Process { name, before_ready, .. } = &run.graph.processes[process];
    // A stop ends the dependents, too, but not the daemon of a process.
    let mut ends = run.graph.dependents(process);
    ends.retain(|_| request == "stop");
    ends.extend((request != "start").then_some(&**name));
    let is_of = |life: &Life| {
        let (name, rest) = life.name.split_once('-').unwrap_or((life.name, ""));
        ends.contains(&name) && rest != "daemon" && !is_stray(run, lives, life)
    };
    let mut old = lives.values().filter(|life| is_of(life) && began(life) < since);
    if let Some(life) = old.find(|life| life.events.iter().any(|event| event.at > answer.at)) {
        return Some(format!("{} was alive", life.name));
    }
    let mut own = lives.values().filter(|life| life.name == name);
    if request == "stop" {
        let mut starts = run.answers.iter().filter(|it| it.is_of(&["start", "restart"]));
        let has_started = own.any(|life| began(life) > answer.at);
        let is_wanted = starts.any(|start| start.at > answer.asked);
        return (has_started && !is_wanted).then(|| format!("{name} has started again"));
    }
    let asked = |life: &Life| {
        let mut asked = life.events.iter().filter(|event| event.what.starts_with("got "));
        asked.any(|event| event.at > answer.asked && event.at < answer.at.min(t0))
    };
    if request == "start" && answer.is_alone(run) && own.clone().any(asked) {
        return Some(format!("{name} was stopped"));
    }
    let is_ready = |life: &Life| {
        let is_new = request == "start" || began(life) > since;
        let so_far = life.events.iter().filter(|event| event.at < answer.at);
        is_new && so_far.count() >= *before_ready
    };
    // In a shutdown, SIGKILL may come before the process has recorded its start, and so may a signal
    // of a later command.
    let stops = |it: &Answer| it.is_of(&["stop", "restart", "reload"]) && it.asked > answer.asked;
    let was_stopped = run.answers.iter().any(|it| stops(it) && it.asked < answer.at);
    let is_lost = !own.any(is_ready) && answer.at + MOMENT < t0 && !was_stopped;
    is_lost.then(|| format!("no {name} was ready"))
}

fn began(life: &Life) -> Duration {
    life.events[0].at
}

/// Whether this is a `pN-main`, or its `pN-kin`, that has left the group of its process, and whose
/// message came after the end of the process. drainit then knows nothing of it, as of a daemon.
fn is_stray(run: &Run, lives: &BTreeMap<i32, Life>, life: &Life) -> bool {
    let of = match life.name.split_once('-') {
        Some((of, "main" | "kin")) => format!("{of}-main"),
        _ => return false,
    };
    let mains = lives.values().filter(|main| main.name == of && began(main) <= began(life));
    mains.max_by_key(|main| began(main)).is_some_and(|main| {
        let is_now = format!("its main process is now {}\"", main.events[0].pid);
        let has_left = main.events.iter().any(|event| event.what == "group");
        has_left && !run.ended.record.lines.iter().any(|line| line.text.contains(&is_now))
    })
}

/// Returns the reason of a command that has failed, if the reason is not true.
fn failed(
    run: &Run,
    lives: &BTreeMap<i32, Life>,
    answer: &Answer,
    log: &[Logged],
    t0: Duration,
) -> Option<String> {
    let says = |words: &str| answer.said.stderr.contains(words);
    let asked = |what: &[&str]| {
        let mut before = run.answers.iter().filter(|other| other.asked < answer.at);
        before.any(|other| other.is_of(what))
    };
    let is_true = if says("the container is shutting down") {
        answer.at + MOMENT > t0
    } else if says("a drain was requested") {
        asked(&["drain"])
    } else if says(" was asked to stop meanwhile") {
        asked(&["stop"])
    } else if says("; try again when that is done") {
        !answer.is_alone(run)
    } else if says("process has been ready yet") || says("not everything is ready yet") {
        answer.is_of(&["drain", "reload"])
    } else if let Some((before, _)) = answer.said.stderr.split_once(" is not running: it is ") {
        let name = before.rsplit(' ').next().unwrap_or_default();
        let is_it = |life: &Life| {
            let (first, last) = (life.events.first(), life.events.last());
            life.name == name
                && first.is_some_and(|event| event.at < answer.asked)
                && last.is_some_and(|event| event.at > answer.at)
        };
        !lives.values().any(is_it)
    } else if says(" ended by SIGKILL") {
        !run.killed.is_empty()
    } else if let Some((before, code)) = answer.said.stderr.split_once(" exited with code ") {
        let code = code.split([' ', '\n']).next().and_then(|code| code.parse().ok());
        let ended =
            |life: &Life| before.split(' ').any(|word| word == life.name) && life.exit() == code;
        lives.values().any(ended)
    } else {
        // The kernel ends the command together with drainit's PID namespace.
        let exit = log.iter().find(|it| it.event == "exit");
        answer.at + MOMENT > exit.map(|exit| exit.at).unwrap_or_default()
    };
    (!is_true).then(|| "the reason is not true".to_owned())
}
