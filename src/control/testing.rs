//! A stand-in for the supervisor, for the tests and the fuzzing of the server.
#![allow(clippy::unwrap_used)]

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::control::status::example;
use crate::control::*;
use crate::os::clock::thread_cpu;

/// A supervisor that only records the requests.
#[derive(Clone, Default)]
pub(crate) struct CountingSupervisor {
    pub(crate) status: Rc<RefCell<Status>>,
    /// The notes about the processes during each request.
    pub(crate) told: Rc<RefCell<BTreeMap<String, Vec<String>>>>,
    /// The processes that follow a restart.
    pub(crate) followers: Rc<RefCell<BTreeMap<String, String>>>,
    pub(crate) asked: Rc<Cell<u32>>,
    /// The processor time that a status takes.
    pub(crate) takes: Rc<Cell<Duration>>,
    pub(crate) drains: Rc<Cell<u32>>,
    pub(crate) signals: Rc<RefCell<Vec<(ProcessId, Signal)>>>,
    pub(crate) requests: Rc<RefCell<Vec<Requested>>>,
    /// Whether the config has changed.
    pub(crate) is_config_changed: Rc<Cell<bool>>,
    /// The number of requests for a shutdown.
    pub(crate) shutdowns: Rc<Cell<usize>>,
    /// The number of requests to reload the config, or to plan a reload.
    pub(crate) reloads: Rc<Cell<usize>>,
}

impl SupervisorHandle for CountingSupervisor {
    fn status(&self) -> Status {
        self.asked.set(self.asked.get() + 1);
        let until = thread_cpu() + self.takes.get();
        while thread_cpu() < until {}
        self.status.borrow().clone()
    }

    fn told(&self, _: Time) -> BTreeMap<String, Vec<String>> {
        self.told.borrow().clone()
    }

    fn drains(&self) -> String {
        "router: draining for 5s\n".to_owned()
    }

    fn followers(&self, _: Vec<String>, _: bool) -> Followers {
        Box::pin(std::future::ready(self.followers.borrow().clone()))
    }

    fn drain(&self) {
        self.drains.set(self.drains.get() + 1);
    }

    fn signal(&self, process: ProcessId, signal: Signal) -> io::Result<()> {
        self.signals.borrow_mut().push((process, signal));
        Ok(())
    }

    fn look(&self, processes: &[ProcessId]) -> Looks {
        let look = Look { lines: vec!["a line".into()], listens: Some(vec!["[::]:1".into()]) };
        let looks = processes.iter().map(|process| (*process, look.clone())).collect();
        Box::pin(std::future::ready(looks))
    }

    fn shutdown(&self, _: Peer) -> Outcome {
        self.shutdowns.update(|count| count + 1);
        answered(Ok("a report\n".to_owned()))
    }

    fn reload(&self) -> Outcome {
        self.reloads.update(|count| count + 1);
        answered(Ok("a warning\n".to_owned()))
    }

    fn plan_reload(&self) -> Outcome {
        self.reloads.update(|count| count + 1);
        answered(Err("a plan".to_owned()))
    }

    fn has_config_changed(&self) -> Changed {
        Box::pin(std::future::ready(self.is_config_changed.get()))
    }

    fn request(&self, names: Vec<String>, request: Operation) -> Outcome {
        let (sender, receiver) = oneshot::channel();
        self.requests.borrow_mut().push((names.join(" "), request, sender));
        receiver
    }
}

fn answered(answer: Result<String, String>) -> Outcome {
    let (reply, outcome) = oneshot::channel();
    reply.send(answer).unwrap();
    outcome
}

/// A request that is not answered yet.
pub(crate) type Requested = (String, Operation, oneshot::Sender<Result<String, String>>);

impl CountingSupervisor {
    pub(crate) fn new() -> Self {
        Self { status: Rc::new(RefCell::new(example())), ..Self::default() }
    }
}

/// Lets the server converse with a client over a stream in memory.
pub(crate) async fn converse(
    supervisor: CountingSupervisor,
    caller: Caller,
    stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + 'static,
) {
    let server = Server::new(supervisor);
    let stage = ConnectionStage::new(Arc::new(Semaphore::new(4)));
    server.converse(Box::new(stream), caller, &stage).await;
}
