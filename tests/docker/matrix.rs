//! drainit as the entrypoint of a container with every common option: it starts, serves and stops.

use std::thread;

use testkit::docker::{Container, docker, mount};

use crate::support::docker_images::child_image;
use crate::support::http::get;
use crate::support::temp_dir::TempDir;

const PORT: u16 = 8080;
const PUBLISH: &str = "--publish=127.0.0.1::8080";

/// Two processes, one of which leaves a daemon behind.
const CONFIG: &str = r#"
processes:
  base: {command: [/child, base, print=up, daemon=left], readiness: {log: "^up$"}, log: {prefix: base}}
  app:
    command: [/child, app, "on=HUP:print:hung up", "http=0.0.0.0:8080,0", print=serves]
    depends_on: [base]
    readiness: {http: "http://127.0.0.1:8080/"}
    forward_signals: [HUP]
    log: {prefix: app}
"#;

/// `drainit run` and `drainit exec`, each serving in its own container.
struct Pair {
    run: Container,
    exec: Container,
    _config: TempDir,
}

impl Pair {
    /// Starts both containers. Without Docker it returns `None`, and the test is skipped.
    fn start(options: &[&str]) -> Option<Self> {
        let image = child_image()?;
        let dir = TempDir::new();
        dir.write("drainit.yaml", CONFIG);
        let config = mount(&dir.join("drainit.yaml"), "/etc/drainit.yaml");
        let options = [options, &[PUBLISH]].concat();
        let command =
            ["/child", "app", "on=HUP:print:hung up", "http=0.0.0.0:8080,0", "print=serves"];
        let (run, exec) = thread::scope(|scope| {
            let options = &options;
            let run = scope.spawn(move || {
                let run = Container::start(image, &[&options[..], &[&config]].concat(), &["run"]);
                run.await_line("everything is ready");
                run
            });
            let exec = Container::start(image, options, &[&["exec", "--"], &command[..]].concat());
            exec.await_line("serves");
            (run.join().unwrap(), exec)
        });
        Some(Self { run, exec, _config: dir })
    }

    fn both(&self) -> [&Container; 2] {
        [&self.run, &self.exec]
    }

    #[track_caller]
    fn serve(&self) {
        for container in self.both() {
            let (status, _) = get(container.address(PORT), "/").unwrap();
            assert_eq!(status, 200, "{}", container.logs());
        }
    }

    /// Stops both containers, and fails unless both end by themselves with 0.
    #[track_caller]
    fn stop(&self) {
        thread::scope(|scope| {
            for container in self.both() {
                scope.spawn(|| container.stop(30));
            }
        });
        for container in self.both() {
            assert_eq!(container.exit_code(), 0, "{}", container.logs());
        }
        let said = self.run.logs();
        assert!(said.contains("exit code 0: SIGTERM received"), "{said}");
        assert!(said.contains("left over: "), "the daemon was not found:\n{said}");
    }
}

/// Starts both containers with these options, checks that they serve, and stops them.
#[track_caller]
fn works(options: &[&str]) {
    let Some(pair) = Pair::start(options) else { return };
    pair.serve();
    pair.stop();
}

#[test]
fn as_root() {
    works(&[]);
}

#[test]
fn as_a_user_without_an_account() {
    let Some(pair) = Pair::start(&["--user=12345:12345"]) else { return };
    for container in pair.both() {
        let users: Vec<u32> = container.processes().iter().map(|process| process.user).collect();
        assert!(users.len() >= 2 && users.iter().all(|user| *user == 12345), "{users:?}");
    }
    pair.serve();
    pair.stop();
}

#[test]
fn on_a_read_only_file_system() {
    works(&["--read-only"]);
}

#[test]
fn without_capabilities() {
    works(&["--cap-drop=ALL"]);
}

#[test]
fn without_new_privileges() {
    works(&["--security-opt=no-new-privileges"]);
}

#[test]
fn with_a_terminal() {
    works(&["--tty"]);
}

#[test]
fn in_the_pid_namespace_of_another_container() {
    let Some(other) = Pair::start(&[]) else { return };
    let pids = |container: &Container| -> Vec<u32> {
        container.processes().iter().map(|process| process.pid).collect()
    };
    let before = other.both().map(pids);
    for container in other.both() {
        let Some(pair) = Pair::start(&[&format!("--pid=container:{}", container.id())]) else {
            return;
        };
        pair.serve();
        pair.stop();
    }
    assert_eq!(other.both().map(pids), before, "a process of somebody else was touched");
    other.serve();
    other.stop();
}

#[test]
fn a_signal_from_outside_is_passed_on() {
    let Some(pair) = Pair::start(&[]) else { return };
    for container in pair.both() {
        docker(&["kill", "--signal", "HUP", container.id()]);
        container.await_line("hung up");
    }
    pair.stop();
}

#[test]
fn a_restarted_container_serves_again() {
    let Some(pair) = Pair::start(&[]) else { return };
    thread::scope(|scope| {
        for (container, line) in [(&pair.run, "everything is ready"), (&pair.exec, "serves")] {
            scope.spawn(move || {
                docker(&["restart", "--time", "30", container.id()]);
                container.await_line_again(line, 2);
            });
        }
    });
    pair.serve();
    pair.stop();
    assert_eq!(pair.run.logs().matches("exit code 0: SIGTERM received").count(), 2);
}

#[test]
fn a_process_killed_by_the_oom_killer_is_reported_as_such() {
    let Some(image) = child_image() else { return };
    let dir = TempDir::new();
    dir.write(
        "drainit.yaml",
        "processes: {base: {command: [/child, base]}, hog: {command: [/child, hog, hog=256], depends_on: [base]}}",
    );
    let config = mount(&dir.join("drainit.yaml"), "/etc/drainit.yaml");
    let limit = ["--memory=48m", "--memory-swap=48m"];
    let (run, exec) = thread::scope(|scope| {
        let with_config = [&limit[..], &[&config]].concat();
        let run = scope.spawn(move || testkit::docker::run(image, &with_config, &["run"]));
        let exec = ["exec", "--", "/child", "hog", "hog=256"];
        let exec = testkit::docker::run(image, &limit, &exec);
        (run.join().unwrap(), exec)
    });
    assert_eq!((run.code, exec.code), (137, 137), "{}\n{}", run.output, exec.output);
    let guess = "was ended by SIGKILL, probably by the kernel's OOM killer";
    for part in [
        &format!("hog: {guess}"),
        "raise the container's memory limit",
        &format!("exit code 137: hog {guess}"),
    ] {
        assert!(run.output.contains(part), "no {part:?} in:\n{}", run.output);
    }
    assert!(exec.output.contains(&format!("the command {guess}")), "{}", exec.output);
}

#[test]
fn an_operator_needs_nothing_but_the_container() {
    const OPTIONS: [&str; 4] =
        ["--user=10001:10001", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges"];
    let Some(image) = child_image() else { return };
    let dir = TempDir::new();
    dir.write("drainit.yaml", CONFIG);
    let config = mount(&dir.join("drainit.yaml"), "/etc/drainit.yaml");
    let run = Container::start(image, &[&OPTIONS[..], &[&config]].concat(), &["run"]);
    let waited = run.exec(&["/drainit", "health", "--wait", "20s"]);
    assert_eq!((waited.code, waited.output.as_str()), (0, "ready\n"));
    let asked = |arguments: &[&str], says: &str| {
        let asked = run.exec(&[&["/drainit"], arguments].concat());
        assert_eq!(asked.code, 0, "{arguments:?}: {}", asked.output);
        assert!(asked.output.contains(says), "{arguments:?}: {}", asked.output);
    };
    asked(&["status"], "running, ready, up ");
    asked(&["status", "--format", "json", "app"], "\"state\":\"ready\"");
    asked(&["logs", "-n", "1", "app"], "[app] serves\n");
    asked(&["kill", "-s", "HUP", "app"], "");
    run.await_line("hung up");
    asked(&["restart", "app"], "");
    asked(&["stop", "base"], "");
    asked(&["status", "app"], "stopped");
    asked(&["start", "app"], "");
    // The root user of the container, and another user.
    let as_user = |user: &str| {
        let command = ["exec", "--user", user, run.id(), "/drainit", "status"];
        let output = std::process::Command::new("docker").args(command).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(as_user("0").0, Some(0), "{}", as_user("0").1);
    let (code, said) = as_user("10002");
    assert!(code == Some(1) && said.contains("the user 10002 may not ask"), "{code:?} {said}");
    run.stop(30);
    assert_eq!(run.exit_code(), 0, "{}", run.logs());
}

#[test]
fn the_stock_time_of_docker_stop_is_said_at_the_start() {
    let Some(image) = child_image() else { return };
    let dir = TempDir::new();
    let grace = |period: &str| {
        dir.write("drainit.yaml", format!("shutdown: {{grace_period: '{period}'}}\n{CONFIG}"));
    };
    grace("${GRACE:-30}");
    let config = mount(&dir.join("drainit.yaml"), "/etc/drainit.yaml");
    let start = |options: &[&str]| {
        let options = [options, &[config.as_str()]].concat();
        let container = Container::start(image, &options, &["run"]);
        container.await_line("everything is ready");
        container.logs()
    };
    let said = "`docker stop` kills after 10s by default, and the shutdown is planned for 30s; \
                pass `--stop-timeout 30 -e GRACE=30`, or `-e GRACE=10`";
    let logs = start(&[]);
    assert!(logs.contains(said), "{logs}");
    let logs = start(&["--env=GRACE=30"]);
    assert!(!logs.contains("docker stop"), "{logs}");
    // A config that decides may fit the time that Docker was given, which nobody can see.
    grace("30s");
    let logs = start(&[]);
    assert!(logs.contains("planned for 30s: without `--stop-timeout 30`, `docker stop`"), "{logs}");
    assert!(!logs.contains("warning"), "{logs}");
    // The kubelet waits for the pod's own time.
    let logs = start(&["--env=KUBERNETES_SERVICE_HOST=10.0.0.1"]);
    assert!(!logs.contains("docker stop"), "{logs}");
}
