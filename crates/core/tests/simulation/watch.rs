//! Plays the core, and a drain's looks at the kernel's list of connections, against models of
//! servers. A look takes time. In some plays, all looks or some looks fail.

use crate::answers::{IDLE, Model};
use crate::cases::{MS, Play, ROUTER, drain_in, gateway, stop};
use crate::scenario::Rng;
use crate::tests::number;
use crate::*;
use drainit_core::connections::answers::{Answers, Awaits, Connection};
use drainit_core::connections::watch::{Asked, ConnectionWatch, Terms};
use drainit_core::envoy::dialogue::DrainOutput;

/// drainit must notice within this time, in milliseconds, that the last answer was sent:
/// [`QUIET`](drainit_core::drain::progress::QUIET), and the shortest pause between two looks. Slow
/// looks extend this time.
const SEEN: u64 = 250;

/// A look under way: its begin and end, and what it shows.
struct Look {
    began: u64,
    ends: u64,
    seen: Vec<Connection>,
    /// The number of connections that the count must show, because they owe an answer. A
    /// connection is left out in the cases in which the docs say that the count may be too low.
    owes: u64,
}

struct World {
    play: Play,
    watch: ConnectionWatch,
    answers: Answers,
    models: Vec<Model>,
    last: Option<Look>,
    stopped_at: Option<u64>,
}

impl World {
    fn act(&mut self, now: u64, event: Event) {
        for action in self.play.at(now, event) {
            match action {
                Action::CloseListeners(_) => self.watch.close(Time(MS(now))),
                Action::EndDrain(_) => self.watch.end(),
                action if action == stop(ROUTER) => self.stopped_at = Some(now),
                _ => {}
            }
        }
    }

    /// The first time to settle of a few connections that show that the drain is not over.
    fn not_over(&mut self, terms: &Terms) -> Option<Duration> {
        let witnesses = self.answers.witnesses(terms.unit, terms.exit_at);
        let seen = |cookie: &u64| {
            let seen = self.models[*cookie as usize - 1].seen();
            Connection { cookie: *cookie, ..seen }
        };
        witnesses.iter().map(seen).for_each(|one| self.answers.saw(&one));
        let open = witnesses.iter().filter(|cookie| self.models[**cookie as usize - 1].is_open());
        let counted = open.map(seen).filter(|one| self.answers.counts(one, terms.unit));
        let settles: Vec<_> = counted.map(|one| self.answers.settles(&one)).collect();
        let first = settles.iter().filter(|it| !it.is_zero()).min().copied().unwrap_or_default();
        (settles.len() as u64 > terms.exit_at).then_some(first)
    }

    fn look(&mut self, began: u64, took: u64) -> Look {
        let owes = |model: &&Model| !model.requests.is_empty() && !model.is_documented();
        let owes = self.models.iter().filter(owes).count() as u64;
        let seen = (1..).zip(&self.models).filter(|(_, model)| model.is_open());
        let seen = seen.map(|(cookie, model)| Connection { cookie, ..model.seen() }).collect();
        Look { began, ends: began + took, seen, owes }
    }

    fn looked(&mut self, now: u64, look: Look, fails: bool) {
        let seen = match fails {
            true => Err("refused".to_owned()),
            false => Ok(self.answers.looked(&look.seen)),
        };
        self.watch.note_cost(MS(look.ends - look.began), 100);
        let outputs = self.watch.looked(Time(MS(look.began)), Time(MS(now)), seen);
        if !fails || self.last.is_none() {
            self.last = Some(look);
        }
        self.report(now, outputs);
    }

    fn report(&mut self, now: u64, outputs: Vec<DrainOutput>) {
        for output in outputs {
            let process = ROUTER;
            let event = match output {
                DrainOutput::Answered { accepted } => Event::DrainAnswered { process, accepted },
                DrainOutput::Sampled { load, .. } => Event::DrainSample { process, load },
                DrainOutput::Unknown => Event::DrainSample { process, load: Default::default() },
                DrainOutput::Drained => Event::Drained(process),
                DrainOutput::ListenersClosed => Event::ListenersClosed(process),
                _ => continue,
            };
            self.act(now, event);
        }
    }
}

fn play(seed: u64) {
    let mut rng = Rng::new(seed);
    let min = rng.one_of([0, 1000, 5000]);
    let time = min.max(rng.one_of([4000, 12_000]));
    let took = rng.one_of([0, 1, 5, 30]);
    let fails = rng.once_in(10);
    let mixes = !fails && rng.once_in(4);
    let exit_at = rng.one_of([0, 0, 1, 2]);
    let outcome = [Asked::Failed, Asked::Accepted, Asked::Drained][rng.below(3) as usize];
    let asked = rng.once_in(2).then(|| (rng.below(time), outcome));
    let mut spec = gateway();
    let [until, longest] = [MS(min), MS(time)];
    let drain = drain_in(&mut spec);
    *drain = DrainSpec { time: Some(longest), min: until, by_kernel: true, exit_at, ..*drain };
    let (unit, is_asked) = (Unit::Requests, asked.is_some());
    let terms = Terms { min_until: Time(until), unit, exit_at, is_asked };
    let quits = rng.below(3000);
    let models = (0..8).map(|index| {
        let mut model = Model::new(seed * 8 + index);
        model.quits_at = quits;
        model
    });
    let models = models.collect();
    let (play, watch) = (Play::up(spec), ConnectionWatch::new(terms));
    let answers = Answers::new(Awaits::Answers(MS(IDLE)));
    let mut world = World { play, watch, answers, models, last: None, stopped_at: None };
    world.act(0, Event::Signal(Signal::TERM));
    let mut look: Option<Look> = None;
    let mut known_at = 0;
    for now in 0..time + 3000 {
        for model in &mut world.models {
            model.now = now;
            model.step();
        }
        let is_busy = |model: &&Model| {
            let moved_at = Some(model.moved_at()).filter(|_| now >= model.opens_at);
            let still_at =
                moved_at.map_or(0, |at| if model.is_open() { at + model.idle() } else { at });
            !model.requests.is_empty() || now == model.opens_at || now < still_at
        };
        // A new connection begins the wait for silence anew.
        let is_new = world.models.iter().any(|model| now == model.opens_at);
        if is_new || world.models.iter().filter(is_busy).count() as u64 > exit_at {
            known_at = now + 1;
        }
        if let Some((at, outcome)) = asked
            && at == now
        {
            let outputs = world.watch.asked(outcome);
            world.report(now, outputs);
        }
        if world.play.machine.next_wakeup().is_some_and(|at| at <= Time(MS(now))) {
            world.act(now, Event::Tick);
        }
        let time_now = Time(MS(now));
        if look.is_none() && world.watch.looks_at().is_some_and(|at| at <= time_now) {
            let needs_all = world.watch.needs_all(time_now);
            match world.not_over(&terms).filter(|_| !needs_all) {
                Some(settles) => world.watch.is_not_over(time_now, time_now, settles),
                None => look = Some(world.look(now, took)),
            }
        }
        if let Some(done) = look.take_if(|look| look.ends <= now) {
            let fails = fails || mixes && world.last.is_some() && rng.once_in(2);
            world.looked(now, done, fails);
        }
        let Some(stopped) = world.stopped_at else { continue };
        let last = world.last.unwrap();
        // holds: S304
        let is_cut = !fails && stopped < time && last.owes > exit_at;
        assert!(!is_cut, "seed {seed}: stopped while an answer is owed");
        assert!(stopped >= min, "seed {seed}: stopped before `min`");
        // holds: S305, S433
        let without_counts = match asked {
            Some((at, Asked::Failed | Asked::Drained)) => at.max(min),
            _ => time,
        };
        // holds: S303
        let ends = if fails { without_counts } else { known_at.max(min) };
        let range = match (fails, mixes) {
            (true, _) => ends.min(time)..=ends + took,
            (_, true) => min..=time + SEEN + took * 7,
            _ => min..=ends + SEEN + took * 7,
        };
        assert!(
            range.contains(&stopped) || stopped == time && time < *range.end(),
            "seed {seed}: stopped at {stopped}, not in {range:?}, a look takes {took}, {asked:?}"
        );
        return;
    }
    panic!("seed {seed}: never stopped");
}

#[test]
fn counted_drains_end_with_the_last_answer() {
    (0..number("DRAINIT_SIM_RUNS").unwrap_or(1000).min(10_000)).for_each(play);
}
