//! Checks the options of `drainit exec` in the command of a container. `drainit exec` itself says
//! what it would refuse, and makes the config of a command with a drain.

use drainit_commands::exec::{
    ExecArgs, GRACE_PERIOD, KEY_OPTIONS, MIN, TIME, UNREADY_DELAY, Wrong, cut_short,
};
use drainit_commands::value::UNKNOWN;
use drainit_commands::{Cli, Command, parse};

use crate::kubernetes::commands::{Found, OwnCommand, commands, own_commands, program, refusal};
use crate::kubernetes::entry::{EntryPoint, entry};
use crate::kubernetes::env::PodEnv;
use crate::kubernetes::manifest::{Container, Word, Workload, base};
use crate::kubernetes::termination::grace_of;
use crate::language::diagnostics::problems::Problems;
use crate::language::diagnostics::rule::Rule;
use crate::language::span::Span;
use crate::load::Loaded;

const NAME_ADMIN: &str = "name Envoy's admin by `--drain-envoy` or `DRAINIT_DRAIN_ENVOY`";

/// The options of `drainit exec` as a config. Returns `None` if the container does not run `drainit
/// exec`. Returns `Some(None)` if there is no drain to check, or if the command or an option is not
/// known here. An option whose value is not known counts as correct. A wrong value is reported.
pub(super) fn read(
    problems: &mut Problems,
    workload: &mut Workload,
    container: &Container,
    env: &PodEnv,
) -> Option<Option<Loaded>> {
    let words = match entry(container) {
        EntryPoint::Drainit(words) | EntryPoint::Image(words) => words,
        EntryPoint::Unknown(script) if !script.text.contains("drainit run") => return Some(None),
        _ => return None,
    };
    let (exec, words) = words.split_first().filter(|(exec, _)| exec.text == "exec")?;
    Some(drained(problems, (workload, container), (exec, words), env))
}

/// An option or variable that stands for a key.
struct Given {
    option: &'static str,
    /// The name of the option, or of its variable.
    name: &'static str,
    span: Span,
    is_known: bool,
}

/// Reports the first thing for which `drainit exec` would not start, or options that do not have
/// their effect. Returns the config of a command with a drain.
fn drained(
    problems: &mut Problems,
    (workload, container): (&mut Workload, &Container),
    (exec, words): (&Word, &[Word]),
    env: &PodEnv,
) -> Option<Loaded> {
    let mut refuse = |span, why: &str, help: &str| {
        let help = if help.is_empty() { "correct it, or remove it" } else { help };
        problems
            .error(Rule::RefusedArguments, span, format!("drainit would not start: {why}"))
            .help(help);
    };
    let words = known(words, env);
    let parsed = parsed(exec, &words);
    let (args, command) = parsed.map_err(|(span, why, help)| refuse(span, &why, &help)).ok()??;
    let options = &words[..words.len() - command.len()];
    let span = |name: &str| {
        let is_it = |word: &&Word| word.text.split('=').next() == Some(name);
        options.iter().rfind(is_it).map_or(exec.span, |word| word.span)
    };
    let of_variable = |name: &str| variable(env, name, container.span);
    let given = KEY_OPTIONS.iter().filter_map(|it| {
        let (name, (text, span)) = match args.keys.text(it.name) {
            Some(text) => (it.name, (text, span(it.name))),
            None => (it.variable, of_variable(it.variable)?),
        };
        Some(Given { option: it.name, name, span, is_known: !text.contains(UNKNOWN) })
    });
    let given: Vec<_> = given.collect();
    let may_drain = env.may_bring("DRAINIT_DRAIN_ENVOY");
    let text_of = |name: &str| Some(of_variable(name)?.0.to_owned());
    let drain = match args.checked(&text_of, grace_of(&workload.pod)) {
        Ok((_, drain)) => drain,
        Err(refusal) => {
            let it = given.iter().find(|it| it.name == refusal.name);
            let span = it.map_or_else(|| span(refusal.name), |it| it.span);
            match refusal.wrong == Wrong::NeedsDrain {
                true if may_drain => {}
                true => refuse(span, &refusal.to_string(), NAME_ADMIN),
                false => refuse(span, &refusal.to_string(), &refusal.help),
            }
            return None;
        }
    };
    check_command(problems, command);
    let Some((drain, config)) = drain else {
        if !may_drain {
            undrained(problems, container, &given, command);
        }
        return None;
    };
    // If `min` or the unready delay is not known, nobody knows whether the drain suits a traffic
    // policy `Local`.
    if given.iter().any(|it| [MIN, UNREADY_DELAY].contains(&it.option) && !it.is_known) {
        workload.local = None;
    }
    if let Some(it) = given.iter().find(|it| it.option == TIME && it.is_known) {
        let why = match drain.time.is_some_and(|time| time.is_zero()) {
            true => Some(format!("`{}` is 0, which turns the drain off", it.name)),
            false => cut_short(&config.shutdown, &drain),
        };
        let help = "write the time of the longest drain, such as `20`, or a longer grace period";
        why.into_iter()
            .for_each(|why| problems.warning(Rule::WaitsDoNotFit, it.span, why).help(help));
    }
    Some(Loaded {
        graph: config.graph().ok()?,
        config: *config,
        has_grace_period: true,
        says_how_traffic_leaves: true,
        ..Loaded::default()
    })
}

/// The words behind `drainit exec`. A value that is not known is [`UNKNOWN`].
fn known(words: &[Word], env: &PodEnv) -> Vec<Word> {
    let known = |text: &str| env.substitute(text).unwrap_or_else(|| UNKNOWN.to_owned());
    let text = |text: &str| match text.split_once('=').filter(|(name, _)| name.starts_with("--")) {
        Some((name, value)) => format!("{}={}", known(name), known(value)),
        None => known(text),
    };
    words.iter().map(|word| Word { text: text(&word.text), span: word.span }).collect()
}

/// The options of `drainit exec`, and the command behind them. If the manifest gives `exec` nothing,
/// the image may add the command. `None` if the command may be an option: its first word is not
/// known, and no `--` precedes it.
fn parsed<'w>(exec: &Word, words: &'w [Word]) -> Result<Option<(ExecArgs, &'w [Word])>, Found> {
    let of_image = if words.is_empty() { &["--", UNKNOWN][..] } else { &[] };
    let texts = words.iter().map(|word| &*word.text).chain(of_image.iter().copied());
    let line = ["drainit", "exec"].into_iter().chain(texts).map(Into::into).collect();
    match parse(line) {
        Ok(Cli { command: Command::Exec(args) }) => {
            let at = words.len().saturating_sub(args.command.len());
            let is_open = at.checked_sub(1).is_none_or(|before| words[before].text != "--");
            let may_be_option =
                words.get(at).is_some_and(|word| is_open && word.text.contains(UNKNOWN));
            Ok((!may_be_option).then(|| (*args, &words[at..])))
        }
        Err(error) => {
            let line = [std::slice::from_ref(exec), words].concat();
            let usage = "write the command and its arguments after `--`";
            refusal(&error, exec.span, &line, usage).map_or(Ok(None), Err)
        }
        Ok(_) => Ok(None),
    }
}

/// Whether `drainit exec` with these words runs an Envoy that does not end by itself.
pub(super) fn runs_envoy(words: &[Word]) -> bool {
    const ENDS: [&str; 6] =
        ["-h", "--help", "--version", "--hot-restart-version", "init_only", "validate"];
    let Ok(Some((_, command))) = parsed(&words[0], &words[1..]) else { return false };
    let is_end = |word: &Word| ENDS.contains(&word.text.trim_start_matches("--mode="));
    let started = commands(command.to_vec()).pop();
    started.is_some_and(|it| base(program(&it)) == "envoy" && !it.iter().any(is_end))
}

/// The text and the place of a variable that stands for an option. A value that is not known is
/// [`UNKNOWN`]. `envFrom` at `span` may bring a grace period.
fn variable<'e>(env: &'e PodEnv, name: &str, span: Span) -> Option<(&'e str, Span)> {
    let found = match env.get(name) {
        Some(value) => (value.text.as_deref().unwrap_or(UNKNOWN), value.span),
        None if name == "DRAINIT_GRACE_PERIOD" && env.may_bring(name) => (UNKNOWN, span),
        None => return None,
    };
    (!found.0.is_empty()).then_some(found)
}

/// Reports a command whose first words look like options of another program, and options of drainit
/// that stand behind Envoy.
fn check_command(problems: &mut Problems, command: &[Word]) {
    if let Some(option) = command.first().filter(|word| word.text.starts_with('-')) {
        let message = format!("the program is missing before `{}`", option.text);
        let help = "write the program behind `--`: `command` replaces the image's ENTRYPOINT";
        problems.error(Rule::RefusedArguments, option.span, message).help(help);
    }
    let is_envoy = command.first().is_some_and(|word| base(&word.text) == "envoy");
    for word in command.iter().filter(|_| is_envoy) {
        let name = word.text.split('=').next().unwrap_or_default();
        if KEY_OPTIONS.iter().any(|it| it.name == name) {
            let message = format!("`{name}` stands behind the program, which gets it");
            problems
                .error(Rule::RefusedArguments, word.span, message)
                .help("write drainit's options before the program");
        }
    }
}

/// Checks a command without a drain, which therefore has no control socket.
fn undrained(problems: &mut Problems, container: &Container, given: &[Given], command: &[Word]) {
    let asking = own_commands(container).into_iter().find(OwnCommand::asks);
    if let Some(command) = &asking {
        let name = command.name();
        let message = format!(
            "`drainit {name}` gets no answer: a `drainit exec` without a drain has no control socket"
        );
        let help = "name Envoy's admin by `--drain-envoy` or `DRAINIT_DRAIN_ENVOY`, or let the probe or hook ask the program itself";
        problems.error(Rule::NoControlSocket, command.span, message).help(help);
    }
    let is_envoy = |word: &&Word| asking.is_none() && base(&word.text) == "envoy";
    let mut of_a_drain = given.iter().filter(|it| it.option != GRACE_PERIOD && it.is_known);
    if let Some(Given { name, span, .. }) = of_a_drain.next_back() {
        let message = format!("`{name}` has no effect: there is no drain");
        problems.warning(Rule::KeyWithoutEffect, *span, message).help(NAME_ADMIN);
    } else if let Some(envoy) = command.first().filter(is_envoy) {
        let message = "drainit does not drain this Envoy: there is no drain";
        problems.warning(Rule::UndrainedServer, envoy.span, message).help(NAME_ADMIN);
    }
}
