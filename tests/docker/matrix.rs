//! Tests the static drainit as the entrypoint of a container: too little memory, the commands of an
//! operator, and the timeout of `docker stop`. The table of tests/faults tests other options of a
//! container.

use testkit::docker::{Container, docker, mount};

use crate::support::docker_images::child_image;
use crate::support::*;

// holds: S115
#[test]
fn an_end_by_the_oom_killer_is_reported() {
    let Some(image) = child_image() else { return };
    let dir = TempDir::for_everybody();
    dir.write(
        "drainit.yaml",
        "processes: {base: {command: [/child, base]}, hog: {command: [/child, hog, hog=256], depends_on: [base]}}",
    );
    let config = mount(&dir.path("drainit.yaml"), "/etc/drainit.yaml");
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

// holds: C1000
#[test]
fn a_restart_takes_the_new_memory_limit() {
    let Some(image) = child_image() else { return };
    let dir = TempDir::for_everybody();
    dir.write(
        "drainit.yaml",
        "env: {LIMIT: '${memory_bytes:90%}'}\n\
         hooks: {pre_start: [/child, a, 'print=${memory_mib}', exit=0]}\n\
         x-app: &app {command: [/child, app, 'print=${memory_mib:50%} of ${memory_mib}']}\n\
         processes:\n  \
           app: {<<: *app, log: {prefix: app}}\n  \
           watching: {<<: *app, log: {prefix: watching}, watch: [{path: /sys/fs/cgroup/memory.max, action: restart}, \
         {path: /sys/fs/cgroup/memory/memory.limit_in_bytes, action: restart}]}",
    );
    let config = mount(&dir.path("drainit.yaml"), "/etc/drainit.yaml");
    let limits = |mib: u32| [format!("--memory={mib}m"), format!("--memory-swap={mib}m")];
    let [memory, swap] = limits(64);
    let container = Container::start(image, &[&memory, &swap, &config], &["run"]);
    container.await_line("[app] 32 of 64");
    container.await_line("[watching] 32 of 64");
    let [memory, swap] = limits(128);
    docker(&["update", &memory, &swap, container.id()]);
    container.succeed(&["/drainit", "restart", "app"]);
    container.await_line("[app] 64 of 128");
    container.await_line("[watching] 64 of 128");
    // The reload changes no process: both already run with the new limit, and `env` keeps the limit
    // that the container had at its start.
    let reloaded = container.succeed(&["/drainit", "reload"]);
    assert!(reloaded.contains("no process has changed"), "{reloaded}");
}

#[test]
fn the_start_mentions_the_default_timeout_of_docker_stop() {
    let Some(image) = child_image() else { return };
    let dir = TempDir::for_everybody();
    let grace = |period: &str| {
        let processes = "processes: {app: {command: [/child, app]}}";
        dir.write("drainit.yaml", format!("shutdown: {{grace_period: '{period}'}}\n{processes}"));
    };
    grace("${GRACE:-30}");
    let config = mount(&dir.path("drainit.yaml"), "/etc/drainit.yaml");
    let start = |options: &[&str]| {
        let options = [options, &[config.as_str()]].concat();
        let container = Container::start(image, &options, &["run"]);
        container.await_line(said::ALL_READY);
        container.logs()
    };
    let said = "`docker stop` kills after 10s by default, and the shutdown is planned for 30s; \
                pass `--stop-timeout 30 -e GRACE=30`, or `-e GRACE=10`";
    let logs = start(&[]);
    assert!(logs.contains(said), "{logs}");
    let logs = start(&["--env=GRACE=30"]);
    assert!(!logs.contains("docker stop"), "{logs}");
    // The config sets `grace_period`, and Docker's timeout may have the same value, which drainit
    // cannot see. Therefore drainit mentions the timeout without a warning.
    grace("30s");
    let logs = start(&[]);
    assert!(logs.contains("planned for 30s: without `--stop-timeout 30`, `docker stop`"), "{logs}");
    assert!(!logs.contains("warning"), "{logs}");
    // In a pod, `docker stop` does not matter: the kubelet waits for the pod's grace period.
    let logs = start(&["--env=KUBERNETES_SERVICE_HOST=10.0.0.1"]);
    assert!(!logs.contains("docker stop"), "{logs}");
}
