//! The epochs of an Envoy with hot restart: their numbers, the reasons against a further hot
//! restart, the check of the config before a hot restart, and the admin of an epoch whose hot
//! restart has failed. The consequences of the events of an epoch are in `epoch`. The module `family` of the core
//! decides in which order the epochs end.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::check::bootstrap;
use crate::core::event::Event;
use crate::core::spec::HookId;
use crate::envoy::ready::is_closed;
use crate::keys::{Address, DrainMethod, EnvoyFlags, Liveness, Process};
use crate::local_task::LocalTask;
use crate::os::on_thread::{Share, on_thread};
use crate::supervisor::executor::Executor;
use crate::supervisor::executor::epoch::EnvoyEpoch;
use crate::supervisor::executor::message::News;
use crate::supervisor::executor::validation::validate;
use crate::supervisor::launch::{self, LONGEST_START, StartError};
use crate::supervisor::slots::Definition;
use crate::types::{ProcessId, Reason, exit_code, harmless};

/// An admin on this machine refuses a connection at once. The limit only ends a look at an admin
/// that hangs, and is therefore not closed.
const LOOK: Duration = Duration::from_secs(2);

impl Executor {
    /// The other living epochs of the process.
    fn others(&self, process: ProcessId) -> impl Iterator<Item = (ProcessId, EnvoyEpoch)> {
        let others = self.other_slots(process).into_iter();
        others.filter_map(|id| Some((id, self.living_epoch(id)?)))
    }

    fn living_epoch(&self, process: ProcessId) -> Option<EnvoyEpoch> {
        let instance = self.instance(process);
        instance.epoch.filter(|_| instance.pid.is_some())
    }

    /// Whether an older epoch lives. If so, the statistics of this epoch include the connections of
    /// the older epoch.
    pub(super) fn has_older_epoch(&self, process: ProcessId) -> bool {
        let own = self.instance(process).epoch;
        own.is_some_and(|own| self.others(process).any(|(_, other)| other.number < own.number))
    }

    /// The epoch that starts now; `None` if the process has no hot restart.
    pub(super) fn next_epoch(&self, process: ProcessId) -> Result<Option<EnvoyEpoch>, StartError> {
        if self.process(process).hot_restart().is_none() {
            return Ok(None);
        }
        let others: Vec<_> = self.others(process).map(|(_, other)| other).collect();
        let epoch = EnvoyEpoch::beside(others.into_iter()).ok_or_else(|| {
            StartError::Unprepared(
                "an earlier hot restart of the running Envoy failed, and Envoy permits no further \
                 hot restart; `drainit stop` and `drainit start` replace this Envoy, with a gap"
                    .to_owned(),
            )
        })?;
        Ok(Some(epoch))
    }

    /// The admin that a new epoch has to take over, and the number of the epoch.
    pub(super) fn admin_to_take_over(
        process: &Process,
        epoch: Option<EnvoyEpoch>,
    ) -> Option<(Address, u32)> {
        let epoch = epoch.filter(|epoch| epoch.is_new)?;
        Some((admin_of(process)?.clone(), epoch.number))
    }

    /// Records that a new epoch has taken over.
    pub(super) fn on_epoch_took_over(&mut self, process: ProcessId) {
        if let Some(epoch) = &mut self.processes.slots[process].instance.epoch {
            epoch.takes_over();
        }
    }

    /// Records that an epoch has ended.
    pub(super) fn on_epoch_ended(&mut self, process: ProcessId) {
        let Some(ended) = self.processes.slots[process].instance.epoch.take() else { return };
        let others: Vec<_> = self.others(process).map(|(id, _)| id).collect();
        for id in others {
            let epoch = &mut self.processes.slots[id].instance.epoch;
            if epoch.as_mut().is_some_and(|epoch| epoch.on_other_ended(ended)) {
                self.look_at_admin(id);
            }
        }
    }

    /// Asks the admin of an epoch whose successor has failed. The successor closes this admin when
    /// it has read its bootstrap, and nobody opens the admin again.
    fn look_at_admin(&mut self, process: ProcessId) {
        let (instance_sender, wanted) = (self.instance_sender(process), self.process(process));
        let instance = &mut self.processes.slots[process].instance;
        let Some(admin) = admin_of(&wanted).cloned().filter(|_| instance.drain.is_none()) else {
            return;
        };
        if let Some(epoch) = &mut instance.epoch {
            epoch.on_admin_asked();
        }
        let look = async move {
            let is_closed = is_closed(&admin, LOOK).await;
            instance_sender.send(News::Admin { is_closed });
        };
        instance.preflight = Some(LocalTask::of(Share::Probes(process), look));
    }

    /// Handles the answer to the question of [`Self::look_at_admin`]. A liveness probe that asks a
    /// closed admin says nothing about the Envoy any more, so the probe ends.
    pub(super) fn on_admin_seen(&mut self, process: ProcessId, is_closed: bool) {
        let wanted = self.process(process);
        let instance = &mut self.processes.slots[process].instance;
        if let Some(epoch) = &mut instance.epoch {
            epoch.on_admin_seen(is_closed);
        }
        if !is_closed {
            return;
        }
        let why = without_admin(&wanted.name);
        let ended = instance.liveness.take_if(|_| probes_admin(&wanted));
        let ended = ended.map(|_| "; its liveness is not probed any more").unwrap_or_default();
        tracing::error!("{}: {why}{ended}", wanted.name);
        self.processes.journal.of_mut(process).drain_warnings = Some([why].into());
    }

    /// Whether a failed liveness probe says nothing about this epoch: the probe asks the admin, and
    /// a successor that has not taken over may have closed the admin, or answers in its place.
    pub(super) fn ignores_probe(&self, process: ProcessId) -> bool {
        let (own, others) = (self.instance(process).epoch, self.others(process));
        EnvoyEpoch::ignores_probe(own, others.map(|(_, other)| other))
            && probes_admin(&self.definition(process).process)
    }

    /// Lets Envoy check its config in place of a `pre_start` hook, if another epoch runs. If no
    /// other epoch runs, returns the event that ends the hook.
    pub(super) fn validate(&mut self, hook: HookId, process: ProcessId) -> Option<Event> {
        if self.others(process).next().is_none() {
            return Some(Event::HookEnded { hook, success: true });
        }
        let wanted = self.with_values(process);
        let args = self.definition(process).args.clone();
        let of_old = |(id, _)| {
            let Definition { process, args, .. } = self.definition(id);
            bootstrap::flags(process, args)
        };
        let old: Vec<_> = self.others(process).map(of_old).collect();
        let base = self.base.clone();
        let starter = self.children.starter();
        self.run_as_hook(hook, Rc::default(), async move {
            let request = |stderr| launch::validation(&wanted, &args, &base, stderr);
            let checked = match validate(request, starter).await {
                Ok(()) => {
                    let wanted = Arc::clone(&wanted);
                    let fits = move || {
                        check_admin(&wanted, &args)
                            .and_then(|()| check_workers(&wanted, &args, &old))
                    };
                    let fits = on_thread(LONGEST_START, fits).await;
                    fits.unwrap_or_else(|why| Err(why.to_string())).map_err(Reason::from)
                }
                Err(reason) => Err(reason),
            };
            match checked {
                Ok(()) => (Event::HookEnded { hook, success: true }, None),
                Err(reason) => {
                    tracing::error!("{}: {}", wanted.name, reason.full());
                    let exit_code = exit_code::NOT_READY;
                    (Event::SpawnFailed { process, exit_code }, Some(reason))
                }
            }
        });
        None
    }
}

/// The admin of the Envoy that this process is.
fn admin_of(process: &Process) -> Option<&Address> {
    match &process.drain.as_ref()?.method {
        DrainMethod::Envoy(envoy) => Some(&envoy.admin),
        _ => None,
    }
}

/// Whether the liveness check of this Envoy asks its admin.
fn probes_admin(process: &Process) -> bool {
    match &process.liveness {
        Some(Liveness::Probe { probe, .. }) => probe.address().as_ref() == admin_of(process),
        _ => false,
    }
}

/// Tells an operator about an Envoy whose admin is closed for good.
fn without_admin(name: &str) -> String {
    format!(
        "the failed hot restart has closed its admin for good: a stop cannot ask its clients to leave, and only waits \
         until the kernel shows no request; replace the container, or, with a gap, use `drainit stop {name}` and \
         `drainit start {name}`"
    )
}

/// Refuses an Envoy config whose admin is not at the address that drainit asks. With such a config,
/// drainit could not see that the new epoch has taken over. drainit would kill the new epoch,
/// although the old epoch has already stopped listening.
fn check_admin(wanted: &Process, args: &[String]) -> Result<(), String> {
    let Some(admin) = admin_of(wanted) else { return Ok(()) };
    let other = bootstrap::other_admin(wanted, args, admin, |_| true);
    let Some((place, other)) = other else { return Ok(()) };
    Err(format!(
        "drainit asks the admin at {admin}, but in {} {other}: change `readiness` and `drain`, too, and use \
         `drainit reload`",
        harmless(&place)
    ))
}

/// Refuses a config that changes the number of workers if Envoy serves HTTP/3. After such a change,
/// the packets of about half of the old connections would reach the wrong worker, and this worker
/// would reset these connections (docs/hot-restart.md).
fn check_workers(wanted: &Process, args: &[String], old: &[EnvoyFlags]) -> Result<(), String> {
    let new = bootstrap::flags(wanted, args).workers;
    let differs = old.iter().any(|old| old.workers != new);
    let path = bootstrap::config_file(wanted, args).filter(|_| differs);
    if !path.is_some_and(|path| bootstrap::has_udp(&path)) {
        return Ok(());
    }
    Err("a hot restart with another `--concurrency` resets clients of its UDP listener (HTTP/3): keep the number, or \
         replace the pod"
        .to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::temp_dir::TempDir;

    #[test]
    fn other_worker_count_is_refused_only_for_http3() {
        let dir = TempDir::new();
        let path = dir.path("envoy.yaml");
        let command = |workers: &str| {
            ["envoy", "-c", path.to_str().unwrap(), "--concurrency", workers].map(str::to_owned)
        };
        let wanted = Process { command: command("4").into(), ..Process::default() };
        let old = |workers| [EnvoyFlags::of(&command(workers))];
        for (protocol, workers, fits) in
            [("UDP", "2", false), ("UDP", "4", true), ("TCP", "2", true)]
        {
            let text = format!("a: [{{address: {{socket_address: {{protocol: {protocol}}}}}}}]");
            std::fs::write(&path, text).unwrap();
            assert_eq!(check_workers(&wanted, &[], &old(workers)).is_ok(), fits, "{protocol}");
        }
    }
}
