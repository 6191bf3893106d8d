//! The address of the admin in Envoy's own config.

use std::path::Path;

use crate::config::Address;
use crate::load::diagnostics::problems::Problems;
use crate::load::source::Source;
use crate::load::yaml;
use crate::load::yaml::node::get;

/// Where the config in this file has the admin, if that is another place than `expected`. Of a TCP
/// address only the ports are compared: `0.0.0.0` is reached by any of the machine's. `None` also
/// where the file has no admin, or cannot be read: Envoy itself says what is wrong with it.
pub(crate) fn other_admin(path: &Path, expected: &Address) -> Option<String> {
    let mut problems = Problems::default();
    let file = problems.add_source(Source::read_at_start(path).ok()?);
    let config = yaml::parse_manifest(&mut problems, file)?.into_iter().next()?;
    let address = get(&config, &["admin", "address"])?;
    if let Some(path) = get(address, &["pipe", "path"]) {
        let path = path.scalar()?;
        let is_same = matches!(expected, Address::Unix(unix) if unix == Path::new(path));
        return (!is_same && !path.starts_with('@')).then(|| path.to_owned());
    }
    let port = get(address, &["socket_address", "port_value"])?.scalar()?;
    let number: u16 = port.parse().ok()?;
    let is_same = matches!(expected, Address::Tcp(tcp) if tcp.port() == number);
    (!is_same).then(|| format!("port {number}"))
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
        assert_eq!(other(yaml, &unix).as_deref(), Some("port 9901"));
        assert_eq!(other(json, &tcp).as_deref(), Some("port 9902"));
        assert_eq!(other(pipe, &unix), None);
        assert_eq!(other(pipe, &tcp).as_deref(), Some("/run/admin"));
        for unknown in ["", "admin: {}", "static_resources: {}", "{", "admin: {address: []}"] {
            assert_eq!(other(unknown, &tcp), None, "{unknown}");
        }
        assert_eq!(other_admin(Path::new("/nowhere"), &tcp), None);
    }
}
