//! Finds the details that `drainit status NAME` shows of a process that is not ready: its last
//! lines, and where it listens in place of the address that its readiness probe asks.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::timeout;

use crate::control::{Look, Looks};
use crate::os::on_thread::on_thread;
use crate::supervisor::executor::Executor;
use crate::types::ProcessId;

/// The longest wait for the addresses, because an operator waits for them. A look at a few thousand
/// processes takes less.
const LONGEST_LOOK: Duration = Duration::from_secs(1);

impl Executor {
    /// Looks at the running instances in these slots.
    pub(crate) fn look_at_unready(&self, processes: &[ProcessId]) -> Looks {
        let lines = |process: &ProcessId| {
            let log = self.instance(*process).log.as_ref();
            let lines = log.map(|log| log.last_lines()).unwrap_or_default();
            (*process, Look { lines, listens: None })
        };
        let mut looks: BTreeMap<_, _> = processes.iter().map(lines).collect();
        let (search, processes) = (self.traffic.looker.search(), processes.to_vec());
        Box::pin(async move {
            let found = timeout(LONGEST_LOOK, async move {
                let search = search.await.ok()?;
                on_thread(Duration::MAX, move || search.addresses()).await.ok()?.ok()
            });
            if let Ok(Some(mut found)) = found.await {
                for process in processes {
                    looks.entry(process).or_default().listens = found.remove(&process);
                }
            }
            looks
        })
    }
}
