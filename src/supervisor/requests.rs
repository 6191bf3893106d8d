//! The operators' requests that are not answered yet.

use std::collections::BTreeMap;

use tokio::sync::oneshot;

use crate::core::event::Request;
use crate::os::Peer;
use crate::os::handle::Handle;
use crate::types::exit_code;

/// The channel for the answer to an operator's request: whether the look at the connections before
/// the request was late. The error is a sentence for the operator.
pub(crate) type RequestReply = oneshot::Sender<Result<bool, String>>;

/// The channel for an answer that is a text, such as a plan.
pub(crate) type TextReply = oneshot::Sender<Result<String, String>>;

/// The clients that wait for the answer to a request. Equal requests share one answer.
#[derive(Default)]
pub(crate) struct Requests {
    /// The channels for the replies, by the name of the process and the request. The slot cannot be
    /// the key, because the process can change its slot before the answer.
    waiting: BTreeMap<(String, Request), OpenReplies>,
    /// The channels for the replies to `drainit shutdown`.
    shutdowns: Vec<TextReply>,
    /// The clients of `shutdowns` in drainit's PID namespace.
    clients: Vec<Handle>,
}

/// The channels for the replies to equal requests.
#[derive(Default)]
struct OpenReplies {
    replies: Vec<RequestReply>,
    /// Whether the look at the connections before one of the requests was late.
    is_late: bool,
}

impl Requests {
    /// Adds a client. `is_late` says whether the look at the connections before its request was
    /// late.
    pub(crate) fn add(&mut self, name: &str, request: Request, reply: RequestReply, is_late: bool) {
        let open = self.waiting.entry((name.to_owned(), request)).or_default();
        open.replies.push(reply);
        open.is_late |= is_late;
    }

    pub(crate) fn are_any(&self, process: &str, request: Request) -> bool {
        self.waiting.contains_key(&(process.to_owned(), request))
    }

    pub(crate) fn add_shutdown(&mut self, reply: TextReply, client: Peer) {
        if !reply.is_closed() {
            self.shutdowns.push(reply);
            self.clients.extend(Handle::open(client.pid));
        }
    }

    /// Answers the clients that have requested the shutdown.
    pub(crate) fn answer_shutdown(&mut self, code: u8, report: &str) {
        for reply in self.shutdowns.drain(..) {
            // The send fails only if the client has gone away.
            let _ = reply.send(match code {
                exit_code::OK => Ok(format!("{report}\n")),
                _ => Err(format!("{report}\nthe container ends with exit code {code}")),
            });
        }
    }

    /// For each client that has requested the shutdown, waits for its end.
    pub(crate) fn clients(
        &mut self,
    ) -> impl Iterator<Item = impl Future<Output = ()> + use<>> + use<> {
        std::mem::take(&mut self.clients)
            .into_iter()
            .filter_map(|client| client.wait_for_end().ok())
    }

    /// Passes an answer of the core to the clients that wait for it.
    pub(crate) fn answer(&mut self, process: &str, request: Request, answer: &Result<(), String>) {
        let key = (process.to_owned(), request);
        let OpenReplies { replies, is_late } = self.waiting.remove(&key).unwrap_or_default();
        for reply in replies {
            // The send fails only if the client has gone away.
            let _ = reply.send(answer.clone().map(|()| is_late));
        }
    }
}
