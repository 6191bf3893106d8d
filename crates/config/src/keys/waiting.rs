//! The work that a reader leaves until the shares of the deadline are known.

use crate::language::span::Span;
use crate::language::text::Text;
use crate::language::yaml::node::Node;

/// The work that is left until the shares are known.
#[derive(Default)]
pub(crate) struct Waiting {
    /// The processes and the places that use `${stop_seconds}`.
    pub(crate) stop_seconds: Vec<(String, Span)>,
    /// The texts with a share and a hidden value in them: the process, the text, and the form that
    /// this text has in the file.
    pub(crate) hidden: Vec<(String, Text, String)>,
    /// The arguments whose parts depend on a share; `None` in place of those that were read.
    pub(crate) unread: Vec<Option<Unread>>,
}

/// An argument that can only be read once the share is known, because the share decides which of
/// its parts there are, or which files they are.
pub(crate) struct Unread {
    pub(crate) process: String,
    pub(crate) number: Option<String>,
    /// The place of the command, and its keys.
    pub(crate) command: Span,
    pub(crate) keys: String,
    pub(crate) node: Node,
    pub(crate) is_for_shell: bool,
}
