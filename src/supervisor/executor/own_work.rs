//! Names the processes that seem to fetch their own work, as from a queue, while others are
//! drained.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::check::own_work;
use crate::core::event::Event;
use crate::local_task::LocalTask;
use crate::os::listening::listen_on_nothing;
use crate::os::on_thread::{Share, on_thread};
use crate::supervisor::executor::message::Message;
use crate::supervisor::executor::{Executor, stop_signal};

impl Executor {
    /// Looks at the beginning of a shutdown which processes listen on nothing, so that their stops
    /// need not wait for the delay in which load balancers learn of the shutdown. `None` if no stop
    /// could begin in this delay.
    pub(crate) fn look_who_serves(&self) -> Option<LocalTask> {
        let spec = &self.processes.machine().state().spec;
        let delay = spec.readiness_delay.max(spec.unready_delay);
        let pids = self.traffic.counts.pids().now();
        let leaders = pids.leaders(|_| !delay.is_zero());
        if leaders.is_empty() {
            return None;
        }
        let (sender, known) = (self.sender.clone(), Arc::clone(&pids.all));
        Some(LocalTask::of(Share::Stop(None), async move {
            let look = move || listen_on_nothing(&leaders, &known);
            let Ok(Ok(silent)) = on_thread(Duration::MAX, look).await else { return };
            for process in silent {
                // The send fails only if the event loop has ended.
                let _ = sender.send(Message::Event(Event::ListensOnNothing(process)));
            }
        }))
    }

    /// Looks once which processes serve nobody, and names those that may take work during
    /// the drains of others. Call this when every process is ready.
    pub(crate) fn look_for_own_work(&mut self) {
        let state = self.processes.machine().state();
        let Some((drained, beside)) = own_work::beside_drains(&state.spec) else { return };
        let beside: Vec<_> = beside.into_iter().filter(|(id, _)| self.pid(*id).is_some()).collect();
        let Some(drain) = state.process(drained).drain.filter(|_| !beside.is_empty()) else {
            return;
        };
        let of = |(id, begins)| {
            (id, (self.process(id).stop_signal, begins, self.process(id).name.clone()))
        };
        let drained = self.process(drained).name.clone();
        let names: BTreeMap<_, _> = beside.iter().copied().map(of).collect();
        let mains: Vec<_> = beside.iter().filter_map(|(id, _)| self.pid(*id)).collect();
        let pids = Rc::clone(self.traffic.counts.pids());
        self.own_work = Some(LocalTask::of(Share::Container, async move {
            stop_signal::wait_until_loaded(&mains).await;
            let pids = pids.now();
            let leaders = pids.leaders(|id| names.contains_key(&id));
            let known = Arc::clone(&pids.all);
            let look = move || listen_on_nothing(&leaders, &known);
            // After a failed look, nothing is known about the processes.
            let Ok(Ok(silent)) = on_thread(Duration::MAX, look).await else { return };
            let silent = silent.iter().filter_map(|id| names.get(id));
            let silent = silent.map(|(signal, begins, name)| (*signal, *begins, &**name));
            let lines = own_work::lines("no socket for clients", silent, &drained, drain.time);
            lines.iter().for_each(|line| tracing::info!("{line}"));
        }));
    }
}
