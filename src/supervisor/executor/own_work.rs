//! Names the processes that seem to fetch their own work, as from a queue, while others are drained,
//! and the clients of a process that may end before them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::check::own_work;
use crate::core::budget::Budget;
use crate::core::event::Event;
use crate::keys::Process;
use crate::local_task::LocalTask;
use crate::os::on_thread::{Share, on_thread};
use crate::supervisor::executor::Executor;
use crate::supervisor::executor::message::Message;
use crate::types::ProcessId;
use crate::types::suggest::shortened;

/// The services that may take work while another process is drained, until they have loaded their
/// programs.
pub(super) struct BesideDrain {
    /// The name of the process that is drained, and the longest time of its drain.
    drained: String,
    time: Duration,
    /// Each service, with the time at which the stops begin.
    services: Vec<(ProcessId, Duration)>,
}

/// Names the clients of a process that neither stop before it nor are its dependencies, in a line for
/// each process, or says that they are unknown. `connected` has each process with a client of it, and
/// `above` returns the dependents of a process. If both are clients of each other, no order suits both.
fn unordered(
    above: impl Fn(ProcessId) -> Vec<ProcessId>,
    connected: io::Result<BTreeSet<(ProcessId, ProcessId)>>,
    name: impl Fn(ProcessId) -> String,
) -> Vec<String> {
    let connected = match connected {
        Ok(connected) => connected,
        Err(error) => return vec![format!("it is unknown who is connected to whom: {error}")],
    };
    let mut clients_of: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    let mut known = BTreeMap::new();
    for (server, client) in &connected {
        let mut is_ordered = |on, by| {
            let above = known.entry(on).or_insert_with(|| BTreeSet::from_iter(above(on)));
            above.contains(&by)
        };
        let is_mutual = connected.contains(&(*client, *server));
        let is_known = is_mutual || is_ordered(*server, *client) || is_ordered(*client, *server);
        if !is_known && name(*server) != name(*client) {
            clients_of.entry(name(*server)).or_default().insert(name(*client));
        }
    }
    let line = |(server, clients): (String, BTreeSet<String>)| {
        let clients = shortened(&Vec::from_iter(clients));
        format!(
            "{clients}: connected to {server}, which may end first, because no `depends_on` names \
             it; write `depends_on: [{server}]`"
        )
    };
    clients_of.into_iter().map(line).collect()
}

impl Executor {
    /// Looks at the sockets of the processes at the beginning of a shutdown. Processes that listen
    /// on nothing need not wait for the delay in which load balancers learn of the shutdown. Names
    /// the clients of a process that the config does not stop before it. `None` if there is no
    /// delay and only one process.
    pub(crate) fn look_who_serves(&self) -> Option<LocalTask> {
        let spec = Arc::clone(&self.processes.machine().state().spec);
        let is_delayed = !spec.readiness_delay.max(spec.unready_delay).is_zero();
        let running: Vec<_> = self.traffic.looker.pids().now().of_each.keys().copied().collect();
        if running.is_empty() || !is_delayed && running.len() == 1 {
            return None;
        }
        let sender = self.sender.clone();
        let processes = BTreeMap::from_iter(running.into_iter().map(|id| (id, self.process(id))));
        let search = self.traffic.looker.search();
        Some(LocalTask::of(Share::Search, async move {
            let Ok(search) = search.await else { return };
            let look = move || Some((search.listen_on_nothing().ok()?, search.connected()));
            let Ok(Some((silent, connected))) = on_thread(Duration::MAX, look).await else {
                return;
            };
            for process in silent.into_iter().filter(|_| is_delayed) {
                // The send fails only if the event loop has ended.
                let _ = sender.send(Message::Event(Event::ListensOnNothing(process)));
            }
            // The copies of an entry have its name and a number.
            let entry = |it: &Arc<Process>| match it.scale.and(it.name.rsplit_once('-')) {
                Some((entry, _)) => entry.to_owned(),
                None => it.name.clone(),
            };
            let name = |id| processes.get(&id).map(entry).unwrap_or_default();
            let lines = unordered(|id| spec.above(id), connected, name);
            lines.iter().for_each(|line| tracing::warn!("{line}"));
        }))
    }

    /// Looks once which processes serve nobody, and names those that may take work during
    /// the drains of others. Call this when every process is ready. The look comes with the search
    /// ahead of a stop, once these processes have loaded their programs.
    pub(crate) fn look_for_own_work(&mut self) {
        let state = self.processes.machine().state();
        let Some((drained, beside)) = own_work::beside_drains(&state.spec) else { return };
        let time = Budget::of(&state.spec).longest_drain(&state.spec, drained);
        let drained = self.process(drained).name.clone();
        let services: Vec<_> = beside.into_iter().filter(|it| self.pid(it.0).is_some()).collect();
        if services.is_empty() {
            return;
        }
        self.beside_drain = Some(BesideDrain { drained, time, services });
        if self.have_loaded() {
            self.look_ahead();
        }
    }

    /// Whether the services in `beside_drain` have loaded their programs.
    fn have_loaded(&self) -> bool {
        let loads = |id: ProcessId| self.instance(id).loading.is_some();
        let beside = self.beside_drain.as_ref();
        beside.is_some_and(|beside| !beside.services.iter().any(|it| loads(it.0)))
    }

    /// Searches for the sockets of all processes, so that a stop need not search for them. Call this
    /// when an instance has loaded its program.
    pub(super) fn look_ahead(&mut self) {
        if self.traffic.counts.is_counting() {
            return;
        }
        let search = self.traffic.looker.search();
        if !self.have_loaded() {
            return;
        }
        let Some(BesideDrain { drained, time, services }) = self.beside_drain.take() else {
            return;
        };
        let of = |(id, begins)| {
            (id, (self.process(id).stop_signal, begins, self.process(id).name.clone()))
        };
        let names: BTreeMap<_, _> = services.into_iter().map(of).collect();
        self.own_work = Some(LocalTask::of(Share::Search, async move {
            // After a failed look, nothing is known about the processes.
            let Ok(search) = search.await else { return };
            let look = on_thread(Duration::MAX, move || search.listen_on_nothing());
            let Ok(Ok(silent)) = look.await else { return };
            let silent = silent.iter().filter_map(|id| names.get(id));
            let silent = silent.map(|(signal, begins, name)| (*signal, *begins, &**name));
            let lines = own_work::lines("no socket for clients", silent, &drained, time);
            lines.iter().for_each(|line| tracing::info!("{line}"));
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_unknown_if_the_kernel_lists_no_connections() {
        let lines = unordered(|_| Vec::new(), Err(io::Error::other("full")), |_| String::new());
        assert_eq!(lines, ["it is unknown who is connected to whom: full"]);
    }

    #[test]
    fn a_line_names_each_client_that_the_config_does_not_stop_before_the_server() {
        let [db, a, b, c, d] = [0, 1, 2, 3, 4].map(ProcessId);
        let name = |id: ProcessId| ["db", "a", "b", "c", "d"][id.index()].to_owned();
        let line = |clients: &str| {
            format!(
                "{clients}: connected to db, which may end first, because no `depends_on` names it; \
                 write `depends_on: [db]`"
            )
        };
        let clients = [(db, a), (db, b), (db, c), (db, d)];
        for (above, names) in [
            (vec![], "a, b, c, d"),
            (vec![b], "a, c, d"),
            (vec![a, d], "b, c"),
            (vec![d, b], "a, c"),
        ] {
            let above = |id| if id == db { above.clone() } else { Vec::new() };
            let lines = unordered(above, Ok(BTreeSet::from(clients)), name);
            assert_eq!(lines, [line(names)]);
        }
        // No order suits a client and a server that are connected both ways.
        let mutual = clients.into_iter().chain([(b, db)]).collect();
        assert_eq!(unordered(|_| Vec::new(), Ok(mutual), name), [line("a, c, d")]);
    }
}
