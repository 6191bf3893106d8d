//! Tests the files that a package installs beside the binary: the schema, the completions, the
//! manual page.

use testkit::envoy::checkout;

use crate::support::{Rig, Stream};

// holds: C16
#[test]
fn the_schema_is_that_of_the_docs() {
    let printed = Rig::not_init().run_with(&["schema"]);
    printed.assert_code(0);
    let committed = std::fs::read_to_string(checkout().join("docs/drainit.schema.json")).unwrap();
    assert!(printed.text(Stream::Stdout) == committed, "write it anew with `make schema`");
}

#[test]
fn the_manual_has_every_command_and_option() {
    let page = Rig::not_init().run_with(&["man"]);
    page.assert_code(0).assert_line(r"^\.TH DRAINIT 1 ");
    let page = page.text(Stream::Stdout).replace('\\', "");
    let help = |args: &[&str]| Rig::not_init().run_with(args).text(Stream::Stdout);
    let words = |text: &str, first: &str| -> Vec<String> {
        let words = text.split(|c: char| c.is_whitespace() || matches!(c, ',' | '=' | '['));
        words.filter(|word| word.starts_with(first)).map(str::to_owned).collect()
    };
    let commands = help(&["help"]);
    let commands = commands.lines().skip_while(|line| *line != "Commands:").skip(1);
    for command in commands.take_while(|line| !line.is_empty()) {
        let name = command.split_whitespace().next().unwrap();
        if name == "help" {
            continue;
        }
        assert!(page.contains(&format!("drainit {name}")), "no {name}");
        for option in words(&help(&[name, "--help"]), "--") {
            let option = option.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
            let is_own = !matches!(option, "--help" | "--version");
            assert!(!is_own || page.contains(option), "no {option} of {name}");
        }
    }
}
