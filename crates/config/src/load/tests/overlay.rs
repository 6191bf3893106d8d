//! Tests how several files are merged.

use super::*;

const BASE: &str = r#"
shutdown: {grace_period: 30s}
processes:
  engine:
    command: [engine]
    environment: {LEVEL: info, KEEP: "1"}
    readiness: {unix: /run/e.sock, timeout: 10s}
    hooks: {pre_stop: [stop, it]}
  task: {type: oneshot, command: [task]}
  router: {command: [envoy], depends_on: [engine, task], sockets: [/run/r.sock]}
"#;

// holds: C520
#[test]
fn a_reset_of_a_misspelled_key_is_refused() {
    for (over, key) in [
        ("processes: {engine: {raediness: !reset }}", "raediness"),
        ("processes: {engine: {readiness: {tcpp: !reset }}}", "tcpp"),
        ("processes: {engine: {hooks: {prestop: !reset {command: [x]}}}}", "prestop"),
        ("shutdwn: !reset", "shutdwn"),
        ("hooks: {prestart: !reset }", "prestart"),
    ] {
        for texts in [&[BASE, over][..], &[BASE, over, over], &[over]] {
            let errors = lines(&load(texts, &[]).unwrap_err()).join("\n");
            assert!(errors.contains(&format!("unknown key `{key}` ")), "{texts:?} {errors}");
        }
    }
    // A `!reset` makes a known key absent, even if no earlier file has the key.
    let known = "shutdown: !reset {grace_period: x}\nhooks: {pre_stop: !reset }";
    let over = [known, "processes: {task: {user: !reset , hooks: !reset , depends_on: !reset }}"];
    assert!(load(&[BASE, over[0], over[1], over[1]], &[]).unwrap().warnings.is_empty());
}

#[test]
fn variables_in_lists_are_expanded_beside_a_second_file() {
    let base = "
processes:
  a: {command: [a]}
  b: {command: [b]}
  c: {command: [c]}
  d:
    command: [d]
    depends_on: ['${A}', '${NO:-b}']
    environment: ['${N}=1', '${PAIR}', '${NAME}', 'D=4']
";
    let environment = [("A", "a"), ("N", "X"), ("PAIR", "Y=2"), ("NAME", "Z"), ("Z", "3")];
    let over = "{d: {depends_on: [c, '${A}'], environment: {E: '5'}}}";
    let started = "{d: {depends_on: {a: {condition: started}}, environment: ['E=5']}}";
    for (over, names) in [(over, "a Ready, b Ready, c Ready"), (started, "a Started, b Ready")] {
        let loaded = load(&[base, &format!("processes: {over}")], &environment).unwrap();
        assert_eq!(loaded.warnings, []);
        let process = &loaded.config.processes[3];
        let on = process.depends_on.iter().map(|on| format!("{} {:?}", on.process, on.condition));
        assert_eq!(on.collect::<Vec<_>>().join(", "), names);
        assert_eq!(variables(process), ["X=1", "Y=2", "Z=3", "D=4", "E=5"]);
    }
}

// holds: C520
#[test]
fn a_reset_of_an_unknown_name_is_a_warning() {
    let over = "
env: {NAME: !reset }
processes:
  rooter: !reset
  x-old: !reset
  router: {depends_on: {engin: !reset , engine: , other: !reset }}
";
    let loaded = load(&[BASE, over], &[]).unwrap();
    let found =
        loaded.warnings.iter().map(|it| format!("{}; {}", it.message, it.help.as_ref().unwrap()));
    let expected = [
        ("NAME", "correct the name, or remove the line"),
        ("rooter", "did you mean `router`?"),
        ("engin", "did you mean `engine`?"),
        ("other", "correct the name, or remove the line"),
    ];
    let expected = expected.map(|(name, help)| {
        format!("`!reset` has nothing to remove: no earlier file has `{name}`; {help}")
    });
    assert_eq!(found.collect::<Vec<_>>(), expected);
    assert_eq!(loaded.config.processes[2].depends_on.len(), 2);
}

// holds: C9, C465, C645
#[test]
fn a_removed_variable_is_not_inherited_from_the_container() {
    let reset = "{LEVEL: !reset , HOST: !reset }";
    for (one, other, expected) in [
        (reset, "", &["!LEVEL", "KEEP=1", "!HOST"][..]),
        // After a `!reset`, a later file can set the variable again, or let the process get the
        // container's value.
        (reset, "[LEVEL=debug, HOST]", &["LEVEL=debug", "KEEP=1", "HOST=h"]),
        ("{LEVEL: }", "", &["LEVEL=c", "KEEP=1"]),
        ("!override {HOST: !reset }", "", &["!HOST"]),
    ] {
        let [one, other] =
            [one, other].map(|it| format!("processes: {{engine: {{environment: {it}}}}}"));
        let loaded = load(&[BASE, &one, &other], &[("HOST", "h"), ("LEVEL", "c")]).unwrap();
        assert_eq!(variables(&loaded.config.processes[0]), expected, "{one} {other}");
    }
    for (tag, over, timeout) in [
        // If the first file has a value with `!reset`, the value is dropped, so a later file's
        // value is not merged with it.
        ("!reset", "{file: /x}", 30),
        // A key without a value replaces no other kind of probe.
        ("", "{http: }", 3),
    ] {
        let base = process_with(&format!("readiness: {tag} {{tcp: '127.0.0.1:1', timeout: 3s}}"));
        let over = format!("processes: {{a: {{readiness: {over}}}}}");
        let config = load(&[&base, &over], &[]).unwrap().config;
        assert_eq!(config.processes[0].readiness.as_ref().unwrap().timeout.as_secs(), timeout);
    }
}

// holds: C10
#[test]
fn a_tag_without_effect_is_refused() {
    for (keys, tag) in [
        ("environment: [!reset LEVEL]", "!reset"),
        ("environment: {!reset LEVEL}", "!reset"),
        ("sockets: [!reset /run/e.sock]", "!reset"),
        ("depends_on: [!override task]", "!override"),
    ] {
        let over = format!("processes: {{engine: {{{keys}}}}}");
        let errors = load(&[BASE, &over], &[]).unwrap_err();
        let message = format!("`{tag}` has no meaning here");
        assert_eq!((errors.len(), &errors[0].message), (1, &message), "{keys}");
    }
}

#[test]
fn a_broken_file_does_not_hide_the_faults_of_the_next() {
    let errors =
        load(&["a: [", "processes: {a: {command: [a]}, a: {}}", "# nothing"], &[]).unwrap_err();
    let files: Vec<_> = errors.iter().map(|d| d.file.display().to_string()).collect();
    assert_eq!(files, ["0.yaml", "1.yaml", "2.yaml"]);
}
