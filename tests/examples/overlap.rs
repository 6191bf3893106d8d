//! Tests the examples of `listen` and `update: start-first` with real servers: each is replaced
//! under load, while the old and the new instance overlap.

use testkit::load::{Failure, IdleClose, Plan, Report};

use crate::support::example::under_load;
use crate::support::*;

/// The server of examples/go, once it is built.
const GO_SERVER: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/go-server");
/// How often each process is replaced.
const TIMES: usize = 3;
/// Clients that send requests almost without a pause.
const BUSY: Plan =
    Plan { clients: 20, rate: 50.0, length: ms(300_000), idle_close: IdleClose::Noticed };
/// Clients that pause, so that their connections are idle between two requests.
const WITH_PAUSES: Plan = Plan { clients: 20, rate: 3.0, ..BUSY };

/// Starts a config with overlays, from the root of the checkout.
fn start(configs: &[&str], address: SocketAddr) -> Option<Running> {
    let rig = example::rig()?
        .env("GATEWAY_RUN_DIR", "DIR")
        .env("GATEWAY_ADDRESS", &address.ip().to_string())
        .env("GATEWAY_PORT", &address.port().to_string())
        .env("GO_SERVER", GO_SERVER)
        .env("ADDRESS", &address.ip().to_string())
        .env("PORT", &address.port().to_string());
    Some(example::run(rig, configs))
}

/// Replaces these processes under load, one by one, and returns the report of the clients.
fn replace_all(drainit: &Running, address: SocketAddr, plan: Plan, names: &[&str]) -> Report {
    let report = under_load(address, plan, || {
        for name in names {
            for _ in 0..TIMES {
                drainit.exec(&["restart", name]).assert(0, "");
            }
        }
    });
    #[allow(clippy::print_stdout)] // docs/config/update.md has its figures
    {
        println!("{report}");
    }
    report
}

/// Replaces these processes under load, first by clients without pauses and then by clients with
/// pauses, and asserts that no request was lost.
#[track_caller]
fn assert_nothing_lost(configs: &[&str], names: &[&str]) {
    let address = free_address();
    let Some(drainit) = start(configs, address) else { return };
    for (plan, least) in [(BUSY, 300), (WITH_PAUSES, 20)] {
        let report = replace_all(&drainit, address, plan, names);
        assert_eq!(report.total.failed, 0, "{report}\n{}", drainit.record());
        assert!(report.total.ok > least, "{report}");
    }
    drainit.signal(Signal::SIGTERM);
    drainit.wait_exit(LONG * 2).assert_code(0).assert_no_line(r"^\[drainit\].*(warning|killed)");
    assert!(get(address, "/").is_err());
}

#[test]
fn a_server_with_asyncio_loses_nothing() {
    assert_nothing_lost(&["examples/listen/asyncio.yaml"], &["server"]);
}

#[test]
fn a_server_in_go_loses_nothing() {
    if !is_installed("go") {
        return;
    }
    let cache = concat!(env!("CARGO_TARGET_TMPDIR"), "/go-cache");
    let mut build = Command::new("go");
    build.args(["build", "-o", GO_SERVER, "examples/go/main.go"]).env("GOCACHE", cache);
    assert!(build.current_dir(checkout()).status().unwrap().success());
    // A replacement is so quick that hardly any request is in flight meanwhile, so the test
    // replaces this server more often.
    assert_nothing_lost(&["examples/go/drainit.yaml"], &["server"; 4]);
}

#[test]
fn gunicorn_loses_nothing() {
    if is_installed("gunicorn") {
        assert_nothing_lost(&["examples/listen/gunicorn.yaml"], &["app"]);
    }
}

/// During the drain of the old instance, the clients move to the new instance.
#[test]
fn axum_loses_nothing() {
    let address = free_address();
    let configs = ["examples/axum/drainit.yaml", "examples/axum/replace.yaml"];
    let Some(drainit) = start(&configs, address) else { return };
    let report = replace_all(&drainit, address, WITH_PAUSES, &["server"]);
    assert_eq!(report.total.failed, 0, "{report}\n{}", drainit.record());
    assert!(report.total.ok > 300 && report.total.told_to_close > 20, "{report}");
}

/// At SIGTERM, uvicorn closes idle connections without an announcement, so a request may be cut.
/// However, no connection is refused.
#[test]
fn uvicorn_refuses_nobody() {
    if !is_installed("uvicorn") {
        return;
    }
    let address = free_address();
    let Some(drainit) = start(&["examples/listen/uvicorn.yaml"], address) else { return };
    let report = replace_all(&drainit, address, BUSY, &["app"]);
    let is_cut = |failure| matches!(failure, Failure::Reset | Failure::EndOfFile);
    assert!(report.failures.iter().all(|(_, failure)| is_cut(*failure)), "{report}");
    assert!(report.total.ok > 300 && report.total.failed < report.total.ok / 5, "{report}");
}

#[test]
fn a_policy_engine_that_speaks_grpc_loses_nothing() {
    let configs = [
        "examples/gateway/drainit.yaml",
        "examples/policy-engine/drainit.yaml",
        "examples/gateway/replace.yaml",
    ];
    assert_nothing_lost(&configs, &["python-executor", "policy-engine"]);
}
