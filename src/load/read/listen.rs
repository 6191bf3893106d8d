//! `listen:` of a process.

use std::fmt::Display;

use crate::config::{Address, ListenSocket};
use crate::load::diagnostics::diagnostic::quote;
use crate::load::keys::{Key, Keys, Shape};
use crate::load::read::reader::Reader;
use crate::load::span::Span;
use crate::load::values;
use crate::load::values::Invalid;
use crate::load::yaml::node::{Kind, Node};

/// As systemd's `SocketMode`.
const DEFAULT_MODE: u32 = 0o666;

pub(crate) const SHAPE: Shape =
    Shape::List(&Shape::Either(&[Shape::Pattern("^(tcp://|unix:)"), Shape::Table(&SOCKET)]));

/// A socket that is written as a mapping.
static SOCKET: Keys = Keys::new(&[
    Key::new("address", Shape::Pattern("^(tcp://|unix:)"), "`tcp://HOST:PORT` or `unix:/PATH`."),
    Key::new("name", Shape::Path, "Its name in LISTEN_FDNAMES. Default: the process's."),
    Key::new("mode", Shape::Number("^[0-7]+$"), "Permissions of a Unix socket. Default: \"0666\"."),
    Key::new("backlog", Shape::Count, "Connections that may wait. Default: the kernel's limit."),
]);

/// Reads a list of addresses, or of mappings with an `address`. Returns the place of each, too.
pub(crate) fn listen(
    reader: &mut Reader<'_>,
    node: &Node,
    what: &dyn Display,
    process: &str,
) -> (Vec<ListenSocket>, Vec<Span>) {
    let items = reader.items(node, "listen").unwrap_or_default();
    items.iter().filter_map(|item| Some((socket(reader, item, what, process)?, item.span))).unzip()
}

fn socket(
    reader: &mut Reader<'_>,
    node: &Node,
    what: &dyn Display,
    process: &str,
) -> Option<ListenSocket> {
    let Kind::Mapping(_) = node.kind else {
        let address = reader.typed(node, "listen", address)?;
        let name = process.to_owned();
        return Some(ListenSocket { address, name, mode: DEFAULT_MODE, backlog: None });
    };
    let what = format!("{what}.listen");
    let fields = reader.fields(node, &what, &SOCKET)?;
    let help = "add `address: tcp://0.0.0.0:8080` or `address: unix:/run/app.sock`";
    reader.required(&fields, &what, "address", help);
    let address = reader.field(&fields, "address", address);
    let mode = reader.field(&fields, "mode", mode);
    if let (Some(Address::Tcp(_)), Some(_), Some(span)) = (&address, mode, fields.key("mode")) {
        let problem = reader.problems.error(span, "`mode` of a TCP socket has no effect");
        problem.help("remove it: only the file of a Unix socket has permissions");
    }
    let name = reader.field(&fields, "name", name);
    let backlog = reader.field(&fields, "backlog", values::number);
    Some(ListenSocket {
        address: address?,
        name: name.unwrap_or_else(|| process.to_owned()),
        mode: mode.unwrap_or(DEFAULT_MODE),
        backlog,
    })
}

/// `tcp://HOST:PORT` or `unix:/PATH`.
fn address(text: &str) -> Result<Address, Invalid> {
    const HELP: &str = "write `tcp://0.0.0.0:8080` or `unix:/run/app.sock`";
    if let Some(path) = text.strip_prefix("unix:") {
        return values::socket_path(path).map(Address::Unix);
    }
    match text.strip_prefix("tcp://") {
        Some(rest) => values::tcp(rest).map(Address::Tcp),
        None => Err(Invalid::new("not an address to listen on", HELP)),
    }
}

/// The name of a descriptor: `LISTEN_FDNAMES` separates names by colons (sd_listen_fds(3)).
fn name(text: &str) -> Result<String, Invalid> {
    let fits = |c: char| c.is_ascii_graphic() && c != ':';
    match !text.is_empty() && text.len() <= 255 && text.chars().all(fits) {
        true => Ok(text.to_owned()),
        false => Err(Invalid::new(
            format!("{} cannot be the name of a socket", quote(text)),
            "use at most 255 letters, digits and signs other than `:`",
        )),
    }
}

fn mode(text: &str) -> Result<u32, Invalid> {
    let bits = u32::from_str_radix(text, 8).ok().filter(|bits| *bits <= 0o777);
    bits.ok_or_else(|| {
        Invalid::new("not permissions", "write three octal digits, such as `\"0660\"`")
    })
}
