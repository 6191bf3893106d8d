//! Runs [`ExecMachine`] with random options, commands and signals in simulated time, and checks the
//! promises of `exec`.

use std::time::Duration;

use crate::commands::exec::ExecOptions;
use crate::commands::rewrite::Rewrite;
use crate::exec::machine::{ExecAction, ExecEvent, ExecMachine};
use crate::testing::random::Random;
use crate::types::{End, ONE_SIGNAL, Signal, Time};

const AFTER_KILL: Duration = Duration::from_secs(2);

/// A process below drainit: the command, a member of its group, or a daemon outside the group.
struct Simulated {
    is_in_group: bool,
    /// The time from SIGTERM, SIGINT or SIGQUIT to the end; `None` if the process ignores these
    /// signals.
    obeys_after: Option<Duration>,
    /// Whether the process survives even SIGKILL for longer than drainit waits.
    is_stuck: bool,
    ends: Option<(Time, End)>,
    is_gone: bool,
}

impl Simulated {
    fn signal(&mut self, now: Time, signal: Signal) {
        let after = match signal {
            Signal::KILL if !self.is_stuck => Some(Duration::ZERO),
            Signal::TERM | Signal::INT | Signal::QUIT => self.obeys_after,
            _ => None,
        };
        if let Some(at) = after.map(|after| now + after)
            && self.ends.is_none_or(|(ends, _)| at < ends)
        {
            self.ends = Some((at, End::Signal(signal)));
        }
    }
}

struct Run<'a> {
    options: &'a ExecOptions,
    machine: ExecMachine<'a>,
    now: Time,
    /// The processes. The command comes first.
    processes: Vec<Simulated>,
    command_end: Option<End>,
    /// The signal that was forwarded last.
    forwarded: Option<Signal>,
    /// The stop signals that drainit must forward, each with the latest time for this.
    owed: Vec<(Signal, Time)>,
    first_stop: Option<Time>,
    stop_signals_after_end: u32,
    last_stop: Option<Time>,
    explained: bool,
    term_to_leftover: bool,
    killed_at: Option<Time>,
    exit: Option<End>,
}

impl Run<'_> {
    fn has_group(&self) -> bool {
        let mut alive = self.processes.iter().skip(1).filter(|process| !process.is_gone);
        self.options.grace_period.is_some() && alive.any(|process| process.is_in_group)
    }

    fn handle(&mut self, event: ExecEvent) {
        let had_ended = self.machine.has_ended();
        let actions = self.machine.handle(self.now, event);
        for (place, action) in actions.iter().enumerate() {
            assert!(self.exit.is_none(), "nothing follows the exit: {actions:?}");
            assert!(!actions[..place].contains(action), "done twice: {actions:?}");
            match *action {
                ExecAction::Forward(signal) => {
                    assert!(!had_ended, "{signal} to a pid that is reaped");
                    self.owed.retain(|(owed, _)| self.options.rewrites.of(*owed) != Some(signal));
                    self.forwarded = Some(signal);
                    self.processes[0].signal(self.now, signal);
                }
                ExecAction::SignalGroup(signal) => {
                    self.signalled(signal);
                    self.signal_where(signal, |process| process.is_in_group);
                }
                ExecAction::Explain(_) => self.explained = true,
                ExecAction::Report(message) => assert!(!message.to_string().is_empty()),
                ExecAction::Exit(end) => self.exit = Some(end),
                other => unreachable!("{other:?} without a suspension"),
            }
        }
    }

    fn signalled(&mut self, signal: Signal) {
        if signal == Signal::KILL {
            self.killed_at.get_or_insert(self.now);
        } else {
            assert_eq!(signal, Signal::TERM);
            assert!(self.killed_at.is_none(), "SIGTERM after SIGKILL");
            self.term_to_leftover = true;
        }
    }

    fn signal_where(&mut self, signal: Signal, which: impl Fn(&Simulated) -> bool) {
        let now = self.now;
        let alive = self.processes.iter_mut().filter(|process| !process.is_gone);
        alive.filter(|process| which(process)).for_each(|process| process.signal(now, signal));
    }

    /// Sends a signal to drainit, and records the required reaction.
    fn signal(&mut self, signal: Signal) {
        let is_dropped = self.options.rewrites.of(signal).is_none();
        if is_dropped || !self.options.stop_signals.contains(&signal) {
            let expected = self.options.rewrites.of(signal).filter(|_| !self.machine.has_ended());
            self.forwarded = None;
            self.handle(ExecEvent::Signal(signal));
            assert_eq!(self.forwarded, expected, "for {signal}");
            return;
        }
        let is_same = self.last_stop.is_some_and(|last| self.now.since(last) < ONE_SIGNAL);
        self.last_stop = Some(self.now);
        let is_first = self.first_stop.is_none();
        if self.command_end.is_some() {
            self.stop_signals_after_end += u32::from(!is_same && !is_first);
        } else if is_first || !is_same {
            self.owed.push((signal, self.now));
        }
        self.first_stop.get_or_insert(self.now);
        self.handle(ExecEvent::Signal(signal));
    }

    fn check_owed(&mut self) {
        // A stop signal need not reach a command that has ended or was killed.
        if self.command_end.is_some() || self.killed_at.is_some() {
            self.owed.clear();
        }
        let overdue = self.owed.iter().find(|(_, by)| *by <= self.now);
        assert_eq!(overdue, None, "a stop signal has not reached the command");
    }

    /// Ends the processes that are due, and reaps them.
    fn reap(&mut self) {
        let mut is_any = false;
        for index in 0..self.processes.len() {
            let process = &mut self.processes[index];
            let Some((at, end)) = process.ends.filter(|_| !process.is_gone) else { continue };
            if at > self.now || self.exit.is_some() {
                continue;
            }
            process.is_gone = true;
            is_any = true;
            if index == 0 {
                self.command_end = Some(end);
                let is_asked = self.first_stop.is_some() || self.killed_at.is_some();
                self.handle(ExecEvent::Ended { end, has_group: self.has_group() });
                assert_eq!(self.explained, !is_asked);
            }
        }
        if is_any && self.exit.is_none() {
            self.handle(ExecEvent::Reaped { has_group: self.has_group() });
        }
        let is_over = self.command_end.is_some() && !self.has_group();
        assert!(!is_over || self.exit.is_some(), "drainit stays");
    }

    fn check_kill(&self) {
        let Some(killed) = self.killed_at else { return };
        // SIGKILL is allowed after the grace period, or after a second stop signal that came after
        // the end of the command.
        let grace = self.options.grace_period.unwrap_or_default();
        let is_due = killed >= Time(grace);
        assert!(is_due || self.stop_signals_after_end > 0, "SIGKILL is too early");
    }

    fn check_exit(&self, end: End) {
        let command = self.command_end.unwrap_or(End::Signal(Signal::KILL));
        assert_eq!(end, command, "the exit code is that of the command");
        let is_late = self.killed_at.is_some_and(|killed| self.now >= killed + AFTER_KILL);
        let is_over = self.command_end.is_some() && !self.has_group();
        assert!(is_late || is_over, "drainit exits too early");
        if let (Some(first), Some(grace)) = (self.first_stop, self.options.grace_period) {
            assert!(self.now <= first + grace + AFTER_KILL, "drainit exits too late");
        }
    }
}

fn random_options(random: &mut Random) -> ExecOptions {
    let mut options = ExecOptions::new(Vec::new());
    options.grace_period =
        (!random.one_in(3)).then(|| Duration::from_millis(1) + random.millis(20_000));
    let rewrite = |from, to| Rewrite { from, to };
    options.rewrites = match random.below(4) {
        0 => [rewrite(Signal::TERM, Some(Signal::QUIT))].into_iter().collect(),
        1 => [rewrite(Signal::HUP, None), rewrite(Signal::INT, None)].into_iter().collect(),
        _ => options.rewrites,
    };
    options
}

fn random_process(random: &mut Random, is_in_group: bool) -> Simulated {
    let ends_itself = random.one_in(2);
    let ends = ends_itself.then(|| {
        let at = Time(random.millis(30_000));
        let kill = random.one_in(8);
        (at, if kill { End::Signal(Signal::KILL) } else { End::Code(random.below(4) as u8) })
    });
    Simulated {
        is_in_group,
        obeys_after: (!random.one_in(3)).then(|| random.millis(8_000)),
        is_stuck: random.one_in(10),
        ends,
        is_gone: false,
    }
}

fn play(seed: u64) {
    let mut random = Random::of_seed(seed);
    let options = random_options(&mut random);
    let mut processes = vec![random_process(&mut random, true)];
    for _ in 0..random.below(3) {
        let is_in_group = random.one_in(2);
        processes.push(random_process(&mut random, is_in_group));
    }
    let mut signals = Vec::new();
    for _ in 0..random.below(4) {
        let signal = random.pick(&[Signal::TERM, Signal::INT, Signal::HUP, Signal::USR1]);
        let at = Time(random.millis(25_000));
        signals.push((at, signal));
        if random.one_in(3) {
            // The signal arrives again, as if both a terminal and a shell had sent the signal.
            signals.push((at + random.millis(10), signal));
        }
    }
    signals.sort_by_key(|(at, _)| *at);
    let mut run = Run {
        options: &options,
        machine: ExecMachine::new(&options),
        now: Time(Duration::ZERO),
        processes,
        command_end: None,
        forwarded: None,
        owed: Vec::new(),
        first_stop: None,
        stop_signals_after_end: 0,
        last_stop: None,
        explained: false,
        term_to_leftover: false,
        killed_at: None,
        exit: None,
    };
    let mut signals = signals.into_iter().peekable();
    loop {
        let ends = run.processes.iter().filter(|process| !process.is_gone);
        let ends = ends.filter_map(|process| Some(process.ends?.0)).min();
        let arrives = signals.peek().map(|(at, _)| *at);
        let tick = run.machine.next_wakeup();
        let sleeps = tick.is_none_or(|tick| tick > run.now || run.now.0.is_zero());
        assert!(sleeps, "the machine does not sleep");
        // If no event is left, the command keeps running, because it got no stop signal or ignores
        // the stop signal.
        let Some(next) = ends.into_iter().chain(arrives).chain(tick).min() else {
            let must_end = run.first_stop.is_some() && options.grace_period.is_some();
            assert!(!must_end, "drainit waits for ever");
            return;
        };
        run.now = run.now.max(next);
        if let Some((_, signal)) = signals.next_if(|(at, _)| *at <= run.now) {
            run.signal(signal);
        }
        run.reap();
        if run.exit.is_none() {
            run.handle(ExecEvent::Tick);
            run.check_owed();
        }
        run.check_kill();
        if let (Some(first), Some(grace), None) = (run.first_stop, options.grace_period, run.exit) {
            let is_killed = run.now < first + grace || run.killed_at.is_some();
            assert!(is_killed, "no SIGKILL after the grace period");
        }
        if let Some(end) = run.exit {
            return run.check_exit(end);
        }
        let is_asked = run.command_end.is_none() || run.term_to_leftover || run.killed_at.is_some();
        assert!(is_asked, "no SIGTERM");
    }
}

/// Who has the terminal.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Holder {
    Command,
    Drainit,
    Other,
}

/// A command that is suspended and continued.
struct Job<'a> {
    machine: ExecMachine<'a>,
    has_shell: bool,
    /// Whether the shell above drainit has job control, so that the kernel suspends drainit.
    has_jobs: bool,
    holder: Holder,
    is_lent: bool,
    /// The signal that has suspended the command.
    by: Option<Signal>,
    /// Whether SIGSTOP, or a signal to drainit, asked for the suspension.
    is_intended: bool,
    is_drainit_suspended: bool,
}

impl Job<'_> {
    fn lend(&mut self) {
        if self.holder == Holder::Drainit {
            (self.holder, self.is_lent) = (Holder::Command, true);
        }
    }

    fn handle(&mut self, event: ExecEvent) {
        for action in self.machine.handle(Time::default(), event) {
            match action {
                ExecAction::Forward(Signal::CONT) => {
                    self.lend();
                    (self.by, self.is_intended) = (None, false);
                }
                ExecAction::Forward(signal) => {
                    self.by = self.by.or(Some(signal));
                    self.is_intended = true;
                }
                ExecAction::Lend => self.lend(),
                ExecAction::Continue => (self.by, self.is_intended) = (None, false),
                ExecAction::Suspend { .. } if self.has_jobs => {
                    self.is_drainit_suspended = true;
                    self.is_lent = false;
                    if self.holder == Holder::Command {
                        self.holder = Holder::Other;
                    }
                }
                ExecAction::Suspend { or_continue: true } => {
                    (self.by, self.is_intended) = (None, false);
                }
                ExecAction::Suspend { .. } => {}
                other => unreachable!("{other:?} because of a suspension"),
            }
        }
    }

    /// Lets drainit notice that the command is suspended.
    fn notice(&mut self) {
        let Some(by) = self.by else { return };
        let (holder, is_lent, has_shell) = (self.holder, self.is_lent, self.has_shell);
        let is_ours = holder == Holder::Drainit;
        let nobody_continues = by == Signal::TSTP && !self.is_intended;
        self.handle(ExecEvent::Suspended { by, is_lent, is_ours, has_shell });
        let what = format!("{by}, the terminal was with {holder:?}");
        if is_ours && [Signal::TTIN, Signal::TTOU].contains(&by) {
            assert_eq!((self.by, self.holder), (None, Holder::Command), "{what}");
        } else if self.has_jobs && (is_lent || by != Signal::STOP) {
            assert!(self.is_drainit_suspended, "the shell does not notice: {what}");
            assert_eq!(self.by, Some(by), "the command runs below a suspended drainit: {what}");
        } else {
            assert_eq!(self.by.is_none(), nobody_continues, "{what}");
            assert!(!self.is_drainit_suspended, "{what}");
        }
    }
}

fn play_job(seed: u64) {
    let mut random = Random::of_seed(seed);
    let options = ExecOptions::new(Vec::new());
    let (has_shell, is_lent) = (random.one_in(2), random.one_in(2));
    let mut job = Job {
        machine: ExecMachine::new(&options),
        has_shell,
        has_jobs: has_shell && random.one_in(2),
        holder: if is_lent { Holder::Command } else { Holder::Other },
        is_lent,
        by: None,
        is_intended: false,
        is_drainit_suspended: false,
    };
    let mut is_noticed = false;
    for _ in 0..12 {
        let (was, act) = (job.by, random.below(7));
        match act {
            // The user of the shell continues the job with `fg` or `bg`.
            _ if job.is_drainit_suspended => {
                job.is_drainit_suspended = false;
                if random.one_in(2) {
                    job.holder = Holder::Drainit;
                }
                job.handle(ExecEvent::Signal(Signal::CONT));
            }
            0 => job.handle(ExecEvent::Signal(Signal::CONT)),
            // Another process continues the command.
            2 if is_noticed => (job.by, job.is_intended) = (None, false),
            _ if job.by.is_some() => {}
            1 => job.handle(ExecEvent::Signal(Signal::TSTP)),
            3 => (job.by, job.is_intended) = (Some(Signal::STOP), true),
            // The user presses Ctrl-Z.
            4 if job.holder == Holder::Command => job.by = Some(Signal::TSTP),
            5 if job.holder != Holder::Command => {
                job.by = Some([Signal::TTIN, Signal::TTOU][random.below(2) as usize]);
            }
            // A shell brings a running job into the foreground, and does not continue the job.
            6 if job.has_jobs && !job.is_lent => job.holder = Holder::Drainit,
            _ => {}
        }
        is_noticed &= was == job.by;
        // SIGCONT may come before drainit notices the suspension.
        if !is_noticed && job.by.is_some() && !random.one_in(3) {
            job.notice();
            is_noticed = job.by.is_some();
        }
    }
}

#[test]
fn a_suspended_command_stays_so_only_if_intended_or_noticed_by_a_shell() {
    for seed in 1..=20_000 {
        let played = std::panic::catch_unwind(|| play_job(seed));
        assert!(played.is_ok(), "seed {seed}");
    }
}

#[test]
fn promises_of_exec_hold_in_random_schedules() {
    for seed in 1..=20_000 {
        let played = std::panic::catch_unwind(|| play(seed));
        assert!(played.is_ok(), "seed {seed}");
    }
}
