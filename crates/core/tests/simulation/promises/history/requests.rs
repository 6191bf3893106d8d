//! Records the requests of an operator for single processes.

use super::*;

impl History<'_> {
    pub(super) fn set_down(&mut self, process: usize, is_down: bool) {
        match is_down {
            true => self.down.insert(process),
            false => self.down.remove(&process),
        };
    }

    /// The value of `starts` when a request came to restart this process. `None` if the process did
    /// not run when the request came, or if the request is already answered.
    pub(crate) fn restart_asked(&self, slot: ProcessId) -> Option<u32> {
        let key = (self.slots.process(slot), Request::Restart);
        let (starts, was_alive) = *self.began.get(&key)?;
        (was_alive && self.asked_for.contains(&key)).then_some(starts)
    }

    pub(super) fn begin_request(&mut self, process: ProcessId, request: Request) {
        let base = self.slots.process(process);
        let is_alive = self.slots_of(base).any(|slot| self.is_alive(slot));
        self.began.insert((base, request), (self.starts, is_alive));
        self.before = Some(self.at.iter().map(|seen| (seen.alone, seen.by_request)).collect());
        match request {
            Request::Stop => {
                for id in
                    self.above(process).into_iter().chain(self.slots_of(base)).collect::<Vec<_>>()
                {
                    if self.roles[id.index()] != Role::Leaving {
                        // If the process to be stopped has already ended, the request changes
                        // nothing for a dependent that is being restarted: that restart continues.
                        self[id].alone &= !is_alive;
                        self[id].by_request = true;
                    }
                }
            }
            Request::Start | Request::Restart => {
                for below in self.slots.all() {
                    let of = self.slots.process(below);
                    if of == base || self.above(below).contains(&process) {
                        self.down.remove(&of);
                    }
                }
                self[process].alone |= request == Request::Restart;
            }
        }
    }

    pub(super) fn end_request(&mut self, process: ProcessId, request: Request) {
        let key = (self.slots.process(process), request);
        self.asked_for.remove(&key);
        if request == Request::Stop {
            let was_alive = self.began.get(&key).is_some_and(|(_, was_alive)| *was_alive);
            self.set_down(key.0, was_alive);
        }
    }

    pub(super) fn fail_request(&mut self, process: ProcessId, request: Request, why: RequestError) {
        let key = (self.slots.process(process), request);
        self.asked_for.remove(&key);
        match why {
            RequestError::Unkillable(own)
                if own == process && request == Request::Restart && self.is_current(process) =>
            {
                let was_alive = self.began.get(&key).is_some_and(|(_, was_alive)| *was_alive);
                self[process].stuck |= was_alive && self.before.is_none();
            }
            RequestError::Superseded(_) if self.is_current(process) => self[process].alone = false,
            RequestError::Busy(_) | RequestError::Reloading | RequestError::Doomed { .. } => {
                // The request was refused at once, so it has changed nothing.
                for (seen, before) in
                    self.at.iter_mut().zip(self.before.take().into_iter().flatten())
                {
                    (seen.alone, seen.by_request) = before;
                }
            }
            _ => {}
        }
    }
}
