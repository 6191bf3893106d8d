//! A task on the event loop's thread that ends when its owner drops it.

use std::pin::Pin;

use tokio::task::{AbortHandle, Id, JoinHandle, spawn_local};

use crate::os::on_thread::Share;

/// A local task. Dropping this ends the task.
#[derive(Debug)]
pub(crate) struct LocalTask(AbortHandle);

/// Begins a task that continues if the returned handle is dropped.
pub(crate) fn spawn(work: impl Future<Output = ()> + 'static) -> JoinHandle<()> {
    // The future is boxed, because otherwise each function that passes the future on would need
    // stack for it. All tasks have one type, because each type would add another copy of the
    // runtime's code.
    let work: Pin<Box<dyn Future<Output = ()>>> = Box::pin(work);
    spawn_local(work)
}

impl LocalTask {
    pub(crate) fn begin(work: impl Future<Output = ()> + 'static) -> Self {
        Self(spawn(work).abort_handle())
    }

    /// Like [`Self::begin`], but blocking work of the task runs on the threads of `share`.
    pub(crate) fn of(share: Share, work: impl Future<Output = ()> + 'static) -> Self {
        Self::begin(share.scope(work))
    }

    pub(crate) fn id(&self) -> Id {
        self.0.id()
    }

    pub(crate) fn end(&self) {
        self.0.abort();
    }
}

impl Drop for LocalTask {
    fn drop(&mut self) {
        self.end();
    }
}
