//! The socket of a `[fcgi-program:…]`. supervisord opens the socket, and each process of the program
//! gets the socket as descriptor 0. drainit's `listen` gives the socket as descriptor 3.

use std::sync::LazyLock;

use regex_lite::Regex;
use serde_json::{Value, json};

use crate::import::draft::{DraftedProcess, number};
use crate::pattern;

/// supervisord's default of `socket_mode`.
const MODE: &str = "0700";
const REWRITTEN: &str =
    "`listen`: drainit gives this socket as descriptor 3, not 0, so the command has 3";
const REDIRECTED: &str = "`listen`: drainit gives this socket as descriptor 3, not 0: the shell makes it descriptor 0. If the program \
                          reads `LISTEN_FDS`, start it without the shell";
/// Matches an option of a server that names descriptor 0.
static ZERO: LazyLock<Regex> = LazyLock::new(|| pattern(r"(\s--fd(?:=|\s+)|\s[^\s]*fd://)0(\s|$)"));

/// Converts the options of the socket, and lets the command find the socket. `get` returns the
/// value of an option. Without a valid `socket`, nothing changes.
pub(super) fn add(process: &mut DraftedProcess, get: impl Fn(&str) -> Option<String>) {
    let Some(address) = get("socket").as_deref().and_then(address) else { return };
    let is_unix = address.starts_with("unix:");
    let mut socket = json!({ "address": address });
    if is_unix {
        socket["mode"] = get("socket_mode").unwrap_or_else(|| MODE.to_owned()).into();
    }
    if let Some(backlog) = get("socket_backlog") {
        socket["backlog"] = number(&backlog);
    }
    process.set("listen", vec![socket]);
    let command = process.text("command").unwrap_or_default().to_owned();
    let rewritten = ZERO.replace_all(&command, "${1}3${2}");
    if rewritten != command {
        process.set("command", rewritten.into_owned());
        return process.note(REWRITTEN);
    }
    let words = ["sh", "-c", "exec \"$$@\" <&3 3<&-", "sh"].map(Value::from);
    let words = words.into_iter().chain(process.command_words().into_iter().map(Value::from));
    process.set("command", words.collect::<Vec<_>>());
    process.note(REDIRECTED);
}

/// Whether [`add`] converts this option of the program.
pub(super) fn converts(key: &str, get: impl Fn(&str) -> Option<String>) -> bool {
    let Some(address) = get("socket").as_deref().and_then(address) else { return false };
    match key {
        "socket" | "socket_backlog" => true,
        "socket_mode" => address.starts_with("unix:"),
        _ => false,
    }
}

/// The address of the socket in the form of a config; `None` if supervisord refuses it, too.
fn address(socket: &str) -> Option<String> {
    match socket.strip_prefix("unix://") {
        Some(path) => Some(format!("unix:{path}")),
        None => socket.starts_with("tcp://").then(|| socket.to_owned()),
    }
}
