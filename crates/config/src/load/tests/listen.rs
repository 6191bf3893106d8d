//! Tests `listen` of a process.

use std::path::PathBuf;

use crate::keys::{Address, ListenSocket};
use crate::load::testing::config;
use crate::load::tests::{problems, process_with};

// holds: C182, C183, C184
#[test]
fn an_address_stands_alone_or_in_a_mapping() {
    let text = "listen: ['tcp://[::1]:80', 'unix:/run/a.sock', {address: 'unix:///b', name: c, mode: 0600, backlog: 9}]";
    let unix = |path: &str, name: &str, mode, backlog| ListenSocket {
        address: Address::Unix(PathBuf::from(path)),
        name: name.to_owned(),
        mode,
        backlog,
    };
    let tcp = ListenSocket {
        address: Address::Tcp("[::1]:80".parse().unwrap()),
        ..unix("", "a", 0o666, None)
    };
    let config = config(&process_with(text));
    assert_eq!(
        config.processes[0].listen,
        [tcp, unix("/run/a.sock", "a", 0o666, None), unix("/b", "c", 0o600, Some(9))]
    );
}

// holds: C190
#[test]
fn wrong_sockets_are_refused() {
    for (keys, message) in [
        ("listen: [80]", "`listen` is `80`: not an address to listen on"),
        ("listen: ['tcp://1.2.3.4:0']", "no process can be reached at port 0"),
        ("listen: [{mode: '600'}]", "`processes.a.listen` has no `address`"),
        ("listen: [{address: 'unix:/a', mode: '9'}]", "not permissions"),
        ("listen: [{address: 'tcp://1.2.3.4:80', mode: '600'}]", "`mode` of a TCP socket"),
        ("listen: [{address: 'unix:/a', name: 'a:b'}]", "cannot be the name of a socket"),
        ("listen: ['unix:/run/a', 'unix:/var/run/a']", "`a` already listens on unix:/run/a"),
        ("listen: ['tcp://[::]:80', 'tcp://[::]:80']", "`a` already listens on tcp://[::]:80"),
        ("listen: ['unix:/a'], sockets: [/a]", "`sockets` of `a` would remove unix:/a"),
        ("listen: ['unix:/a'], readiness: {unix: /a}", "`readiness` of `a` always succeeds"),
        (
            "listen: ['tcp://0.0.0.0:80'], readiness: {tcp: '127.0.0.1:80'}",
            "drainit itself listens on tcp://0.0.0.0:80 for the process",
        ),
    ] {
        let keys = keys.replace("], ", "]\n    ");
        let found = problems(&process_with(&keys));
        assert!(found.len() == 1 && found[0].message.contains(message), "{keys}: {found:#?}");
    }
    assert!(problems(&process_with("listen: ['tcp://0.0.0.0:80', 'tcp://[::1]:80']")).is_empty());
    for only_if in ["", ", only_if: {value: '', is: x}"] {
        let found = problems(&format!(
            "processes: {{a: {{command: [b], listen: ['unix:/run/a']}}, b: {{command: [b], sockets: [/var/run/a]{only_if}}}}}"
        ));
        let message = "`sockets` of `b` would remove unix:/run/a";
        assert!(found.len() == 1 && found[0].message.contains(message), "{only_if}: {found:#?}");
    }
}
