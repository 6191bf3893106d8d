//! Tests the examples with real servers: each is replaced under load without losing a request.

use std::net::TcpStream;

use crate::support::example::{Example, Rolled, roll};
use crate::support::*;

const NGINX: Example = Example::new("nginx", "NGINX_");
const HAPROXY: Example = Example::new("haproxy", "HAPROXY_");
const GUNICORN: Example = Example::new("gunicorn", "GUNICORN_");
const PHP_FPM: Example = Example::new("php-fpm", "PHP_");
const CLASSIC: Example = Example::new("nginx-gunicorn-worker", "NGINX_");
const AXUM: Example = Example::new("axum", "");
const AXUM_ENVOY: Example = Example::new("axum-envoy", "AXUM_");
const TWO_APPS: Example = Example::new("nginx-two-apps", "NGINX_");
const UVICORN: Example = Example::new("uvicorn", "UVICORN_");

/// Asserts that nothing was lost, that the processes stopped in this order, and that the drain
/// ended for this reason. The drain must last for at least 5 s (`min`), and end before 15 s
/// (`time`).
#[track_caller]
fn assert_polite(rolled: &Rolled, why: &str, order: &[&str]) {
    rolled.assert_nothing_lost();
    let ended = &rolled.ended;
    ended.assert_took(rolled.t0, ms(5000)..ms(14_000));
    let name = order[0];
    ended.assert_line(&format!(r"^\[drainit\].*  drain {name}: ([5-9]|1[0-3])[0-9.]*s, {why}$"));
    let stopped = |name: &&str| {
        format!(r"^\[drainit\].*Z {name}: (exited|was ended).* after it was asked to stop")
    };
    let stopped: Vec<_> = order.iter().map(stopped).collect();
    ended.assert_lines_in_order(&stopped.iter().map(String::as_str).collect::<Vec<_>>());
}

/// Rolls an example, and asserts the reason of its drain, the order of its stops, and that its server
/// ended by itself.
#[track_caller]
fn loses_nothing(example: &Example, programs: &[&str], overlay: &str, why: &str, order: &[&str]) {
    let can_run = programs.iter().all(|program| is_installed(program));
    let Some(Some(rolled)) = can_run.then(|| roll(example, overlay)) else { return };
    assert_polite(&rolled, why, order);
    rolled.ended.assert_line(&format!("{}: exited with code 0", order[0]));
}

// holds: C375
#[test]
fn nginx_loses_nothing() {
    loses_nothing(&NGINX, &["nginx"], "", "complete", &["nginx", "app"]);
}

/// Stops each example while a client has connected and sent nothing, as the preconnect of a browser
/// or the spare connection of a pool.
// holds: C783
#[test]
fn a_client_that_has_sent_nothing_does_not_hold_the_stop() {
    let php = php_overlay().unwrap_or_default();
    for (example, program, overlay) in [
        (NGINX, "nginx", ""),
        (TWO_APPS, "nginx", ""),
        (PHP_FPM, "nginx", &*php),
        (HAPROXY, "haproxy", ""),
    ] {
        if !is_installed(program) || example.name == "php-fpm" && overlay.is_empty() {
            continue;
        }
        let Some(pod) = example.start(overlay) else { return };
        let silent = TcpStream::connect(pod.address).unwrap();
        let ended = pod.running.stop();
        ended.assert_code(0).assert_no_line("killed");
        ended.assert_stopped_within(ms(5000)..ms(14_000));
        drop(silent);
    }
}

// holds: C376
#[test]
fn haproxy_loses_nothing() {
    loses_nothing(&HAPROXY, &["haproxy"], "", "the process has ended", &["haproxy", "app"]);
}

// holds: C377
#[test]
fn gunicorn_loses_nothing() {
    loses_nothing(&GUNICORN, &["gunicorn"], "", "complete", &["gunicorn"]);
}

// holds: C378
#[test]
fn axum_loses_nothing() {
    loses_nothing(&AXUM, &[], "", "complete", &["server"]);
}

// holds: S364
#[test]
fn a_server_that_only_stops_gracefully_loses_nothing_behind_envoy() {
    loses_nothing(&AXUM_ENVOY, &[], "", "no connection left; .*", &["router", "server"]);
}

// holds: S365
#[test]
fn nginx_before_two_apps_loses_nothing() {
    let why = "no request in flight; .*";
    loses_nothing(&TWO_APPS, &["nginx"], "", why, &["nginx", "app"]);
}

// holds: C815
#[test]
fn uvicorn_answers_a_slow_request() {
    let Some(Some(pod)) = is_installed("uvicorn").then(|| UVICORN.start("")) else { return };
    let slow = Client::new(pod.address).ask(7000);
    pod.running.signal(Signal::SIGTERM);
    let ended = pod.running.wait_exit(LONG * 2);
    let went = slow.join().unwrap().went;
    assert_eq!(went, STAYS, "{}", ended.record);
    let counts = "no request in flight; connections [0-9]+ at the start, .*; requests [0-9]+ at the start( .perhaps [0-9]+ more.)?, 0 cut";
    ended
        .assert_code(0)
        .assert_line(&format!(r"^\[drainit\].*  drain uvicorn: [78][.0-9]*s, {counts}$"));
}

/// Returns the name of the php-fpm program, or `None` if php-fpm or nginx is missing; the test is
/// then skipped.
pub(crate) fn php_fpm() -> Option<String> {
    let is_php = |name: &String| name.starts_with("php-fpm");
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string();
    let mut names = fs::read_dir("/usr/sbin").unwrap().filter_map(|entry| name(entry).ok());
    // Debian's name contains the version.
    let php = names.find(is_php).unwrap_or_else(|| "php-fpm".to_owned());
    (is_installed("nginx") && is_installed(&php)).then_some(php)
}

fn php_overlay() -> Option<String> {
    php_fpm().map(|php| format!("env: {{PHP_FPM: {php}}}"))
}

#[test]
fn nginx_and_php_fpm_lose_nothing() {
    let Some(php) = php_overlay() else { return };
    loses_nothing(&PHP_FPM, &[], &php, "complete", &["nginx", "php-fpm"]);
}

/// A request may leave work for php-fpm after its answer. nginx does not know of this work, and
/// ends before the work is done.
#[test]
fn php_fpm_finishes_work_that_follows_the_answer() {
    let Some(php) = php_overlay() else { return };
    let overlay = format!("{php}\nprocesses: {{nginx: {{drain: !reset }}}}");
    let Some(pod) = PHP_FPM.start(&overlay) else { return };
    assert_eq!(get(pod.address, "/?work=1").unwrap(), (200, "hello\n".to_owned()));
    let ended = pod.running.stop();
    ended.assert_code(0).assert_no_line("killed");
    ended.assert_line(r"^\[php\].*the work after the answer is done");
}

#[test]
fn nginx_gunicorn_and_a_worker_lose_nothing() {
    if !(is_installed("nginx") && is_installed("gunicorn")) {
        return;
    }
    let queue = TempDir::for_everybody();
    let overlay = format!("env: {{QUEUE: '{}'}}", queue.root().display());
    let Some(rolled) = roll(&CLASSIC, &overlay) else { return };
    assert_polite(&rolled, "complete", &["nginx", "gunicorn"]);
    rolled.ended.assert_line(r"^\[drainit\].*  drain worker: [^;]*complete$");
    // The workers took items, and the old worker has finished its own. The test has killed the new
    // worker, which has left its directory.
    let taken = |name: &String| name.starts_with("taken-by-");
    let names = fs::read_dir(queue.root()).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(names.filter_map(|name| name.into_string().ok()).filter(taken).count(), 1);
    assert!(count(&queue.path("done")) > 20, "{}", rolled.ended.record);
}

fn count(directory: &Path) -> usize {
    fs::read_dir(directory).map_or(0, Iterator::count)
}

/// Starts a worker in its own pod on this queue.
fn worker(queue: &TempDir, control: &str) -> Option<Running> {
    let queue = queue.root().display().to_string();
    let rig = example::rig()?.env("QUEUE", &queue).env("CONTROL", control);
    Some(example::run(rig, &["examples/queue-worker/drainit.yaml"]))
}

fn fill(queue: &TempDir, items: usize) {
    fs::create_dir(queue.path("todo")).unwrap();
    for item in 0..items {
        queue.write(&format!("todo/item-{item:03}"), "");
    }
}

// holds: C379
#[test]
fn a_queue_worker_loses_no_item() {
    let queue = TempDir::for_everybody();
    let (todo, done) = (queue.path("todo"), queue.path("done"));
    fill(&queue, 60);
    let control = free_address();
    let Some(old) = worker(&queue, &control.to_string()) else { return };
    old.wait_until("in the middle of a batch", || count(&done) >= 3);
    let t0 = old.signal(Signal::SIGTERM);
    old.wait_until("seen in /status", || {
        let status = old.status(&[]);
        let message = status["processes"][0]["message"].as_str().unwrap_or_default().to_owned();
        message.starts_with("it says: ") && message.ends_with(" of 20 items left")
    });
    // A second worker takes the remaining items.
    let Some(new) = worker(&queue, &free_address().to_string()) else { return };
    let ended = old.wait_exit(LONG);
    ended
        .assert_code(0)
        .assert_took(t0, ms(1000)..ms(5000))
        .assert_line(r"^\[drainit\].*  drain worker: [^;]*complete$")
        .assert_no_line("warning|killed");
    new.wait_until("all done", || count(&done) == 60);
    new.stop().assert_code(0);
    assert_eq!((count(&todo), count(&done), count(queue.root())), (0, 60, 2));
}
