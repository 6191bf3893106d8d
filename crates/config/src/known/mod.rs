//! Programs that many containers run: how a command is recognised, and how the program stops best.
//! `programs.txt` has the facts. A script may have the name of a program, so nothing here makes an
//! error of a config, and nothing changes what a config says.

use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::Duration;

use drainit_derive::Named;

use crate::keys::values::duration;
use crate::language::script::{commands, is_builtin, is_shell, place, place_of_program};
use crate::types::{Signal, human};

static PROGRAMS: LazyLock<Vec<Program>> =
    LazyLock::new(|| include_str!("programs.txt").lines().filter_map(Program::of_line).collect());

/// By each file name: the arguments that the command must then have, perhaps empty, and the programs.
static NAMES: LazyLock<HashMap<&str, Vec<(&str, &Program)>>> = LazyLock::new(|| {
    let mut names = HashMap::<_, Vec<_>>::new();
    for (it, known) in PROGRAMS.iter().flat_map(|it| it.names.iter().map(move |name| (it, name))) {
        let (name, word) = known.split_once(' ').unwrap_or((known, ""));
        names.entry(name).or_default().push((word, it));
    }
    names
});

/// The names of programs that start another program, the number of words before the other program
/// (`None`: it stands behind `--`), and the options with a value.
type Starter = (Vec<&'static str>, Option<usize>, &'static str);

static STARTERS: LazyLock<Vec<Starter>> = LazyLock::new(|| {
    let starter = |line: &'static str| {
        let (names, rest) = line.split_once(" | ").filter(|_| !line.starts_with('#'))?;
        let (skipped, valued) = rest.split_once(" | ")?;
        Some((names.split(' ').collect(), skipped.parse().ok(), valued))
    };
    include_str!("starters.txt").lines().filter_map(starter).collect()
});

/// How a program gets and ends its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Named)]
pub enum Kind {
    /// A server that finishes its requests by itself.
    Server,
    /// A server that needs a drain, which waits for its requests.
    Drained,
    /// Starts a program that may be a server.
    Maybe,
    /// Serves only other processes of the container, as a database does.
    Store,
    /// Fetches its own work.
    Worker,
    Other,
}

/// A line of `programs.txt`.
#[derive(Debug)]
pub struct Program {
    /// The file names, each perhaps with an argument behind a blank.
    pub names: Vec<&'static str>,
    pub kind: Kind,
    /// The signals at which the program finishes what is in flight, the best first.
    pub signals: Vec<Signal>,
    /// The effect of SIGTERM, as the rest of a sentence about the program.
    pub at_term: &'static str,
    /// The longest time that the program itself takes for a stop.
    pub limit: Option<Duration>,
    /// The time after which a server cuts what is in flight by itself.
    pub cuts_after: Option<Duration>,
    /// The settings that change this time: words of its config, or options of its command.
    pub limit_settings: &'static str,
    /// The change that the user must make beside the config; empty if none is needed.
    pub more: &'static str,
    /// The option that keeps the program in the foreground; empty if none is needed.
    pub foreground: &'static str,
}

/// A program that a command starts, by the file name that the command has.
#[derive(Debug)]
pub struct Known {
    pub name: String,
    pub program: &'static Program,
    /// The kind of the program, or `Maybe` if a script of the user may have this name: if the path
    /// has a directory that is neither the root nor a `bin`, and no argument shows the program.
    pub kind: Kind,
    /// The longest time that the program takes for its stop: that of its command, or its own.
    pub limit: Option<Duration>,
    /// The time after which the program cuts what is in flight by itself, unless its command sets it.
    pub cuts_after: Option<Duration>,
}

impl Program {
    /// All programs, in the order of the file.
    pub fn all() -> &'static [Self] {
        &PROGRAMS
    }

    /// Parses a line; `None` if the line has no program.
    fn of_line(line: &'static str) -> Option<Self> {
        let columns: Vec<_> = line.split('|').map(str::trim).collect();
        let [names, kind, signals, at_term, limit, more, foreground] = columns[..] else {
            return None;
        };
        let kind = Kind::ALL.into_iter().find(|it| it.name() == kind)?;
        let (seconds, limit_settings) = limit.split_once(' ').unwrap_or((limit, ""));
        let parse = |seconds: &str| seconds.parse().ok().map(Duration::from_secs);
        let (limit, about) = (parse(seconds), seconds.strip_prefix('~').and_then(parse));
        let cuts_after = limit.or(about).filter(|_| kind == Kind::Server);
        let signals = signals.split_whitespace().filter_map(Signal::parse).collect();
        let names = names.split(", ").collect();
        Some(Self {
            names,
            kind,
            signals,
            at_term,
            limit,
            cuts_after,
            limit_settings,
            more,
            foreground,
        })
    }

    /// The longest time for a stop that one of these arguments sets.
    fn limit_in(&self, arguments: &[&str]) -> Option<Duration> {
        let text = format!(" {}", arguments.join(" ")).to_lowercase().replace('=', " ");
        let of = |option: &str| {
            let is_option = |(at, _): &(usize, &str)| text[..*at].ends_with([' ', '.']);
            let (at, _) = text.rmatch_indices(option).find(is_option)?;
            duration(text[at + option.len()..].split_whitespace().next()?).ok()
        };
        self.limit_settings.to_lowercase().split_whitespace().find_map(of)
    }

    /// The program that has this file name and starts with these arguments, and whether it needs one
    /// of these arguments.
    fn started_by(name: &str, arguments: &[&str]) -> Option<(&'static Self, bool)> {
        // The word behind a short option is probably its value, as in `celery -A worker beat`.
        let is_value = |at: usize| {
            let has_value = |it: &&str| *it == "--app" || it.len() == 2 && it.starts_with('-');
            arguments[..at].last().is_some_and(has_value)
        };
        let has = |word: &str| {
            (0..arguments.len()).any(|at| {
                let parts = [arguments[at].split('=').next(), arguments[at].rsplit(' ').next()];
                parts.contains(&Some(word)) && !is_value(at)
            })
        };
        let found = NAMES.get(name)?.iter().find(|(word, _)| word.is_empty() || has(word));
        found.map(|(word, program)| (*program, !word.is_empty()))
    }
}

impl Known {
    /// Why this signal, which `key` sets, is not the best to stop the program, and the remedy; `None`
    /// if it is, or if nothing better is known.
    pub fn advice(&self, signal: Signal, key: &str) -> Option<(String, String)> {
        let Self { name, program: Program { kind, signals, at_term, more, .. }, .. } = self;
        // A server does something else at another signal.
        let is_other = signal != Signal::TERM && *kind == Kind::Server;
        let is_unknown = signals.is_empty() && (more.is_empty() || is_other);
        if signals.contains(&signal) || is_unknown {
            return None;
        }
        let best = signals.first().map(|best| short(*best));
        let why = match (&best, signal) {
            (Some(best), signal) if signal != Signal::TERM => {
                format!("{name} stops best at SIG{best}, and not at {signal}")
            }
            (None, signal) if signal != Signal::TERM => format!("{name} {at_term}"),
            _ => format!("{name} {at_term} at SIGTERM"),
        };
        let line = best.map(|best| format!("write `{key}: {best}`")).unwrap_or_default();
        let and = if line.is_empty() || more.is_empty() { "" } else { ", and " };
        Some((why, format!("{line}{and}{more}")))
    }

    /// Why the program may still run so long after its stop signal, and the remedy; `None` if nothing is
    /// known.
    pub fn why_alive(&self, signal: Signal) -> Option<String> {
        let Self { name, program, .. } = self;
        if let Some((why, remedy)) = self.advice(signal, "stop_signal") {
            return Some(format!("{why}: {remedy}"));
        }
        // The text is about SIGTERM, which is not a good signal for each program.
        if !program.signals.is_empty() && !program.signals.contains(&Signal::TERM) {
            return None;
        }
        let setting = program.limit_settings.split(' ').next().filter(|it| !it.is_empty());
        match (self.limit, setting) {
            (Some(limit), _) => {
                let setting = setting.map(|it| format!(" (`{it}`)")).unwrap_or_default();
                Some(format!("{name} {}, for up to {}{setting}", program.at_term, human(limit)))
            }
            (None, Some(setting)) => {
                let limits = format!("`{setting}` limits how long");
                let remedy = self.more().map_or(limits, str::to_owned);
                Some(format!("{name} {}: {remedy}", program.at_term))
            }
            (None, None) => None,
        }
    }

    /// Why the program ends work before drainit ends the program; `None` if it gets less time.
    pub fn cuts_before(&self, gets: Duration) -> Option<String> {
        let after = self.cuts_after.filter(|after| *after < gets)?;
        let (name, after) = (&self.name, human(after));
        Some(format!("{name} cuts what takes longer than {after} after its stop signal"))
    }

    /// The change that the user must make beside the config; `None` if there is none, or if the command
    /// sets a limit where the program has none of its own.
    pub fn more(&self) -> Option<&'static str> {
        let is_limited = self.limit.is_some() && self.program.limit.is_none();
        Some(self.program.more).filter(|more| !more.is_empty() && !is_limited)
    }
}

impl Kind {
    pub fn is_server(self) -> bool {
        matches!(self, Self::Server | Self::Drained)
    }
}

/// The stores that hold the queues of workers.
const BROKERS: [&str; 4] = ["redis-server", "valkey-server", "keydb-server", "rabbitmq-server"];
/// The stores in which a few workers have their queues: those of [`OF_DATABASE`], and those of PHP.
const DATABASES: [&str; 5] = ["postgres", "postmaster", "mysqld", "mariadbd", "mongod"];
/// The workers that have their queue only in a database.
const OF_DATABASE: [&str; 2] = ["procrastinate", "pgq"];
/// The workers that have their queue in a broker or in a database, as the user sets it.
const OF_BOTH: [&str; 1] = ["artisan"];

impl Known {
    /// Whether this store may hold the queue of a worker; of any worker if the worker is unknown.
    pub fn may_hold_jobs_of(&self, worker: Option<&Self>) -> bool {
        let name = without_version(&self.name);
        let (is_broker, is_database) = (BROKERS.contains(&name), DATABASES.contains(&name));
        let Some(worker) = worker else { return is_broker || is_database };
        let worker = worker.program.names[0].split(' ').next().unwrap_or_default();
        match () {
            () if OF_DATABASE.contains(&worker) => is_database,
            () if OF_BOTH.contains(&worker) => is_broker || is_database,
            () => is_broker,
        }
    }
}

/// The name of a signal without `SIG`, as a config has it.
pub fn short(signal: Signal) -> String {
    signal.to_string().trim_start_matches("SIG").to_owned()
}

/// The program that a command starts, perhaps by a shell or by a program of [`STARTERS`].
pub fn find<S: AsRef<str>>(command: &[S]) -> Option<Known> {
    /// A chain of programs, each of which starts the next one, is rarely longer than this.
    const DEEPEST: u8 = 5;
    in_words(&command.iter().map(S::as_ref).collect::<Vec<_>>(), DEEPEST)
}

fn in_words(words: &[&str], deepest: u8) -> Option<Known> {
    let deeper = deepest.checked_sub(1)?;
    let (path, rest) = words.get(place_of_program(words.iter().copied())?..)?.split_first()?;
    let name = path.rsplit('/').next().unwrap_or_default();
    if is_shell(name) {
        if let Some(script) = place(rest.iter().copied()) {
            return in_script(rest[script], deeper);
        }
        let file = rest.iter().position(|word| !word.starts_with('-'))?;
        return in_words(&rest[file..], deeper).filter(|_| rest[file].contains('/'));
    }
    behind_starter(name, rest).and_then(|words| in_words(words, deeper)).or_else(|| {
        let plain = || Program::started_by(without_version(name), rest);
        let (program, is_shown) = Program::started_by(name, rest).or_else(plain)?;
        let directory = path.strip_suffix(name)?.trim_end_matches('/');
        let is_sure = is_shown || directory.is_empty() || directory.ends_with("bin");
        let kind = if is_sure { program.kind } else { Kind::Maybe };
        let own = program.limit_in(rest);
        let cuts_after = program.cuts_after.filter(|_| own.is_none());
        let limit = own.or(program.limit);
        Some(Known { name: name.to_owned(), program, kind, limit, cuts_after })
    })
}

/// Looks at the last command of a script, because this command is the server if the script starts
/// one. In a pipeline, only the first command counts.
fn in_script(script: &str, deepest: u8) -> Option<Known> {
    let commands = commands(script);
    let is_last = |at: &usize| {
        let first = &*commands[*at].words[0];
        let is_cleanup = is_builtin(first) || matches!(first, "rm" | "exit" | "trap");
        !is_cleanup && (*at == 0 || commands[at - 1].end != "|")
    };
    let last = (0..commands.len()).rev().find(is_last)?;
    in_words(&commands[last].words.iter().map(String::as_str).collect::<Vec<_>>(), deepest)
}

/// The words behind a program of [`STARTERS`] and its options.
fn behind_starter<'a>(name: &str, rest: &'a [&'a str]) -> Option<&'a [&'a str]> {
    let plain = if name.contains("entrypoint") { "entrypoint" } else { without_version(name) };
    let (_, skipped, valued) = STARTERS.iter().find(|(names, ..)| names.contains(&plain))?;
    let Some(skipped) = *skipped else {
        return rest.get(rest.iter().position(|it| *it == "--")? + 1..);
    };
    let has_value = |word: &str| {
        word.len() == 2 && word.starts_with('-') && word.ends_with(|it| valued.contains(it))
    };
    let is_option = |word: &str| {
        let is_number = skipped == 0 && word.parse::<i32>().is_ok();
        word.starts_with('-') || word.contains('=') || is_number
    };
    let behind_options = |mut at: usize| {
        while rest.get(at).is_some_and(|word| is_option(word)) {
            at += 1 + usize::from(has_value(rest[at]));
        }
        at
    };
    rest.get(behind_options(behind_options(0) + skipped)..)
}

/// The name of a program without its version, as in `php-fpm8.2` and `python3`.
fn without_version(name: &str) -> &str {
    let plain = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    if plain.len() < name.len() { plain.trim_end_matches('-') } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::language::shell_split::split;

    /// The program that a command line starts: its first name, and its best signal or `-`.
    fn found(line: &str) -> String {
        let words = split(line).unwrap();
        let Some(known) = find(&words) else { return String::new() };
        let best = known.program.signals.first().map_or("-".to_owned(), |best| short(*best));
        format!("{} {best}", known.program.names[0].split(' ').next().unwrap())
    }

    #[test]
    fn every_name_of_the_table_finds_the_line_of_the_name() {
        let text = include_str!("programs.txt").lines();
        let lines: Vec<_> = text.filter(|it| !it.starts_with('#') && !it.is_empty()).collect();
        assert_eq!(Program::all().len(), lines.len());
        for (program, line) in Program::all().iter().zip(lines) {
            let signals = line.split('|').nth(2).unwrap().split_whitespace().count();
            let has_kind = program.kind != Kind::Other || line.contains("| other |");
            assert!(has_kind && program.signals.len() == signals, "{line}");
            for name in &program.names {
                let known = find(&name.split(' ').collect::<Vec<_>>()).unwrap();
                assert!(std::ptr::eq(known.program, program), "{name}");
            }
        }
    }

    #[test]
    fn a_store_holds_the_jobs_of_some_workers() {
        let known = |line: &str| find(&split(line).unwrap()).unwrap();
        for (store, worker, may) in [
            ("redis-server", "celery worker", true),
            ("valkey-server", "sidekiq", true),
            ("docker-entrypoint.sh rabbitmq-server", "dramatiq", true),
            ("postgres", "celery worker", false),
            ("postgres", "manage.py procrastinate", true),
            ("redis-server", "pgq run", false),
            ("mariadbd", "artisan queue:work", true),
            ("redis-server", "console messenger:consume", true),
            ("memcached", "artisan queue:work", false),
            ("pgbouncer", "procrastinate worker", false),
        ] {
            let (store, worker) = (known(store), known(worker));
            assert_eq!(store.may_hold_jobs_of(Some(&worker)), may, "{store:?} {worker:?}");
        }
        assert!(known("postgres").may_hold_jobs_of(None));
        assert!(!known("memcached").may_hold_jobs_of(None));
    }

    // holds: S882
    #[test]
    fn a_known_program_is_found_in_the_command_lines_of_containers() {
        for (line, expected) in [
            ("nginx -g 'daemon off;'", "nginx QUIT"),
            ("/usr/local/openresty/bin/openresty -g 'daemon off;'", "nginx QUIT"),
            ("/docker-entrypoint.sh nginx -g 'daemon off;'", "nginx QUIT"),
            ("sh -c 'envsubst </t >/etc/n.conf && exec nginx -g \"daemon off;\"'", "nginx QUIT"),
            ("bash -lc \"nginx -c '/etc/a b.conf' 2>&1 | tee /log\"", "nginx QUIT"),
            ("sh -c 'nginx & wait'", "nginx QUIT"),
            ("sh -x -ec 'env A=1 nginx; rm /run/a'", "nginx QUIT"),
            ("sh -c 'while :; do nginx; done'", "nginx QUIT"),
            ("tini -g -p SIGTERM -- haproxy -W -f /etc/haproxy.cfg", "haproxy USR1"),
            ("docker-entrypoint.sh haproxy -f /h.cfg", "haproxy USR1"),
            ("python3.11 -u -m gunicorn app:app", "gunicorn TERM"),
            ("poetry run opentelemetry-instrument hatch -e nginx run gunicorn a", "gunicorn TERM"),
            ("/opt/venv/bin/uvicorn app:app --workers 2", "uvicorn TERM"),
            ("env -u HOME -i A=b uvicorn app:app", "uvicorn TERM"),
            ("uv run --frozen fastapi run app.py", "uvicorn TERM"),
            ("uwsgi --master --http :80", "uwsgi -"),
            ("uwsgi --hook-master-start 'unix_signal:15 gracefully_kill_them_all'", "uwsgi TERM"),
            ("uwsgi_python3 --ini a.ini", "uwsgi -"),
            ("flask --app x run -h 0.0.0.0", "flask -"),
            ("gosu www-data php-fpm8.2 -F", "php-fpm QUIT"),
            ("dumb-init -r 15:3 php-fpm82 -F", "php-fpm QUIT"),
            ("bundle exec puma -C config/puma.rb", "puma TERM"),
            ("vllm serve m --shutdown-timeout=60", "vllm TERM"),
            ("python3 -m vllm.entrypoints.openai.api_server --model m", "vllm -"),
            ("python3 -m sglang.launch_server --model-path m", "sglang TERM"),
            ("python3 -m dynamo.frontend --http-port 8000", "dynamo.frontend TERM"),
            ("bin/rails server -b 0.0.0.0", "puma TERM"),
            ("node --max-old-space-size=400 -r dotenv/config server.js", "node -"),
            ("node node_modules/.bin/next start", "next -"),
            ("gosu postgres postmaster -D /data", "postgres INT"),
            ("nice -n 10 celery -A proj worker -l info", "celery TERM"),
            ("python -m celery --app multi worker", "celery TERM"),
            ("timeout -k 5 3600 dramatiq app", "dramatiq TERM"),
            ("procrastinate --app=a worker", "procrastinate TERM"),
            ("bundle exec sidekiq", "sidekiq TERM"),
            ("bundle exec rake environment resque:work", "resque QUIT"),
            ("php -d memory_limit=1G artisan queue:work --tries=3", "artisan TERM"),
            ("bash -x /usr/local/tomcat/bin/catalina.sh run", "catalina.sh -"),
            ("python -m rq.cli worker high", "rq TERM"),
            ("python -m pgqueuer run app:main", "pgq TERM"),
            ("python manage.py procrastinate worker", "procrastinate TERM"),
            ("celery multi start worker -A proj", "celery -"),
            ("conda run --live-stream -n e gunicorn app:app", "gunicorn TERM"),
            ("chamber exec d -- doppler run -p nginx -- wait-for-it.sh x -- puma", "puma TERM"),
            ("dotenv -f .env run -- gunicorn app:app", "gunicorn TERM"),
            ("sh -c 'prepare && A=b exec uvicorn app:app'", "uvicorn TERM"),
            ("chpst -u www chroot --userspec=www / envdir /e nginx", "nginx QUIT"),
            // These start something else.
            ("sh -x ./run.sh nginx", ""),
            ("celery -A worker beat", ""),
            ("php artisan migrate", ""),
            ("vllm bench", ""),
            ("sh nginx", ""),
            ("sh -c 'nginx -t && exec app'", ""),
            ("sh -c 'tail -F \"/var/log/nginx\"'", ""),
            ("sudo -u nginx gosu nginx worker", ""),
            ("tini -- tail -F /etc/nginx", ""),
            ("grep -rc nginx /etc", ""),
            ("nginx.sh", ""),
            ("", ""),
        ] {
            assert_eq!(found(line), expected, "{line}");
        }
    }

    // holds: C1045
    #[test]
    fn the_log_of_a_kill_names_the_option_that_limits_a_stop() {
        for (line, expected) in [
            (
                "uvicorn app:app",
                "uvicorn finishes requests, but closes WebSockets: add `--timeout-graceful-shutdown` if a stream never ends",
            ),
            (
                "uvicorn app:app --timeout-graceful-shutdown 60",
                "uvicorn finishes requests, but closes WebSockets, for up to 1m (`--timeout-graceful-shutdown`)",
            ),
            (
                "vllm serve m --shutdown-timeout 60",
                "vllm finishes requests, for up to 1m (`--shutdown-timeout`)",
            ),
            ("taskiq worker a", "taskiq finishes jobs: `--wait-tasks-timeout` limits how long"),
            ("pd-sidecar", "pd-sidecar finishes requests, for up to 1m"),
            ("caddy run", ""),
        ] {
            let known = find(&split(line).unwrap()).unwrap();
            assert_eq!(known.why_alive(Signal::TERM).unwrap_or_default(), expected, "{line}");
        }
    }
}
