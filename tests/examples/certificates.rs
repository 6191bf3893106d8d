//! Tests that real servers, mostly those of the examples, rotate certificates: after the swap of a
//! Secret, they serve the new certificate, and no request has failed.

use std::cell::Cell;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::sleep;

use testkit::envoy;
use testkit::load::{IdleClose, Load, Plan, Service};

use crate::support::*;

/// Writes a certificate with this name as a version of a Secret, and swaps it in as the kubelet
/// does.
fn rotate(secret: &Path, name: &str) {
    let version = secret.join(format!("..{name}"));
    fs::create_dir_all(&version).unwrap();
    let mut openssl = Command::new("openssl");
    // A key of RSA takes a third of a second of a processor.
    let words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj";
    openssl.args(words.split(' ')).arg(format!("/CN={name}"));
    openssl.arg("-keyout").arg(version.join("tls.key")).arg("-out").arg(version.join("tls.crt"));
    assert!(openssl.stdin(Stdio::null()).stderr(Stdio::null()).status().unwrap().success());
    symlink(format!("..{name}"), secret.join("..data_tmp")).unwrap();
    fs::rename(secret.join("..data_tmp"), secret.join("..data")).unwrap();
    for file in ["tls.crt", "tls.key"] {
        let _ = symlink(format!("..data/{file}"), secret.join(file));
    }
}

/// The name in the certificate that is served.
fn served(address: SocketAddr) -> Option<String> {
    let mut openssl = Command::new("openssl");
    openssl.args(["s_client", "-connect", &address.to_string()]).stdin(Stdio::null());
    let said = openssl.output().unwrap();
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let subject = said.lines().find_map(|line| line.strip_prefix("subject="))?;
    Some(subject.trim_start_matches("CN").trim_start_matches([' ', '=']).to_owned())
}

/// Serves with one certificate and then with another, under load. `change` is the line of the log
/// that reports the change. `keeps` says whether the server keeps each connection on which a client
/// may be sending a request.
fn rotates(configs: &[&str], prefix: &str, change: &str, keeps: bool) {
    let can_look = ["openssl", "curl"].into_iter().all(is_installed);
    let Some(rig) = example::rig().filter(|_| can_look) else { return };
    let (plain, tls) = (free_address(), free_address());
    let rig = rig
        .env(&format!("{prefix}ADDRESS"), &plain.ip().to_string())
        .env(&format!("{prefix}PORT"), &plain.port().to_string())
        .env(&format!("{prefix}TLS_PORT"), &tls.port().to_string())
        .env(&format!("{prefix}RUN_DIR"), "DIR/run")
        .env("ENVOY_BASE_ID", &plain.port().to_string())
        .env("TLS_DIR", "DIR/secret");
    let secret = rig.path("secret");
    fs::create_dir(&secret).unwrap();
    rotate(&secret, "one");
    let drainit = example::run(rig, configs);
    assert_eq!(served(tls).as_deref(), Some("one"));

    let (is_over, handshakes) = (AtomicBool::new(false), AtomicU32::new(0));
    thread::scope(|scope| {
        let _over = Over(&is_over);
        // Opens new TLS connections, one after the other.
        let client = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let mut curl = Command::new("curl");
                curl.args(["-sSkf", "--max-time", "5", &format!("https://{tls}/")]);
                let said = curl.stdin(Stdio::null()).output().unwrap();
                assert!(said.status.success(), "request {handshakes:?}: {said:?}");
                handshakes.fetch_add(1, Ordering::Relaxed);
            }
        });
        let plan =
            Plan { clients: 20, rate: 20.0, length: LONG * 3, idle_close: IdleClose::Noticed };
        let load = Load::start(&Service::new(&[plain]), plan);
        sleep(ms(500));
        rotate(&secret, "two");
        // Until the old workers are gone, both certificates may be served.
        let in_a_row = Cell::new(0);
        drainit.wait_until("the new certificate, five times in a row", || {
            sleep(ms(100));
            let is_new = served(tls).as_deref() == Some("two");
            in_a_row.set(if is_new { in_a_row.get() + 1 } else { 0 });
            in_a_row.get() == 5
        });
        // Waits until there was some load, even on a slow machine.
        drainit.wait_until("some load", || {
            load.report().total.ok > 200 && handshakes.load(Ordering::Relaxed) > 10
        });
        let report = load.end_after(ms(500));
        is_over.store(true, Ordering::Relaxed);
        assert!(!keeps || report.total.failed == 0, "{report}\n{}", drainit.record());
        client.join().unwrap();
    });
    drainit.wait_for_line(change);
    drainit.signal(Signal::SIGTERM);
    drainit.wait_exit(LONG * 3).assert_code(0);
}

/// Tests an example that is an overlay of another example.
fn overlay_rotates(server: &str, prefix: &str, signal: &str, keeps: bool) {
    if is_installed(server) {
        let example = |name: &str| format!("examples/{server}/{name}.yaml");
        let configs = [example("drainit"), example("certificates")];
        let change = format!(r"{server}: \$\{{TLS_DIR\}} changed; {signal}$");
        rotates(&configs.each_ref().map(String::as_str), prefix, &change, keeps);
    }
}

// holds: C310
#[test]
fn nginx_serves_a_new_certificate_and_fails_no_new_connection() {
    // The old workers close idle connections when they exit.
    overlay_rotates("nginx", "NGINX_", "SIGHUP", false);
}

// holds: C310
#[test]
fn haproxy_serves_a_new_certificate_and_fails_no_request() {
    overlay_rotates("haproxy", "HAPROXY_", "SIGUSR2", true);
}

// holds: C311
#[test]
fn envoy_serves_a_new_certificate_and_fails_no_request() {
    let binary = envoy::binary(envoy::DEFAULT).map_err(|error| error.to_string());
    if !skip_unless(binary.map(drop)) {
        return;
    }
    rotates(
        &["examples/envoy/certificates.yaml"],
        "ENVOY_",
        r"router: \$\{TLS_DIR\} changed",
        true,
    );
}
