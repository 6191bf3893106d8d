//! Probes a ready process as configured in its `liveness`, with one task for each instance.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::envoy::ready::check_alive;
use crate::keys::Probe;
use crate::local_task::LocalTask;
use crate::os::on_thread::Share;
use crate::supervisor::tasks::readiness::probe::{RunCommand, attempt, of_request};
use crate::supervisor::tasks::run_command::AttemptFailure;
use crate::types::{ProcessId, Reason, harmless};

/// If drainit notices the end of a limit this much too late, it assumes that the container was
/// paused or had no processor time. The process could not run either, so the missed limit says
/// nothing about the process.
pub(crate) const PAUSED: Duration = Duration::from_millis(100);

/// The pauses and the time limit of the probes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProbePace {
    pub(crate) start_period: Duration,
    /// The pause before each probe.
    pub(crate) interval: Duration,
    /// The limit of one probe.
    pub(crate) timeout: Duration,
}

/// Begins to probe, and sends the result of each probe.
pub(crate) fn watch(
    of: ProcessId,
    name: String,
    probe: Probe,
    pace: ProbePace,
    run: Rc<RunCommand>,
    tell: impl Fn(Result<(), Reason>) + 'static,
) -> LocalTask {
    LocalTask::of(Share::Probes(of), async move {
        let mut has_warned = false;
        let mut was_paused = false;
        sleep(pace.start_period).await;
        loop {
            sleep(pace.interval).await;
            let began = Instant::now();
            let result = probe_once(&probe, pace.timeout, &*run).await;
            // drainit ignores one late failure, but not a second late failure in a row, because a
            // process that hangs may itself be the reason why drainit has no processor time.
            let is_late = result.is_err() && began.elapsed() > pace.timeout + PAUSED;
            was_paused = is_late && !was_paused;
            if was_paused {
                continue;
            }
            if let Err(AttemptFailure { why, is_own: true }) = &result {
                if !std::mem::replace(&mut has_warned, true) {
                    let why = harmless(why.full());
                    tracing::warn!(
                        "{name}: cannot probe its liveness: {why}; this does not count as a failure"
                    );
                }
                continue;
            }
            has_warned = false;
            tell(result.map_err(|failure| failure.why.map(|why| harmless(why).into_owned())));
        }
    })
}

/// Probes once, for at most `limit`.
async fn probe_once(
    probe: &Probe,
    limit: Duration,
    run: &RunCommand,
) -> Result<(), AttemptFailure> {
    match probe {
        Probe::Envoy(admin) => {
            check_alive(admin, limit).await.map_err(|error| of_request(&error).at(admin))
        }
        _ => attempt(probe, limit, run).await,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::thread;

    use tokio::sync::mpsc;
    use tokio::task::LocalSet;

    use super::*;
    use crate::logging::Output;
    use crate::logging::subscriber::OwnLines;
    use crate::supervisor::tasks::readiness::probe::RunningCommand;
    use crate::testing::block_on;

    /// Probes with a command whose results come from `run`. Returns the first result that counts.
    async fn first_result(
        pace: ProbePace,
        run: impl Fn() -> Result<(), AttemptFailure> + 'static,
    ) -> Option<bool> {
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let run = move |_: &[String]| -> RunningCommand {
            let result = run();
            Box::pin(async { result })
        };
        let watch = async {
            let tell = move |result| drop(sender.send(result));
            let probe = Probe::Exec(vec!["check".to_owned()].into());
            let _watch = super::watch(ProcessId(0), "a".into(), probe, pace, Rc::new(run), tell);
            receiver.recv().await
        };
        LocalSet::new().run_until(watch).await.map(|result| result.is_ok())
    }

    // holds: C248
    #[tokio::test]
    async fn late_probe_after_a_pause_has_no_result() {
        let (start_period, interval) = (Duration::ZERO, Duration::from_millis(1));
        let timeout = Duration::from_secs(1);
        let pace = ProbePace { start_period, interval, timeout };
        let runs = Cell::new(0);
        let result = first_result(pace, move || {
            if runs.replace(runs.get() + 1) > 0 {
                return Ok(());
            }
            // This sleep blocks the thread, as if drainit were suspended for a little longer than
            // the limit of the probe.
            thread::sleep(timeout + PAUSED * 2);
            Err("its command had not ended".to_owned().into())
        });
        assert_eq!(result.await, Some(true));
        let failed = first_result(pace, || Err("its command exited with code 1".to_owned().into()));
        assert_eq!(failed.await, Some(false), "a failure in time counts");
        let short = ProbePace { timeout: Duration::from_millis(1), ..pace };
        let always_late = first_result(short, || {
            thread::sleep(PAUSED * 2);
            Err("its command had not ended".to_owned().into())
        });
        assert_eq!(always_late.await, Some(false), "the second late result counts");
    }

    // holds: C502
    #[test]
    fn a_probe_without_resources_has_a_line_the_first_time_only() {
        let (mut lines, end) = std::io::pipe().unwrap();
        let (_out, out_end) = std::io::pipe().unwrap();
        let own = OwnLines::new(Output::new(out_end, end), tracing::Level::INFO);
        let moment = Duration::from_millis(1);
        let pace = ProbePace { start_period: moment, interval: moment, timeout: 9000 * moment };
        let runs = Cell::new(0);
        let result = first_result(pace, move || {
            let no_room = AttemptFailure { why: "no room".into(), is_own: true };
            if runs.replace(runs.get() + 1) < 20 { Err(no_room) } else { Ok(()) }
        });
        let result = tracing::subscriber::with_default(own, || block_on(result));
        assert_eq!(result, Some(true));
        let mut text = String::new();
        std::io::Read::read_to_string(&mut lines, &mut text).unwrap();
        let line = "a: cannot probe its liveness: no room; this does not count as a failure\n";
        assert!(text.ends_with(line) && text.lines().count() == 1, "{text}");
    }

    // holds: C502
    #[tokio::test]
    async fn probe_without_resources_has_no_result() {
        let moment = Duration::from_millis(1);
        let pace = ProbePace { start_period: moment, interval: moment, timeout: 9000 * moment };
        let runs = Cell::new(0);
        let result = first_result(pace, move || {
            let no_room = AttemptFailure { why: "no room".into(), is_own: true };
            if runs.replace(runs.get() + 1) < 5 { Err(no_room) } else { Ok(()) }
        });
        assert_eq!(result.await, Some(true));
    }
}
