//! The examples for Prometheus and Grafana: the rules have tests, and a real Prometheus scrapes a
//! real drainit and evaluates every expression.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use regex_lite::Regex;
use serde_json::Value;
use testkit::envoy::checkout;

use crate::support::example::is_installed;
use crate::support::http::free_address;
use crate::support::temp_dir::TempDir;
use crate::support::{Admin, Duration, LONG, Rig, Signal, ms};

fn examples() -> PathBuf {
    checkout().join("examples/prometheus")
}

fn read(name: &str) -> String {
    fs::read_to_string(examples().join(name)).unwrap()
}

/// The names of all alerts.
fn alerts() -> Vec<String> {
    let text = read("alerts.yaml");
    let names = text.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    names.map(str::to_owned).collect()
}

/// The expressions of the dashboard, with values for the variables of Grafana.
fn expressions() -> Vec<String> {
    fn collect(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("expr").and_then(Value::as_str).map(str::to_owned));
                fields.values().for_each(|value| collect(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| collect(value, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    collect(&serde_json::from_str(&read("dashboard.json")).unwrap(), &mut found);
    for expression in &mut found {
        for (variable, value) in
            [("$job", ".*"), ("$instance", ".*"), ("$__rate_interval", "10s"), ("$__range", "1m")]
        {
            *expression = expression.replace(variable, value);
        }
        assert!(!expression.contains('$'), "an unknown variable: {expression}");
    }
    found
}

#[test]
fn rules_and_their_tests_are_right() {
    if !is_installed("promtool") {
        return;
    }
    for args in [
        ["check", "config", "prometheus.yaml"],
        ["check", "rules", "alerts.yaml"],
        ["test", "rules", "alerts_test.yaml"],
    ] {
        let output = Command::new("promtool").args(args).current_dir(examples()).output().unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(output.status.success(), "promtool {args:?}:\n{said}");
    }
}

#[test]
fn every_alert_is_tested_while_silent_and_while_it_fires() {
    let tests = read("alerts_test.yaml");
    let alerts = alerts();
    assert!(!alerts.is_empty());
    for alert in alerts {
        let silent = format!("alertname: {alert}, exp_alerts: []");
        let fires = format!("alertname: {alert}\n        exp_alerts:\n          - exp_labels:");
        assert!(tests.contains(&silent) && tests.contains(&fires), "{alert} is not tested");
    }
}

/// A Prometheus with the example's rules, which is killed when it is dropped.
struct Prometheus {
    child: Child,
    address: SocketAddr,
    _dir: TempDir,
}

impl Prometheus {
    /// Starts it with the example's config, for this target, and with a short interval.
    fn start(target: SocketAddr) -> Self {
        let (dir, address) = (TempDir::new(), free_address());
        let config = read("prometheus.yaml");
        let changed = config
            .replace("127.0.0.1:9902", &target.to_string())
            .replace("scrape_interval: 5s", "scrape_interval: 200ms")
            .replace("evaluation_interval: 15s", "evaluation_interval: 200ms");
        assert_eq!(changed.matches("200ms").count(), 2, "{changed}");
        dir.write("prometheus.yaml", changed);
        dir.write("alerts.yaml", read("alerts.yaml"));
        let log = fs::File::create(dir.join("log")).unwrap();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", dir.join("prometheus.yaml").display()))
            .arg(format!("--storage.tsdb.path={}", dir.join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut prometheus = Self { child, address, _dir: dir };
        let until = Instant::now() + 3 * LONG;
        while prometheus.get("/-/ready").is_none_or(|answer| !answer.starts_with("HTTP/1.0 200")) {
            let log = || fs::read_to_string(prometheus._dir.join("log")).unwrap();
            assert!(prometheus.child.try_wait().unwrap().is_none(), "{}", log());
            assert!(Instant::now() < until, "not ready:\n{}", log());
            std::thread::sleep(ms(50));
        }
        prometheus
    }

    /// Asks with HTTP/1.0, so that the answer is not chunked.
    fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(self.address).ok()?;
        stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    /// Asks the API and returns its data.
    #[track_caller]
    fn api(&self, path: &str) -> Value {
        let answer = self.get(path).unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let answer: Value = serde_json::from_str(body).unwrap();
        assert_eq!(answer["status"], "success", "{path}: {answer}");
        answer["data"].clone()
    }

    /// Evaluates an expression for the time since `from`, and returns its series.
    #[track_caller]
    fn query(&self, expression: &str, from: f64) -> Vec<Value> {
        let escaped: String = expression.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let path = format!(
            "/api/v1/query_range?query={escaped}&start={from}&end={}&step=0.2",
            seconds_since_1970()
        );
        self.api(&path)["result"].as_array().unwrap().clone()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn seconds_since_1970() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

#[test]
fn a_real_prometheus_evaluates_every_expression() {
    if !is_installed("prometheus") {
        return;
    }
    let (address, admin) = (free_address(), Admin::tcp(3));
    let Some(rig) = Rig::new() else { return };
    let from = seconds_since_1970();
    let prometheus = Prometheus::start(address);
    let config = "
        shutdown: {grace_period: 15s}
        control: {listen: 'ADDRESS'}
        processes:
          worker: {command: [CHILD, worker, sleep=300, exit=3], restart: always, restart_delay: 100ms}
          router:
            command: [CHILD, router, sleep=200, touch=DIR/up, 'on=TERM:exit:0:3000']
            readiness: {file: DIR/up}
            drain: {envoy: {admin: 'http://ADMIN', time: 2s, min: 1s}}
        ";
    let config = config.replace("ADDRESS", &address.to_string());
    let drainit = rig.start(&config.replace("ADMIN", &admin.address().to_string()));
    drainit.wait_for_line("router: ready");
    admin.wait_verified();
    let wait = |what: &str, expression: &str| {
        let until = Instant::now() + 2 * LONG;
        while prometheus.query(expression, from).is_empty() {
            assert!(Instant::now() < until, "not {what}:\n{}", drainit.record());
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    wait("restarted", "increase(drainit_process_restarts_total[10s]) > 1");
    drainit.signal(Signal::SIGTERM);
    wait("stopping", "drainit_phase{phase=\"stopping\"} == 1");
    drainit.wait_exit(2 * LONG).assert_code(0);

    for expression in expressions() {
        let series = prometheus.query(&expression, from);
        assert!(!series.is_empty(), "no data for {expression}");
    }
    // Rules are evaluated without an error, and every metric that they name is there.
    let groups = prometheus.api("/api/v1/rules");
    let rules = groups["groups"][0]["rules"].as_array().unwrap();
    let loaded: Vec<_> = rules.iter().map(|rule| rule["name"].as_str().unwrap()).collect();
    assert_eq!(loaded, alerts());
    for rule in rules {
        assert_eq!((&rule["health"], &rule["lastError"]), (&"ok".into(), &Value::Null), "{rule}");
    }
    let name = Regex::new(r"\bdrainit_[a-z_]+").unwrap();
    let queries = rules.iter().map(|rule| rule["query"].as_str().unwrap().to_owned());
    let text = queries.chain(expressions()).collect::<Vec<_>>().join("\n");
    let names: BTreeSet<&str> = name.find_iter(&text).map(|found| found.as_str()).collect();
    assert!(names.len() > 15, "{names:?}");
    for name in names {
        assert!(!prometheus.query(name, from).is_empty(), "no metric {name}");
    }
    // A drain that left connections is seen.
    let fired = prometheus.query("ALERTS{alertname=\"DrainitDrainLeftConnections\"}", from);
    assert!(!fired.is_empty());
}
