//! Tests the examples with real servers: each is replaced under load without losing a request. If
//! the need for a setting is not obvious, a test shows the loss without it.

use std::fs;
use std::path::Path;

use serde_json::Value;
use testkit::envoy::checkout;

use crate::support::example::{Example, Rolled, is_installed, roll};
use crate::support::http::{free_address, get};
use crate::support::temp_dir::TempDir;
use crate::support::{LONG, Rig, Running, Signal, in_parallel, ms};

const NGINX: Example = Example::new("nginx", "NGINX_");
const HAPROXY: Example = Example::new("haproxy", "HAPROXY_");
const GUNICORN: Example = Example::new("gunicorn", "GUNICORN_");
const PHP_FPM: Example = Example::new("php-fpm", "PHP_");
const CLASSIC: Example = Example::new("nginx-gunicorn-worker", "NGINX_");
const AXUM: Example = Example::new("axum", "");

/// Asserts that nothing was lost, that the processes stopped in this order, and that the drain
/// ended for this reason after the 5 s that each example leaves to the load balancers, and before
/// its time, 15 s, was over.
#[track_caller]
fn assert_polite(rolled: &Rolled, why: &str, order: &[&str]) {
    rolled.assert_nothing_lost();
    let ended = &rolled.ended;
    ended.assert_took(rolled.t0, ms(5000)..ms(14_000));
    let name = order[0];
    ended.assert_line(&format!(r"^\[drainit\].*  drain {name}: ([5-9]|1[0-3])[0-9.]*s, {why}$"));
    let stopped = |name: &&str| {
        let line =
            format!(r"^\[drainit\].*Z {name}: (exited|was ended).* after it was asked to stop");
        ended.record.line(&line).unwrap_or_else(|| panic!("{name}:\n{}", ended.record)).at
    };
    assert!(order.iter().map(stopped).is_sorted(), "not {order:?}:\n{}", ended.record);
}

/// Asserts that the load lost at least this many requests.
#[track_caller]
fn assert_loses(rolled: &Rolled, least: u64) {
    assert!(rolled.report.total.failed >= least, "{}\n{}", rolled.report, rolled.ended.record);
}

// holds: C375
#[test]
fn nginx_loses_nothing() {
    if !is_installed("nginx") {
        return;
    }
    let Some(rolled) = roll(&NGINX, "") else { return };
    assert_polite(&rolled, "complete", &["nginx", "app"]);
    rolled.ended.assert_line("nginx: SIGQUIT, then KILL").assert_line("nginx: exited with code 0");
}

// holds: C375
#[test]
fn nginx_loses_what_quit_refuses_and_what_it_closes() {
    if !is_installed("nginx") {
        return;
    }
    let quit = "{nginx: {drain: !override {signal: {signal: QUIT}}}}";
    let Some(rolled) = roll(&NGINX, &format!("processes: {quit}")) else { return };
    assert_loses(&rolled, 40);
    // Even without new connections, clients with an idle connection at that moment lose a request.
    let late = format!("shutdown: {{readiness_delay: 2s}}\nprocesses: {quit}");
    let Some(rolled) = roll(&NGINX, &late) else { return };
    assert_loses(&rolled, 10);
}

// holds: C376
#[test]
fn haproxy_loses_nothing() {
    if !is_installed("haproxy") {
        return;
    }
    let Some(rolled) = roll(&HAPROXY, "") else { return };
    assert_polite(&rolled, "the process has ended", &["haproxy", "app"]);
    rolled.ended.assert_line("haproxy: exited with code 0");
}

// holds: C377
#[test]
fn gunicorn_loses_nothing() {
    if !is_installed("gunicorn") {
        return;
    }
    let Some(rolled) = roll(&GUNICORN, "") else { return };
    assert_polite(&rolled, "complete", &["gunicorn"]);
    rolled.ended.assert_line("gunicorn: exited with code 0");
}

/// The overlay that names php-fpm, or `None` if it or nginx is missing; the test is then skipped.
fn php_fpm() -> Option<String> {
    let is_php = |name: &String| name.starts_with("php-fpm");
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string();
    let mut names = fs::read_dir("/usr/sbin").unwrap().filter_map(|entry| name(entry).ok());
    // Debian's name has the version.
    let php = names.find(is_php).unwrap_or_else(|| "php-fpm".to_owned());
    (is_installed("nginx") && is_installed(&php)).then(|| format!("env: {{PHP_FPM: {php}}}"))
}

#[test]
fn nginx_and_php_fpm_lose_nothing() {
    let Some(php) = php_fpm() else { return };
    let Some(rolled) = roll(&PHP_FPM, &php) else { return };
    assert_polite(&rolled, "complete", &["nginx", "php-fpm"]);
    rolled
        .ended
        .assert_line("nginx: exited with code 0")
        .assert_line("php-fpm: exited with code 0");
}

/// nginx knows nothing of such work: it has ended before.
#[test]
fn php_fpm_finishes_what_a_script_does_after_its_answer() {
    let Some(php) = php_fpm() else { return };
    let is_done = |overlay: &str| {
        let overlay = format!("{{nginx: {{drain: !reset }}, php-fpm: {{{overlay}}}}}");
        let pod = PHP_FPM.start(&format!("{php}\nprocesses: {overlay}"))?;
        assert_eq!(get(pod.address, "/?work=1").unwrap(), (200, "hello\n".to_owned()));
        pod.running.signal(Signal::SIGTERM);
        let ended = pod.running.wait_exit(LONG);
        ended.assert_code(0).assert_no_line("killed");
        Some(ended.record.line(r"^\[php\].*the work after the answer is done").is_some())
    };
    in_parallel([("", true), ("stop_signal: TERM", false)], |(overlay, expected)| {
        let Some(is_done) = is_done(overlay) else { return };
        assert_eq!(is_done, expected, "{overlay}");
    });
}

/// What the old worker has not taken is left for the new one.
#[test]
fn nginx_gunicorn_and_a_worker_lose_no_request_and_no_item() {
    if !(is_installed("nginx") && is_installed("gunicorn")) {
        return;
    }
    let queue = TempDir::new();
    let overlay = format!("env: {{QUEUE: '{}'}}", queue.path().display());
    let Some(rolled) = roll(&CLASSIC, &overlay) else { return };
    assert_polite(&rolled, "complete", &["nginx", "gunicorn"]);
    rolled
        .ended
        .assert_line(r"^\[drainit\].*  drain worker: [^;]*complete$")
        .assert_line("gunicorn: exited with code 0");
    let mut items = 0;
    let mut taken_by = 0;
    for directory in fs::read_dir(queue.path()).unwrap() {
        let directory = directory.unwrap();
        items += count(&directory.path());
        taken_by += usize::from(directory.file_name().to_string_lossy().starts_with("taken-by-"));
    }
    // The new worker was killed, whereas the old one has finished what it had taken.
    assert_eq!((items, taken_by), (rolled.report.total.ok as usize, 1), "{}", rolled.ended.record);
    assert!(count(&queue.join("done")) > 20, "{}", rolled.ended.record);
}

// holds: C378
#[test]
fn axum_loses_nothing() {
    let Some(rolled) = roll(&AXUM, "") else { return };
    assert_polite(&rolled, "complete", &["server"]);
    rolled.ended.assert_line("server: exited with code 0");
}

// holds: C378
#[test]
fn axum_without_a_drain_loses_what_it_refuses() {
    let Some(rolled) = roll(&AXUM, "processes: {server: {drain: !reset }}") else { return };
    // The server shuts down as gracefully as its framework can.
    rolled.ended.assert_code(0).assert_line("server: exited with code 0");
    assert_loses(&rolled, 40);
}

/// Checks a count that the documentation promises.
// holds: C401
#[test]
fn the_notify_protocol_takes_axum_20_lines() {
    let source = fs::read_to_string(checkout().join("examples/axum/main.rs")).unwrap();
    let (_, protocol) = source.split_once("// begin\n").unwrap();
    let (protocol, _) = protocol.split_once("// end\n").unwrap();
    assert!(protocol.contains("DRAINED=1") && protocol.contains("STATUS="));
    assert!(protocol.lines().count() <= 20, "{protocol}");
}

fn count(directory: &Path) -> usize {
    fs::read_dir(directory).map_or(0, Iterator::count)
}

/// Starts a worker in its own pod on this queue.
fn worker(queue: &TempDir, control: &str, overlay: &str) -> Option<Running> {
    let rig = Rig::new()?
        .cwd(checkout())
        .env("TERMINATION_GRACE_PERIOD_SECONDS", "30")
        .env("QUEUE", &queue.path().display().to_string())
        .env("CONTROL", control);
    rig.write("overlay.yaml", overlay);
    let base = "examples/queue-worker/drainit.yaml";
    let drainit = rig.start_with(&["run", "-c", base, "-c", "DIR/overlay.yaml"]);
    drainit.wait_for_line("everything is ready");
    Some(drainit)
}

fn fill(queue: &TempDir, items: usize) {
    fs::create_dir(queue.join("todo")).unwrap();
    for item in 0..items {
        queue.write(&format!("todo/item-{item:03}"), "");
    }
}

// holds: C379
#[test]
fn a_queue_worker_loses_no_item() {
    let queue = TempDir::new();
    let (todo, done) = (queue.join("todo"), queue.join("done"));
    fill(&queue, 60);
    let control = free_address();
    let Some(old) = worker(&queue, &control.to_string(), "{}") else { return };
    old.wait_until("in the middle of a batch", || count(&done) >= 3);
    let t0 = old.signal(Signal::SIGTERM);
    old.wait_until("seen in /status", || {
        let status: Value = serde_json::from_str(&get(control, "/status").unwrap().1).unwrap();
        let message = status["processes"][0]["message"].as_str().unwrap_or_default().to_owned();
        message.starts_with("it says: ") && message.ends_with(" of 20 items left")
    });
    // A second worker takes the remaining items.
    let Some(new) = worker(&queue, &free_address().to_string(), "{}") else { return };
    let ended = old.wait_exit(LONG);
    ended
        .assert_code(0)
        .assert_took(t0, ms(1000)..ms(5000))
        .assert_line(r"^\[drainit\].*  drain worker: [^;]*complete$")
        .assert_no_line("warning|killed");
    new.wait_until("all done", || count(&done) == 60);
    new.stop().assert_code(0);
    assert_eq!((count(&todo), count(&done), count(queue.path())), (0, 60, 2));
}

#[test]
fn without_a_drain_the_queue_worker_loses_its_batch() {
    let queue = TempDir::new();
    fill(&queue, 20);
    let overlay = "processes: {worker: {drain: !reset }}";
    let Some(drainit) = worker(&queue, &free_address().to_string(), overlay) else { return };
    drainit.wait_until("in the middle of a batch", || count(&queue.join("done")) >= 3);
    drainit.stop().assert_code(0);
    let (todo, done) = (count(&queue.join("todo")), count(&queue.join("done")));
    assert!(todo == 0 && done < 20, "{todo} to do, {done} done");
}
