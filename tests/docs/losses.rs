//! Tests the jq program that sums up the losses of a rollout.

use std::fs::File;
use std::process::Command;

use serde_json::{Value, json};
use testkit::envoy::checkout;

use crate::support::{TempDir, is_installed};

fn pod(name: usize, terminated: &Value) -> Value {
    let status = json!({"name": "web", "state": {"terminated": terminated}});
    let metadata = json!({"name": format!("web-{name}"), "uid": name.to_string()});
    json!({"kind": "Pod", "metadata": metadata, "status": {"containerStatuses": [status]}})
}

fn stopped(name: usize, cut: &str) -> Value {
    let message = format!(
        "stopped in 5.04s of 28s, exit code 0: SIGTERM received; connections 9, requests 3, \
         cut {cut}, killed 0, counted by envoy and kernel\n  stop web: 8ms"
    );
    pod(name, &json!({"exitCode": 0, "message": message}))
}

/// The exit code and the table, whose columns are separated by tabs.
fn losses(input: &str) -> (Option<i32>, String) {
    let dir = TempDir::for_everybody();
    dir.write("pods.json", input);
    let mut command = Command::new("jq");
    command.arg("-nrf").arg(checkout().join("examples/kubernetes/losses.jq"));
    let output = command.stdin(File::open(dir.path("pods.json")).unwrap()).output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

fn list(items: impl IntoIterator<Item = Value>) -> String {
    json!({"kind": "List", "items": Vec::from_iter(items)}).to_string()
}

// holds: S777
#[test]
fn seven_cuts_among_twenty_pods_are_seven_in_the_table_and_fail_the_step() {
    if !is_installed("jq") {
        return;
    }
    let cut = |name| if name % 3 == 0 { "1" } else { "0" };
    let (code, table) = losses(&list((0..20).map(|name| stopped(name, cut(name)))));
    assert!(table.ends_with("\nsum\t-\t-\t180\t60\t7\t0\t-\t-\n"), "{table}");
    assert_eq!((code, table.lines().count()), (Some(1), 22), "{table}");
    // `kubectl get --watch` gives each state of a pod, and only the last one counts.
    let watched = [pod(1, &Value::Null), stopped(1, "0"), stopped(1, "0")];
    let (code, table) = losses(&watched.map(|it| it.to_string()).concat());
    assert!(table.ends_with("\nsum\t-\t-\t9\t3\t0\t0\t-\t-\n"), "{table}");
    assert_eq!((code, table.lines().count()), (Some(0), 3), "{table}");
}

// holds: S778
#[test]
fn input_without_losses_gets_a_line_each_and_unknown_is_never_zero() {
    if !is_installed("jq") {
        return;
    }
    let strange = [
        stopped(0, "2+"),
        pod(1, &json!({"exitCode": 0})),
        pod(2, &json!({"message": "panic\nat x"})),
        json!({"kind": "Pod", "metadata": {"name": "new"}}),
        json!({"kind": "Service", "metadata": {"name": "web"}}),
        json!(3),
    ];
    let (code, table) = losses(&list(strange));
    for line in [
        "web-0\tweb\t5.04s of 28s\t9\t3\t2+\t0\tenvoy and kernel\tSIGTERM received",
        "web-1\tweb\t-\t-\t-\t-\t-\t-\tno termination message",
        "web-2\tweb\t-\t-\t-\t-\t-\t-\tpanic",
        "new\t-\t-\t-\t-\t-\t-\t-\thas not ended",
        "web\t-\t-\t-\t-\t-\t-\t-\tService is no Pod",
        "-\t-\t-\t-\t-\t-\t-\t-\tnumber is no Pod",
        "sum\t-\t-\t9+\t3+\t2+\t-\t-\t-",
    ] {
        assert!(table.lines().any(|it| it == line), "{line:?} in {table}");
    }
    assert_eq!((code, table.lines().count()), (Some(1), 8), "{table}");
    let (code, table) = losses(&list([stopped(0, "0"), pod(1, &json!({}))]));
    assert!(code == Some(4) && table.ends_with("\t9+\t3+\t-\t-\t-\t-\n"), "{code:?} {table}");
    let (code, table) = losses(&list([pod(1, &Value::Null)]));
    assert!(
        code == Some(4) && table.ends_with("\nsum\t-\t-\t-\t-\t-\t-\t-\t-\n"),
        "{code:?} {table}"
    );
    let mut restarted = stopped(0, "0");
    restarted["status"]["containerStatuses"][0]["lastState"] =
        json!({"terminated": {"exitCode": 137}});
    let mut sidecar = stopped(1, "9");
    sidecar["status"]["initContainerStatuses"] = sidecar["status"]["containerStatuses"].take();
    let (code, table) = losses(&list([restarted.clone()]));
    assert!(code == Some(4) && table.contains("\t9+\t3+\t-\t"), "{code:?} {table}");
    let (code, table) = losses(&list([restarted, sidecar]));
    assert!(code == Some(1) && table.contains("\t18+\t6+\t9+\t"), "{code:?} {table}");
    let half = &list([stopped(0, "0")])[..200];
    let (code, table) = losses(&format!("{}{half}", stopped(7, "0")));
    assert!(code == Some(1) && table.contains("the input is not whole: "), "{code:?} {table}");
    assert!(table.contains("web-7\tweb\t5.04s"), "{table}");
}
