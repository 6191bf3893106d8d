//! Reads facts from Envoy's own config, such as the address of the admin interface and the longest
//! time of a request.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use crate::keys::{Address, Direction, EnvoyDrain, EnvoyFlags, Process};
use crate::language::diagnostics::problems::Problems;
use crate::language::source::{AT_START, Source};
use crate::language::yaml;
use crate::language::yaml::node::{Node, get};

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
    let config = flags(process, args).config?;
    Some(process.working_dir.as_deref().unwrap_or(Path::new("")).join(config))
}

/// If Envoy's own config does not have the admin interface at the `expected` address, says where
/// the interface is: "it is at port 9902", or "there is none". Two TCP addresses agree if their
/// ports agree, because Envoy's config often has `0.0.0.0`, which means every address of the
/// machine. `None` if the addresses agree or cannot be compared, or if the file cannot be read,
/// which Envoy itself reports.
pub fn other_admin(path: &Path, expected: &Address) -> Option<String> {
    let config = read(path)?;
    if get(&config, &["admin"]).is_none() && !config.entries().is_empty() {
        return Some("there is none".to_owned());
    }
    let address = get(&config, &["admin", "address"])?;
    if let Some(path) = get(address, &["pipe", "path"]) {
        let path = path.scalar()?;
        let is_same = matches!(expected, Address::Unix(unix) if unix == Path::new(path));
        return (!is_same && !path.starts_with('@')).then(|| format!("it is at {path}"));
    }
    let port = get(address, &["socket_address", "port_value"])?.scalar()?;
    let number: u16 = port.parse().ok()?;
    let is_same = matches!(expected, Address::Tcp(tcp) if tcp.port() == number);
    (!is_same).then(|| format!("it is at port {number}"))
}

/// The longest time that Envoy's config allows a request or a stream: the `timeout` of a route, or
/// `max_stream_duration`.
#[derive(Debug, PartialEq, Eq)]
pub struct Longest {
    pub time: Duration,
    pub key: &'static str,
    /// The number of the line that sets this time, from 1.
    pub line: usize,
}

/// The longest of the times that Envoy's config allows a request. `None` if the file sets no such
/// time or cannot be read. Envoy reads 0 as "no limit", but 0 is not the longest time here, because
/// a drain cannot wait without a limit.
pub fn longest_request(path: &Path) -> Option<Longest> {
    let mut all = Vec::new();
    let config = read(path)?;
    timeouts(&config, &mut all);
    // `max_by_key` returns the last of several equal times. The order is reversed, so that the
    // first in the file is shown.
    all.into_iter().rev().max_by_key(|longest| longest.time)
}

fn timeouts(node: &Node, all: &mut Vec<Longest>) {
    for (key, value) in node.entries() {
        let mut add = |key, value: &Node| {
            // In JSON and YAML, a duration of a protobuf is a number of seconds, such as `1.5s`.
            let seconds = value.scalar().and_then(|text| text.strip_suffix('s')?.parse().ok());
            let time = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
            all.extend(time.map(|time| Longest { time, key, line: value.span.line() }));
        };
        match &*key.text {
            "max_stream_duration" => add("max_stream_duration", value),
            "route" => {
                if let Some(timeout) = get(value, &["timeout"]) {
                    add("timeout", timeout);
                }
            }
            _ => {}
        }
    }
    node.inner().for_each(|inner| timeouts(inner, all));
}

/// The number of the line, from 1, in which Envoy's config turns off all statistics. `None` if the
/// config does not turn the statistics off, or cannot be read.
pub fn rejects_statistics(path: &Path) -> Option<usize> {
    let config = read(path)?;
    let all = get(&config, &["stats_config", "stats_matcher", "reject_all"])?;
    (all.scalar() == Some("true")).then(|| all.span.line())
}

/// The number of the line, from 1, of the first TCP proxy in those listeners whose connections the
/// drain counts. `None` if they have no TCP proxy, or if the file cannot be read.
pub fn tcp_proxy(path: &Path, drain: &EnvoyDrain) -> Option<usize> {
    fn line(node: &Node) -> Option<usize> {
        let kind = get(node, &["@type"]).and_then(|kind| kind.scalar());
        if kind.is_some_and(|kind| kind.ends_with(".TcpProxy")) {
            return Some(node.span.line());
        }
        node.inner().find_map(line)
    }
    let config = read(path)?;
    let counts = |listener: &Node| {
        let has = |key: &str, matches: &dyn Fn(&str) -> bool| {
            get(listener, &[key]).and_then(|node| node.scalar()).is_some_and(matches)
        };
        let is_ignored = |name: &str| drain.ignore_listeners.iter().any(|it| it == name);
        let is_inbound = has("traffic_direction", &|direction| direction == "INBOUND");
        (drain.direction != Some(Direction::Inbound) || is_inbound)
            && !["name", "stat_prefix"].iter().any(|key| has(key, &is_ignored))
            && get(listener, &["internal_listener"]).is_none()
    };
    let listeners = get(&config, &["static_resources", "listeners"])?;
    listeners.inner().filter(|listener| counts(listener)).find_map(line)
}

/// Whether this config of an Envoy has a UDP address, which HTTP/3 needs.
pub fn has_udp(path: &Path) -> bool {
    fn is_in(node: &Node) -> bool {
        get(node, &["protocol"]).is_some_and(|protocol| protocol.scalar() == Some("UDP"))
            || node.inner().any(is_in)
    }
    read(path).is_some_and(|config| is_in(&config))
}

fn read(path: &Path) -> Option<Rc<Node>> {
    let mut problems = Problems::default();
    let file = problems.add_source(Source::read_within(path, &AT_START).ok()?);
    yaml::parse_manifest(&mut problems, file)?.into_iter().next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{DrainTimes, DrainUntil};
    use crate::testing::temp_dir::TempDir;

    #[test]
    fn another_place_of_the_admin_is_found_in_yaml_and_json() {
        let dir = TempDir::new();
        let path = dir.path("envoy.yaml");
        let other = |text: &str, expected: &Address| {
            std::fs::write(&path, text).unwrap();
            other_admin(&path, expected)
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
        assert_eq!(other_admin(Path::new("/nowhere"), &tcp), None);
    }

    #[test]
    fn rejected_statistics_are_found() {
        let dir = TempDir::new();
        let line = |text: &str| rejects_statistics(&dir.write("envoy.yaml", text.as_bytes()));
        assert_eq!(line("a: 1\nstats_config:\n  stats_matcher: {reject_all: true}\n"), Some(3));
        for other in ["", "stats_config: {stats_matcher: {reject_all: false}}", "stats_config: {}"]
        {
            assert_eq!(line(other), None, "{other}");
        }
    }

    #[test]
    fn tcp_proxies_are_found_in_listeners_that_count() {
        let dir = TempDir::new();
        let line = |listener: &str, drain: &EnvoyDrain| {
            let filter =
                "filters: [{typed_config: {'@type': type.googleapis.com/envoy.x.v3.TcpProxy}}]";
            let text = format!(
                "static_resources:\n  listeners:\n  - name: web\n  - name: db\n    {listener}\n    \
                 filter_chains: [{{{filter}}}]\n"
            );
            tcp_proxy(&dir.write("envoy.yaml", text.as_bytes()), drain)
        };
        let all = EnvoyDrain {
            admin: Address::Unix("/a".into()),
            fail_healthcheck: true,
            until: DrainUntil::Requests,
            exit_at: 0,
            direction: None,
            ignore_listeners: Vec::new(),
            times: DrainTimes::default(),
        };
        let inbound = EnvoyDrain { direction: Some(Direction::Inbound), ..all.clone() };
        let ignored = EnvoyDrain { ignore_listeners: vec!["db".to_owned()], ..all.clone() };
        assert_eq!(line("", &all), Some(6));
        assert_eq!(line("internal_listener: {}", &all), None);
        assert_eq!(line("", &inbound), None);
        assert_eq!(line("traffic_direction: INBOUND", &inbound), Some(6));
        assert_eq!(line("", &ignored), None);
        assert_eq!(tcp_proxy(&dir.write("envoy.yaml", b"a: {'@type': x.TcpProxy}"), &all), None);
    }

    #[test]
    fn the_longest_timeout_of_routes_and_streams_is_found() {
        let dir = TempDir::new();
        let path = dir.path("envoy.yaml");
        let longest = |text: &str| {
            std::fs::write(&path, text).unwrap();
            longest_request(&path).map(|found| (found.time.as_millis(), found.key, found.line))
        };
        let routes = "a:\n- route: {cluster: x, timeout: 20s}\n- route:\n    timeout: 1.5s\n";
        assert_eq!(longest(routes), Some((20_000, "timeout", 2)));
        let nested = "\n- route:\n    max_stream_duration: {max_stream_duration: 600s}\n";
        assert_eq!(longest(nested), Some((600_000, "max_stream_duration", 3)));
        let two = "- route: {timeout: 5s}\n- route: {timeout: 5s}\n";
        assert_eq!(longest(two), Some((5_000, "timeout", 1)));
        for other in ["", "clusters: [{connect_timeout: 5s, timeout: 9s}]", "route: {timeout: x}"] {
            assert_eq!(longest(other), None, "{other}");
        }
    }
}
