//! The forms of single values. Each form has a shape, for the schema, and a parser.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::keys::key::{At, Form, Shape};
use crate::keys::reader::Reader;
use crate::keys::values;
use crate::keys::{
    Address, Arguments, ControlSocket, CountUntil, Direction, DrainUntil, HttpMethod, HttpTarget,
    Leftovers, LogFormat, ProcessKind,
};
use crate::language::text::Text;
use crate::language::yaml::node::Node;
use crate::types::{ExitPolicy, RestartPolicy, Signal, StartCondition, Update};

/// Declares forms of single values: for each form its type, its shape and its parser. A row that
/// begins with `struct` also declares the form itself.
macro_rules! leaf {
    ($(
        $($(#[$doc:meta])* struct $new:ident)? $($form:ty)? => $out:ty: $shape:expr, $parse:expr;
    )*) => {$(
        $($(#[$doc])* pub(crate) struct $new;)?

        impl $crate::keys::key::Form for $($new)? $($form)? {
            type Out = $out;
            const SHAPE: $crate::keys::key::Shape = $shape;

            fn read(
                reader: &mut $crate::keys::reader::Reader<'_>,
                at: &$crate::keys::key::At<'_>,
                node: &$crate::language::yaml::node::Node,
            ) -> Option<$out> {
                let value = reader.typed(node, at.key, <Self as $crate::keys::key::Leaf>::parse);
                use $crate::keys::key::Shape as Known;
                if let Known::Duration | Known::PositiveDuration = Self::SHAPE {
                    reader.durations_known &= value.is_some();
                }
                value
            }
        }

        impl $crate::keys::key::Leaf for $($new)? $($form)? {
            fn parse(text: &str) -> Result<$out, $crate::language::invalid::Invalid> {
                $parse(text)
            }
        }
    )*};
}
pub(crate) use leaf;

/// Reads enums that derive `Named`: the value in a config is the name of a variant.
macro_rules! words {
    ($($of:ident)*) => {
        leaf! {
            $($of => $of: $crate::keys::key::Shape::Word(&$of::NAMES),
                |text| $crate::keys::values::choice(text, &$of::ALL, $of::name);)*
        }
    };
}
pub(crate) use words;

words! {
    ProcessKind Leftovers Update RestartPolicy ExitPolicy StartCondition CountUntil DrainUntil Direction
    HttpMethod LogFormat Arguments
}

leaf! {
    String => String: Shape::Text, |text: &str| Ok(text.to_owned());
    bool => bool: Shape::Bool, values::boolean;
    /// The value `true` and no other.
    struct True => bool: Shape::True, values::only_true;
    u32 => u32: Shape::Count, values::number;
    /// A number of at least 1.
    struct AtLeastOne => u32: Shape::Count, values::positive_number;
    /// The status of a final HTTP answer: not 1xx.
    struct HttpStatus => u16: Shape::Number("status from 200 to 599", "^[2-5][0-9][0-9]$"), values::http_status;
    /// A port of TCP.
    struct Port => u16: Shape::Number("port", "^[0-9]{1,5}$"), values::port;
    u8 => u8: Shape::Count, values::exit_code;
    /// The name of a process.
    struct Name => String: Shape::Filled("name"), |text: &str| Ok(text.to_owned());
    /// A listener of an Envoy: its name, address or `stat_prefix`.
    struct ListenerName => String: Shape::Filled("listener"), values::listener;
    PathBuf => PathBuf: Shape::Filled("path"), values::path;
    /// The path of a Unix socket.
    struct SocketPath => PathBuf: Shape::Filled("path"), values::socket_path;
    ControlSocket => ControlSocket: Shape::Filled("path or `off`"), values::control_socket;
    /// A signal that drainit itself can catch.
    struct Catchable => Signal: Shape::Signal(values::catchable_signal), values::catchable_signal;
    /// A signal that can end a process.
    struct StopSignal => Signal: Shape::Signal(values::stop_signal), values::stop_signal;
    SocketAddr => SocketAddr: Shape::HostPort, values::listen;
    /// `HOST:PORT` to connect to.
    struct Tcp => SocketAddr: Shape::HostPort, values::tcp;
    /// `HOST:PORT` or `unix:/SOCKET` of a gRPC server.
    struct GrpcServer => Address: Shape::Either(&[Shape::HostPort, Shape::Url]), values::grpc;
    HttpTarget => HttpTarget: Shape::Url, values::http;
    Address => Address: Shape::Url, values::server;
    Duration => Duration: Shape::Duration, values::duration;
    /// A duration longer than 0.
    struct Positive => Duration: Shape::PositiveDuration, values::positive_duration;
    struct Umask => u32: Shape::Number("octal number from `000` to `777`", "^(0o)?0*[0-7]{1,3}$"), values::umask;
    /// Permissions in the form of chmod(1).
    struct Permissions => u32: Shape::Number("three octal digits", "^0?[0-7]{3}$"), values::permissions;
}

/// A single value in which drainit expands `${NAME}`. A `$NAME` without braces is neither expanded
/// nor reported.
pub(crate) struct Verbatim;

impl Form for Verbatim {
    type Out = String;
    const SHAPE: Shape = Shape::Text;

    fn read(reader: &mut Reader<'_>, at: &At<'_>, node: &Node) -> Option<String> {
        Some(reader.text(node, at.key)?.text.into_now())
    }
}

/// Like [`Verbatim`], but a value that is known only later gets a mark.
pub(crate) struct Marked;

impl Form for Marked {
    type Out = Text;
    const SHAPE: Shape = Shape::Text;

    fn read(reader: &mut Reader<'_>, at: &At<'_>, node: &Node) -> Option<Text> {
        Some(reader.text(node, at.key)?.text)
    }
}

/// A list of signals without duplicates.
pub(crate) struct SignalList;

impl Form for SignalList {
    type Out = Vec<Signal>;
    const SHAPE: Shape = Shape::List(&Catchable::SHAPE);

    fn read(reader: &mut Reader<'_>, at: &At<'_>, node: &Node) -> Option<Vec<Signal>> {
        let mut signals = Vec::new();
        for item in reader.items(node, at.key)? {
            let signal = Catchable::read(reader, at, item);
            signals.extend(signal.filter(|signal| !signals.contains(signal)));
        }
        Some(signals)
    }
}
