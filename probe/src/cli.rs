//! The command line.

use std::env;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use nix::unistd::{getpid, getppid};

use crate::report::{self, Format, Judged};
use crate::room::{Init, Room, SOON, Setup};
use crate::rows::{self, Judge, Level, ROWS, Row};
use crate::start::Start;
use crate::verdict::{Outcome, Verdict, fail, skip};
use crate::wire::Lines;
use crate::{door, proc, puppet};

const HELP: &str = "\
Judges what the init of a container owes its processes.

  pid1-probe run [OPTIONS] -- INIT [ARGS...]  starts INIT as PID 1 of a new namespace for each row
  INIT [ARGS...] pid1-probe                   as the child of INIT: only the rows that need nobody outside
  pid1-probe below                            the same rows, if the parent is neither PID 1 nor an init
  pid1-probe list                             names all rows, what an init owes, and where that stands

Options:
  --format tap|json  the output: TAP 14 (the default), or one object
  --row NAME         judges only this row; can be repeated
  --supervisor       judges the rows for supervisors, too
  --version, --help

Exit codes: 0 no row failed, 1 a row failed, 2 nothing could be judged.
";

/// The options of a command.
#[derive(Debug, PartialEq)]
struct Options {
    format: Format,
    rows: Vec<String>,
    supervisor: bool,
    init: Vec<String>,
}

/// Runs the command, and returns the exit code.
pub fn run(arguments: &[String], start: &Start) -> Result<i32, String> {
    let program = own_path(arguments.first().map(String::as_str));
    let words: Vec<_> = arguments.iter().skip(1).map(String::as_str).collect();
    let code = match words[..] {
        // The parts of a row, which only the driver and its processes start.
        ["puppet", socket, role] if role.starts_with("below:") => {
            judge_for_driver(&program, socket, &role[6..], start)
        }
        ["puppet", socket, role] => part(puppet::run(&program, socket, role, start)),
        ["door", ..] => door::door(&program, &arguments[2..]),
        ["stage", ..] => door::stage(&arguments[2..]),
        [
            "plainly" | "middle" | "nothing" | "nothing-twice" | "sleeper" | "nursery" | "idle"
            | "storm",
            ..,
        ] => part(puppet::short(&program, words[0], &arguments[2..])),
        ["--help" | "-h" | "help"] => say(HELP),
        ["--version" | "-V"] => say(&format!("pid1-probe {}\n", env!("CARGO_PKG_VERSION"))),
        ["list"] => say(&list()),
        ["run", ref rest @ ..] => drive(&program, &options(rest)?)?,
        ["below", ref rest @ ..] => judge_below(&program, &options(rest)?, start)?,
        [] | ["--format" | "--row", ..] => {
            is_below_an_init(getpid().as_raw(), getppid().as_raw())?;
            judge_below(&program, &options(&words)?, start)?
        }
        [word, ..] => {
            return Err(format!(
                "`{word}` is not a command: write `pid1-probe run -- {word} ...` to judge an init, or `pid1-probe --help`"
            ));
        }
    };
    Ok(code)
}

/// The path of this program. Without `/proc`, the driver has given an absolute path.
fn own_path(first: Option<&str>) -> String {
    let own = env::current_exe().map(|path| path.to_string_lossy().into_owned());
    own.unwrap_or_else(|_| first.unwrap_or_default().to_owned())
}

fn part(result: io::Result<i32>) -> i32 {
    result.unwrap_or_else(|error| {
        let _ = writeln!(io::stderr(), "pid1-probe: a part of a row: {error}");
        3
    })
}

fn say(text: &str) -> i32 {
    let mut out = io::stdout().lock();
    i32::from(out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err())
}

fn list() -> String {
    let line = |(place, row): (usize, &Row)| {
        let judge = if matches!(row.judge, Judge::Below(_)) { "below" } else { "outside" };
        let Row { name, owes, source, .. } = row;
        format!(
            "{:>2} {name} ({}, judged from {judge}): {owes}\n   {source}\n",
            place + 1,
            row.level.word()
        )
    };
    ROWS.iter().enumerate().map(line).collect()
}

fn options(words: &[&str]) -> Result<Options, String> {
    let mut options =
        Options { format: Format::Tap, rows: Vec::new(), supervisor: false, init: Vec::new() };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let (option, joined) =
            word.split_once('=').map_or((*word, None), |(option, value)| (option, Some(value)));
        let mut value = || joined.or_else(|| words.next().copied()).unwrap_or_default();
        match option {
            "--format" => options.format = format(value())?,
            "--row" => options.rows.push(row(value())?),
            "--supervisor" => options.supervisor = true,
            "--" => options.init = words.by_ref().map(|word| (*word).to_owned()).collect(),
            _ if option.starts_with('-') => {
                return Err(format!(
                    "there is no option `{option}`: `pid1-probe --help` lists the options"
                ));
            }
            _ => {
                options.init = std::iter::once(word)
                    .chain(words.by_ref())
                    .map(|word| (*word).to_owned())
                    .collect()
            }
        }
    }
    Ok(options)
}

fn format(word: &str) -> Result<Format, String> {
    match word {
        "tap" => Ok(Format::Tap),
        "json" => Ok(Format::Json),
        _ => Err(format!("`{word}` is not a format: write `--format tap` or `--format json`")),
    }
}

fn row(word: &str) -> Result<String, String> {
    match rows::find(word) {
        Some(_) => Ok(word.to_owned()),
        None => Err(format!("there is no row `{word}`: `pid1-probe list` names all rows")),
    }
}

/// Refuses to judge where no init is above. `parent` is the PID of the parent.
fn is_below_an_init(own: i32, parent: i32) -> Result<(), String> {
    const INSTEAD: &str = "write `INIT [ARGS...] pid1-probe` as the command of a container, \
                           or `pid1-probe run -- INIT [ARGS...]` to judge an init from outside, too";
    if own == 1 {
        return Err(format!(
            "pid1-probe itself is PID 1 here, so there is no init to judge: {INSTEAD}"
        ));
    }
    if parent != 1 {
        let name = proc::name(parent);
        return Err(format!(
            "the parent is PID {parent} ({name}), and not the init: {INSTEAD}. `pid1-probe below` judges what is above all the same"
        ));
    }
    Ok(())
}

fn chosen(options: &Options, fits: impl Fn(&Row) -> bool) -> Vec<(usize, &'static Row)> {
    let all = ROWS.iter().enumerate().map(|(place, row)| (place + 1, row));
    if options.rows.is_empty() {
        return all.filter(|(_, row)| fits(row)).collect();
    }
    all.filter(|(_, row)| options.rows.iter().any(|name| name == row.name)).collect()
}

/// Judges from outside.
fn drive(program: &str, options: &Options) -> Result<i32, String> {
    let Some(init) = options.init.first() else {
        return Err(
            "which init? Write its command behind `--`: `pid1-probe run -- tini --`".to_owned()
        );
    };
    let command: Vec<_> =
        std::iter::once(in_path(init)?).chain(options.init[1..].iter().cloned()).collect();
    let init = Init { command, probe: program.to_owned() };
    if let Err(Verdict::Fail(found)) = Room::try_out(&init) {
        return Err(format!(
            "{found}. The init must run the words that are appended to its command"
        ));
    }
    let rows = chosen(options, |row| options.supervisor || row.level != Level::Supervisor);
    Ok(judge(&rows, options, &options.init, |row| match row.judge {
        Judge::Outside(judge) => judge(&init),
        Judge::Below(_) => ask_below(&init, row),
    }))
}

/// Judges from below.
fn judge_below(program: &str, options: &Options, start: &Start) -> Result<i32, String> {
    if let Some(init) = options.init.first() {
        return Err(format!(
            "an init is already above: write `pid1-probe run -- {init} ...` to judge another one"
        ));
    }
    let rows = chosen(options, |row| matches!(row.judge, Judge::Below(_)));
    Ok(judge(&rows, options, &[proc::name(getppid().as_raw())], |row| match row.judge {
        Judge::Below(judge) => judge(program, start),
        Judge::Outside(_) => skip("needs `pid1-probe run`"),
    }))
}

/// Judges the rows, and shows the results. Returns the exit code.
fn judge(
    rows: &[(usize, &'static Row)],
    options: &Options,
    init: &[String],
    by: impl Fn(&Row) -> Outcome,
) -> i32 {
    let is_tap = options.format == Format::Tap;
    if is_tap {
        say(&report::tap_head(rows.len()));
    }
    let mut judged = Vec::new();
    for (number, row) in rows {
        let began = Instant::now();
        let outcome = by(row);
        judged.push(Judged { number: *number, row, outcome, took: began.elapsed() });
        if let (true, Some(last)) = (is_tap, judged.last()) {
            say(&report::tap(judged.len(), last));
        }
    }
    if !is_tap {
        say(&report::json(init, &judged));
    }
    report::code(&judged)
}

/// Lets the child of an init judge a row, and report the verdict.
fn ask_below(init: &Init, row: &Row) -> Outcome {
    let mut room = Room::open(init, Setup::default(), &format!("below:{}", row.name))?;
    let mut child = room.puppet()?;
    let verdict = child.hear_any(&["verdict".to_owned()], 12 * SOON);
    match verdict.unwrap_or_default().splitn(3, ' ').collect::<Vec<_>>()[..] {
        ["verdict", "pass"] => Ok(()),
        ["verdict", "fail", found] => fail(found),
        ["verdict", "skip", why] => skip(why),
        _ => fail("the child was killed, or did not end its work"),
    }
}

/// The other side of `ask_below`.
fn judge_for_driver(program: &str, socket: &str, name: &str, start: &Start) -> i32 {
    let Some((_, Row { judge: Judge::Below(judge), .. })) = rows::find(name) else { return 2 };
    let Ok(mut lines) = Lines::connect(socket) else { return 2 };
    lines.send(&format!("hello below:{name}"));
    let verdict = match judge(program, start) {
        Ok(()) => "pass".to_owned(),
        Err(Verdict::Fail(found)) => format!("fail {found}"),
        Err(Verdict::Skip(why)) => format!("skip {why}"),
    };
    lines.send(&format!("verdict {verdict}"));
    0
}

/// The path of a program, as a shell would find it.
fn in_path(name: &str) -> Result<String, String> {
    let is_program = |path: &Path| {
        path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    };
    let places: Vec<PathBuf> = match name.contains('/') {
        true => vec![PathBuf::from(name)],
        false => env::split_paths(&env::var_os("PATH").unwrap_or_default())
            .map(|place| place.join(name))
            .collect(),
    };
    let found =
        places.iter().find(|path| is_program(path)).and_then(|path| std::path::absolute(path).ok());
    found
        .map(|path| path.to_string_lossy().into_owned())
        .ok_or_else(|| format!("there is no program `{name}` here"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_command_line_says_what_to_write() {
        let start = Start { blocked: None, ignored: None, descriptors: None };
        let said = |words: &[&str]| {
            let arguments: Vec<_> = std::iter::once(&"pid1-probe")
                .chain(words)
                .map(|word| (*word).to_owned())
                .collect();
            run(&arguments, &start).unwrap_err()
        };
        for (words, expected) in [
            (
                &["run", "--format", "xml", "--", "tini"][..],
                "`xml` is not a format: write `--format tap` or `--format json`",
            ),
            (
                &["run", "--row=none", "--", "tini"],
                "there is no row `none`: `pid1-probe list` names all rows",
            ),
            (
                &["run", "--tap"],
                "there is no option `--tap`: `pid1-probe --help` lists the options",
            ),
            (&["run"], "which init? Write its command behind `--`: `pid1-probe run -- tini --`"),
            (&["run", "--", "/nonexistent/init"], "there is no program `/nonexistent/init` here"),
            (
                &["tini"],
                "`tini` is not a command: write `pid1-probe run -- tini ...` to judge an init, or `pid1-probe --help`",
            ),
            (
                &["below", "--", "tini"],
                "an init is already above: write `pid1-probe run -- tini ...` to judge another one",
            ),
        ] {
            assert_eq!(said(words), expected);
        }
    }

    #[test]
    fn where_no_init_is_above_the_error_says_what_to_write() {
        assert_eq!(is_below_an_init(7, 1), Ok(()));
        let own = is_below_an_init(1, 0).unwrap_err();
        assert!(
            own.starts_with(
                "pid1-probe itself is PID 1 here, so there is no init to judge: write `INIT"
            ),
            "{own}"
        );
        let parent = std::process::id().try_into().unwrap();
        let shell = is_below_an_init(7, parent).unwrap_err();
        assert!(shell.starts_with(&format!("the parent is PID {parent} (")), "{shell}");
        assert!(shell.ends_with("`pid1-probe below` judges what is above all the same"), "{shell}");
    }

    #[test]
    fn no_two_rows_have_the_same_name() {
        for (place, row) in ROWS.iter().enumerate() {
            assert_eq!(rows::find(row.name).map(|(number, _)| number), Some(place + 1));
            assert!(
                row.name.chars().all(|sign| sign.is_ascii_lowercase() || sign == '-'),
                "{}",
                row.name
            );
        }
    }
}
