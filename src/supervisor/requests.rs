//! The requests of the operator that are not answered yet.

use std::cell::RefCell;
use std::collections::BTreeMap;

use tokio::sync::oneshot;

use crate::core::event::Request;
use crate::core::note::{Note, RequestError};
use crate::report::messages::Names;
use crate::supervisor::message::{Message, MessageSender, RequestReply};
use crate::supervisor::status::StatusBoard;

/// Asks the event loop for something. The sender is gone without an answer when that has ended.
pub(crate) fn send(
    status_board: &StatusBoard,
    sender: &MessageSender,
    name: &str,
    request: Request,
) -> oneshot::Receiver<Result<(), String>> {
    let (reply, answer) = oneshot::channel();
    match status_board.process(name) {
        Some(process) => {
            let process = status_board.slots.borrow().identity(process);
            let _ = sender.send(Message::Request { process, request, reply });
        }
        None => {
            let _ = reply.send(Err(status_board.unknown(name)));
        }
    }
    answer
}

/// Those who wait for the answer to a request. Equal requests share one answer.
#[derive(Default)]
pub(crate) struct Requests {
    /// By the name of the process: its slot may change meanwhile.
    waiting: RefCell<BTreeMap<(String, Request), Vec<RequestReply>>>,
}

impl Requests {
    pub(crate) fn add(&self, process: &str, request: Request, reply: RequestReply) {
        let key = (process.to_owned(), request);
        self.waiting.borrow_mut().entry(key).or_default().push(reply);
    }

    /// Passes an answer of the core to those who wait for it. `failure`: why a request failed.
    pub(crate) fn note(
        &self,
        note: &Note,
        names: &Names,
        failure: impl FnOnce(RequestError) -> String,
    ) {
        let (process, request, answer) = match *note {
            Note::RequestDone { process, request } => (process, request, Ok(())),
            Note::RequestFailed { process, request, why } => (process, request, Err(failure(why))),
            _ => return,
        };
        let key = (names.of(process).to_owned(), request);
        for reply in self.waiting.borrow_mut().remove(&key).unwrap_or_default() {
            // A client that has gone away is not told.
            let _ = reply.send(answer.clone());
        }
    }
}
