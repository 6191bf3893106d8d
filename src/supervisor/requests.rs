//! The requests of the operator that are not answered yet.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::core::event::Request;
use crate::core::note::Note;
use crate::report::messages;
use crate::report::messages::Names;
use crate::supervisor::message::RequestReply;
use crate::types::ProcessId;

/// Those who wait for the answer to a request. Equal requests share one answer.
#[derive(Default)]
pub(crate) struct Requests {
    waiting: RefCell<BTreeMap<(ProcessId, Request), Vec<RequestReply>>>,
}

impl Requests {
    pub(crate) fn add(&self, process: ProcessId, request: Request, reply: RequestReply) {
        self.waiting.borrow_mut().entry((process, request)).or_default().push(reply);
    }

    /// Passes an answer of the core to those who wait for it.
    pub(crate) fn note(&self, note: &Note, names: &Names) {
        let (process, request, answer) = match *note {
            Note::RequestDone { process, request } => (process, request, Ok(())),
            Note::RequestFailed { process, request, why } => {
                (process, request, Err(messages::request_error(why, names)))
            }
            _ => return,
        };
        for reply in self.waiting.borrow_mut().remove(&(process, request)).unwrap_or_default() {
            // A client that has gone away is not told.
            let _ = reply.send(answer.clone());
        }
    }
}
