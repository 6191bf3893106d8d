//! The address of the admin in Envoy's own config.

use std::path::{Path, PathBuf};

use crate::config::{Address, EnvoyFlags, Process};
use crate::load::diagnostics::problems::Problems;
use crate::load::source::Source;
use crate::load::yaml;
use crate::load::yaml::node::get;

/// Envoy's config: the file of `-c` in the command of a process with these further arguments; `None`
/// where `--config-yaml` may change what it says.
pub fn config_file(process: &Process, args: &[String]) -> Option<PathBuf> {
    let command: Vec<String> = process.command.iter().chain(args).cloned().collect();
    let config = EnvoyFlags::of(&command).config?;
    Some(process.working_dir.as_deref().unwrap_or(Path::new("")).join(config))
}

/// Where the config in this file has the admin, if that is another place than `expected`: "it is at
/// port 9902", "there is none". Of a TCP address only the ports are compared: `0.0.0.0` is reached by
/// any of the machine's. `None` also where the file cannot be read: Envoy itself says what is wrong
/// with it.
pub fn other_admin(path: &Path, expected: &Address) -> Option<String> {
    let mut problems = Problems::default();
    let file = problems.add_source(Source::read_at_start(path).ok()?);
    let config = yaml::parse_manifest(&mut problems, file)?.into_iter().next()?;
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
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
}
