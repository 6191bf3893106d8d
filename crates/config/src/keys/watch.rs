//! `watch:` of a process.

use std::path::PathBuf;

use crate::keys::forms::{Catchable, leaf};
use crate::keys::key::{Shape, Table};
use crate::keys::values;
use crate::language::invalid::Invalid;
use crate::types::suggest::nearest;
use crate::types::{Signal, WatchAction};

/// One entry of `watch:`.
#[derive(Clone, Debug, PartialEq, Eq, Table)]
pub struct Watch {
    /// A file or a directory. A directory stands for all files directly in it. <!-- C293 --> The
    /// path need not exist yet. <!-- C632 --> Example: `path: /etc/envoy/envoy.yaml`
    #[key(
        required = "write `{path: PATH, action: restart}`, or `reload`, or a signal such as `HUP`"
    )]
    pub path: PathBuf,
    /// The action when the content of a file has changed. `restart`: the process is replaced as by
    /// [`drainit restart`](operating.md#stop-start-restart). <!-- C294 --> `reload`: the whole
    /// config is read again, as by [`drainit reload`](operating.md#reload). <!-- C633 --> A signal
    /// goes to the process and not to its group. <!-- C634 --> Example: `action: HUP`
    #[key(
        required = "write `{path: PATH, action: restart}`, or `reload`, or a signal such as `HUP`"
    )]
    pub action: WatchAction,
}

leaf! {
    WatchAction => WatchAction:
        Shape::Either(&[Shape::Word(&["restart", "reload"]), Catchable::SHAPE]), action;
}

/// Parses an action: `restart`, `reload`, or a signal that a process can handle.
fn action(text: &str) -> Result<WatchAction, Invalid> {
    match text {
        "restart" => return Ok(WatchAction::Restart),
        "reload" => return Ok(WatchAction::Reload),
        _ if Signal::parse(text).is_some() => {
            return values::catchable_signal(text).map(WatchAction::Signal);
        }
        _ => {}
    }
    let words = ["restart", "reload"].into_iter().chain(Signal::names());
    let help = match nearest(text.trim().trim_start_matches("SIG"), words) {
        Some(word) => format!("did you mean `{word}`?"),
        None => "write `restart`, `reload`, or a signal such as `HUP`".to_owned(),
    };
    Err(Invalid::new("neither `restart`, `reload` nor a signal", help))
}
