//! Tests without expected values: each random config is compared with another way to write the same
//! config.

mod model;
mod rewrite;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::keys::key::{self, Shape};
use crate::keys::values::duration;
use crate::keys::{Config, DeadlineShare, DrainMethod, HeaderValue, Process, Render};
use crate::load::testing::{self, load_in};
use crate::load::tests::same::model::{CONTAINER, Maker, Tree};
use crate::load::tests::same::rewrite::{Way, Written, each_table};
use crate::load::{Environment, Loaded, at_start};
use crate::plan::Plan;
use crate::plan::changes;
use crate::plan::reload::tests::World;
use crate::testing::random::Random;
use crate::testing::temp_dir::TempDir;

/// The name of the line that has the values of the container.
const CONTAINER_LINE: &str = "the container";
/// A random config has at most this many keys.
const KEYS: usize = 12;

fn container(more: &[(String, String)]) -> Environment {
    let more = more.iter().map(|(name, value)| (&**name, &**value));
    CONTAINER.into_iter().chain(more).collect()
}

fn is_right(text: &str) -> bool {
    load_in(&[text], &container(&[])).is_ok()
}

/// Everything that a process has, with the variables that it gets at its start.
fn of_process(process: &Process, config: &Config, container: &Environment) -> String {
    let mut process = process.clone();
    let values = at_start::values(&process, &config.env, container, &[]);
    process.environment = values.map(|(all, _)| all).unwrap_or_default();
    let texts = testing::variables(&process);
    let name = |text: &String| text.trim_start_matches('!').split('=').next().map(str::to_owned);
    // The last value of a variable counts.
    let variables: BTreeMap<_, _> = texts.iter().map(|text| (name(text), text)).collect();
    process.environment.clear();
    process.scale = None;
    // The share depends on the plan of the whole config, so it is not compared.
    process.share = DeadlineShare::default();
    process.depends_on.sort_by(|a, b| a.process.cmp(&b.process));
    let mut headers = String::new();
    if let Some(DrainMethod::Http(http)) = process.drain.as_ref().map(|drain| &drain.method) {
        for header in &http.headers {
            match &header.value {
                HeaderValue::Text(text) => headers += text,
                HeaderValue::File(path) => headers += &path.to_string_lossy(),
            }
        }
    }
    format!("{process:?} {headers} {variables:?}")
}

/// All values of a config: a line for each process, and a line for the container.
fn meaning(loaded: &Loaded, container: &Environment) -> BTreeMap<String, String> {
    let config = &loaded.config;
    let without = Config { processes: Vec::new(), ..config.clone() };
    let container_line = (CONTAINER_LINE.to_owned(), format!("{without:?}"));
    let line =
        |process: &Arc<Process>| (process.name.clone(), of_process(process, config, container));
    config.processes.iter().map(line).chain([container_line]).collect()
}

/// The times of the plan.
fn times(loaded: &Loaded) -> String {
    let plan = Plan::new(&loaded.config, &loaded.graph);
    let totals: Vec<_> = plan.timelines().map(|(timeline, _)| timeline.total).collect();
    format!("{totals:?} {:?}", plan.ready_by())
}

/// Calls a function with some random configs that have no error.
fn for_each_config(
    seeds: std::ops::RangeInclusive<u64>,
    mut test: impl FnMut(&Tree, &Loaded, &mut Maker<'_>),
) {
    let dir = TempDir::new();
    let mut keys = 0;
    for seed in seeds {
        let mut maker = Maker::new(seed, &dir);
        let config = maker.config(KEYS, is_right);
        let text = config.config(&mut maker.random);
        keys += text.matches(": ").count();
        test(&config, &load_in(&[&text], &container(&[])).unwrap(), &mut maker);
    }
    assert!(keys > 1000, "{keys}");
}

// holds: C12, C33, C47, C48, C70, C163, C312, C314, C315, C317, C450, C454, C455, C456, C457, C458
// holds: C459, C460, C461, C462, C463, C464, C465, C466, C467, C760
#[test]
fn another_way_to_write_a_config_means_the_same() {
    use Way::{Copies, Defaults, Forms, Moments, Order, Overlays, Variables};
    let ways = [Copies, Defaults, Forms, Moments, Variables, Overlays, Overlays, Forms, Order];
    let mut planned = 0;
    for_each_config(1..=160, |config, loaded, maker| {
        let expected = (meaning(loaded, &container(&[])), times(loaded));
        for _ in 0..4 {
            let mut written = Written { files: vec![config.clone()], variables: Vec::new() };
            let chosen: Vec<_> = ways.into_iter().filter(|_| maker.random.one_in(2)).collect();
            chosen.iter().for_each(|way| written.another_way(*way, maker));
            let files: Vec<_> =
                written.files.iter().map(|file| file.config(&mut maker.random)).collect();
            let files: Vec<_> = files.iter().map(String::as_str).collect();
            let environment = container(&written.variables);
            let show = |found: &dyn std::fmt::Debug| {
                let (text, files) = (config.config(&mut Random(1)), files.join("---\n"));
                let variables = &written.variables;
                format!("{text}\nis by {chosen:?}\n{files}\nwith {variables:?}: {found:#?}")
            };
            let other =
                load_in(&files, &environment).unwrap_or_else(|found| panic!("{}", show(&found)));
            let found = (meaning(&other, &environment), times(&other));
            let differ: Vec<_> =
                expected.0.iter().filter(|(name, line)| found.0.get(*name) != Some(line)).collect();
            assert!(expected == found, "{} {found:#?}", show(&differ));
            // Some of these containers end when their processes have ended.
            let plan = World::new(loaded).plan(&other).map(|plan| plan.text);
            planned += usize::from(plan.is_some());
            let changes = (
                plan.unwrap_or_else(|| "nothing has changed\n".to_owned()),
                changes::fixed(&loaded.config, &other.config),
            );
            let is_moved = chosen.iter().any(|way| matches!(way, Moments | Copies));
            let nothing = ("nothing has changed\n".to_owned(), vec![]);
            assert!(is_moved || changes == nothing, "{}", show(&changes));
        }
    });
    assert!(planned > 100, "{planned}");
}

/// The text that Rust's `Debug` has for a value of this shape; `None` if the shape does not
/// determine the text.
fn shown(shape: &Shape, value: &Tree) -> Option<String> {
    let Tree::Text(text) = value else { return None };
    match shape {
        _ if text.contains('$') => None,
        Shape::Duration | Shape::PositiveDuration => Some(format!("{:?}", duration(text).unwrap())),
        Shape::Count | Shape::Bool => Some(text.clone()),
        Shape::Number(noun, _) if noun.contains("`max`") => match text.parse::<u32>() {
            Ok(number) => Some(format!("Number({number})")),
            Err(_) => Some("Max".to_owned()),
        },
        _ => None,
    }
}

// holds: C230, C233, C235
#[test]
fn each_value_is_read_into_the_field_of_the_key() {
    for_each_config(401..=460, |config, loaded, _| {
        if format!("{config:?}").contains("scale") {
            return;
        }
        let lines: Vec<_> = meaning(loaded, &container(&[])).into_values().collect();
        let mut config = config.clone();
        each_table(&mut config, &Shape::Table(key::root()), &mut |keys, entries| {
            let has_notify = entries.iter().any(|(name, _)| name == "notify");
            for (name, value) in entries {
                let key = keys.all().find(|key| key.name == name).unwrap();
                // For these keys, other keys decide whether the value appears in the loaded config.
                let is_hidden = key.exclusive
                    || has_notify
                    || keys.name.ends_with("Drain")
                    || ["only_if", "watch"].contains(&&**name)
                    || ["EnvFileKeys", "FromFileKeys", "OnlyIfKeys", "RunAsKeys", "Terms"]
                        .contains(&keys.name)
                    || ["scale", "min", "time", "restart", "path"].contains(&&**name);
                if let (Some(shown), false) = (shown(&key.shape, value), is_hidden) {
                    let forms = [format!("{name}: {shown}"), format!("{name}: Some({shown})")];
                    let is_there =
                        lines.iter().any(|line| forms.iter().any(|form| line.contains(form)));
                    assert!(is_there, "{forms:?} of {} in\n{}", keys.name, lines.join("\n"));
                }
            }
        });
    });
}

/// The config with another `processes:`.
fn with_processes(config: &Tree, change: impl FnOnce(&mut Tree)) -> Tree {
    let (mut config, mut processes) = (config.clone(), config.get("processes").unwrap().clone());
    change(&mut processes);
    config.set("processes", processes);
    config
}

#[test]
fn a_reload_names_exactly_the_keys_with_other_values() {
    for_each_config(301..=360, |config, loaded, maker| {
        for (name, process) in config.get("processes").unwrap().entries() {
            for (key, _) in process.entries().iter().filter(|(key, _)| *key != "scale") {
                let mut process = process.clone();
                process.remove(key);
                let other = with_processes(config, |all| all.set(name, process));
                let text = other.config(&mut maker.random);
                let Ok(other) = load_in(&[&text], &container(&[])) else { continue };
                let (before, after) =
                    (meaning(loaded, &container(&[])), meaning(&other, &container(&[])));
                for (new, old) in other.config.processes.iter().filter_map(|new| {
                    Some((new, loaded.config.processes.iter().find(|old| old.name == new.name)?))
                }) {
                    let keys = new.differing(old);
                    let is_same = before[&new.name] == after[&new.name];
                    // If only `environment` differs, the meaning may be the same: another value can
                    // override the variable both before and after the change.
                    // drainit takes over the reason why a drain is off without a restart.
                    let is_right = keys.is_empty() == is_same
                        || keys == ["environment"]
                        || new.drain_off != old.drain_off;
                    assert!(is_right, "{} {keys:?} without {key} of\n{text}", new.name);
                    // The values of these keys are parts of the value of another key.
                    let more: &[&str] = match key.as_str() {
                        "env_file" => &["environment"],
                        "profiles" => &["only_if"],
                        "restart" => &["restart_max"],
                        "type" => &["depends_on"],
                        _ => &[],
                    };
                    let is_known = |it: &&str| it == key || more.contains(it);
                    assert!(keys.iter().all(is_known), "{keys:?} without {key} of\n{text}");
                }
            }
        }
    });
}

// holds: C256
#[test]
fn processes_do_not_depend_on_neighbours() {
    for_each_config(201..=270, |config, loaded, maker| {
        let expected = meaning(loaded, &container(&[]));
        for (name, _) in config.get("processes").unwrap().entries() {
            let rest = with_processes(config, |all| all.remove(name));
            let text = rest.config(&mut maker.random);
            let Ok(other) = load_in(&[&text], &container(&[])) else { continue };
            let found = meaning(&other, &container(&[]));
            for (process, line) in &found {
                assert_eq!(expected.get(process), Some(line), "{process} without {name}\n{text}");
            }
        }
    });
}

/// The value for a line of an `env_file`, in each kind of quotes in which the value can be written.
fn in_env_file(value: &str) -> Vec<String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "\\'\"=:{}é,".contains(c);
    let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('$', "\\$");
    let mut all =
        vec![format!("\"{escaped}\""), format!("\"{}\" # why", escaped.replace('\n', "\\n"))];
    if !value.contains('\\') {
        all.push(format!("'{}'", value.replace('\'', "\\'")));
    }
    if value.chars().all(is_plain) && !value.starts_with(['"', '\'']) {
        all.push(format!("{value}\t# why"));
    }
    all
}

// holds: C38, C39, C42, C45, C60, C259, C260, C263, C264, C272, C275
#[test]
fn a_value_is_the_same_from_every_source() {
    let dir = TempDir::new();
    let mut random = Random(1);
    for _ in 0..300 {
        let alphabet = "aZ7 \t'\"\\$#=:{}é\u{a0}\n\r,";
        let alphabet: Vec<_> = alphabet.chars().collect();
        let value: String = (0..random.below(8)).map(|_| random.pick(&alphabet)).collect();
        let template = value.replace('$', "$$");
        let text = |value: &str| serde_json::Value::from(value).to_string();
        let file = dir.write("value", value.as_bytes()).display().to_string();
        let from = dir.write("template", template.as_bytes());
        let (mut content, mut of_file) = (String::new(), Vec::new());
        for (place, line) in in_env_file(&value).into_iter().enumerate() {
            content += &format!("export F{place}={line}\n");
            of_file.push(format!("F{place}={value}"));
        }
        // The container's variable overrides that of the file, which overrides `env`.
        content += "C=file\nD=${C}\nG=file\nH=${G}\n";
        let env_file = dir.write("env", content.as_bytes()).display().to_string();
        let (value_text, template) = (text(&format!("L={template}")), text(&template));
        let config = format!(
            "env: {{E: {template}, C: env, G: env}}
processes:
  a:
    command: [a, {template}, '${{V:-}}', '${{E:-}}', {{join: [{{file: {}}}]}}, '${{C}}', '${{G}}']
    environment: {{A: {template}, B: '${{V:-}}', P: , S: {{file: {file}}}}}
  b: {{command: [a], env_file: [{env_file}], environment: [{value_text}, P]}}
  c: {{command: [a], env_file: [{{path: {env_file}, read: start}}]}}",
            from.display()
        );
        let container: Environment =
            [("V", &*value), ("P", &*value), ("C", "container")].into_iter().collect();
        let loaded =
            load_in(&[&config], &container).unwrap_or_else(|found| panic!("{value:?} {found:?}"));
        let ends = value.trim_end_matches(['\n', '\r']);
        let [a, b, c] = &loaded.config.processes[..] else { panic!() };
        assert_eq!(a.command[1..], [&value, &value, &value, ends, "container", "env"], "{value:?}");
        let variables = |process: &Process| {
            let all = at_start::values(process, &loaded.config.env, &container, &[]).unwrap().0;
            testing::variables(&Process { environment: all, ..Process::default() })
        };
        let plain = |names: &[&str]| names.iter().map(|name| format!("{name}={value}")).collect();
        assert_eq!(variables(a), [plain(&["A", "B", "P"]), vec![format!("S={ends}")]].concat());
        of_file.extend(["C=file", "D=container", "G=file", "H=file"].map(str::to_owned));
        assert_eq!(variables(b), [of_file.clone(), plain(&["L", "P"])].concat(), "{content}");
        assert_eq!(variables(c), of_file, "{content}");
        let template = Render { from: from.clone(), to: "/to".into(), mode: 0o600 };
        let (_, templates) = at_start::values(a, &[], &container, &[template]).unwrap();
        let rendered = at_start::render(&templates[0], DeadlineShare::default(), &container);
        assert_eq!(rendered.unwrap().text, value);
    }
}
