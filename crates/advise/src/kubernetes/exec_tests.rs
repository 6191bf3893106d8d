//! Compares the check of a manifest with `drainit exec` itself, for random command lines.

use std::collections::BTreeMap;
use std::time::Duration;

use drainit_commands::{Command, parse};
use drainit_config::testing::random::Random;
use serde_json::json;

use crate::kubernetes::tests::check;

/// The options, each with good and bad values. An option without values is a flag.
const OPTIONS: &[(&str, &str)] = &[
    ("--group", ""),
    ("-g", ""),
    ("--rewrite", "TERM:QUIT¦15:3¦HUP:0¦TERM:¦KILL:TERM¦x"),
    ("-r", "INT:TERM¦TERM"),
    ("--remap-exit", "143¦0¦256¦-1¦"),
    ("-e", "3¦143¦x"),
    ("--parent-death-signal", "TERM¦KILL¦9¦NONE"),
    ("-p", "HUP¦SIGKILL¦0"),
    ("--stop-signal", "USR1¦INT¦KILL¦RTMIN+3¦"),
    ("--grace-period", "45s¦1¦500ms¦0¦soon"),
    ("--subreaper", ""),
    ("-s", ""),
    ("--no-subreaper", ""),
    ("--verbose", ""),
    ("-v", ""),
    ("--drain-envoy", "unix:/a¦http://127.0.0.1:9901¦unix:/a¦unix:/nobody¦x¦"),
    ("--drain-time", "9s¦0¦60¦500ms¦soon"),
    ("--drain-min", "1¦6s¦900ms¦20¦x"),
    ("--drain-fail-healthcheck", "true¦false¦maybe"),
    ("--drain-until", "requests¦connections¦never"),
    ("--drain-exit-at", "0¦2¦-1¦x"),
    ("--drain-direction", "all¦inbound¦out"),
    ("--drain-ignore-listeners", "a¦a,b¦¦,¦a,"),
    ("--readiness", "5s¦0¦x"),
    ("--unready-delay", "1s¦9s¦27¦0¦x"),
    ("--help", ""),
    ("--drain-tiem", "1"),
    ("-x", ""),
];

fn option(random: &mut Random, words: &mut Vec<String>) {
    let (name, values) = random.pick(OPTIONS);
    // Most values are good, so that many command lines are.
    let first = values.split('¦').next().unwrap_or_default();
    let value = if random.one_in(4) { random.part(values) } else { first }.to_owned();
    let is_short = !name.starts_with("--");
    match (values.is_empty(), random.below(16)) {
        (true, 0) => words.push(format!("{name}={value}x")),
        (true, 1) if is_short => words.push(format!("{name}v")),
        (true, _) => words.push(name.to_owned()),
        (false, 0) => words.push(name.to_owned()),
        (false, 1..5) => words.push(format!("{name}={value}")),
        (false, 5..8) if is_short => words.push(format!("{name}{value}")),
        (false, 8) if is_short => words.push(format!("-v{}{value}", &name[1..])),
        (false, _) => words.extend([name.to_owned(), value]),
    }
}

fn line(random: &mut Random) -> Vec<String> {
    let mut words = Vec::new();
    for _ in 0..random.below(5) {
        option(random, &mut words);
    }
    if random.one_in(2) {
        words.push("--drain-envoy=unix:/a".to_owned());
    }
    if random.one_in(2) {
        option(random, &mut words);
    }
    let ends = ["-- true", "true", "-- envoy -c x", "true --group --drain-time 9", "--", ""];
    words.extend(random.pick(&ends).split_whitespace().map(str::to_owned));
    words
}

fn variables(random: &mut Random) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    while random.one_in(3) {
        let (name, values) = random.pick(OPTIONS);
        let first = values.split('¦').next().unwrap_or_default();
        let value = if random.one_in(4) { random.part(values) } else { first }.to_owned();
        let name = name.trim_start_matches('-').to_uppercase().replace('-', "_");
        variables.insert(format!("DRAINIT_{name}"), value);
    }
    variables
}

/// Whether `drainit exec` refuses the command line.
fn is_refused(words: &[String], variables: &BTreeMap<String, String>) -> bool {
    let line = ["drainit", "exec"].into_iter().map(Into::into);
    let variable = |name: &str| variables.get(name).filter(|text| !text.is_empty()).cloned();
    match parse(line.chain(words.iter().map(Into::into)).collect()) {
        Ok(cli) => match cli.command {
            Command::Exec(args) => args.checked(&variable, Duration::from_secs(30)).is_err(),
            other => panic!("{words:?}: {other:?}"),
        },
        Err(_) => true,
    }
}

// holds: S532
#[test]
fn the_check_reports_exactly_what_exec_refuses() {
    let (mut random, mut refused) = (Random(1), 0);
    for number in 0..5000 {
        let (words, variables) = (line(&mut random), variables(&mut random));
        let command = [vec!["drainit".to_owned(), "exec".to_owned()], words.clone()].concat();
        let env = variables.iter().map(|(name, value)| json!({"name": name, "value": value}));
        let env: Vec<_> = env.collect();
        let container = json!({"name": "a", "image": "a", "env": env, "command": command});
        let pod = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: a}}\nspec:\n  containers:\n    - {container}\n"
        );
        let found = check("", &pod).diagnostics;
        let is_reported = found.iter().any(|it| it.message.contains("drainit would not start"));
        // Without a word, the image adds the command.
        let of_image = words.is_empty().then(|| "true".to_owned());
        let words: Vec<_> = words.into_iter().chain(of_image).collect();
        let is_refused = is_refused(&words, &variables);
        refused += u32::from(is_refused);
        assert_eq!(is_reported, is_refused, "{number}: {words:?} {variables:?}\n{found:?}");
    }
    assert!((1000..4000).contains(&refused), "{refused}");
}
