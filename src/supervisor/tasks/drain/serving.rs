//! Looks at the sockets on which an instance listens.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use crate::os::connections::Listeners;
use crate::os::on_thread::begin_at_once;
use crate::supervisor::main_pids::MainPids;
use crate::supervisor::tasks::witness::Witness;
use crate::types::ProcessId;

/// The error if the thread of a look has ended without a result.
const UNANSWERED: &str = "the look has failed";

/// The sockets on which the instance of a process listens.
pub(crate) struct Serving {
    pub(crate) process: ProcessId,
    pub(crate) pids: Rc<MainPids>,
    pub(crate) witness: Arc<Witness>,
    /// The sockets that the last look has found.
    pub(crate) listeners: Rc<RefCell<Listeners>>,
}

impl Serving {
    /// Looks again at the sockets on which the instance listens, and gives them to `see` on a
    /// thread. The instance may have begun to listen on other sockets since the last look, for
    /// example after a reload of its own config.
    pub(super) async fn look<T: Send + 'static>(
        &self,
        ports: &[u16],
        see: impl FnOnce(&Listeners) -> T + Send + 'static,
    ) -> Result<T, String> {
        let (mut before, ports) = (self.listeners.borrow().clone(), ports.to_vec());
        let pids = self.pids.now();
        before.set_shared(&pids.shared);
        // After its end, an instance has no pids.
        let own = pids.of_each.get(&self.process).cloned().unwrap_or_default();
        let look = move || {
            let found = before.again(&own, &pids.all, &ports)?;
            let seen = see(&found);
            Ok((found, seen))
        };
        let looked = begin_at_once(look).map_err(|why| why.to_string())?.await;
        let (found, seen) = looked.unwrap_or_else(|_| Err(UNANSWERED.to_owned()))?;
        self.listeners.replace(found);
        Ok(seen)
    }
}
