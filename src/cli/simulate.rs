//! `drainit simulate`: plays a config with random processes and faults.

use std::io::{self, Write};
use std::ops::Range;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;

use crate::cli::config_files::ConfigFiles;
use crate::cli::{fail, print};
use crate::config::Process;
use crate::core::action::Action;
use crate::core::spec::Spec;
use crate::load;
use crate::load::{Environment, Loaded};
use crate::plan::timeline::Timeline;
use crate::report::messages::{self, Names};
use crate::report::text;
use crate::simulation::count::{Count, Worst};
use crate::simulation::scenario::{Scenario, Subject};
use crate::simulation::{Broken, Seen, watch};
use crate::types::{Time, exit_code, human};

/// A thread takes so many seeds at a time.
const CHUNK: u64 = 1000;
/// Far more of them than there are cores could take the threads of the whole machine.
const MOST_JOBS: i64 = 1024;
/// Seeds and their number are below this, so that no sum of them overflows.
const END: u64 = 1 << 63;

/// Options of `simulate`.
#[derive(Debug, Args)]
pub struct SimulateArgs {
    #[command(flatten)]
    files: ConfigFiles,
    /// The same number gives the same run, with the same version of drainit
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..END))]
    seed: u64,
    /// Count this many runs, from the seed on, instead of showing one
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..END))]
    runs: Option<u64>,
    /// Threads [default: one for each core]
    #[arg(long, value_name = "N", requires = "runs", value_parser = clap::value_parser!(u16).range(1..=MOST_JOBS))]
    jobs: Option<u16>,
}

/// Shows one run, or counts many.
pub(super) fn simulate(args: &SimulateArgs) -> u8 {
    let loaded = load::load_to_show(&args.files.paths(), &Environment::from_process());
    let (problems, loaded) = match &loaded {
        Ok(Loaded { config, graph, warnings, .. }) => (warnings, Some((config, graph))),
        Err(problems) => (problems, None),
    };
    // Best effort: the reader may have closed the pipe.
    for problem in problems {
        let _ = writeln!(io::stderr(), "{problem}");
    }
    let Some((config, graph)) = loaded else { return exit_code::CONFIG };
    let spec = Spec::new(config, graph);
    // An `Rc` cannot be shared by threads, so each makes its own.
    let subject = || Subject {
        spec: Rc::new(spec.clone()),
        names: config.processes.iter().map(|process| process.name.clone()).collect(),
        notifies: config.processes.iter().map(Process::uses_notify).collect(),
    };
    let (text, result) = match args.runs {
        None => show(&subject(), args.seed),
        Some(runs) => {
            let began = Instant::now();
            let seeds = args.seed..args.seed + runs;
            let count = count(seeds, jobs(args.jobs), || {
                let subject = subject();
                move |seed| Scenario::of(&subject, seed)
            });
            let text = summary(&count, &spec, began.elapsed());
            (text, count.first_broken().map_or(Ok(()), Err))
        }
    };
    match result {
        Ok(()) => {
            print(text.as_bytes());
            exit_code::OK
        }
        Err(Broken { seed, after, why }) => {
            // The error counts, whoever reads the rest.
            let _ = write!(io::stdout(), "{text}");
            let after = human(after);
            fail(
                &format!("a promise is broken with seed {seed}, {after} after the start: {why}"),
                exit_code::NOT_READY,
            )
        }
    }
}

/// The log of a run and the drawing of its report.
fn show(subject: &Subject, seed: u64) -> (String, Result<(), Broken>) {
    let scenario = Scenario::of(subject, seed);
    let mut shown = format!("Seed {seed}, in simulated time\n\n");
    let mut names = Names(subject.names.to_vec());
    let mut start = None;
    let result = watch(&scenario, &mut |now, seen| {
        let start = *start.get_or_insert(now);
        match seen {
            Seen::Named(slot, name) => names.set(slot, name.to_owned()),
            Seen::Action(Action::Note(note)) => {
                let (at, (_, line)) =
                    (now.since(start).as_secs_f64(), messages::line(note, &names));
                shown.push_str(&format!("{at:>10.3}  {line}\n"));
            }
            _ => {}
        }
    });
    if let Ok(run) = &result {
        let start = start.unwrap_or(run.end);
        let stamp = |at: Time| format!("{} after the start", human(at.since(start)));
        if let Some(report) = run.data(stamp) {
            shown.extend(["\n", text::text(&report).trim_end(), "\n"]);
        }
    }
    (shown, result.map(drop))
}

fn summary(count: &Count, spec: &Spec, took: Duration) -> String {
    let longest = |asked| {
        let in_oneshot = Timeline::worst_in_oneshot(spec, asked).map(|(_, it)| it.total);
        Timeline::worst(spec, asked).total.max(in_oneshot.unwrap_or_default())
    };
    let planned = longest(true).max(longest(false));
    let rate = count.runs as f64 / took.as_secs_f64().max(f64::MIN_POSITIVE);
    let mut text = format!("{} runs in {}, {rate:.0} a second\n\n", count.runs, human(took));
    let mut row = |name: &str, value: String| text.push_str(&format!("  {name:<34}  {value}\n"));
    let worst = |worst: Worst| format!("{} (seed {})", human(worst.took), worst.seed);
    row("planned at most", human(planned));
    for (name, longest) in [
        ("longest", count.worst),
        ("longest, if KILL does not end all", count.worst_with_survivors),
    ] {
        row(name, longest.map_or("-".to_owned(), worst));
    }
    row("runs with killed processes", count.runs_with_kills.to_string());
    row("killed processes", count.killed.to_string());
    row("runs with broken promises", count.broken.len().to_string());
    text
}

/// The number of threads: that of the option, or of the cores.
pub(crate) fn jobs(option: Option<u16>) -> u16 {
    let cores = || thread::available_parallelism().map_or(1, |cores| cores.get() as u16);
    option.unwrap_or_else(cores)
}

/// Plays the scenarios of some seeds, with several threads, or with as many as can be started.
pub(crate) fn count<F: Fn(u64) -> Scenario>(
    seeds: Range<u64>,
    jobs: u16,
    scenarios: impl Fn() -> F + Sync,
) -> Count {
    let next = AtomicU64::new(seeds.start);
    let play = || {
        let scenario = scenarios();
        let mut count = Count::default();
        loop {
            let from = next.fetch_add(CHUNK, Ordering::Relaxed);
            if from >= seeds.end {
                return count;
            }
            for seed in from..seeds.end.min(from.saturating_add(CHUNK)) {
                count.play(&scenario(seed));
            }
        }
    };
    let chunks = (seeds.end - seeds.start).div_ceil(CHUNK);
    thread::scope(|scope| {
        // This thread is one of them.
        let start = |_| thread::Builder::new().spawn_scoped(scope, play).ok();
        let threads: Vec<_> = (1..chunks.min(jobs.into())).map_while(start).collect();
        let mut sum = play();
        // A panic is passed on.
        for thread in threads {
            match thread.join() {
                Ok(count) => sum.add(count),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        sum
    })
}
