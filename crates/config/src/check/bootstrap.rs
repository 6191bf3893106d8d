//! Reads facts from Envoy's own config, such as the address of the admin interface and the longest
//! time of a request.

use std::iter;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use crate::check::shared_addresses::local;
use crate::keys::{Address, Direction, EnvoyDrain, EnvoyFlags, Process};
use crate::language::diagnostics::problems::Problems;
use crate::language::source::{AT_START, Source};
use crate::language::yaml;
use crate::language::yaml::node::{Node, NodeKey, get};
use drainit_os::same_path::is_same;

/// The flags of the Envoy that a process runs. `args` are the arguments that are added to the
/// process's command.
pub fn flags(process: &Process, args: &[String]) -> EnvoyFlags {
    let command: Vec<String> = process.command.iter().chain(args).cloned().collect();
    EnvoyFlags::of(&command)
}

/// The path of Envoy's own config: the value of `-c` or `--config-path` in the command of the
/// process, to which `args` are added. `None` without these flags, or if `--config-yaml` may
/// override that file.
pub fn config_file(process: &Process, args: &[String]) -> Option<PathBuf> {
    let flags = flags(process, args);
    path_of(process, &flags).filter(|_| flags.config_yaml.is_none())
}

fn path_of(process: &Process, flags: &EnvoyFlags) -> Option<PathBuf> {
    let config = flags.config.as_ref()?;
    Some(process.working_dir.as_deref().unwrap_or(Path::new("")).join(config))
}

/// If Envoy's own config does not have the admin interface at the `expected` address, names the
/// place of the config, and says where the interface is: "it is at port 9902", or "there is none".
/// `None` if the addresses agree or cannot be compared, or if the file cannot be read, which Envoy
/// itself reports. Reads only a file that `may_read` permits.
pub fn other_admin(
    process: &Process,
    args: &[String],
    expected: &Address,
    may_read: impl Fn(&Path) -> bool,
) -> Option<(String, String)> {
    let flags = flags(process, args);
    // Envoy merges this text over the file.
    if let Some(text) = &flags.config_yaml {
        let config = parse(Source::new("--config-yaml", text.clone()))?;
        if config.entries().is_empty() {
            return None;
        }
        if let Some(address) = field(&config, &["admin", "address"]) {
            return Some(("--config-yaml".to_owned(), other_place(address, expected)?));
        }
    }
    let path = path_of(process, &flags).filter(|path| may_read(path))?;
    let config = read(&path)?;
    let other = match field(&config, &["admin"]) {
        None if config.entries().is_empty() => return None,
        None => "there is none".to_owned(),
        Some(admin) => other_place(field(admin, &["address"])?, expected)?,
    };
    Some((path.display().to_string(), other))
}

/// Where the admin interface is, if its `address` in Envoy's config is not the expected address.
/// Without an IP address, only the ports are compared.
fn other_place(address: &Node, expected: &Address) -> Option<String> {
    if let Some(path) = field(address, &["pipe", "path"]) {
        let path = path.scalar()?;
        let is_one = matches!(expected, Address::Unix(unix) if is_same(unix, Path::new(path)));
        return (!is_one && !path.starts_with('@')).then(|| format!("it is at {path}"));
    }
    let port = field(address, &["socket_address", "port_value"])?.scalar()?;
    let number: u16 = port.parse().ok()?;
    let ip = field(address, &["socket_address", "address"]).and_then(|ip| ip.scalar());
    let ip: Option<IpAddr> = ip.and_then(|ip| ip.parse().ok());
    let Address::Tcp(tcp) = local(expected.clone()) else {
        return Some(format!("it is at port {number}"));
    };
    let is_reached = ip.is_none_or(|ip| {
        let is_everywhere = ip.is_unspecified() && (ip.is_ipv6() || tcp.is_ipv4());
        is_everywhere || ip.to_canonical() == tcp.ip().to_canonical()
    });
    match (tcp.port() == number, ip) {
        (true, _) if is_reached => None,
        (true, Some(ip)) => Some(format!("it is at {}", SocketAddr::new(ip, number))),
        _ => Some(format!("it is at port {number}")),
    }
}

/// The value at a path of fields. Envoy reads `port_value` and `portValue` as one field.
fn field<'n>(node: &'n Node, path: &[&str]) -> Option<&'n Node> {
    path.iter().try_fold(node, |node, name| {
        node.entries().iter().find(|(key, _)| is_field(key, name)).map(|(_, value)| &**value)
    })
}

/// Whether a field has this name. Protobuf reads `port_value` and `portValue` as one field.
fn is_field(key: &NodeKey, name: &str) -> bool {
    key.text.replace('_', "").eq_ignore_ascii_case(&name.replace('_', ""))
}

/// The longest of the times that Envoy's config allows a request or a stream, with its key, which is
/// the `timeout` of a route or `max_stream_duration`, and the number of its line, from 1. `None` if
/// the file sets no such time or cannot be read. If several times are equally long, returns the
/// first of them. Envoy reads 0 as "no limit", but 0 is not the longest time here, because a drain
/// cannot wait without a limit.
pub fn longest_request(path: &Path) -> Option<(Duration, &'static str, usize)> {
    let time = |(key, value): &(NodeKey, Rc<Node>)| {
        let (key, value) = match key {
            key if is_field(key, "max_stream_duration") => ("max_stream_duration", &**value),
            key if is_field(key, "route") => ("timeout", field(value, &["timeout"])?),
            _ => return None,
        };
        // In JSON and YAML, a duration of a protobuf is a number of seconds, such as `1.5s`.
        let seconds = value.scalar()?.strip_suffix('s')?.parse().ok()?;
        let time = Duration::try_from_secs_f64(seconds).ok()?;
        Some((time, key, value.span.line()))
    };
    let config = read(path)?;
    let times = all(&config).flat_map(Node::entries).filter_map(time);
    times.reduce(|longest, it| if it.0 > longest.0 { it } else { longest })
}

/// The number of the line, from 1, of the first TCP proxy in those listeners whose connections the
/// drain counts. `None` if they have no TCP proxy, or if the file cannot be read.
pub fn tcp_proxy(path: &Path, drain: &EnvoyDrain) -> Option<usize> {
    let config = read(path)?;
    let counts = |listener: &&Node| {
        let has = |key: &str, matches: &dyn Fn(&str) -> bool| {
            field(listener, &[key]).and_then(|node| node.scalar()).is_some_and(matches)
        };
        let is_ignored = |name: &str| drain.ignore_listeners.iter().any(|it| it == name);
        let is_inbound = has("traffic_direction", &|direction| direction == "INBOUND");
        (drain.direction != Some(Direction::Inbound) || is_inbound)
            && !["name", "stat_prefix"].iter().any(|key| has(key, &is_ignored))
            && field(listener, &["internal_listener"]).is_none()
    };
    let is_proxy = |node: &&Node| {
        let kind = get(node, &["@type"]).and_then(|kind| kind.scalar());
        kind.is_some_and(|kind| kind.ends_with(".TcpProxy"))
    };
    let listeners = field(&config, &["static_resources", "listeners"])?.inner().filter(counts);
    listeners.flat_map(all).find(is_proxy).map(|proxy| proxy.span.line())
}

/// Whether this config of an Envoy has a UDP address, which HTTP/3 needs.
pub fn has_udp(path: &Path) -> bool {
    let is_udp = |node: &Node| {
        get(node, &["protocol"]).is_some_and(|protocol| protocol.scalar() == Some("UDP"))
    };
    read(path).is_some_and(|config| all(&config).any(is_udp))
}

/// A node and all nodes in it, in the order of the file.
fn all(node: &Node) -> Box<dyn Iterator<Item = &Node> + '_> {
    Box::new(iter::once(node).chain(node.inner().flat_map(all)))
}

fn read(path: &Path) -> Option<Rc<Node>> {
    parse(Source::read_within(path, &AT_START).ok()?)
}

/// Reads the first document of a file that is not the config. `None` if it is not valid YAML.
pub fn parse(source: Source) -> Option<Rc<Node>> {
    let mut problems = Problems::default();
    let file = problems.add_source(source);
    yaml::parse_manifest(&mut problems, file)?.into_iter().next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::DrainUntil;
    use crate::testing::temp_dir::TempDir;

    #[test]
    fn another_place_of_the_admin_is_found_in_yaml_and_json() {
        let dir = TempDir::new();
        let path = dir.path("envoy.yaml");
        let of = |command: &[&str], expected: &Address| {
            let command = command.iter().map(|word| (*word).to_owned()).collect();
            let process = Process { command, ..Process::default() };
            other_admin(&process, &[], expected, |_| true)
        };
        let file = path.to_str().unwrap();
        let other = |text: &str, expected: &Address| {
            std::fs::write(&path, text).unwrap();
            let (place, other) = of(&["envoy", "-c", file], expected)?;
            assert_eq!(place, file);
            Some(other)
        };
        let tcp = Address::Tcp("127.0.0.1:9901".parse().unwrap());
        let unix = Address::Unix("/run/admin".into());
        let yaml = "admin:\n  address: {socket_address: {address: 0.0.0.0, port_value: 9901}}\n";
        let json = r#"{"admin": {"address": {"socket_address": {"port_value": 9902}}}}"#;
        let pipe = "admin: {address: {pipe: {path: /run/admin}}}";
        assert_eq!(other(yaml, &tcp), None);
        assert_eq!(other(yaml, &unix).as_deref(), Some("it is at port 9901"));
        assert_eq!(other(json, &tcp).as_deref(), Some("it is at port 9902"));
        assert_eq!(other(pipe, &unix), None);
        assert_eq!(other(pipe, &tcp).as_deref(), Some("it is at /run/admin"));
        assert_eq!(other("static_resources: {}", &tcp).as_deref(), Some("there is none"));
        for unknown in ["", "admin: {}", "{", "admin: {address: []}"] {
            assert_eq!(other(unknown, &tcp), None, "{unknown}");
        }
        assert_eq!(of(&["envoy", "-c", "/nowhere"], &tcp), None);
        let same = Address::Unix("/var//run/admin".into());
        assert_eq!(other("admin: {address: {pipe: {path: //run/./admin}}}", &same), None);
        let at = |ip: &str| {
            format!("admin: {{address: {{socketAddress: {{address: '{ip}', portValue: 9901}}}}}}")
        };
        let [six, any] = ["[::1]:9901", "0.0.0.0:9901"].map(|it| Address::Tcp(it.parse().unwrap()));
        for (ip, expected, says) in [
            ("127.0.0.1", &tcp, None),
            ("127.0.0.1", &any, None),
            ("127.0.0.2", &tcp, Some("it is at 127.0.0.2:9901")),
            ("::", &tcp, None),
            ("::ffff:127.0.0.1", &tcp, None),
            ("0.0.0.0", &six, Some("it is at 0.0.0.0:9901")),
            ("envoy", &tcp, None),
        ] {
            assert_eq!(other(&at(ip), expected).as_deref(), says, "{ip}");
        }
        // The text of `--config-yaml` counts before the file.
        let text = at("127.0.0.1").replace("9901", "9902");
        let yaml = |text: &str| of(&["envoy", "-c", file, "--config-yaml", text], &tcp);
        let said = |place: &str, other: &str| Some((place.to_owned(), other.to_owned()));
        assert_eq!(yaml(&text), said("--config-yaml", "it is at port 9902"));
        std::fs::write(&path, &text).unwrap();
        assert_eq!(yaml(&at("127.0.0.1")), None);
        assert_eq!(yaml("node: {id: x}"), said(file, "it is at port 9902"));
    }

    #[test]
    fn tcp_proxies_are_found_in_listeners_that_count() {
        let dir = TempDir::new();
        let line = |listener: &str, drain: &EnvoyDrain| {
            let filter = "filters: [{typed_config: {'@type': type.googleapis.com/x.v3.TcpProxy}}]";
            let text = format!(
                "static_resources:\n  listeners:\n  - name: web\n  - name: db\n    {listener}\n    \
                 filter_chains: [{{{filter}}}]\n"
            );
            tcp_proxy(&dir.write("envoy.yaml", text.as_bytes()), drain)
        };
        let of_connections = EnvoyDrain::at(Address::Unix("/a".into()));
        let all = EnvoyDrain { until: DrainUntil::Requests, ..of_connections };
        let inbound = EnvoyDrain { direction: Some(Direction::Inbound), ..all.clone() };
        let ignored = EnvoyDrain { ignore_listeners: vec!["db".to_owned()], ..all.clone() };
        assert_eq!(line("", &all), Some(6));
        assert_eq!(line("internal_listener: {}", &all), None);
        assert_eq!(line("", &inbound), None);
        assert_eq!(line("traffic_direction: INBOUND", &inbound), Some(6));
        assert_eq!(line("", &ignored), None);
        for names in [["db", "web"], ["web", "db"], ["web", "sql"], ["sql", "web"]] {
            let drain =
                EnvoyDrain { ignore_listeners: names.map(str::to_owned).into(), ..all.clone() };
            assert_eq!(line("stat_prefix: sql", &drain), None, "{names:?}");
        }
        assert_eq!(tcp_proxy(&dir.write("envoy.yaml", b"a: {'@type': x.TcpProxy}"), &all), None);
    }

    #[test]
    fn the_longest_timeout_of_routes_and_streams_is_found() {
        let dir = TempDir::new();
        let path = dir.path("envoy.yaml");
        let longest = |text: &str| {
            std::fs::write(&path, text).unwrap();
            longest_request(&path).map(|(time, key, line)| (time.as_millis(), key, line))
        };
        let routes = "a:\n- route: {cluster: x, timeout: 20s}\n- route:\n    timeout: 1.5s\n";
        assert_eq!(longest(routes), Some((20_000, "timeout", 2)));
        let later = "a:\n- route: {timeout: 2s}\n- route: {timeout: 30s}\n- route: {timeout: 9s}\n";
        assert_eq!(longest(later), Some((30_000, "timeout", 3)));
        let nested = "\n- route:\n    max_stream_duration: {max_stream_duration: 600s}\n";
        assert_eq!(longest(nested), Some((600_000, "max_stream_duration", 3)));
        let two = "- route: {timeout: 5s}\n- route: {timeout: 5s}\n";
        assert_eq!(longest(two), Some((5_000, "timeout", 1)));
        for other in ["", "clusters: [{connect_timeout: 5s, timeout: 9s}]", "route: {timeout: x}"] {
            assert_eq!(longest(other), None, "{other}");
        }
    }
}
