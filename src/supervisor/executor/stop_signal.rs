//! Looks at what the stop signal of a process does. The log and the report name a process that the
//! signal ends at once, because the process then loses its work without an error.

use std::mem::replace;
use std::time::Duration;

use tokio::time::sleep;

use crate::core::state::Shutdown;
use crate::keys::scale;
use crate::os::Pid;
use crate::os::descendants::{Descendant, MOST_READ, Stat, children_of, describe, list};
use crate::os::disposition::disposition;
use crate::supervisor::executor::Executor;
use crate::types::{Disposition, ProcessId, Signal};

/// The interval at which drainit looks whether processes still load their programs. A look takes no
/// longer.
pub(super) const LOOK: Duration = Duration::from_secs(1);
/// A busy process gets only this many looks, because it may have loaded long ago.
const LOOKS: usize = 10;

/// Waits until these processes have loaded their programs, because many programs install their
/// handlers and listen only after they have loaded all libraries. Processes that sleep, and have
/// used no processor time for [`LOOK`], have loaded.
pub(super) async fn wait_until_loaded(pids: &[Pid]) {
    let used = || -> Option<u64> {
        let stats = pids.iter().take(MOST_READ).filter_map(|pid| Stat::read(*pid));
        stats.map(|stat| (!stat.is_busy).then_some(stat.used)).sum()
    };
    let mut before = used();
    for _ in 0..LOOKS {
        sleep(LOOK).await;
        let now = used();
        if replace(&mut before, now) == now && now.is_some() {
            return;
        }
    }
}

impl Executor {
    /// Looks at the effect of this signal on the main process, and keeps the effect for the log
    /// and the report. If this turn of the event loop has already looked at many processes, the
    /// effect of the last look stays.
    pub(super) fn look_at_signal(&mut self, process: ProcessId, signal: Signal) {
        let Some(pid) = self.pid(process) else { return };
        self.looked_in_turn += 1;
        if self.looked_in_turn <= MOST_READ {
            let effect = disposition(pid, signal).map(|effect| (signal, effect));
            self.processes.history(process).end.disposition = effect;
            // In a shutdown, no process starts again, so nobody asks for leftovers of one process.
            let stops = |shutdown: &Shutdown| !shutdown.is_held();
            if !self.processes.machine().shutdown().is_some_and(stops) {
                self.note_below(process, &children_of(pid));
            }
        }
    }

    /// Keeps descendants of the main process, which are leftovers once they have outlived it.
    fn note_below(&mut self, process: ProcessId, below: &[Descendant]) {
        let seen = below.iter().map(|process| (process.pid, process.started));
        self.processes.slots[process].instance.below.extend(seen);
    }

    /// Whether the main process runs, but ignored its stop signal when drainit last looked before
    /// the signal. A process may give up its handler once it has got the signal, so a look after the
    /// signal does not count. A signal that seemed to be fatal would have ended the process. If it
    /// still runs, it handles the signal in a way that the kernel did not show.
    pub(super) fn ignores_its_stop(&self, process: ProcessId) -> bool {
        let signal = self.process(process).stop_signal;
        let effect = self.processes.journal.of(process).end.disposition.filter(|it| it.0 == signal);
        self.pid(process).is_some()
            && effect.is_some_and(|(_, effect)| effect == Disposition::Ignored)
    }

    /// Says what the stop signal does to a process that does not catch it, unless this was also
    /// true for the earlier instance. Names only the first copy of an entry with `scale`. The process
    /// has just loaded its program.
    pub(super) fn on_loaded(&mut self, process: ProcessId, below: &[Descendant]) {
        self.processes.slots[process].instance.loading = None;
        self.look_ahead();
        self.note_below(process, below);
        let definition = self.process(process);
        let (name, signal) = (&definition.name, definition.stop_signal);
        let before = self.processes.history(process).end.disposition;
        self.look_at_signal(process, signal);
        let now = self.processes.history(process).end.disposition;
        let is_news = now != before && scale::number_of(&definition).is_none_or(|it| it == "1");
        let Some(pid) = self.pid(process).filter(|_| is_news) else { return };
        match now.map(|(_, effect)| effect) {
            Some(Disposition::Fatal) => tracing::info!("{name}: {}", uncaught(signal, pid)),
            Some(Disposition::Ignored) => tracing::warn!(
                "{name}: ignores {signal}, its stop signal, so its stop waits for \
                 `stop_grace_period` and then needs SIGKILL; write a `stop_signal` that it handles"
            ),
            Some(Disposition::Caught | Disposition::Exiting) | None => {}
        }
    }
}

/// Describes a main process that does not catch its stop signal, and the remedy.
fn uncaught(signal: Signal, pid: Pid) -> String {
    let children = children_of(pid);
    if children.is_empty() {
        return format!(
            "does not catch {signal}, its stop signal, which therefore ends it at once, with the \
             work that is under way; handle {signal} in the program, or write a `stop_signal` that \
             it handles"
        );
    }
    format!(
        "its main process, {}, does not catch {signal}, its stop signal, and so ends before the \
         processes that it has started, {}, get a signal; start the program by `exec`, or handle \
         {signal}",
        describe(pid),
        list(&children)
    )
}
