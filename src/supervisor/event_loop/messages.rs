//! Handles the messages of a turn.

use std::io;
use std::rc::Rc;

use crate::core::event::Event;
use crate::os::clock;
use crate::supervisor::event_loop::Step;
use crate::supervisor::executor::inbox::{Received, Then};
use crate::supervisor::executor::starts::STARTS_OF_TURN;

/// The most messages that one turn of the event loop handles, unless drainit is late. Between two
/// turns, drainit looks at signals and timers. A message may start a process, and a turn may not
/// start many.
const MESSAGES: usize = STARTS_OF_TURN;

impl Step<'_> {
    /// Handles a message and some of the messages after it, until something else is due.
    pub(super) fn messages_of_turn(&mut self, first: Received) -> io::Result<()> {
        self.on_message(first)?;
        for _ in 1..MESSAGES {
            let is_due = self.events.wakes_at.is_some_and(|due| due <= clock::now());
            if is_due || self.events.has_ended || self.events.exit.is_some() {
                break;
            }
            let Some(message) = self.events.inbox.take() else { break };
            self.on_message(message)?;
        }
        Ok(())
    }

    pub(super) fn on_message(&mut self, message: Received) -> io::Result<()> {
        // A pending stop signal is handled before the message, which may start a process or change
        // the meaning of signals.
        if self.stop_is_pending() {
            self.take_pending(clock::now())?;
        }
        match self.executor.on_message(message) {
            Then::Handle(events) => events.into_iter().try_for_each(|event| self.handle(event))?,
            Then::Reap => self.events.has_ended = true,
            Then::CarryOut(actions) => {
                let config = Rc::clone(self.executor.config());
                self.take_signals(&config);
                self.carry_out_all(clock::now(), actions);
                // This call also handles the events that the actions have added to the queue.
                self.handle(Event::Tick)?;
            }
        }
        Ok(())
    }
}
