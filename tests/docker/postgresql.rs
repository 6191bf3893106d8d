//! Tests `examples/postgresql` with a plain `docker stop`, which kills after 10 s.

use testkit::docker::{Container, docker, mount};

use crate::support::docker_images::postgresql_image;
use crate::support::*;

/// The time after which a plain `docker stop` kills the container.
const STOCK: Duration = Duration::from_secs(10);
/// PostgreSQL says this at each start after a complete stop.
const CLEAN: &str = "LOG:  database system was shut down at";
/// PostgreSQL says one of these after an incomplete stop: it recovers, or it does not start because
/// the lock file is still there.
const UNCLEAN: [&str; 2] = ["LOG:  database system was interrupted", "FATAL:  lock file"];

#[test]
fn docker_stop_leaves_nothing_to_recover() {
    let Some(drainit) = static_drainit() else { return };
    let drainit = mount(drainit, "/usr/local/bin/drainit");
    let options = [&drainit, "--entrypoint=/usr/local/bin/drainit"];
    let config = "/examples/postgresql/drainit.yaml";
    let Some((container, took)) = stop_with_requests(&options, &["run", "-c", config]) else {
        return;
    };
    let logs = container.logs();
    assert!(took < STOCK, "{took:?}\n{logs}");
    let stopped = ["stop app: ", "stop postgres: "].map(|line| logs.find(line).expect(line));
    assert!(stopped.is_sorted() && logs.contains("postgres: exited with code 0"), "{logs}");
    // On a busy machine gunicorn may take longer than its `stop_grace_period` of 4 s. Even then
    // PostgreSQL has enough time.
    let is_late = logs.contains("app: still alive 4");
    assert_eq!(container.exit_code(), if is_late { 137 } else { 0 }, "{logs}");

    docker(&["start", container.id()]);
    container.await_line_again(said::ALL_READY, 2);
    let again = &container.logs()[logs.len()..];
    assert!(again.contains(CLEAN), "{again}");
    assert!(!UNCLEAN.iter().any(|line| again.contains(line)), "{again}");
    // The database has the row of each answered request, and does not have the row of the request
    // that was cut.
    assert_eq!(ask_database(&container, "SELECT count(*) FROM visits"), "4");
}

/// Starts a container, and stops it by a plain `docker stop` during three requests of 2 s and a
/// request of a minute. The stop cuts only the long request. Returns the container and the duration
/// of the stop.
fn stop_with_requests(options: &[&str], args: &[&str]) -> Option<(Container, Duration)> {
    let image = postgresql_image()?;
    let example = mount(&checkout().join("examples/postgresql"), "/examples/postgresql");
    let options = [options, &[&example, "--publish=127.0.0.1::8080"]].concat();
    let container = Container::start(image, &options, args);
    container.await_line("Booting worker");
    let address = container.address(8080);
    let ask = |path: &str| get(address, path);
    assert_eq!(ask("/0").unwrap(), (200, "1\n".to_owned()), "{}", container.logs());
    let took = thread::scope(|scope| {
        let hangs = scope.spawn(|| ask("/60"));
        let asked = [(); 3].map(|()| scope.spawn(|| ask("/2")));
        let sleeping = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
        while ask_database(&container, sleeping) != "4" {
            assert!(!asked.iter().all(|asked| asked.is_finished()), "{}", container.logs());
        }
        let began = Instant::now();
        docker(&["stop", container.id()]);
        let took = began.elapsed();
        assert!(hangs.join().unwrap().is_err(), "{}", container.logs());
        let answers = asked.map(|asked| asked.join().unwrap());
        let is_good = |answer: &std::io::Result<(u16, String)>| matches!(answer, Ok((200, _)));
        assert!(answers.iter().all(is_good), "{answers:?}\n{}", container.logs());
        took
    });
    #[allow(clippy::print_stdout)] // docs/docker.md has its figures
    {
        println!("{}: code {}, {took:.1?}", args[0], container.exit_code());
    }
    Some((container, took))
}

#[track_caller]
fn ask_database(container: &Container, query: &str) -> String {
    let psql = ["psql", "-h/run/postgresql", "-Upostgres", "-XAtc", query];
    container.exec(&psql).output.trim().to_owned()
}
