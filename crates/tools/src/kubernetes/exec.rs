//! Reads the options of `drainit exec` in the command of a container, as a config with one Envoy.

use std::slice;
use std::time::Duration;

use drainit_config::exec_options::{
    ExecOption, GRACE_PERIOD, LISTENERS, OPTIONS, OTHERS, OtherOption, READINESS, UNREADY_DELAY,
    contradicts_a_drain,
};

use crate::config::{DrainTimes, Shutdown};
use crate::keys::values;
use crate::kubernetes::commands::unanswered;
use crate::kubernetes::entry::{EntryPoint, entry};
use crate::kubernetes::env;
use crate::kubernetes::env::PodEnv;
use crate::kubernetes::grace::rounded_up;
use crate::kubernetes::manifest::{Container, Word, Workload, base, seconds};
use crate::language::diagnostics::problems::Problems;
use crate::language::invalid::Invalid;
use crate::language::span::Span;
use crate::load::{Diagnostic, Loaded, load_text_to_check};
use crate::types::human;
use crate::types::suggest::nearest;

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
    // If an unknown variable may stand for an option, or the last option has no value, nothing else
    // is checked.
    let Some(ExecGiven { mut drain, others, command }) = options(problems, words, env) else {
        return Some(Ok(None));
    };
    for wrong in others.iter().filter_map(Other::wrong) {
        problems.error(wrong.0, format!("drainit would not start: {}", wrong.1)).help("correct it");
    }
    let is_given = |wanted: &str| drain.iter().any(|it| [it.name, it.key].contains(&wanted));
    let alone = others.iter().find(|it| it.option.name == "--no-subreaper");
    if let Some(other) = alone.filter(|_| is_given("--grace-period")) {
        let message =
            "drainit would not start: `--no-subreaper` cannot be used with `--grace-period`";
        problems.error(other.span, message.to_owned()).help("remove one of the two");
    }
    if command.is_empty() && !words.is_empty() {
        problems
            .error(exec.span, "drainit would not start: there is no command")
            .help("write the command and its arguments after `--`");
    }
    if let Some(option) = command.first().filter(|word| word.text.starts_with('-')) {
        let message = format!("the program is missing before `{}`", option.text);
        problems
            .error(option.span, message)
            .help("write the program behind `--`: `command` replaces the image's ENTRYPOINT");
    }
    for Given { name, span, wrong, .. } in &drain {
        if let Some(wrong) = wrong {
            let message = format!("drainit would not start: `{name}` is {}", wrong.why);
            problems.error(*span, message).help(wrong.help.clone());
        }
    }
    if !is_given(ADMIN) {
        undrained(problems, (workload, container), env, (&drain, command.first()));
        return Some(Ok(None));
    }
    let grace = OPTIONS.iter().find(|it| it.key == GRACE_PERIOD);
    let is_open = |it: &&ExecOption| !is_given(it.key) && env.may_bring(it.variable);
    if let Some(it) = grace.filter(is_open) {
        drain.push(Given::new(it, it.variable, container.span, None));
    }
    // If `min` or the unready delay is not known, nobody knows whether the drain suits a traffic
    // policy `Local`.
    if drain.iter().any(|it| matches!(it.key, "min" | UNREADY_DELAY) && it.value.is_none()) {
        workload.local = None;
    }
    if let Some(it) =
        drain.iter().find(|it| it.key == "time" && it.duration() == Some(Duration::ZERO))
    {
        problems
            .warning(it.span, format!("`{}` is 0, which turns the drain off", it.name))
            .help("write the time of the longest drain, such as `20`");
    }
    let names: Vec<_> = drain.iter().map(|it| (it.key, it.name, it.span)).collect();
    let (config, min_fits) = config(workload, &drain, &others);
    let is_refused =
        |it: &&Other| contradicts_a_drain(it.option.name, it.value.as_deref().unwrap_or_default());
    for Other { option, span, .. } in others.iter().filter(is_refused) {
        let message =
            format!("drainit would not start: `{}` cannot be used with a drain", option.name);
        problems.error(*span, message).help("remove it, or the drain");
    }
    let (wrong, loaded) = match load_text_to_check(&config, &env.environment()) {
        Ok(mut loaded) => (std::mem::take(&mut loaded.warnings), Some(loaded)),
        Err(wrong) => (wrong, None),
    };
    for wrong in wrong {
        // The message names the key of a config, but the user has written an option or a variable.
        let key = |it: &&(&str, &str, Span)| {
            let key = it.0.rsplit('.').next().unwrap_or(it.0);
            wrong.message.starts_with(&format!("`{key}` "))
        };
        let (message, span) = match names.iter().find(key) {
            Some((_, name, span)) => {
                let (_, rest) = wrong.message.split_once("` ").unwrap_or_default();
                (format!("`{name}` {rest}"), *span)
            }
            None => (wrong.message.clone(), exec.span),
        };
        // `drainit exec` refuses a `min` that is longer than `time`. A `min` that leaves no time
        // for the stop gets only a warning.
        let is_min = |words: &str| wrong.message.starts_with(&format!("`min` {words}"));
        let is_short = min_fits && is_min("does not fit");
        let problem = match wrong.is_error() && !is_short || is_min("is cut") {
            true => problems.error(span, format!("drainit would not start: {message}")),
            false => problems.warning(span, message),
        };
        problem.help(wrong.help.unwrap_or_else(|| "correct the option".to_owned()));
    }
    Some(Ok(loaded))
}

/// Checks a command without a drain. If `envFrom` may bring a drain, nothing is checked.
fn undrained(
    problems: &mut Problems,
    (workload, container): (&Workload, &Container),
    env: &PodEnv,
    (given, command): (&[Given], Option<&Word>),
) {
    let mut admin = OPTIONS.iter().filter(|it| it.key == ADMIN);
    if admin.any(|it| env.may_bring(it.variable)) {
        return;
    }
    let is_asked = unanswered(problems, container);
    let help = "name Envoy's admin by `--drain-envoy` or `DRAINIT_DRAIN_ENVOY`";
    let of_a_drain = given.iter().filter(|it| it.name != "--grace-period" && it.wrong.is_none());
    let is_option = |it: &&Given| it.name.starts_with('-');
    if let Some(Given { name, span, .. }) = of_a_drain.max_by_key(is_option) {
        let found = if name.starts_with('-') {
            problems.error(*span, format!("drainit would not start: `{name}` needs a drain"))
        } else {
            problems.warning(*span, format!("`{name}` has no effect: there is no drain"))
        };
        found.help(help);
    } else if let Some(envoy) = command.filter(|word| !is_asked && base(&word.text) == "envoy") {
        problems
            .warning(envoy.span, "drainit does not drain this Envoy: there is no drain")
            .help(help);
    }
    too_long(problems, workload, given);
}

/// Reports a `--grace-period` that is longer than the pod's grace period, for a command without a
/// drain.
fn too_long(problems: &mut Problems, workload: &Workload, given: &[Given]) {
    const NAME: &str = "terminationGracePeriodSeconds";
    let pod = seconds(&workload.pod, &[NAME]).map(|(pod, _)| pod);
    let pod = pod.unwrap_or(Shutdown::default().grace_period);
    let Some(grace) = given.iter().find(|it| it.name == "--grace-period") else { return };
    if let Some(time) = grace.duration().filter(|time| *time > pod) {
        let message = format!(
            "the grace period of `drainit exec` is {}, and the kubelet kills after {}",
            human(time),
            human(pod)
        );
        let needed = rounded_up(time);
        problems
            .error(grace.span, message)
            .help(format!("write `{NAME}: {needed}`, or a shorter `--grace-period`"));
    }
}

/// The config of a command with a drain. The config has the defaults of `exec`: a short grace
/// period has a short reserve, and the default `time` is at most the grace period less the reserve.
/// A value that is not known is left out, or replaced by a correct one. Also returns whether `min`
/// fits into the grace period less the reserve. `exec` accepts a `min` that fits, even if this
/// `min` leaves no time for the stop.
fn config(workload: &Workload, drain: &[Given], others: &[Other]) -> (String, bool) {
    let given = |key: &str| drain.iter().find(|it| it.key == key);
    let duration = |key: &str| given(key)?.duration();
    let pod = seconds(&workload.pod, &["terminationGracePeriodSeconds"]).map(|(given, _)| given);
    let defaults = Shutdown::default();
    let unknown = pod.filter(|_| given(GRACE_PERIOD).is_some()).unwrap_or(defaults.grace_period);
    let grace_period = duration(GRACE_PERIOD).unwrap_or(unknown);
    let reserve = defaults.reserve.min(grace_period / 10);
    // If `min` is not known, nobody knows whether the unready delay fits, so the delay is left out.
    let is_min_known = given("min").is_none_or(|it| it.value.is_some());
    let unready_delay = duration(UNREADY_DELAY).filter(|_| is_min_known).unwrap_or_default();
    let min = duration("min").unwrap_or_default();
    let room = grace_period.saturating_sub(reserve);
    let time = DrainTimes::default().time;
    let time = if given("time").is_some() { time.max(min) } else { time };
    let text = |key: &str| given(key).and_then(|it| it.value.as_deref());
    let admin = list([text(ADMIN).unwrap_or("unix:/admin.sock")]);
    let readiness = given(READINESS).map_or_else(String::new, |it| {
        let timeout = it.value.as_deref().unwrap_or("30s");
        format!(", readiness: {{envoy: {admin}, timeout: {timeout}}}")
    });
    let mut keys = format!("admin: {admin}");
    if text("time").is_none() {
        keys += &format!(", time: {}", time.min(room).as_secs_f64());
    }
    for it in drain.iter().filter(|it| it.key != ADMIN && !it.key.contains('.')) {
        keys.extend(it.value.iter().map(|text| match it.key {
            LISTENERS => format!(", {LISTENERS}: [{}]", list(text.split(','))),
            key => format!(", {key}: {text}"),
        }));
    }
    let signals =
        others.iter().filter(|it| it.option.name == "--stop-signal" && it.wrong().is_none());
    // A signal that is not known here may be any signal. The config then keeps the default signals.
    let signals = match signals.map(|it| it.value.as_deref()).collect::<Option<Vec<_>>>() {
        Some(signals) if !signals.is_empty() => format!(", signals: [{}]", list(signals)),
        _ => String::new(),
    };
    let config = format!(
        "shutdown: {{grace_period: {}, reserve: {}, unready_delay: {}{signals}}}\n\
         processes: {{command: {{command: [envoy], drain: {{envoy: {{{keys}}}}}{readiness}}}}}",
        grace_period.as_secs_f64(),
        reserve.as_secs_f64(),
        unready_delay.as_secs_f64()
    );
    (config, min <= room)
}

/// Quotes words for a config. Each `$` is escaped, because `drainit exec` expands no variables.
fn list<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let quoted = |it: &str| format!("'{}'", it.replace('$', "$$").replace('\'', "''"));
    words.into_iter().map(quoted).collect::<Vec<_>>().join(", ")
}

/// The key of Envoy's admin, without which there is no drain.
const ADMIN: &str = "admin";

/// The value of a key, with its place, and with the name of the option or variable that sets it.
struct Given {
    key: &'static str,
    name: &'static str,
    span: Span,
    /// `None` if the value is wrong, or not known here.
    value: Option<String>,
    wrong: Option<Invalid>,
}

impl Given {
    /// Checks a value; `text` is `None` if the value is not known here.
    fn new(it: &ExecOption, name: &'static str, span: Span, text: Option<&str>) -> Self {
        let wrong = text.and_then(|text| {
            let bad = it.check(text).err()?;
            Some(Invalid { why: format!("`{text}`: {}", bad.why), ..bad })
        });
        let value = text.filter(|_| wrong.is_none()).map(str::to_owned);
        Self { key: it.key, name, span, value, wrong }
    }

    fn duration(&self) -> Option<Duration> {
        values::duration(self.value.as_ref()?).ok()
    }
}

/// An option that stands for no key, with its value and its place. For an option that takes no
/// value, the value is empty.
struct Other {
    option: &'static OtherOption,
    /// `None` if the value is not known here.
    value: Option<String>,
    span: Span,
}

impl Other {
    /// The place of the option, and why its value is wrong.
    fn wrong(&self) -> Option<(Span, String)> {
        let why = self.option.check?(self.value.as_ref()?).err()?;
        Some((self.span, format!("`{}`: {why}", self.option.name)))
    }
}

/// The options and variables of one `drainit exec`.
#[derive(Default)]
struct ExecGiven {
    /// The values of [`OPTIONS`].
    drain: Vec<Given>,
    others: Vec<Other>,
    command: Vec<Word>,
}

/// The command behind these options of `drainit exec`; empty if the options are not known.
pub(super) fn command(words: &[Word], env: &PodEnv) -> Vec<Word> {
    options(&mut Problems::default(), words, env).map(|all| all.command).unwrap_or_default()
}

/// Reads the variables and the options. Returns `None` if an unknown word may be an option, or if
/// the value of the last option is missing.
fn options(problems: &mut Problems, words: &[Word], env: &PodEnv) -> Option<ExecGiven> {
    let mut all = ExecGiven::default();
    for it in &OPTIONS {
        match env.get(it.variable) {
            env::PodValue::Known(word) if !word.text.is_empty() => {
                all.drain.push(Given::new(it, it.variable, word.span, Some(&word.text)));
            }
            env::PodValue::Unknown(span) => {
                all.drain.push(Given::new(it, it.variable, span, None));
            }
            _ => {}
        }
    }
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        // The value of an option may be unknown, but not its name.
        let (text, value) = match word.text.split_once('=') {
            Some((name, value)) if name.starts_with("--") => {
                (env.substitute(name)?, Some(env.substitute(value)))
            }
            _ => (env.substitute(&word.text)?, None),
        };
        if text == "--" {
            all.command = rest.as_slice().to_vec();
            break;
        }
        let Some(short) = text.strip_prefix('-').filter(|rest| !rest.is_empty()) else {
            all.command = [slice::from_ref(word), rest.as_slice()].concat();
            break;
        };
        let next = || rest.next().map(|next| env.substitute(&next.text));
        if !text.starts_with("--") {
            all.short(problems, word, short, next)?;
            continue;
        }
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(Some(value.to_owned()))),
            None => (&*text, value),
        };
        if let Some(it) = OPTIONS.iter().find(|it| it.option == name) {
            if it.key != LISTENERS && all.drain.iter().any(|before| before.name == it.option) {
                given_twice(problems, word, name);
            }
            let value = value.or_else(next)?;
            all.give(Given::new(it, it.option, word.span, value.as_deref()));
        } else if let Some(option) = OTHERS.iter().find(|it| it.name == name) {
            let value = match (option.check, value) {
                (Some(_), value) => value.or_else(next)?,
                (None, None) => Some(String::new()),
                (None, Some(_)) => {
                    let message = format!("drainit would not start: `{name}` has no value");
                    problems.error(word.span, message).help("remove the `=` and what follows");
                    continue;
                }
            };
            all.give_other(problems, word, option, value);
        } else {
            no_option(problems, word, name);
        }
    }
    let is_envoy = all.command.first().is_some_and(|word| base(&word.text) == "envoy");
    for word in all.command.iter().filter(|_| is_envoy) {
        let name = word.text.split('=').next().unwrap_or_default();
        if OPTIONS.iter().any(|it| it.option == name) {
            let message = format!("`{name}` stands behind the program, which gets it");
            problems.error(word.span, message).help("write drainit's options before the program");
        }
    }
    Some(all)
}

impl ExecGiven {
    /// Adds the value of an option. This value overrides the value of the option's variable. If the
    /// option for [`LISTENERS`] is repeated, the names become one list.
    fn give(&mut self, mut new: Given) {
        let Some(before) = self.drain.iter_mut().find(|before| before.key == new.key) else {
            self.drain.push(new);
            return;
        };
        if before.name == new.name && before.key == LISTENERS {
            // If one value is not known, the known names stay.
            let all: Vec<_> = [before.value.take(), new.value].into_iter().flatten().collect();
            new.value = (!all.is_empty()).then(|| all.join(","));
        }
        *before = new;
    }

    /// Reads short options, such as `-gv`, `-e 143` and `-e143`. Returns `None` if a value is
    /// missing.
    fn short(
        &mut self,
        problems: &mut Problems,
        word: &Word,
        letters: &str,
        mut next: impl FnMut() -> Option<Option<String>>,
    ) -> Option<()> {
        let mut letters = letters.chars();
        while let Some(letter) = letters.next() {
            let Some(option) = OTHERS.iter().find(|it| it.letter == Some(letter)) else {
                no_option(problems, word, &format!("-{letter}"));
                return Some(());
            };
            let mut value = Some(String::new());
            if option.check.is_some() {
                let attached: String = letters.by_ref().collect();
                value = match attached.strip_prefix('=').unwrap_or(&attached) {
                    "" => next()?,
                    attached => Some(attached.to_owned()),
                };
            }
            self.give_other(problems, word, option, value);
        }
        Some(())
    }

    fn give_other(
        &mut self,
        problems: &mut Problems,
        word: &Word,
        option: &'static OtherOption,
        value: Option<String>,
    ) {
        if !option.repeats && self.others.iter().any(|before| before.option.name == option.name) {
            given_twice(problems, word, option.name);
        }
        self.others.push(Other { option, value, span: word.span });
    }
}

fn no_option(problems: &mut Problems, word: &Word, name: &str) {
    let known = OPTIONS.iter().map(|it| it.option).chain(OTHERS.iter().map(|it| it.name));
    let meant = nearest(name, known).map(|known| format!("did you mean `{known}`? The"));
    let help = format!(
        "{} command and its arguments come after `--`",
        meant.as_deref().unwrap_or("correct it; the")
    );
    problems.error(word.span, format!("`drainit exec` has no option `{name}`")).help(help);
}

fn given_twice(problems: &mut Problems, word: &Word, name: &str) {
    problems
        .error(word.span, format!("drainit would not start: `{name}` is given twice"))
        .help("remove one of the two");
}
