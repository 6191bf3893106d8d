//! The operators' requests that are not answered yet.

use std::collections::BTreeMap;

use crate::core::event::Request;
use crate::supervisor::message::RequestReply;

/// The clients that wait for the answer to a request. Equal requests share one answer.
#[derive(Default)]
pub(crate) struct Requests {
    /// The channels for the replies, by the name of the process and the request. The slot cannot be
    /// the key, because the process can change its slot before the answer.
    waiting: BTreeMap<(String, Request), Vec<RequestReply>>,
}

impl Requests {
    pub(crate) fn add(&mut self, process: &str, request: Request, reply: RequestReply) {
        let key = (process.to_owned(), request);
        self.waiting.entry(key).or_default().push(reply);
    }

    /// Passes an answer of the core to the clients that wait for it.
    pub(crate) fn answer(&mut self, process: &str, request: Request, answer: &Result<(), String>) {
        let key = (process.to_owned(), request);
        for reply in self.waiting.remove(&key).unwrap_or_default() {
            // The send fails only if the client has gone away.
            let _ = reply.send(answer.clone());
        }
    }
}
