//! `drainit man`: prints the manual page, which contains the help of all commands.

use std::io;

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

const DESCRIPTION: &str = "drainit is an init for containers. It starts the processes of a config in \
    the order of their dependencies, supervises them, and at a stop signal drains those that take \
    requests before it stops anything, all within one deadline.";

/// The sections that follow the commands: titles, and items with their texts behind a ` | `.
const SECTIONS: &str = include_str!("man.txt");

/// The manual page of this command line.
pub(super) fn page(mut drainit: Command) -> io::Result<String> {
    drainit.build();
    let about = drainit.get_about().map(ToString::to_string).unwrap_or_default();
    let version = drainit.get_version().unwrap_or_default();
    let mut page = Roff::new();
    page.control("SH", ["NAME"]);
    page.text([roman(format!("drainit - {}", about.to_lowercase().trim_end_matches('.')))]);
    page.control("SH", ["SYNOPSIS"]);
    page.text([bold("drainit"), roman(" COMMAND [OPTIONS]")]);
    page.control("SH", ["DESCRIPTION"]).text([roman(DESCRIPTION)]);
    page.control("SH", ["COMMANDS"]);
    let mut text = page.render();
    for command in drainit.get_subcommands().filter(|command| !command.is_hide_set()) {
        if command.get_name() != "help" {
            text.push_str(&subcommand(command.clone())?);
        }
    }
    let mut rest = Roff::new();
    for line in SECTIONS.lines() {
        match line.split_once(" | ") {
            Some((name, text)) => rest.control("TP", []).text([bold(name)]).text([roman(text)]),
            None => rest.control("SH", [line]),
        };
    }
    // The page has no date, so that every build of one version gives the same bytes.
    Ok(format!(".TH DRAINIT 1 \"\" \"drainit {version}\"\n{text}{}", rest.to_roff()))
}

/// The part of the page about one command: its usage, purpose and options, and the text after them.
fn subcommand(mut command: Command) -> io::Result<String> {
    let usage = command.render_usage().to_string();
    let mut head = Roff::new();
    head.control("SS", [usage.trim_start_matches("Usage:").trim()]);
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string);
    head.text([roman(format!("{}.", about.unwrap_or_default().trim_end_matches('.')))]);
    let mut options = Vec::new();
    let after = command.get_after_help().map(ToString::to_string);
    // Every command has `--help` and `--version`, so the page does not repeat them.
    let command = command.mut_args(|arg| match arg.get_id().as_str() {
        "help" | "version" => arg.hide(true),
        _ => arg,
    });
    Man::new(command).render_options_section(&mut options)?;
    let options = String::from_utf8_lossy(&options)
        .replace(".SH OPTIONS\n", "")
        .replace(".SH ", ".PP\n.B ")
        .replace(".br\n\n.br\n", ".sp\n");
    let mut tail = Roff::new();
    for paragraph in after.iter().flat_map(|after| after.lines()).filter(|line| !line.is_empty()) {
        tail.control("PP", []).text([roman(paragraph)]);
    }
    Ok(head.to_roff() + &options + &tail.to_roff())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::language::environment::OWN;

    #[test]
    fn every_variable_of_drainit_is_explained() {
        let explained = |name: &&&str| SECTIONS.contains(&format!("\n{name} | "));
        assert_eq!(OWN.iter().find(|name| !explained(name)), None);
    }
}
