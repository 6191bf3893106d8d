//! Plays a shutdown of many processes, which are drained and wait for a count at the same time, and
//! measures the processor time of an event.

use drainit_os::clock::thread_cpu;

use crate::cases::{MS, ask, exited, gateway, load, of_processes, service};
use crate::*;

const TOP: ProcessId = ProcessId(0);

/// Asserts that the shortest of three times with `many` processes is less than `times` as long as
/// the shortest with `few` processes.
fn compare(measure: fn(u16) -> Duration, [few, many]: [u16; 2], times: u32) {
    let [few, many] = [few, many].map(|count| (0..3).map(|_| measure(count)).min().unwrap());
    assert!(many < few * times, "{few:?} {many:?}");
}

/// Plays `count` drained processes. One process depends on all of them, and takes long to stop.
/// Returns the time that the core needs for one event: for a sample during the drains, or, if that
/// takes longer, for an event while all drained processes wait for their counts.
fn play(count: u16) -> Duration {
    let mut spec = gateway();
    let [engine, router] = [0, 1].map(|at| spec.processes[at].clone());
    let all = || (1..=count).map(ProcessId);
    let top = ProcessSpec {
        dependencies: all().map(|id| (id, StartCondition::Ready)).collect(),
        ..engine
    };
    let below = ProcessSpec { dependencies: Vec::new(), ..router };
    spec.processes = std::iter::once(top).chain(all().map(|_| below.clone())).collect();
    spec.order = all().chain([TOP]).collect();
    spec.link();
    let mut machine = Machine::new(Arc::new(spec), Time::default());
    machine.handle(Time::default(), Event::Start);
    all().chain([TOP]).for_each(|id| drop(machine.handle(Time::default(), Event::Spawned(id))));
    machine.handle(Time::default(), Event::Signal(Signal::TERM));
    let mut each = |millis, event: &dyn Fn(ProcessId) -> Event| {
        let began = thread_cpu();
        all().for_each(|id| drop(machine.handle(Time(MS(millis)), event(id))));
        thread_cpu() - began
    };
    each(1, &|process| Event::DrainAnswered { process, accepted: true });
    let sampled = each(4800, &|process| Event::DrainSample { process, load: load(0, 9) });
    each(5000, &|process| Event::DrainSample { process, load: load(0, 9) });
    each(5001, &Event::ListenersClosed);
    each(5002, &|process| Event::DrainSample { process, load: load(0, 9) });
    let end = exited(TOP);
    each(6000, &|process| if process == ProcessId(1) { end } else { Event::Tick });
    let took = each(6001, &|process| Event::DrainSample { process, load: load(1, 9) });
    let counted = (took + each(6001, &Event::ListenersClosed)) / 2;
    sampled.max(counted) / u32::from(count)
}

#[test]
fn an_event_costs_as_much_with_many_processes_as_with_few() {
    compare(play, [100, 1500], 5);
}

/// A chain of processes, of which each one depends on the one before.
fn chain(count: u16, autostart: bool) -> Spec {
    let one = ProcessSpec { autostart, required: false, ..service() };
    let next = |id| ProcessSpec {
        dependencies: vec![(ProcessId(id - 1), StartCondition::Started)],
        ..one.clone()
    };
    let mut spec = of_processes(std::iter::once(service()).chain((1..count).map(next)).collect());
    spec.link();
    spec
}

/// Reloads a chain of processes without `autostart`, whose number changes from `before` to `after`.
/// All processes but the first change. Returns the time for each process.
fn reload(before: u16, after: u16) -> Duration {
    let mut machine = Machine::new(Arc::new(chain(before, false)), Time::default());
    machine.handle(Time::default(), Event::Start);
    machine.handle(Time::default(), Event::Spawned(TOP));
    let placed = |id: ProcessId| match id.0 {
        0 => Placed::Same(id),
        known if known < before => Placed::Changed(id),
        _ => Placed::New(id),
    };
    let plan: Vec<_> = (0..after).map(ProcessId).map(placed).collect();
    let began = thread_cpu();
    let actions = machine.reload(Time(MS(1)), chain(after, false), &plan).unwrap();
    let took = (thread_cpu() - began) / u32::from(before.max(after));
    assert!(actions.contains(&Action::AnswerReload(Ok(()))));
    took
}

#[test]
fn a_large_reload_costs_as_much_for_each_process_as_a_small_reload() {
    let changes: [fn(u16) -> Duration; 3] =
        [|count| reload(count, count), |count| reload(count, 1), |count| reload(1, count)];
    changes.into_iter().for_each(|change| compare(change, [100, 1500], 5));
}

/// Requests the stop of each process of a running chain. Returns the longest time of a request.
fn stop_each(count: u16) -> Duration {
    let all = || (0..count).map(ProcessId);
    let mut machine = Machine::new(Arc::new(chain(count, true)), Time::default());
    machine.handle(Time::default(), Event::Start);
    all().for_each(|id| drop(machine.handle(Time::default(), Event::Spawned(id))));
    let times = all().map(|process| {
        let began = thread_cpu();
        machine.handle(Time(MS(1)), ask(process, Request::Stop));
        thread_cpu() - began
    });
    times.max().unwrap()
}

#[test]
fn the_time_of_a_request_grows_only_with_the_number_of_processes() {
    compare(stop_each, [40, 400], 40);
}

/// Stops a chain of processes whose declared stops exceed the window. Returns the time for each
/// process.
fn stop_in_order(count: u16) -> Duration {
    let all = || (0..count).map(ProcessId);
    let mut machine = Machine::new(Arc::new(chain(count, true)), Time::default());
    machine.handle(Time::default(), Event::Start);
    all().for_each(|id| drop(machine.handle(Time::default(), Event::Spawned(id))));
    machine.handle(Time(MS(1)), Event::Signal(Signal::TERM));
    let began = thread_cpu();
    for (at, id) in (2..).zip(all().rev()) {
        assert!(matches!(machine.state().life(id), Lifecycle::Stopping { .. }));
        machine.handle(Time(MS(at)), exited(id));
    }
    let took = thread_cpu() - began;
    assert!(machine.state().is_done());
    took / u32::from(count)
}

#[test]
fn a_stop_that_does_not_fit_costs_as_much_for_each_of_many_processes_as_for_each_of_few() {
    compare(stop_in_order, [100, 1500], 5);
}

/// Plays `count` processes with `update: start-first` and a `pre_start` hook, which follow one other
/// process. Returns the time for each of them, in the longer of two steps: the step in which new
/// instances of all of them start beside the old ones, or the step in which a stop rolls all of them
/// back.
fn replace(count: u16) -> Duration {
    let follower = ProcessSpec {
        dependencies: vec![(TOP, StartCondition::Started)],
        follows: vec![TOP],
        update: Update::StartFirst,
        hooks: HookWaits { pre_start: Some(HookWait::new(None)), ..HookWaits::default() },
        ..service()
    };
    let all = || (1..=count).map(ProcessId);
    let mut spec =
        of_processes(std::iter::once(service()).chain(all().map(|_| follower.clone())).collect());
    spec.link();
    let mut machine = Machine::new(Arc::new(spec), Time::default());
    let mut handle = |event| {
        let began = thread_cpu();
        let actions = machine.handle(Time(MS(1)), event);
        (
            thread_cpu() - began,
            actions.iter().filter(|one| matches!(one, Action::Adopt { .. })).count(),
        )
    };
    handle(Event::Start);
    handle(Event::Spawned(TOP));
    for process in all() {
        let hook = HookId { process: Some(process), stage: Stage::PreStart };
        handle(Event::HookEnded { hook, success: true });
        handle(Event::Spawned(process));
    }
    handle(ask(TOP, Request::Restart));
    handle(exited(TOP));
    let (replaced, adopted) = handle(Event::Spawned(TOP));
    assert_eq!(adopted, usize::from(count));
    let (rolled_back, _) = handle(ask(TOP, Request::Stop));
    let free = machine.state().spec.ids().filter(|id| machine.state().role(*id) == Role::Retired);
    assert_eq!(free.count(), usize::from(count));
    replaced.max(rolled_back) / u32::from(count)
}

#[test]
fn many_replacements_cost_as_much_for_each_process_as_few() {
    compare(replace, [100, 1500], 5);
}

/// Requests the start of the last process of a chain that is down. Returns the time for each process
/// in the step in which the first start fails, and all others with it.
fn fail_start(count: u16) -> Duration {
    let mut machine = Machine::new(Arc::new(chain(count, false)), Time::default());
    let last = ProcessId(count - 1);
    for event in [
        Event::Start,
        Event::Spawned(TOP),
        ask(TOP, Request::Stop),
        exited(TOP),
        ask(last, Request::Start),
    ] {
        machine.handle(Time(MS(1)), event);
    }
    let began = thread_cpu();
    machine.handle(Time(MS(2)), Event::SpawnFailed { process: TOP, exit_code: 1 });
    let took = thread_cpu() - began;
    assert_eq!(machine.state().life(last), Lifecycle::Stopped { failed: true });
    took / u32::from(count)
}

#[test]
fn a_failed_start_costs_as_much_for_each_of_many_dependents_as_for_each_of_few() {
    // The stack of the thread does not limit the number of dependents.
    compare(fail_start, [400, 6000], 5);
}
