//! Notes about the requests of operators, and about changes of watched files.

use crate::Journal;
use crate::entry::Entry;
use crate::event::Field;
use crate::prelude::*;
use drainit_core::cause::Failure;
use drainit_core::event::Request;
use drainit_core::note::RequestError;
use drainit_core::types::{ProcessId, WatchAction};

impl Journal {
    pub(super) fn on_request_began(&self, process: ProcessId, request: Request) -> Entry {
        self.about(process, "request_began", format!("{} requested", request.name()))
            .with([Field::Request(request.name())])
    }

    /// `path` is that of the file.
    pub(super) fn on_file_changed(
        &self,
        process: ProcessId,
        action: WatchAction,
        path: Option<&str>,
    ) -> Entry {
        let path = path.unwrap_or("a watched file");
        let (what, field) = match action {
            WatchAction::Restart => ("restart".to_owned(), Field::Request("restart")),
            WatchAction::Reload => ("reload".to_owned(), Field::Request("reload")),
            WatchAction::Signal(signal) => (signal.to_string(), Field::Signal(signal)),
        };
        self.about(process, "file_changed", format!("{path} changed; {what}")).with([field])
    }

    pub(super) fn on_request_done(&self, process: ProcessId, request: Request) -> Entry {
        self.about(process, "request_done", format!("{} done", request.name()))
            .with([Field::Request(request.name())])
    }

    pub(super) fn on_request_failed(
        &mut self,
        process: ProcessId,
        request: Request,
        why: RequestError,
        detail: Option<&str>,
    ) -> Entry {
        // Unlike other failures, the failure of a hook has no note of its own.
        if let RequestError::Failed { process, why: why @ Failure::Hook } = why {
            let history = self.of_mut(process);
            history.end.on_failure();
            history.end.message = Some(history.text_of_failure(why));
        }
        self.about(process, "request_failed", format!("{} failed", request.name()))
            .fails(why, &self.names)
            .and(detail)
            .with([Field::Request(request.name())])
    }

    pub(super) fn on_follows(&self, process: ProcessId, on: ProcessId) -> Entry {
        let on = self.names.of(on).to_owned();
        let text = format!("restarting, because its dependency {on} was restarted");
        self.about(process, "follows", text).with([Field::Dependency(on)])
    }
}
