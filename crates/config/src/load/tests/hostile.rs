//! Tests files that are made to cost much time or memory, and files that are not configs.

use std::fmt::Write as _;

use super::*;

/// The CPU time that this thread has used. Unlike real time, it does not depend on other programs.
fn used() -> Duration {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}

/// Returns the result of `work`, and fails if `work` takes more than this CPU time.
#[track_caller]
fn within<T>(longest: Duration, work: impl FnOnce() -> T) -> T {
    let start = used();
    let done = work();
    let took = used() - start;
    assert!(took < longest, "{took:?}");
    done
}

/// Fails unless `problems` soon finds this problem in the text. The files of this module are read
/// in about a second. Without the limits of the loader, the reading would take minutes.
#[track_caller]
fn assert_soon_found(text: &str, problem: &str) {
    let found = within(Duration::from_secs(10), || lines(&problems(text))).join("\n");
    assert!(found.contains(problem), "{found}");
}

/// Fails if `load` takes much more than five times the CPU time for five times as many processes.
fn is_linear(load: impl Fn(usize)) {
    let cost = |count| {
        let start = used();
        load(count);
        used() - start
    };
    load(1000);
    let (few, many) = (cost(1000), cost(5000));
    assert!(many < few * 12, "{few:?} {many:?}");
}

#[test]
fn alias_bombs_are_refused() {
    let mut laughs = "a0: &a0 [lol, lol]\n".to_owned();
    for n in 1..100 {
        let list = vec![format!("*a{}", n - 1); 10].join(", ");
        writeln!(laughs, "a{n}: &a{n} [{list}]").unwrap();
    }
    assert_soon_found(&laughs, "more than 400000 values");

    let mut fan = format!("x: &x [{}]\ny:\n", "a, ".repeat(1000));
    fan.push_str(&"  - *x\n".repeat(100_000));
    assert_soon_found(&fan, "more than 400000 values");

    let keys: String = (0..1000).map(|n| format!("k{n}: v, ")).collect();
    let merges = format!("x: &x {{{keys}}}\ny:\n{}", "  - {<<: *x}\n".repeat(100_000));
    assert_soon_found(&merges, "more than 400000 values");

    let mut deep = "a0: &a0 [x]\n".to_owned();
    (1..100_000).for_each(|n| writeln!(deep, "a{n}: &a{n} [*a{}]", n - 1).unwrap());
    assert_soon_found(&deep, "nested more than 64 levels deep");

    assert_soon_found("a: &a [*a]", "inside its own anchor");
    assert_soon_found("a: &a {<<: *a}", "inside its own anchor");
}

#[test]
fn large_files_are_read_or_refused_soon() {
    // These files are smaller than the largest files that drainit accepts, by a factor of 32. The
    // time grows with the size, so the limit of the time is smaller by the same factor.
    let found = |text: &str| within(Duration::from_secs(10) / 32, || lines(&problems(text)));
    const SIZE: usize = (4 << 20) / 32;
    for text in [
        "#".repeat(SIZE),
        format!("a: \"{}\"", "x".repeat(SIZE)),
        format!("a: {}", "x ".repeat(SIZE / 2)),
        format!("a: |\n{}", "  x\n".repeat(SIZE / 4)),
    ] {
        found(&text);
    }
    let keys = found(&(0..200_000 / 32).map(|n| format!("k{n}: v\n")).collect::<String>());
    assert!(keys[0].contains("unknown key `k0`") && keys.len() < 60, "{keys:?}");
    assert!(found(&"same: v\n".repeat(200_000 / 32))[0].contains("duplicate key `same`"));
    // A file with too many values is refused at the first value above the limit.
    assert_soon_found(&format!("[{}]", "a,".repeat(400_001)), "more than 400000 values");
}

#[test]
fn expanded_variables_are_bounded() {
    let mut text = "env:\n  A0: xxxxxxxxxxxxxxxx\n".to_owned();
    (1..60).for_each(|n| writeln!(text, "  A{n}: ${{A{}}}${{A{}}}", n - 1, n - 1).unwrap());
    text.push_str("processes: {a: {command: [a]}}");
    assert_soon_found(&text, "longer than 131072 bytes");

    let long = "x".repeat(100_000);
    let words = "  - ${X}\n".repeat(5000);
    let text = format!("processes:\n a:\n  command:\n{words}");
    let errors = within(Duration::from_secs(10), || load(&[&text], &[("X", &long)]).unwrap_err());
    assert!(errors[0].message.contains("more than 32 MiB"));
    assert_soon_found(&format!("a: \"{}\"", "${A:-".repeat(100_000)), "unknown key");
}

/// A config with `count` processes that have most of the keys.
fn large(count: usize) -> String {
    let process = |n: usize| {
        let before = n.checked_sub(1).map(|before| format!("p{before}")).unwrap_or_default();
        format!(
            "  p{n}:
    command: [app, --number, '{n}', '${{HOST:-h}}']
    depends_on: [{before}]
    args: {{prefix: '--p{n}.', refuse: [a, b]}}
    sockets: [/run/p{n}.sock]
    readiness: {{unix: /run/p{n}.sock, timeout: 15s}}
    environment: {{A: '1', B: '2', C: '3', D: '4'}}
    log: {{prefix: p{n}}}\n"
        )
    };
    format!("processes:\n{}", (0..count).map(process).collect::<String>())
}

#[test]
fn the_cost_of_processes_is_linear() {
    is_linear(|count| {
        let loaded = load(&[&large(count)], &[]).unwrap();
        assert_eq!(loaded.graph.order.len(), count);
        assert_eq!(loaded.warnings, []);
    });
    is_linear(|count| {
        let text = large(count);
        let over = text.replace("    command:", "    restart: always\n    command:");
        assert_eq!(load(&[&text, &over], &[]).unwrap().graph.order.len(), count);
    });
}
