//! Answers the control endpoints, and makes messages of the requests of operators.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::control::status::Status;
use crate::control::{Changed, Followers, Looks, Outcome, SupervisorHandle, nobody};
use crate::core::event::{Event, Request};
use crate::journal::history::History;
use crate::journal::rehearsal::followers;
use crate::local_task;
use crate::logging::Output;
use crate::os::{Peer, clock, on_thread};
use crate::supervisor::executor::Executor;
use crate::supervisor::executor::message::{Message, MessageSender};
use crate::supervisor::tasks::reload::LONGEST_READ;
use crate::supervisor::tasks::witness::add_warning;
use crate::types::{ProcessId, Signal, Stream, Time};

/// The supervisor, as the control endpoints see it.
pub(crate) struct ControlHandle {
    pub(crate) executor: Rc<RefCell<Executor>>,
    pub(crate) sender: MessageSender,
    pub(crate) output: Arc<Output>,
    /// The notes about the container.
    pub(crate) notes: Vec<String>,
}

impl ControlHandle {
    /// Carries out a request of an operator, and finds out meanwhile how connections end, so that
    /// the status says what the request has cost. `request` returns whether a look before the
    /// request was late: the answer then says that the cost is unknown. If the client goes away,
    /// its request is still carried out.
    fn attend_to<F: Future<Output = bool> + 'static>(
        &self,
        outcome: Outcome,
        request: impl FnOnce() -> F,
    ) -> Outcome {
        let attention = self.executor.borrow_mut().attend();
        let request = request();
        let Some(attention) = attention else {
            local_task::spawn(async { _ = request.await });
            return outcome;
        };
        let (reply, answer) = oneshot::channel();
        let sender = self.sender.clone();
        local_task::spawn(async move {
            let is_late = request.await;
            // If the event loop has ended, dropping `reply` tells the client that no answer comes.
            let Ok(answer) = outcome.await else { return };
            if let Some(endings) = attention.last_endings().await {
                let answer = answer.map(|warnings| add_warning(warnings, is_late));
                let _ = sender.send(Message::RequestOver { endings, answer, reply });
            } else {
                // The send fails only if the client has gone away.
                let _ = reply.send(answer);
            }
        });
        answer
    }
}

/// Makes a request for one process after the other, until one fails. Returns whether a look before
/// a request was late, and the answer, which is `None` if the event loop has ended.
async fn in_turn(
    names: &[String],
    mut ask: impl FnMut(&str) -> oneshot::Receiver<Result<bool, String>>,
) -> (bool, Option<Result<String, String>>) {
    let mut is_late = false;
    for (done, name) in names.iter().enumerate() {
        match ask(name).await {
            Ok(Ok(was_late)) => is_late |= was_late,
            Ok(Err(mut why)) => {
                let rest = &names[done + 1..];
                if !rest.is_empty() {
                    why = format!("{why}; not begun: {}", rest.join(", "));
                }
                return (is_late, Some(Err(why)));
            }
            Err(_) => return (is_late, None),
        }
    }
    (is_late, Some(Ok(String::new())))
}

impl SupervisorHandle for ControlHandle {
    fn status(&self) -> Status {
        let streams = [Stream::Stdout, Stream::Stderr];
        let streams = streams.map(|stream| (stream.name().to_owned(), self.output.dropped(stream)));
        let processes = &self.executor.borrow().processes;
        let files = processes.slots.dropped_lines().into_iter();
        let files = files.map(|(path, dropped)| (path.display().to_string(), dropped));
        let dropped_lines = streams.into_iter().chain(files).collect();
        let notes = self.notes.clone();
        Status { notes, dropped_lines, ..processes.status(clock::now()) }.with_written_texts()
    }

    fn told(&self, since: Time) -> BTreeMap<String, Vec<String>> {
        self.executor.borrow().processes.journal.told(since)
    }

    fn drains(&self) -> String {
        let drains = &self.executor.borrow().processes.journal.drains;
        drains.values().map(|line| format!("{line}\n")).collect()
    }

    fn drain(&self) {
        // The send fails only if the event loop has ended, and then nothing is left to drain.
        let _ = self.sender.send(Message::Event(Event::DrainRequested));
    }

    fn request(&self, names: Vec<String>, request: Request) -> Outcome {
        let (reply, answer) = oneshot::channel();
        let sender = self.sender.clone();
        self.attend_to(answer, || async move {
            let ask = |name: &str| {
                let (reply, answer) = oneshot::channel();
                let name = name.to_owned();
                let _ = sender.send(Message::Request { name, request, reply, is_late: None });
                answer
            };
            let (is_late, answer) = in_turn(&names, ask).await;
            // If the event loop has ended, dropping `reply` tells the client that no answer comes.
            // The send fails only if the client has gone away.
            let _ = answer.map(|answer| reply.send(answer));
            is_late
        })
    }

    fn followers(&self, names: Vec<String>, in_turn: bool) -> Followers {
        let processes = &self.executor.borrow().processes;
        let all = &processes.machine().state().spec.processes;
        if all.iter().all(|process| process.follows.is_empty()) {
            return nobody();
        }
        let (machine, of) = (processes.machine().clone(), processes.journal.names.clone());
        let play = move || followers(machine, of, &names, in_turn);
        // Without a thread, the answer does not name the followers.
        Box::pin(async { on_thread::on_thread(LONGEST_READ, play).await.unwrap_or_default() })
    }

    fn shutdown(&self, client: Peer) -> Outcome {
        let (reply, answer) = oneshot::channel();
        let _ = self.sender.send(Message::Shutdown { reply, client });
        answer
    }

    fn reload(&self) -> Outcome {
        let (reply, answer) = oneshot::channel();
        let sender = self.sender.clone();
        self.attend_to(answer, || {
            let look = self.executor.borrow().look_at_clients();
            async move {
                let is_late = look.await;
                let _ = sender.send(Message::Reload { reply });
                is_late
            }
        })
    }

    fn plan_reload(&self) -> Outcome {
        let (reply, answer) = oneshot::channel();
        let _ = self.sender.send(Message::PlanReload { reply });
        answer
    }

    fn has_config_changed(&self) -> Changed {
        Box::pin(self.executor.borrow().reloads.has_changed())
    }

    fn look(&self, processes: &[ProcessId]) -> Looks {
        self.executor.borrow().look_at_unready(processes)
    }

    fn signal(&self, process: ProcessId, signal: Signal) -> io::Result<()> {
        // A pid in the journal still belongs to the process, because the journal forgets a pid when
        // the pid is reaped. Nothing is reaped before the signal, because reaping runs on this
        // thread.
        let Executor { processes, children, .. } = &mut *self.executor.borrow_mut();
        let History { start, end, .. } = processes.history(process);
        match start.pid.map(|pid| children.signal(pid, signal)).transpose()? {
            Some(true) => {
                let killed = end.requested.filter(|before| *before == Signal::KILL);
                end.requested = killed.or(Some(signal));
                Ok(())
            }
            Some(false) | None => Err(io::Error::other("it has ended")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::block_on;

    #[test]
    fn a_request_for_several_processes_says_which_were_not_begun() {
        let names = ["a", "b", "c", "d"].map(str::to_owned);
        let ok = |is_late| Some(Ok(is_late));
        let fails = || Some(Err("it failed".to_owned()));
        let of = |error: &str| Some(Err(error.to_owned()));
        // The answers to the single requests; `None` if the event loop has ended.
        for (answers, is_late, expected) in [
            (vec![ok(false), ok(false), ok(false), ok(false)], false, Some(Ok(String::new()))),
            (vec![ok(true), ok(false), ok(false), ok(false)], true, Some(Ok(String::new()))),
            (vec![ok(false), ok(false), ok(false), ok(true)], true, Some(Ok(String::new()))),
            (vec![fails()], false, of("it failed; not begun: b, c, d")),
            (vec![ok(true), fails()], true, of("it failed; not begun: c, d")),
            (vec![ok(false), ok(false), ok(false), fails()], false, of("it failed")),
            (vec![ok(false), None], false, None),
        ] {
            let mut asked = Vec::new();
            let mut next = answers.clone().into_iter();
            let answer = block_on(in_turn(&names, |name| {
                asked.push(name.to_owned());
                let (reply, answer) = oneshot::channel();
                if let Some(of_one) = next.next().flatten() {
                    reply.send(of_one).unwrap();
                }
                answer
            }));
            assert_eq!(answer, (is_late, expected), "{answers:?}");
            assert_eq!(asked, names[..answers.len()], "{answers:?}");
        }
    }
}
