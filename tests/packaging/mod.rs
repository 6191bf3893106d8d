//! Tests the files that a package installs beside the binary (the schema and the completions), and a
//! release that `packaging` refuses before it builds anything.

use crate::support::*;

// holds: C16
#[test]
fn the_schema_is_that_of_the_docs() {
    let printed = Rig::not_init().run_with(&["schema"]);
    printed.assert_code(0);
    let committed = std::fs::read_to_string(checkout().join("docs/drainit.schema.json")).unwrap();
    assert!(printed.text(Stream::Stdout) == committed, "write it anew with `make schema`");
}

// holds: C892
#[test]
fn completion_offers_names_of_processes_and_signals() {
    let script =
        |shell: &str| Rig::not_init().run_with(&["completions", shell]).text(Stream::Stdout);
    let rig = Rig::not_init();
    rig.write("bash", script("bash"));
    rig.write_program(
        "drainit",
        "#!/bin/sh\ncase $* in 'status -o name') printf 'web\\nweb-2\\ndb\\n' ;; \
         'status -o name --socket b.sock -c b.yaml') echo other ;; esac\n",
    );
    // The shell calls the function with the command, the word to complete, and the previous word.
    let complete = |words: &str, word: &str, before: &str| {
        let script = format!(
            ". DIR/bash; PATH=DIR:$PATH; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _drainit_names drainit '{word}' '{before}'; echo \"<${{COMPREPLY[*]}}>\""
        );
        let output = Command::new("bash").args(["-c", &rig.fill(&script)]).output();
        String::from_utf8(output.unwrap().stdout).unwrap().trim().to_owned()
    };
    assert_eq!(complete("drainit restart w", "w", "restart"), "<web web-2>");
    assert_eq!(complete("drainit stop web d", "d", "web"), "<db>");
    for socket in ["--socket b.sock", "--socket = b.sock"] {
        let words = format!("drainit stop {socket} -c b.yaml o");
        assert_eq!(complete(&words, "o", "b.yaml"), "<other>");
    }
    assert_eq!(complete("drainit kill -s US", "US", "-s"), "<USR1 USR2>");
    assert!(complete("drainit restart --so", "--so", "restart").contains("--socket"));
    assert!(complete("drainit resta", "resta", "drainit").contains("restart"));
    let zsh = script("zsh");
    assert_eq!(zsh.matches(":_drainit_names'").count(), 5, "{zsh}");
    assert!(zsh.contains(":SIGNAL:(HUP INT ") && zsh.contains("\n_drainit_names() {"), "{zsh}");
    let fish = script("fish");
    assert!(fish.contains("using_subcommand restart\" -f -a \"(__drainit_names)"), "{fish}");
}

#[test]
fn a_tag_that_differs_from_cargo_toml_is_not_released() {
    let mut release = Command::new(checkout().join("packaging/release.sh"));
    let output = release.env("TAG", "v0.0.0-not-this").output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    let version = concat!("Cargo.toml has version ", env!("CARGO_PKG_VERSION"));
    assert!(errors.contains("the tag is v0.0.0-not-this") && errors.contains(version), "{errors}");
}

/// An advisory of RustSec's database.
fn advisory(id: &str, package: &str, versions: &str) -> String {
    format!(
        "```toml\n[advisory]\nid = \"{id}\"\npackage = \"{package}\"\n{versions}\n```\n\n# A text\n"
    )
}

#[test]
fn advisories_for_a_dependency_and_for_the_toolchain_are_named() {
    let dir = TempDir::for_everybody();
    let package = |name: &str, version: &str| {
        format!("[[package]]\nname = \"{name}\"\nversion = \"{version}\"\n")
    };
    dir.write("Cargo.lock", package("tokio", "1.54.1") + &package("libc", "0.2.180"));
    let patched = |list: &str| format!("[versions]\npatched = [{list}]");
    for (place, name, id, versions) in [
        ("crates", "tokio", "HIT", patched(r#""~1.20.9", ">= 1.54.2""#)),
        ("crates", "tokio", "PATCHED", patched(r#""^1.54.1""#)),
        ("crates", "tokio", "OLDER", patched(r#""> 2""#) + "\nunaffected = [\"< 1.55, >= 1.54\"]"),
        ("crates", "libc", "MINOR", patched(r#""^0.3.0", "~0.1.9""#)),
        ("crates", "libc", "ORPHAN", "informational = \"unmaintained\"".to_owned()),
        ("crates", "libc", "WRONG", "withdrawn = \"2026-01-01\"".to_owned()),
        ("crates", "other", "OTHER", String::new()),
        ("rust", "std", "TOOLCHAIN", patched(r#"">= 1.91.0""#)),
        ("rust", "cargo", "OLD", patched(r#"">= 1.90.0""#)),
    ] {
        let folder = format!("database/{place}/{name}");
        std::fs::create_dir_all(dir.path(&folder)).unwrap();
        dir.write(&format!("{folder}/{id}.md"), advisory(id, name, &versions));
    }
    let mut command = Command::new(checkout().join("packaging/advisories.py"));
    command.args([dir.path("database"), dir.path("Cargo.lock"), "1.90.0".into()]);
    let output = command.output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    let expected = "MINOR: libc 0.2.180, patched in ^0.3.0, ~0.1.9\n\
                    HIT: tokio 1.54.1, patched in ~1.20.9, >= 1.54.2\n\
                    TOOLCHAIN: std 1.90.0, patched in >= 1.91.0\n";
    assert_eq!(said, expected);
}
