//! Tests the readiness of a real Envoy whose control plane does not run.

use testkit::envoy::TESTED;

use crate::support::*;

// holds: C213, C223
#[test]
fn envoy_without_control_plane_is_not_ready() {
    in_parallel(TESTED, |version| {
        let envoy = RealEnvoy {
            version,
            readiness: "envoy: 'unix:DIR/admin.sock'",
            // The control plane does not run. After 100 ms, Envoy no longer waits for it, and its
            // own `/ready` is 200.
            change: |config| {
                add_control_plane(config, "cds", ([127, 0, 0, 1], 1).into(), "0.1s");
            },
            ..RealEnvoy::default()
        };
        let Some((drainit, _)) = envoy.launch() else { return };
        let get = |socket: &str, path: &str| get_unix(&drainit.path(socket), path);
        drainit
            .wait_until("Envoy to be live", || matches!(get("admin.sock", "/ready"), Ok((200, _))));
        drainit.wait_until("the reason", || {
            get("control.sock", "/status").is_ok_and(|(_, status)| {
                status.contains("xDS is not connected (") && !status.contains("Envoy is")
            })
        });
        let (code, why) = get("control.sock", "/readyz").unwrap();
        assert!(code == 503 && why.contains("xDS is not connected ("), "{code} {why}");
    });
}
