//! Parses single values, such as durations, signals and addresses. In the message of an error, the
//! reason follows the key and the value: "`time` is `abc`: not a duration".

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::{IntErrorKind, ParseIntError};
use std::path::PathBuf;
use std::time::Duration;

use crate::keys::key::Leaf;
use crate::keys::{Address, ControlSocket, Direction, DrainUntil, HttpTarget};
use crate::language::invalid::Invalid;
use crate::types::Signal;
use crate::types::suggest::{list, nearest};

/// The longest valid duration. A longer one is most likely a typing error.
const TEN_YEARS: f64 = 10.0 * 365.0 * 24.0 * 3600.0;

const DURATION_HELP: &str =
    "write a number of seconds, or a duration such as `500ms`, `15s` or `1m 30s`";

/// Parses `500ms`, `15s`, `2m`, `1m 30s`, or a bare number of seconds.
pub fn duration(text: &str) -> Result<Duration, Invalid> {
    let not = || Invalid::new("not a duration", DURATION_HELP);
    let mut rest = text.trim();
    if rest.starts_with('-') {
        return Err(Invalid::new("a negative duration", DURATION_HELP));
    }
    if rest.is_empty() {
        return Err(not());
    }
    let mut seconds = 0.0;
    let mut parts = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let number: f64 = number.parse().map_err(|_| not())?;
        let after = after.trim_start();
        let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        seconds += number
            * match unit {
                "us" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                "d" => 86_400.0,
                "" if parts == 0 && after.is_empty() => 1.0,
                _ => return Err(not()),
            };
        parts += 1;
        rest = after.trim_start();
    }
    if seconds > TEN_YEARS {
        return Err(Invalid::new("longer than ten years", DURATION_HELP));
    }
    // Round to whole microseconds, so that `0.1` is exactly 100 ms.
    Duration::try_from_secs_f64((seconds * 1e6).round() / 1e6).map_err(|_| not())
}

pub fn positive_duration(text: &str) -> Result<Duration, Invalid> {
    match duration(text)? {
        Duration::ZERO => Err(Invalid::new("must be longer than 0", DURATION_HELP)),
        duration => Ok(duration),
    }
}

/// Parses `true` or `false`.
pub fn boolean(text: &str) -> Result<bool, Invalid> {
    match text {
        "true" | "True" | "TRUE" => Ok(true),
        "false" | "False" | "FALSE" => Ok(false),
        _ => Err(Invalid::new("neither true nor false", "write `true` or `false`")),
    }
}

/// Parses `true`, and refuses `false`.
pub(crate) fn only_true(text: &str) -> Result<bool, Invalid> {
    match boolean(text)? {
        true => Ok(true),
        false => {
            Err(Invalid::new("`true` is the only value", "write `notify: true`, or remove the key"))
        }
    }
}

pub(crate) fn positive_number(text: &str) -> Result<u32, Invalid> {
    match number(text)? {
        0 => Err(Invalid::new("0 is too few", "write at least 1")),
        number => Ok(number),
    }
}

/// Parses a whole number from 0 up.
pub fn number(text: &str) -> Result<u32, Invalid> {
    let text = text.trim();
    text.parse().map_err(|error: ParseIntError| match error.kind() {
        IntErrorKind::PosOverflow => {
            Invalid::new("too large", format!("write a number up to {}", u32::MAX))
        }
        _ => Invalid::new("not a whole number", "write a number from 0 up, such as `5`"),
    })
}

pub fn exit_code(text: &str) -> Result<u8, Invalid> {
    text.trim()
        .parse()
        .map_err(|_| Invalid::new("not an exit code", "write a number from 0 to 255"))
}

/// Parses a umask: an octal number, as supervisord and systemd write it.
pub fn umask(text: &str) -> Result<u32, Invalid> {
    octal(text.strip_prefix("0o").unwrap_or(text)).ok_or_else(|| {
        Invalid::new(
            "not an octal number from 000 to 777",
            "write the permissions to remove, such as `\"027\"`: no access for others, and no \
             writing for the group",
        )
    })
}

/// Parses permissions: three octal digits, or four digits of which the first is `0`.
pub(crate) fn permissions(text: &str) -> Result<u32, Invalid> {
    let digits = text.strip_prefix('0').filter(|rest| rest.len() == 3).unwrap_or(text);
    let mode = Some(digits).filter(|digits| digits.len() == 3).and_then(octal);
    mode.ok_or_else(|| Invalid::new("not permissions", "write three octal digits, such as `0640`"))
}

/// Parses an octal number from 000 to 777. A sign is refused.
fn octal(text: &str) -> Option<u32> {
    let bits = u32::from_str_radix(text, 8).ok()?;
    (bits <= 0o777 && !text.starts_with('+')).then_some(bits)
}

pub(crate) fn choice<T: Copy>(
    text: &str,
    all: &[T],
    name: fn(T) -> &'static str,
) -> Result<T, Invalid> {
    if let Some(value) = all.iter().find(|value| name(**value) == text) {
        return Ok(*value);
    }
    let names = || all.iter().map(|value| name(*value));
    let help = match nearest(text, names()) {
        Some(word) => format!("did you mean `{word}`?"),
        None => format!("write one of {}", list(names())),
    };
    Err(Invalid::new("not a known value", help))
}

/// Parses `until` of an Envoy's drain.
pub fn drain_until(text: &str) -> Result<DrainUntil, Invalid> {
    DrainUntil::parse(text)
}

/// Parses `direction` of an Envoy's drain.
pub fn direction(text: &str) -> Result<Direction, Invalid> {
    Direction::parse(text)
}

/// Parses the text that identifies a listener of an Envoy: the name, the address or the
/// `stat_prefix` of the listener.
pub fn listener(text: &str) -> Result<String, Invalid> {
    match text.trim() {
        "" => Err(Invalid::new(
            "the name is missing",
            "write the name of a listener, such as `prometheus`",
        )),
        name => Ok(name.to_owned()),
    }
}

/// Parses listeners of an Envoy, with commas between them.
pub fn listeners(text: &str) -> Result<Vec<String>, Invalid> {
    text.split(',').map(listener).collect()
}

/// Parses a signal that drainit itself can catch, so that drainit can act on it or forward it.
/// SIGCHLD is refused.
pub fn catchable_signal(text: &str) -> Result<Signal, Invalid> {
    let why = match signal(text)? {
        Signal::KILL | Signal::STOP => "a signal that no process can catch",
        Signal::CHLD => "a signal that the exit of every child sends, too",
        signal => return Ok(signal),
    };
    Err(Invalid::new(why, "use `TERM`, `INT`, `QUIT`, `HUP`, `USR1`, `USR2` or a real-time signal"))
}

/// Parses a signal that can end a process.
pub(crate) fn stop_signal(text: &str) -> Result<Signal, Invalid> {
    match signal(text)? {
        Signal::STOP => Err(Invalid::new(
            "it only suspends a process, and no process can catch it",
            "use `TERM`, `INT`, `QUIT`, `HUP`, `USR1`, `USR2` or a real-time signal",
        )),
        signal => Ok(signal),
    }
}

/// Parses the name or the number of any signal.
pub fn signal(text: &str) -> Result<Signal, Invalid> {
    Signal::parse(text).ok_or_else(|| {
        let name = text.trim().to_ascii_uppercase();
        let help = match nearest(name.trim_start_matches("SIG"), Signal::names()) {
            Some(name) => format!("did you mean `{name}`?"),
            None => "write a name such as `TERM`, `USR1` or `RTMIN+3`, or a number".to_owned(),
        };
        Invalid::new("not a signal", help)
    })
}

/// The longest path of a Unix socket, in bytes. The kernel's `sun_path` has 108 bytes, of which the
/// last is a NUL (unix(7)).
const SOCKET_PATH: usize = 107;

/// Parses a path, which must not be empty.
pub(crate) fn path(text: &str) -> Result<PathBuf, Invalid> {
    match text {
        "" => Err(Invalid::new("an empty path", "write the path")),
        _ => Ok(PathBuf::from(text)),
    }
}

/// Parses the path of a Unix socket, whose length is limited.
pub(crate) fn socket_path(text: &str) -> Result<PathBuf, Invalid> {
    if text.len() > SOCKET_PATH {
        let why = format!(
            "{} bytes long, and the path of a Unix socket may have at most {SOCKET_PATH}",
            text.len()
        );
        return Err(Invalid::new(why, "use a shorter path, such as one under /run"));
    }
    if text.starts_with("unix:") {
        return Err(Invalid::new("not a path", "write the path without `unix:`"));
    }
    if text.starts_with('@') {
        let help = "let the process listen at a path; a file whose name begins with `@` is `./@…`";
        return Err(Invalid::new("an abstract name, and drainit uses only paths", help));
    }
    path(text)
}

/// Parses the status of a final HTTP answer. 1xx is refused.
pub(crate) fn http_status(text: &str) -> Result<u16, Invalid> {
    let status = text.parse().ok().filter(|status| (200..600).contains(status));
    status.ok_or_else(|| Invalid::new("not a status", "write a number from 200 to 599"))
}

pub(crate) fn port(text: &str) -> Result<u16, Invalid> {
    let port = text.trim().parse().ok().filter(|port| *port > 0);
    port.ok_or_else(|| Invalid::new("not a port", "write a number from 1 to 65535"))
}

/// Parses the value of `control.socket`: a path, or `off`.
pub(crate) fn control_socket(text: &str) -> Result<ControlSocket, Invalid> {
    match text {
        "off" => Ok(ControlSocket::Off),
        "no" | "none" | "false" | "disabled" | "yes" | "on" | "true" | "enabled" => {
            let help = "write `off` for no socket, or the path of one, as in `/run/drainit.sock`; without the \
                        key there is a private one";
            Err(Invalid::new("neither a path nor `off`", help))
        }
        _ => socket_path(text).map(ControlSocket::Path),
    }
}

/// Parses `host:port` to listen on. With port 0 the kernel chooses the port.
pub(crate) fn listen(text: &str) -> Result<SocketAddr, Invalid> {
    host_port(text, None)
}

/// Parses `host:port` to connect to.
pub(crate) fn tcp(text: &str) -> Result<SocketAddr, Invalid> {
    nonzero_port(host_port(text, None)?)
}

fn nonzero_port(address: SocketAddr) -> Result<SocketAddr, Invalid> {
    match address.port() {
        0 => Err(Invalid::new(
            "no process can be reached at port 0",
            "write the port on which the process listens",
        )),
        _ => Ok(address),
    }
}

const HOST_PORT_HELP: &str = "write an IP address or `localhost`, and a port: `127.0.0.1:9901`";

fn host_port(text: &str, default_port: Option<u16>) -> Result<SocketAddr, Invalid> {
    let bad = |why: &str| Invalid::new(why, HOST_PORT_HELP);
    if text.contains("://") {
        return Err(bad("a URL instead of an address and a port"));
    }
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, port) = rest.split_once(']').ok_or_else(|| bad("a `[` without its `]`"))?;
        (host, port.strip_prefix(':'))
    } else if text.matches(':').count() > 1 {
        return Err(Invalid::new(
            "not an address",
            "put an IPv6 address into brackets: `[::1]:9901`",
        ));
    } else {
        match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    if port.is_none() && default_port.is_none() && host.parse::<u16>().is_ok() {
        let help =
            format!("write `127.0.0.1:{host}`, or `0.0.0.0:{host}` to listen on every address");
        return Err(Invalid::new("a port without an address", help));
    }
    let port = match (port, default_port) {
        (Some(port), _) => port.parse().map_err(|_| bad("the port is not a number up to 65535"))?,
        (None, Some(port)) => port,
        (None, None) => return Err(bad("the port is missing")),
    };
    let ip = match host {
        "" => {
            return Err(Invalid::new(
                "the address is missing",
                "write `127.0.0.1:PORT`, or `0.0.0.0:PORT` for every address",
            ));
        }
        "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        host => host.parse().map_err(|_| {
            let why =
                "not an IP address, and drainit resolves no names (an init must not hang in DNS)";
            Invalid::new(why, HOST_PORT_HELP)
        })?,
    };
    Ok(SocketAddr::new(ip, port))
}

const URL_HELP: &str = "write `http://127.0.0.1:8080/ready`, or `unix:/run/app.sock:/ready`";

/// Parses `http://host:port/path`, or `unix:/path.sock:/path`.
pub fn http(text: &str) -> Result<HttpTarget, Invalid> {
    let help = URL_HELP;
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(Invalid::new("not a URL: it has a space or a control character", help));
    }
    if let Some(rest) = text.strip_prefix("unix:") {
        let (socket, path) = match rest.split_once(":/") {
            Some((socket, path)) => (socket, format!("/{path}")),
            None => (rest, "/".to_owned()),
        };
        return Ok(HttpTarget { address: Address::Unix(unix(socket)?), path });
    }
    if text.starts_with("https:") {
        let why = "https, and drainit has no TLS: it connects to its own container only";
        return Err(Invalid::new(why, "use a plain `http://` address of the process"));
    }
    let Some(rest) = text.strip_prefix("http://") else {
        return Err(Invalid::new("not a URL", help));
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if authority.contains('@') {
        return Err(Invalid::new("a URL with a user name", "remove the part up to the `@`"));
    }
    if path.contains('#') {
        return Err(Invalid::new("a URL with a fragment", "remove the `#` and the text after it"));
    }
    let address = Address::Tcp(nonzero_port(host_port(authority, Some(80))?)?);
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    Ok(HttpTarget { address, path })
}

/// Parses the address of a server, without a URL path: `http://host:port` or `unix:/path`.
pub fn server(text: &str) -> Result<Address, Invalid> {
    let help = "write `http://127.0.0.1:9901` or `unix:/run/envoy-admin.sock`";
    let target = http(text).map_err(|bad| match bad.help.as_str() {
        // The help text of `http` shows a URL with a path, which would be refused here.
        URL_HELP => Invalid { help: help.to_owned(), ..bad },
        own => Invalid { help: format!("{own}; {help}"), ..bad },
    })?;
    match target.path.as_str() {
        "/" => Ok(target.address),
        _ => Err(Invalid::new("an address with a path: drainit adds the paths itself", help)),
    }
}

/// Parses the address of a gRPC server: `host:port`, or a form that [`server`] accepts.
pub(crate) fn grpc(text: &str) -> Result<Address, Invalid> {
    match text.contains("://") || text.starts_with("unix:") {
        true => server(text),
        false => tcp(text).map(Address::Tcp),
    }
}

/// The path of the socket in a `unix:` address. `unix:///path` means `unix:/path`.
fn unix(text: &str) -> Result<PathBuf, Invalid> {
    let text = match text.strip_prefix("//") {
        Some(rest) if rest.starts_with('/') => rest,
        _ => text,
    };
    socket_path(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    // holds: C33, C34
    #[test]
    fn durations() {
        for (text, millis) in [
            ("0", 0),
            ("15", 15_000),
            ("0.5", 500),
            (" 2 ", 2000),
            ("500ms", 500),
            ("2m", 120_000),
            ("1m 30s", 90_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in [
            "", " ", "abc", "NaN", "inf", "1e3", "5x", "1 2", "1m 30", "s", ".", "1..2", "+5",
            "5s!", "١",
        ] {
            assert_eq!(duration(text).unwrap_err().why, "not a duration", "{text}");
        }
        assert_eq!(duration("-1").unwrap_err().why, "a negative duration");
        assert_eq!(duration("5000000000").unwrap_err().why, "longer than ten years");
        assert_eq!(duration(&"9".repeat(400)).unwrap_err().why, "longer than ten years");
        assert!(positive_duration("0ms").is_err());
    }

    // holds: C67, C68
    #[test]
    fn tcp_addresses() {
        assert_eq!(tcp("localhost:9901").unwrap().to_string(), "127.0.0.1:9901");
        for text in ["127.0.0.1:80", "[::1]:5"] {
            assert_eq!(tcp(text).unwrap().to_string(), text);
        }
        for (text, why) in [
            ("", "the port is missing"),
            ("9901", "a port without an address"),
            (":9901", "the address is missing"),
            ("::1:5", "not an address"),
            ("[::1", "a `[` without its `]`"),
            ("[::1]5", "the port is missing"),
            ("127.0.0.1:99999", "the port is not a number up to 65535"),
            ("127.0.0.1:0", "no process can be reached at port 0"),
            ("http://127.0.0.1:5", "a URL instead of an address and a port"),
        ] {
            assert_eq!(tcp(text).unwrap_err().why, why, "{text}");
        }
        assert!(tcp("envoy:80").unwrap_err().why.starts_with("not an IP address"));
        assert_eq!(listen("0.0.0.0:0").unwrap().port(), 0);
    }

    // holds: C67, C69, C773
    #[test]
    fn http_targets() {
        let tcp = |s: &str| Address::Tcp(s.parse().unwrap());
        for (text, address, path) in [
            ("http://127.0.0.1:9901/ready", tcp("127.0.0.1:9901"), "/ready"),
            ("http://localhost", tcp("127.0.0.1:80"), "/"),
            ("http://[::1]:8080?x=1", tcp("[::1]:8080"), "/?x=1"),
            ("unix:/run/a.sock:/ready?x", Address::Unix("/run/a.sock".into()), "/ready?x"),
            ("unix:/run/a.sock", Address::Unix("/run/a.sock".into()), "/"),
            ("unix:///run/a.sock", Address::Unix("/run/a.sock".into()), "/"),
        ] {
            let target = HttpTarget { address, path: path.to_owned() };
            assert_eq!(http(text).unwrap(), target, "{text}");
            assert!(!http(text).unwrap().to_string().contains('?'), "{text}");
        }
        for text in ["https://127.0.0.1/", "127.0.0.1:80", "http://", "unix:"] {
            assert!(http(text).is_err(), "{text}");
        }
        for rest in ["a b/", "u@127.0.0.1/", "127.0.0.1/#x"] {
            assert!(http(&format!("http://{rest}")).is_err(), "{rest}");
        }
        assert_eq!(server("http://127.0.0.1:9901/").unwrap(), tcp("127.0.0.1:9901"));
        assert!(server("http://127.0.0.1:9901/stats").is_err());
        assert_eq!(grpc("localhost:9003").unwrap(), tcp("127.0.0.1:9003"));
        assert_eq!(grpc("http://127.0.0.1:9003").unwrap(), tcp("127.0.0.1:9003"));
        assert_eq!(grpc("unix:/run/a.sock").unwrap(), Address::Unix("/run/a.sock".into()));
        for text in ["9003", "127.0.0.1:0", "https://127.0.0.1:9003", "dns:///a:9003"] {
            assert!(grpc(text).is_err(), "{text}");
        }
        assert!(server("unix:/a.sock:/x").is_err());
        // The help text must not show an address with a URL path, which would be refused.
        assert!(!server("127.0.0.1:9901").unwrap_err().help.contains("ready"));
    }

    // holds: C75
    #[test]
    fn socket_paths_fit_into_the_kernel() {
        assert!(socket_path(&"a".repeat(107)).is_ok());
        assert!(socket_path(&"a".repeat(108)).is_err());
        assert!(socket_path("").is_err());
        assert!(socket_path("@a").is_err() && http("unix:@a:/ready").is_err());
    }
}
