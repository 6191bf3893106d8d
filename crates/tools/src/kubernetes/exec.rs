//! Checks the options of `drainit exec` in the command of a container. `drainit exec` itself says
//! what it would refuse. The rest is checked as a config with one Envoy.

use std::collections::BTreeMap;
use std::time::Duration;

use drainit_commands::exec::{
    ADMIN, ExecArgs, GRACE_PERIOD, KEY_OPTIONS, KeyOption, LISTENERS, MIN, READINESS, TIME,
    UNREADY_DELAY, Wrong,
};
use drainit_commands::value::UNKNOWN;
use drainit_commands::{Cli, Command, parse};

use crate::config::{Config, DrainTimes, Shutdown};
use crate::keys::values;
use crate::kubernetes::commands::{Found, refusal, unanswered};
use crate::kubernetes::entry::{EntryPoint, entry};
use crate::kubernetes::env::{PodEnv, PodValue};
use crate::kubernetes::manifest::{Container, Word, Workload, base, seconds};
use crate::language::diagnostics::problems::Problems;
use crate::language::span::Span;
use crate::load::{Diagnostic, Loaded, load_text_to_check};

const NAME_ADMIN: &str = "name Envoy's admin by `--drain-envoy` or `DRAINIT_DRAIN_ENVOY`";

/// The options of `drainit exec` as a config. Returns `None` if the container does not run `drainit
/// exec`. Returns `Some(Ok(None))` if there is no drain to check, or if the command or an option is
/// not known here. An option whose value is not known counts as correct. A wrong value is reported.
pub(super) fn read(
    problems: &mut Problems,
    workload: &mut Workload,
    container: &Container,
    env: &PodEnv,
) -> Option<Result<Option<Loaded>, Vec<Diagnostic>>> {
    let words = match entry(container) {
        EntryPoint::Drainit(words) | EntryPoint::Image(words) => words,
        EntryPoint::Unknown(script) if !script.text.contains("drainit run") => {
            return Some(Ok(None));
        }
        _ => return None,
    };
    let (exec, words) = words.split_first().filter(|(exec, _)| exec.text == "exec")?;
    let Some(checked) = checked(problems, (workload, container), (exec, words), env) else {
        return Some(Ok(None));
    };
    let ExecGiven { given, command, config, .. } = &checked;
    check_command(problems, command);
    let Some(config) = config else {
        undrained(problems, container, env, &checked);
        return Some(Ok(None));
    };
    // If `min` or the unready delay is not known, nobody knows whether the drain suits a traffic
    // policy `Local`.
    let is_unknown = |it: &Given| [MIN, UNREADY_DELAY].contains(&it.option) && it.value.is_none();
    if given.iter().any(is_unknown) {
        workload.local = None;
    }
    let is_off = |it: &&Given| it.option == TIME && it.duration() == Some(Duration::ZERO);
    if let Some(it) = given.iter().find(is_off) {
        problems
            .warning(it.span, format!("`{}` is 0, which turns the drain off", it.name))
            .help("write the time of the longest drain, such as `20`");
    }
    let (wrong, loaded) = match load_text_to_check(&text(config, given), &env.environment()) {
        Ok(mut loaded) => (std::mem::take(&mut loaded.warnings), Some(loaded)),
        Err(wrong) => (wrong, None),
    };
    for wrong in wrong {
        // The message names the key of a config, but the user has written an option or a variable.
        let is_it = |it: &&Given| wrong.message.starts_with(&format!("`{}` ", key(it.option)));
        let (message, span) = match given.iter().find(is_it) {
            Some(it) => {
                let (_, rest) = wrong.message.split_once("` ").unwrap_or_default();
                (format!("`{}` {rest}", it.name), it.span)
            }
            None => (wrong.message.clone(), exec.span),
        };
        let help = wrong.help.unwrap_or_else(|| "correct the option".to_owned());
        // `drainit exec` starts nevertheless.
        problems.warning(span, message).help(help);
    }
    Some(Ok(loaded))
}

/// The options and variables of one `drainit exec`.
struct ExecGiven {
    given: Vec<Given>,
    /// The command as the manifest has it; empty if there is none.
    command: Vec<Word>,
    /// The config of a command with a drain.
    config: Option<Box<Config>>,
}

/// An option or variable that stands for a key, and its value; `None` if the value is not known.
struct Given {
    option: &'static str,
    /// The name of the option, or of its variable.
    name: &'static str,
    span: Span,
    value: Option<String>,
}

impl Given {
    fn duration(&self) -> Option<Duration> {
        values::duration(self.value.as_ref()?).ok()
    }
}

/// Reports the first thing for which `drainit exec` would not start. `None` if there is one, or if not
/// enough is known.
fn checked(
    problems: &mut Problems,
    (workload, container): (&Workload, &Container),
    (exec, words): (&Word, &[Word]),
    env: &PodEnv,
) -> Option<ExecGiven> {
    let mut refuse = |span, why: &str, help: &str| {
        let help = if help.is_empty() { "correct it, or remove it" } else { help };
        problems.error(span, format!("drainit would not start: {why}")).help(help);
    };
    let words = known(words, env);
    let (args, command) = match parsed(exec, &words) {
        Ok(parsed) => parsed?,
        Err((span, why, help)) => {
            refuse(span, &why, &help);
            return None;
        }
    };
    let pod = seconds(&workload.pod, &["terminationGracePeriodSeconds"]).map(|(given, _)| given);
    let variables = variables(env, container.span);
    let span = |name: &str| {
        let is_it = |word: &&Word| word.text.split('=').next() == Some(name);
        words.iter().rfind(is_it).map_or(exec.span, |word| word.span)
    };
    let given = given(&args, span, &variables);
    let of = |name: &str| variables.get(name).map(|word| word.text.clone());
    match args.checked(&of, pod.unwrap_or(Shutdown::default().grace_period)) {
        Ok((_, drain)) => Some(ExecGiven {
            given,
            command: command.to_vec(),
            config: drain.map(|(_, config)| config),
        }),
        Err(refusal) if refusal.wrong == Wrong::NeedsDrain && may_drain(env) => None,
        Err(refusal) => {
            let name = refusal.name;
            let span = variables.get(name).map_or_else(|| span(name), |word| word.span);
            match refusal.wrong {
                Wrong::NeedsDrain => refuse(span, &format!("`{name}` needs a drain"), NAME_ADMIN),
                _ => refuse(span, &refusal.to_string(), &refusal.help),
            }
            None
        }
    }
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

/// Whether `envFrom` may bring a drain.
fn may_drain(env: &PodEnv) -> bool {
    KEY_OPTIONS.iter().any(|it| it.name == ADMIN && env.may_bring(it.variable))
}

/// The variables that stand for options. A value that is not known is [`UNKNOWN`]. `envFrom` at
/// `span` may bring a grace period.
fn variables(env: &PodEnv, span: Span) -> BTreeMap<&'static str, Word> {
    let unknown = |span| Word { text: UNKNOWN.to_owned(), span };
    let word = |KeyOption { name: option, variable: name, .. }| match env.get(name) {
        PodValue::Known(word) if !word.text.is_empty() => Some((name, word.clone())),
        PodValue::Unknown(span) => Some((name, unknown(span))),
        _ if option == GRACE_PERIOD && env.may_bring(name) => Some((name, unknown(span))),
        _ => None,
    };
    KEY_OPTIONS.into_iter().filter_map(word).collect()
}

fn given(
    args: &ExecArgs,
    span: impl Fn(&str) -> Span,
    variables: &BTreeMap<&'static str, Word>,
) -> Vec<Given> {
    let known = |text: &str| Some(text.to_owned()).filter(|text| !text.contains(UNKNOWN));
    let given = KEY_OPTIONS.iter().filter_map(|it| {
        let (name, span, text) = match (args.keys.text(it.name), variables.get(it.variable)) {
            (Some(text), _) => (it.name, span(it.name), text),
            (None, Some(word)) => (it.variable, word.span, &*word.text),
            (None, None) => return None,
        };
        Some(Given { option: it.name, name, span, value: known(text) })
    });
    given.collect()
}

/// Reports a command whose first words look like options of another program, and options of drainit
/// that stand behind Envoy.
fn check_command(problems: &mut Problems, command: &[Word]) {
    if let Some(option) = command.first().filter(|word| word.text.starts_with('-')) {
        let message = format!("the program is missing before `{}`", option.text);
        problems
            .error(option.span, message)
            .help("write the program behind `--`: `command` replaces the image's ENTRYPOINT");
    }
    let is_envoy = command.first().is_some_and(|word| base(&word.text) == "envoy");
    for word in command.iter().filter(|_| is_envoy) {
        let name = word.text.split('=').next().unwrap_or_default();
        if KEY_OPTIONS.iter().any(|it| it.name == name) {
            let message = format!("`{name}` stands behind the program, which gets it");
            problems.error(word.span, message).help("write drainit's options before the program");
        }
    }
}

/// Checks a command without a drain. If `envFrom` may bring a drain, nothing is checked.
fn undrained(
    problems: &mut Problems,
    container: &Container,
    env: &PodEnv,
    ExecGiven { given, command, .. }: &ExecGiven,
) {
    if may_drain(env) {
        return;
    }
    let is_asked = unanswered(problems, container);
    let mut of_a_drain = given.iter().filter(|it| it.option != GRACE_PERIOD && it.value.is_some());
    if let Some(Given { name, span, .. }) = of_a_drain.next_back() {
        let message = format!("`{name}` has no effect: there is no drain");
        problems.warning(*span, message).help(NAME_ADMIN);
    } else if let Some(envoy) =
        command.first().filter(|word| !is_asked && base(&word.text) == "envoy")
    {
        problems
            .warning(envoy.span, "drainit does not drain this Envoy: there is no drain")
            .help(NAME_ADMIN);
    }
}

/// The key of a config for which an option stands.
fn key(option: &str) -> String {
    match option {
        ADMIN => "admin".to_owned(),
        READINESS => "timeout".to_owned(),
        _ => option.trim_start_matches("--").trim_start_matches("drain-").replace('-', "_"),
    }
}

/// The text of a config, which can be checked. Values that are not given have the defaults of `exec`.
fn text(config: &Config, given: &[Given]) -> String {
    let known = |option: &str| given.iter().find(|it| it.option == option)?.value.as_deref();
    let admin = list([known(ADMIN).unwrap_or("unix:/admin.sock")]);
    let is_ready = given.iter().any(|it| it.option == READINESS);
    let timeout = known(READINESS).unwrap_or("30s");
    let readiness = match is_ready {
        true => format!(", readiness: {{envoy: {admin}, timeout: {timeout}}}"),
        false => String::new(),
    };
    let Shutdown { grace_period, reserve, unready_delay, .. } = &config.shutdown;
    let mut keys = format!("admin: {admin}");
    if known(TIME).is_none() {
        let drain = config.processes.iter().find_map(|process| process.drain.as_ref());
        let time = drain.map_or(DrainTimes::default().time, |drain| drain.time);
        keys += &format!(", time: {}", time.min(config.shutdown.window()).as_secs_f64());
    }
    for it in given.iter().filter(|it| it.option.starts_with("--drain-") && it.option != ADMIN) {
        keys.extend(it.value.iter().map(|text| match it.option {
            LISTENERS => format!(", {}: [{}]", key(LISTENERS), list(text.split(','))),
            option => format!(", {}: {text}", key(option)),
        }));
    }
    let signals = config.shutdown.signals.iter().map(ToString::to_string).collect::<Vec<_>>();
    format!(
        "shutdown: {{grace_period: {}, reserve: {}, unready_delay: {}, signals: [{}]}}\n\
         processes: {{command: {{command: [envoy], drain: {{envoy: {{{keys}}}}}{readiness}}}}}",
        grace_period.as_secs_f64(),
        reserve.as_secs_f64(),
        unready_delay.as_secs_f64(),
        signals.join(", ")
    )
}

/// Quotes words for a config. Each `$` is escaped, because `drainit exec` expands no variables.
fn list<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let quoted = |it: &str| format!("'{}'", it.replace('$', "$$").replace('\'', "''"));
    words.into_iter().map(quoted).collect::<Vec<_>>().join(", ")
}

/// The command behind these options of `drainit exec`; empty if the options are not known.
pub(super) fn command(words: &[Word], env: &PodEnv) -> Vec<Word> {
    let exec = Word { text: "exec".to_owned(), span: Span::whole(0) };
    let words = known(words, env);
    let parsed = parsed(&exec, &words).ok().flatten();
    parsed.map(|(_, command)| command.to_vec()).unwrap_or_default()
}
