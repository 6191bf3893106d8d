//! Tests files that are made to cost much time or memory, and files that are not configs.

use std::fmt::Write as _;
use std::time::Duration;

use crate::load::testing::load;
use crate::load::tests::{lines, problems};

/// The CPU time that this thread has used. Unlike real time, it does not depend on other programs.
fn used() -> Duration {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}

/// Returns the result of `work`, and fails if `work` takes much CPU time. The files of this module
/// are read in about a second. Without the limits of the loader, the reading would take minutes.
#[track_caller]
fn soon<T>(work: impl FnOnce() -> T) -> T {
    let start = used();
    let done = work();
    let took = used() - start;
    assert!(took < Duration::from_secs(10), "{took:?}");
    done
}

/// Returns all problems of a text, and fails if finding them takes much CPU time.
#[track_caller]
fn soon_found(text: &str) -> String {
    soon(|| lines(&problems(text))).join("\n")
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
    assert!(soon_found(&laughs).contains("more than 400000 values"));

    let mut fan = format!("x: &x [{}]\ny:\n", "a, ".repeat(1000));
    fan.push_str(&"  - *x\n".repeat(100_000));
    assert!(soon_found(&fan).contains("more than 400000 values"));

    let mut merges = "x: &x {".to_owned();
    (0..1000).for_each(|n| write!(merges, "k{n}: v, ").unwrap());
    merges.push_str("}\ny:\n");
    merges.push_str(&"  - {<<: *x}\n".repeat(100_000));
    assert!(soon_found(&merges).contains("more than 400000 values"));

    let mut deep = "a0: &a0 [x]\n".to_owned();
    (1..100_000).for_each(|n| writeln!(deep, "a{n}: &a{n} [*a{}]", n - 1).unwrap());
    assert!(soon_found(&deep).contains("nested more than 64 levels deep"));

    assert!(soon_found("a: &a [*a]").contains("inside its own anchor"));
    assert!(soon_found("a: &a {<<: *a}").contains("inside its own anchor"));
}

#[test]
fn large_files_are_read_or_refused_soon() {
    // These files are smaller than the largest files that drainit accepts, by a factor of 32. The
    // time grows with the size, so the limit of the time is smaller by the same factor.
    let soon_in_part = |text: &str| {
        let start = used();
        let found = lines(&problems(text)).join("\n");
        let took = used() - start;
        assert!(took < Duration::from_secs(10) / 32, "{took:?}");
        found
    };
    const SIZE: usize = (4 << 20) / 32;
    soon_in_part(&"#".repeat(SIZE));
    soon_in_part(&format!("a: \"{}\"", "x".repeat(SIZE)));
    soon_in_part(&format!("a: {}", "x ".repeat(SIZE / 2)));
    soon_in_part(&format!("a: |\n{}", "  x\n".repeat(SIZE / 4)));
    let mut keys = String::new();
    (0..200_000 / 32).for_each(|n| writeln!(keys, "k{n}: v").unwrap());
    assert!(soon_in_part(&keys).contains("unknown key `k0`"));
    assert!(problems(&keys).len() < 60);
    assert!(soon_in_part(&"same: v\n".repeat(200_000 / 32)).contains("duplicate key `same`"));
    // A file with too many values is refused at the first value above the limit.
    assert!(soon_found(&format!("[{}]", "a,".repeat(400_001))).contains("more than 400000 values"));
}

#[test]
fn expanded_variables_are_bounded() {
    let mut text = "env:\n  A0: xxxxxxxxxxxxxxxx\n".to_owned();
    (1..60).for_each(|n| writeln!(text, "  A{n}: ${{A{}}}${{A{}}}", n - 1, n - 1).unwrap());
    assert!(
        soon_found(&format!("{text}processes: {{a: {{command: [a]}}}}"))
            .contains("longer than 131072 bytes")
    );

    let long = "x".repeat(100_000);
    let words = "  - ${X}\n".repeat(5000);
    let text = format!("processes:\n a:\n  command:\n{words}");
    let errors = soon(|| load(&[&text], &[("X", &long)]).unwrap_err());
    assert!(errors[0].message.contains("more than 32 MiB"));
    assert!(soon_found(&format!("a: \"{}\"", "${A:-".repeat(100_000))).contains("unknown key"));
}

/// A config with `count` processes that have most of the keys.
fn large(count: usize) -> String {
    let mut text = "processes:\n".to_owned();
    for n in 0..count {
        writeln!(text, "  p{n}:\n    command: [app, --number, \"{n}\", \"${{HOST:-h}}\"]").unwrap();
        if n > 0 {
            writeln!(text, "    depends_on: [p{}]", n - 1).unwrap();
        }
        writeln!(text, "    args: {{prefix: \"--p{n}.\", refuse: [a, b]}}").unwrap();
        writeln!(text, "    sockets: [/run/p{n}.sock]").unwrap();
        writeln!(text, "    readiness: {{unix: /run/p{n}.sock, timeout: 15s}}").unwrap();
        writeln!(
            text,
            "    environment: {{A: '1', B: '2', C: '3', D: '4'}}\n    log: {{prefix: p{n}}}"
        )
        .unwrap();
    }
    text
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
