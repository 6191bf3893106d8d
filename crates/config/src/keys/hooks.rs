//! `hooks:` of the container or of a process.

use std::time::Duration;

use crate::keys::account::RunAs;
use crate::keys::command::CommandForm;
use crate::keys::forms::Positive;
use crate::keys::key::Table;
use crate::keys::reader::{Fields, Reader};
use crate::keys::{Account, Command};

/// `hooks:` of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Table)]
pub struct Hooks {
    /// Runs before each start except a restart after an unexpected end. When it runs, the
    /// conditions of `depends_on` hold, and [`render`](#render) has written its
    /// files. <!-- C357 --> If `pre_start` of a `required` process fails at the first start, the
    /// container stops with code 1. <!-- C637 --> Example: `pre_start: [mkdir, -p, /run/gw]`
    #[key(default = "none")]
    pub pre_start: Option<Hook>,
    /// Runs when the dependents have ended, before the `stop_signal`. A new instance that never
    /// became ready gets no `pre_stop`. <!-- C358 --> drainit kills the hook when the process
    /// ends. <!-- C510 --> Example: `pre_stop: [/app/flush]`
    #[key(default = "none")]
    pub pre_stop: Option<Hook>,
    /// Runs when the process was stopped or has ended for good, before its dependencies are
    /// stopped. If [`update`](#update) runs an old and a new instance of the same definition, the
    /// hook runs once, when both have ended. A new instance that never became ready gets no
    /// `post_stop`. <!-- C359 --> Example:
    /// `post_stop: {command: [rm, -f, /run/app.pid], timeout: 1s}`
    #[key(default = "none")]
    pub post_stop: Option<Hook>,
}

/// `hooks:` of the container.
#[derive(Table)]
#[table(settle = Hooks)]
pub(crate) struct ContainerHooks {
    /// Runs before any process starts. <!-- C142 --> If this hook fails, nothing starts, and the
    /// exit code is 1. <!-- C614 --> Example: `pre_start: [sh, /prepare.sh]`
    #[key(default = "none")]
    pre_start: Option<Hook>,
    /// Runs at the beginning of the shutdown, at the same time as `readiness_delay`. <!-- C143 -->
    /// The drains begin when both are over. <!-- C615 --> Example: `pre_stop: [/app/deregister]`
    #[key(default = "none")]
    pre_stop: Option<Hook>,
    /// Runs last, when everything has ended. <!-- C144 --> Example: `post_stop: [rm, -rf, /run/gw]`
    #[key(default = "none")]
    post_stop: Option<Hook>,
}

impl ContainerHooks {
    fn settle(self, _: &mut Reader<'_>, _: &Fields<'_>) -> Option<Hooks> {
        let Self { pre_start, pre_stop, post_stop } = self;
        Some(Hooks { pre_start, pre_stop, post_stop })
    }
}

/// One command of `hooks:`.
#[derive(Clone, Debug, PartialEq, Eq, Table)]
#[table(short = "command", shared = "hook")]
pub struct Hook {
    /// The program and its arguments.
    #[key(form = CommandForm, required = "add `command: [PROGRAM, …]`", merge = Replace)]
    pub command: Command,
    /// The time after which the hook is killed. Unset: 10 s, or less if the deadline leaves less.
    #[key(form = Positive)]
    pub timeout: Option<Duration>,
    /// The user that the hook runs as. Unset: the user of the process, or drainit's own user for a
    /// hook of the container.
    #[key(form = RunAs)]
    pub user: Option<Account>,
}
