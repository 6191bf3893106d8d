//! Plays random schedules of starts, faults, requests and stop signals against the real binary, and
//! checks the events that the processes have recorded, and the answers to the commands. Some
//! schedules are played while calls of the kernel fail (`errors.c`). `DRAINIT_SCHEDULE=SEED` plays
//! one schedule.

mod answers;
mod graph;
mod history;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use self::answers::Answer;
use self::graph::{Act, Graph, Schedule};
use self::history::{MOMENT, Run};
use crate::support::*;
use drainit_config::testing::random::Random;
use nix::sys::signal::kill;

/// The numbers of schedules. A schedule mostly waits, so many schedules can be played at the same
/// time.
const SCHEDULES: u64 = 300;
const WITH_ERRORS: u64 = 100;
const AT_ONCE: u64 = 24;

/// A schedule that fails while the machine is too busy is played again, until it has been
/// played this many times.
const TRIES: u64 = 5;

/// Runs drainit, and names the processes that drainit has left behind.
const OUTLIVE: &str = r#""$@"; code=$?; for at in /proc/[0-9]*; do
    [ $at = /proc/1 ] || { read -r name <$at/comm && [ $name = child ] && echo "left: $at"; }
done 2>/dev/null; exit $code"#;

// holds: S6, S241, S290, S326, C800
#[test]
fn random_schedules_keep_every_promise() {
    play_all(SCHEDULES, |seed| play(seed, None));
}

// holds: S390, S391
#[test]
fn errors_of_any_call_hold_no_shutdown_up() {
    let library = format!("{}/errors.so", env!("CARGO_TARGET_TMPDIR"));
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/schedules/errors.c");
    let words = ["-shared", "-fPIC", "-fno-builtin", "-O1", "-o", &library, source];
    assert!(Command::new("cc").args(words).status().unwrap().success(), "cannot build {source}");
    play_all(WITH_ERRORS, |seed| play(seed, Some(&library)));
}

/// Plays the schedules of many seeds, and reports the failed schedule with the shortest history.
fn play_all(count: u64, play: impl Fn(u64) -> Result<(), (Vec<String>, String)> + Sync) {
    let one = std::env::var("DRAINIT_SCHEDULE").ok().map(|seed| seed.parse().unwrap());
    let count = std::env::var("DRAINIT_SCHEDULES").map_or(count, |it| it.parse().unwrap());
    let next = AtomicU64::new(one.unwrap_or(1));
    let end = one.map_or(count, |one| one);
    let (failed, stalls, over) =
        (Mutex::new(Vec::new()), AtomicU64::new(0), AtomicBool::new(false));
    // A failure proves nothing if the machine was too busy during the schedule.
    let play_again = |seed| {
        for _ in 1..TRIES {
            let (before, result) = (stalls.load(Ordering::Relaxed), play(seed));
            if result.is_ok() || stalls.load(Ordering::Relaxed) == before {
                return result;
            }
        }
        play(seed)
    };
    thread::scope(|scope| {
        scope.spawn(|| count_stalls(&over, &stalls));
        let _over = Over(&over);
        in_parallel(0..AT_ONCE, |_| {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed > end {
                    return;
                }
                if let Err((faults, history)) = play_again(seed) {
                    let path = format!("{}/schedule-{seed}", env!("CARGO_TARGET_TMPDIR"));
                    fs::write(path, format!("{faults:#?}\n{history}")).unwrap();
                    failed.lock().unwrap().push((seed, (faults, history)));
                }
            }
        });
    });
    let mut failed = failed.into_inner().unwrap();
    failed.sort_by_key(|(_, (faults, history))| (faults.len(), history.len()));
    let seeds: Vec<_> = failed.iter().map(|(seed, (faults, _))| (seed, &faults[0])).collect();
    if let Some((seed, (faults, history))) = failed.first() {
        panic!("DRAINIT_SCHEDULE={seed}: {faults:#?}\n{history}\nall failed: {seeds:#?}");
    }
}

/// Counts how often the machine lets this process wait for longer than the checks tolerate.
fn count_stalls(over: &AtomicBool, stalls: &AtomicU64) {
    while !over.load(Ordering::Relaxed) {
        let before = Instant::now();
        thread::sleep(MOMENT / 10);
        stalls.fetch_add((before.elapsed() > MOMENT).into(), Ordering::Relaxed);
    }
}

/// Plays one schedule. `errors` is a library that makes calls of the kernel fail. If the schedule
/// fails, returns the faults and the history.
fn play(seed: u64, errors: Option<&str>) -> Result<(), (Vec<String>, String)> {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut graph = Graph::random(&mut random);
    let schedule = Schedule::random(&mut random, &graph);
    let Some(rig) = Rig::new() else { return Ok(()) };
    // Half of the drainits are not PID 1, so that the test sees which processes they leave behind.
    let rig = if random.one_in(2) { rig.wrapper(&["sh", "-c", OUTLIVE, "sh"]) } else { rig };
    let rig = match errors {
        Some(library) => rig.env("LD_PRELOAD", library).env("ERRORS", &seed.to_string()),
        None => rig,
    };
    for process in graph.processes.iter().filter(|process| process.is_watched) {
        process.watched().for_each(|name| rig.write(&name, "A"));
    }
    // Some sockets exist already, as after a container that was killed.
    for process in graph.processes.iter().filter(|_| random.one_in(4)) {
        leave_socket(rig.path(&format!("{}.sock", process.name)));
    }
    let config = graph.config();
    let running = rig.start(&config);
    let is_over = |running: &Running| running.record().ended.is_some();
    let wait = |pause: u64| thread::sleep(ms(pause));
    let _ = running.try_wait(LONG, |record| {
        let starts = record.events.iter().filter(|event| event.what == "start");
        (starts.count() >= schedule.starts || record.line("\"event\":\"shutdown\"").is_some())
            .then_some(())
    });
    let (mut answers, mut commands, mut killed) = (Vec::new(), Vec::new(), Vec::new());
    let mut reload = None;
    let ask = |act: &Act, words: &[&str]| {
        let (act, mut command) = (act.clone(), running.exec_as(None, words));
        thread::spawn(move || {
            let asked = now();
            let said = Said::of(command.output().unwrap());
            Answer { act, asked, at: now(), said }
        })
    };
    let mut faults = Vec::new();
    for (pause, act) in &schedule.acts {
        wait(*pause);
        if is_over(&running) {
            break;
        }
        match act {
            Act::Request(request, process) => {
                commands.push(ask(act, &[request, &graph.processes[*process].name]));
            }
            Act::Drain => commands.push(ask(act, &["drain"])),
            Act::Kill(process) => {
                killed.push(*process);
                let name = &graph.processes[*process].name;
                answers.push(ask(act, &["kill", name]).join().unwrap());
            }
            Act::Reload(which) => {
                answers.extend(reload.take().map(|reload| reloaded(&mut graph, reload)));
                which.iter().for_each(|process| graph.processes[*process].generation += 1);
                running.write_config(&graph.config());
                reload = Some(ask(act, &["reload"]));
            }
            Act::Write(process, content) => {
                graph.processes[*process].watched().for_each(|name| {
                    running.write(&name, content.to_string());
                });
            }
        }
    }
    let mut shown = Vec::new();
    if schedule.settles && errors.is_none() {
        answers.extend(commands.drain(..).map(|command| command.join().unwrap()));
        answers.extend(reload.take().map(|reload| reloaded(&mut graph, reload)));
        faults.extend(settle(&graph, &running).err());
        // A reload that fails may have replaced some processes.
        let has_failed = |it: &Answer| matches!(it.act, Act::Reload(_)) && it.said.code != 0;
        let is_known = !answers.iter().any(has_failed);
        for (name, pid) in running_now(&running).into_iter().filter(|_| is_known) {
            let of = graph.processes.iter().find(|it| it.name == name).unwrap();
            shown.push((name, pid, of.generation));
        }
    }
    wait(schedule.pause);
    let signal = |signal| {
        if !is_over(&running) {
            let _ = kill(running.pid(), signal);
        }
    };
    signal(Signal::SIGTERM);
    if let Some(pause) = schedule.hurry {
        wait(pause);
        signal(Signal::SIGINT);
    }
    if running.try_wait(LONG, |record| record.ended.map(drop)).is_err() {
        let what = "does not end".to_owned();
        return Err((vec![what], format!("{config}\n{schedule:?}\n{}", running.record())));
    }
    let ended = running.wait_exit(LONG);
    answers.extend(commands.into_iter().map(|command| command.join().unwrap()));
    answers.extend(reload.map(|reload| reloaded(&mut graph, reload)));
    let is_hurried = schedule.hurry.is_some();
    let run = Run { graph: &graph, ended: &ended, killed, is_hurried, shown, answers };
    faults.extend(match errors {
        Some(_) => history::faults_beside_errors(&run),
        None => history::faults(&run),
    });
    if faults.is_empty() {
        return Ok(());
    }
    Err((faults, format!("{config}\n{schedule:?}\n{}", ended.record)))
}

/// Waits for the end of a reload. A reload that fails changes no definition.
fn reloaded(graph: &mut Graph, reload: JoinHandle<Answer>) -> Answer {
    let answer = reload.join().unwrap();
    if let (Act::Reload(which), 1..) = (&answer.act, answer.said.code) {
        which.iter().for_each(|process| graph.processes[*process].generation -= 1);
    }
    answer
}

/// Waits until each running process with a watched file has read the file's content.
fn settle(graph: &Graph, running: &Running) -> Result<(), String> {
    for process in graph.processes.iter().filter(|process| process.is_watched && !process.ends()) {
        let path = running.path(&process.watched().next().unwrap());
        let wanted = format!("shows {}", fs::read_to_string(path).unwrap());
        let has_read = |record: &crate::support::record::Record| {
            let mut events = record.events.iter().rev().filter(|event| event.name == process.name);
            let last = events.find(|event| event.what.starts_with("shows "));
            last.is_none_or(|event| event.what == wanted).then_some(())
        };
        if running.try_wait(Duration::from_secs(8), has_read).is_err()
            && running_now(running).iter().any(|(name, _)| *name == process.name)
        {
            return Err(format!("{} has not read the content of its file", process.name));
        }
    }
    Ok(())
}

/// The names and pids of the processes that `drainit status` shows.
fn running_now(running: &Running) -> Vec<(String, i32)> {
    let said = running.exec(&["status", "--format", "json"]);
    let status: Value = serde_json::from_str(&said.stdout).unwrap_or_default();
    let processes = status["processes"].as_array().into_iter().flatten();
    let shown = processes.filter_map(|process| {
        Some((process["name"].as_str()?.to_owned(), i32::try_from(process["pid"].as_i64()?).ok()?))
    });
    shown.collect()
}
