//! Writes a config in another way that means the same, by the rules of docs/config/.

use crate::keys::key::{self, Key, Keys, Shape};
use crate::load::tests::same::model::{EQUAL, Maker, Tree};

/// The ways to rewrite a config without a change of its meaning.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way {
    /// Keys and processes in another order.
    Order,
    /// Each copy of an entry with `scale` as an entry of its own.
    Copies,
    /// Keys with the defaults that the reference gives for them.
    Defaults,
    /// `read: start` in place of `read: config` for a file, or the other way round.
    Moments,
    /// The short form of a value in place of its full form, or the other way round.
    Forms,
    /// Variables in place of values.
    Variables,
    /// Several files, each over the files before it.
    Overlays,
}

/// The files of a config, and the variables of the container that it needs.
#[derive(Clone)]
pub(super) struct Written {
    pub(super) files: Vec<Tree>,
    pub(super) variables: Vec<(String, String)>,
}

impl Written {
    pub(super) fn another_way(&mut self, way: Way, maker: &mut Maker<'_>) {
        let (keys, root) = (key::root(), &Shape::Table(key::root()));
        match way {
            Way::Order => self.files.iter_mut().for_each(|file| {
                each_table(file, root, &mut |_, entries| {
                    maker.random.shuffle(entries);
                    let processes = entries.iter_mut().find(|(key, _)| key == "processes");
                    if let Some((_, Tree::Map(processes))) = processes {
                        maker.random.shuffle(processes);
                    }
                });
            }),
            Way::Copies => {
                let processes = self.files[0].get("processes").map(write_copies);
                processes.into_iter().for_each(|all| self.files[0].set("processes", all));
            }
            Way::Defaults => each_table(&mut self.files[0], root, &mut |keys, entries| {
                for key in keys.all().filter(|_| maker.random.one_in(2)) {
                    let value = default(key, entries);
                    entries.extend(value.map(|value| (key.name.to_owned(), value)));
                }
            }),
            Way::Moments => each_table(&mut self.files[0], root, &mut |keys, entries| {
                if keys.name == "EnvFileKeys" {
                    entries.retain(|(key, _)| key != "read");
                    let read = Tree::text(maker.random.pick(&["config", "start"]));
                    entries.push(("read".to_owned(), read));
                }
            }),
            Way::Forms => {
                let is_alone = self.files.len() == 1;
                for (place, file) in self.files.iter_mut().enumerate() {
                    let at = Place { is_first: place == 0, is_alone };
                    of_table(file, keys, &mut |key, value| {
                        other_form(value, key.name, &key.shape, at, maker);
                    });
                }
            }
            Way::Variables => {
                let variables = &mut self.variables;
                self.files.iter_mut().for_each(|file| use_variables(file, variables, maker));
            }
            Way::Overlays => {
                let (base, mut over) = Split { maker }.table(keys, &self.files[0]);
                over.set("x-note", Tree::text("no file is empty"));
                self.files.splice(..1, [base, over]);
            }
        }
    }
}

pub(super) type Entries = Vec<(String, Tree)>;

/// Calls a function with each mapping whose keys are known: first with the inner mappings.
pub(super) fn each_table(
    tree: &mut Tree,
    shape: &Shape,
    each: &mut dyn FnMut(&'static Keys, &mut Entries),
) {
    match (shape, tree) {
        (Shape::Either(shapes), tree) => {
            let inner = shapes.iter().find(|shape| fits(shape, tree));
            inner.into_iter().for_each(|shape| each_table(tree, shape, each));
        }
        (Shape::List(of), Tree::List(items)) => {
            items.iter_mut().for_each(|item| each_table(item, of, each));
        }
        (Shape::Map(of) | Shape::Processes(of), Tree::Map(entries)) => {
            entries.iter_mut().for_each(|(_, value)| each_table(value, of, each));
        }
        (Shape::Table(keys) | Shape::Named(_, keys), Tree::Map(entries)) => {
            for (name, value) in &mut *entries {
                let key = keys.all().find(|key| key.name == name);
                key.into_iter().for_each(|key| each_table(value, &key.shape, each));
            }
            each(keys, entries);
        }
        _ => {}
    }
}

/// Replaces each entry with `scale` by one entry for each copy. An entry that reads a file stays,
/// because the file may use the number of the copy. An entry with `args` stays, because only copies
/// may share `args`.
fn write_copies(processes: &Tree) -> Tree {
    let names = |name: &str| -> Vec<String> {
        let process = processes.get(name);
        let scale = process.filter(|process| {
            process.get("args").is_none() && !format!("{process:?}").contains(".env")
        });
        match scale.and_then(|process| process.get("scale")) {
            Some(Tree::Text(scale)) if scale != "0" => {
                let count = scale.parse().unwrap_or(1);
                (1..=count).map(|number| format!("{name}-{number}")).collect()
            }
            _ => vec![name.to_owned()],
        }
    };
    let each_dependency = |needs: &Tree| match needs {
        Tree::List(items) => {
            let names = items.iter().flat_map(|item| names(&item.name()));
            Tree::List(names.map(Tree::Text).collect())
        }
        other => {
            let of = |(on, terms): &(String, Tree)| {
                names(on).into_iter().map(|on| (on, terms.clone())).collect::<Vec<_>>()
            };
            Tree::Map(other.entries().iter().flat_map(of).collect())
        }
    };
    let mut out = Vec::new();
    for (name, process) in processes.entries() {
        let mut process = process.clone();
        if let Some(needs) = process.get("depends_on") {
            process.set("depends_on", each_dependency(needs));
        }
        for copy in names(name) {
            let mut process = process.clone();
            if let Some(number) = copy.strip_prefix(name).and_then(|rest| rest.strip_prefix('-')) {
                process.remove("scale");
                write_number(&mut process, number);
            }
            out.push((copy, process));
        }
    }
    Tree::Map(out)
}

/// Replaces `${SCALE_INDEX}` by the number of a copy, and adds the number where drainit would add
/// the number.
fn write_number(process: &mut Tree, number: &str) {
    let environment = match process.get("environment") {
        Some(Tree::List(items)) => {
            let first = Tree::text(format!("SCALE_INDEX={number}"));
            Tree::List([&[first], &items[..]].concat())
        }
        environment => {
            let first = ("SCALE_INDEX".to_owned(), Tree::text(number));
            Tree::Map([&[first], environment.map(Tree::entries).unwrap_or_default()].concat())
        }
    };
    process.set("environment", environment);
    if let Some(mut log) = process.get("log").cloned()
        && let Some(Tree::Text(prefix)) = log.get("prefix").cloned()
    {
        log.set("prefix", Tree::text(format!("{prefix}-{number}")));
        process.set("log", log);
    }
    replace_number(process, number);
}

fn replace_number(tree: &mut Tree, number: &str) {
    match tree {
        Tree::Text(text) => *text = text.replace("${SCALE_INDEX:-0}", number),
        other => other.parts().for_each(|part| replace_number(part, number)),
    }
}

/// The default of a key, if this mapping has no such key and the reference gives a value for it.
fn default(key: &Key, entries: &[(String, Tree)]) -> Option<Tree> {
    const IN_WORDS: &str = "none|unset|required|inherit|drainit's|no limit|the kernel's limit|\
                            the name of the process|that of `failure`|\
                            5s, or `time` if that is shorter|\
                            what the deadline leaves|\
                            all on which the process or a descendant listens";
    let has = |name: &str, value: &str| {
        entries.iter().any(|(key, tree)| key == name && format!("{tree:?}").contains(value))
    };
    let is_wrong = match key.name {
        "update" => has("type", "oneshot"),
        "mode" => has("address", "tcp:"),
        "fail_healthcheck" => has("direction", "inbound"),
        // `check --pod` asks to write a `direction`, so writing its default makes a difference.
        "direction" => true,
        _ => false,
    };
    if key.default == Some("that of `failure`") && !has(key.name, "") {
        let failure = entries.iter().find(|(key, _)| key == "failure");
        return Some(failure.map_or(Tree::text("shutdown"), |(_, policy)| policy.clone()));
    }
    let default =
        key.default.filter(|default| IN_WORDS.split('|').all(|words| words != *default))?;
    let list = default.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let list = list.map(|items| Tree::List(items.split(", ").map(Tree::text).collect()));
    (!is_wrong && !has(key.name, "")).then(|| list.unwrap_or_else(|| Tree::text(default)))
}

/// Calls a function with each key of this mapping and its value.
fn of_table(tree: &mut Tree, keys: &Keys, each: &mut dyn FnMut(&'static Key, &mut Tree)) {
    let Tree::Map(entries) = tree else { return };
    for (name, value) in entries {
        if let Some(key) = keys.all().find(|key| key.name == name) {
            each(key, value);
        }
    }
}

/// Whether a value with this shape replaces an earlier one as a whole.
fn replaces(name: &str, shape: &Shape) -> bool {
    is_command(shape) || ["only_if", "log", "admin"].contains(&name)
}

/// The keys of the items of a list with this shape, if the items are mappings.
fn keys_of_items(shape: &Shape) -> Option<&'static Keys> {
    match shape {
        Shape::List(of) => keys_of(of),
        Shape::Either(shapes) => shapes.iter().find_map(keys_of_items),
        _ => None,
    }
}

fn is_command(shape: &Shape) -> bool {
    matches!(shape, Shape::Either([Shape::Filled("command"), Shape::List(_)]))
}

/// The keys of a mapping with this shape, even if the shape has a short form.
fn keys_of(shape: &Shape) -> Option<&'static Keys> {
    match shape {
        Shape::Table(keys) | Shape::Named(_, keys) => Some(keys),
        Shape::Either([.., last]) => keys_of(last),
        _ => None,
    }
}

/// How the files of a config share a value.
#[derive(Clone, Copy)]
struct Place {
    /// Whether no earlier file has the value.
    is_first: bool,
    /// Whether only one file has the value. In this case, overlays do not compare the items of a
    /// list.
    is_alone: bool,
}

/// Writes a value in another form.
fn other_form(tree: &mut Tree, name: &str, shape: &Shape, mut at: Place, maker: &mut Maker<'_>) {
    if let Tree::Tagged(_, value) = tree {
        // A tag makes this value replace every earlier value.
        return other_form(value, name, shape, Place { is_first: true, ..at }, maker);
    }
    if let Shape::Either(shapes) = shape {
        let other = other_shape(tree, name, shapes, at.is_first);
        if let Some(other) = other.filter(|_| maker.random.one_in(2)) {
            *tree = other;
        }
        let inner = shapes.iter().find(|shape| fits(shape, tree));
        at = Place { is_first: at.is_first || is_command(shape), ..at };
        return inner.into_iter().for_each(|shape| other_form(tree, name, shape, at, maker));
    }
    match (shape, &mut *tree) {
        (Shape::List(of), Tree::List(items)) if at.is_alone => {
            items.iter_mut().for_each(|item| other_form(item, name, of, at, maker));
        }
        (Shape::Map(of) | Shape::Processes(of), Tree::Map(entries)) => {
            entries.iter_mut().for_each(|(_, item)| other_form(item, name, of, at, maker));
        }
        (Shape::Table(keys) | Shape::Named(_, keys), tree) => {
            of_table(tree, keys, &mut |key, value| {
                other_form(value, key.name, &key.shape, at, maker);
            })
        }
        (shape, Tree::Text(text)) if has_equal(shape) => {
            let equal = EQUAL.iter().find(|equal| equal.contains(&&**text));
            equal.into_iter().for_each(|equal| *text = maker.random.pick(equal).to_owned());
        }
        _ => {}
    }
}

/// Whether a value with this shape can be written as another text with the same meaning.
fn has_equal(shape: &Shape) -> bool {
    use Shape::{Bool, Duration, PositiveDuration, Signal, True};
    matches!(shape, Duration | PositiveDuration | Signal(_) | Bool | True)
}

/// Whether the value is of the kind that this shape has.
fn fits(shape: &Shape, tree: &Tree) -> bool {
    match (shape, tree) {
        (Shape::Either(shapes), _) => shapes.iter().any(|shape| fits(shape, tree)),
        (Shape::Map(_) | Shape::Processes(_) | Shape::Table(_) | Shape::Named(..), _) => {
            matches!(tree, Tree::Map(_))
        }
        (Shape::List(_), _) => matches!(tree, Tree::List(_)),
        _ => matches!(tree, Tree::Text(_)),
    }
}

/// The value in another of these shapes; `None` if it has no other form.
fn other_shape(tree: &Tree, name: &str, shapes: &[Shape], is_first: bool) -> Option<Tree> {
    let keys = shapes.last().and_then(keys_of);
    match (shapes, tree) {
        ([Shape::Filled("command"), _], Tree::List(words)) => {
            let words = words.iter().map(|word| match word {
                Tree::Text(text) if !text.contains(['$', '\'']) => Some(format!("'{text}'")),
                _ => None,
            });
            Some(Tree::text(words.collect::<Option<Vec<_>>>()?.join("  ")))
        }
        ([Shape::Filled("command"), _], _) => None,
        ([Shape::List(_), _], Tree::List(items)) => {
            let mut entries: Vec<(String, Tree)> = Vec::new();
            for item in items {
                let Tree::Text(text) = item else { return None };
                let (name, value) = match text.split_once('=').filter(|_| name == "environment") {
                    Some((name, value)) => (name, Tree::text(value)),
                    None => (&**text, Tree::Empty),
                };
                if name.contains('$') || entries.iter().any(|(other, _)| other == name) {
                    return None;
                }
                entries.push((name.to_owned(), value));
            }
            Some(Tree::Map(entries))
        }
        ([Shape::List(_), _], Tree::Map(entries)) => {
            let item = |(name, value): &(String, Tree)| match value {
                Tree::Empty => Some(Tree::text(name)),
                Tree::Text(value) => Some(Tree::text(format!("{name}={value}"))),
                _ => None,
            };
            entries.iter().map(item).collect::<Option<_>>().map(Tree::List)
        }
        ([one, Shape::List(_)], Tree::List(items)) => match &items[..] {
            [only] if fits(one, only) => Some(only.clone()),
            _ => None,
        },
        ([_, Shape::List(_)], Tree::Text(_) | Tree::Map(_)) => Some(Tree::List(vec![tree.clone()])),
        (_, Tree::Map(entries)) if is_first => match (&entries[..], keys?.short) {
            ([(key, value)], Some(short)) if key == short && !matches!(value, Tree::Map(_)) => {
                Some(value.clone())
            }
            _ => None,
        },
        (_, Tree::Text(_) | Tree::List(_)) if is_first => {
            let (full, tree): (&[&str], _) = match (keys?.name, keys?.short) {
                (_, Some(short)) => (&[short], tree.clone()),
                ("OnExitKeys", _) => (&["success", "failure", "signal"], tree.clone()),
                ("LimitKeys", _) => (&["soft", "hard"], tree.clone()),
                ("ElementKeys", _) => (&["join"], Tree::List(vec![tree.clone()])),
                _ => return None,
            };
            Some(Tree::Map(full.iter().map(|key| ((*key).to_owned(), tree.clone())).collect()))
        }
        _ => None,
    }
}

/// Puts variables in place of some texts, or of parts of them.
fn use_variables(tree: &mut Tree, variables: &mut Vec<(String, String)>, maker: &mut Maker<'_>) {
    match tree {
        Tree::Tagged("!reset", _) => {}
        Tree::Map(entries) => {
            // An overlay turns the names in these lists into keys, in which drainit expands no
            // variables.
            let has_names = |(key, value): &&mut (String, Tree)| {
                ["depends_on", "environment"].contains(&&**key) && matches!(value, Tree::List(_))
            };
            let entries = entries.iter_mut().filter(|entry| !has_names(entry));
            entries.for_each(|(_, value)| use_variables(value, variables, maker));
        }
        Tree::Text(text) => {
            if text.is_empty() || text.contains('$') {
                return;
            }
            let at = text.char_indices().nth(maker.random.index(text.chars().count()));
            let (before, value) = text.split_at(at.map_or(0, |(at, _)| at));
            let name = format!("V{}", variables.len());
            let written = match maker.random.below(4) {
                0 if !value.contains('}') => format!("{before}${{NONE:-{value}}}"),
                1 => format!("{before}${{{name}}}"),
                2 => format!("{before}${{{name}:?why}}"),
                _ => return,
            };
            variables.push((name, value.to_owned()));
            *text = written;
        }
        other => other.parts().for_each(|part| use_variables(part, variables, maker)),
    }
}

/// Splits a config into two files, of which the second is laid over the first.
struct Split<'m, 'd> {
    maker: &'m mut Maker<'d>,
}

/// The parts of a value in the first and in the second file.
type Parts = (Option<Tree>, Option<Tree>);

impl Split<'_, '_> {
    fn table(&mut self, keys: &'static Keys, tree: &Tree) -> (Tree, Tree) {
        let (mut base, mut over) = (Vec::new(), Vec::new());
        for (name, value) in tree.entries() {
            let Some(key) = keys.all().find(|key| key.name == name) else { continue };
            let (first, second) = self.value(keys, key.name, &key.shape, value);
            let is_switched = key.exclusive && first.is_none() && self.maker.random.one_in(2);
            base.extend(first.map(|value| (name.clone(), value)));
            let nothing = self.maker.random.one_in(3).then_some(Tree::Empty);
            over.extend(second.or(nothing).map(|value| (name.clone(), value)));
            let others = keys.exclusive().filter(|other| other.name != name).collect();
            base.extend(self.any(keys, others).filter(|_| is_switched));
        }
        let unused = keys.all().filter(|key| !key.exclusive && tree.get(key.name).is_none());
        if let Some((key, value)) = self.any(keys, unused.collect())
            && self.maker.random.one_in(4)
        {
            base.push((key.clone(), value));
            over.push((key, Tree::Tagged("!reset", Box::new(Tree::Empty))));
        }
        (Tree::Map(base), Tree::Map(over))
    }

    /// One of these keys, with a value.
    fn any(&mut self, keys: &'static Keys, of: Vec<&'static Key>) -> Option<(String, Tree)> {
        let key = of.get(self.maker.random.index(of.len()))?;
        Some((key.name.to_owned(), self.maker.value(keys, key.name, &key.shape)))
    }

    fn value(&mut self, keys: &'static Keys, name: &str, shape: &Shape, tree: &Tree) -> Parts {
        match self.maker.random.below(4) {
            _ if *tree == Tree::Empty => return (Some(tree.clone()), None),
            0 => return (Some(tree.clone()), None),
            1 => {
                let other = self.maker.value(keys, name, shape);
                return (Some(other), Some(Tree::Tagged("!override", Box::new(tree.clone()))));
            }
            _ => {}
        }
        match (tree, Self::inner(shape)) {
            _ if replaces(name, shape) => self.replaced(keys, name, shape, tree),
            (Tree::Map(_), Some(Shape::Table(keys) | Shape::Named(_, keys))) => {
                let (base, over) = self.table(keys, tree);
                (Some(base), Some(over))
            }
            (Tree::Map(entries), Some(Shape::Map(of) | Shape::Processes(of))) => {
                self.entries(keys, name, of, entries)
            }
            (Tree::List(items), _) if !Self::is_short(shape) => {
                self.items(keys_of_items(shape), items)
            }
            // A single value counts as a list with this item.
            (Tree::Text(_) | Tree::Map(_), _)
                if matches!(shape, Shape::Either([_, Shape::List(_)])) =>
            {
                (None, Some(tree.clone()))
            }
            _ => self.replaced(keys, name, shape, tree),
        }
    }

    /// Splits a list. The second file repeats some single values, which are not appended again, and
    /// has some mappings that replace an earlier item with the same path.
    fn items(&mut self, keys: Option<&'static Keys>, items: &[Tree]) -> Parts {
        let path = keys.and_then(|keys| ["to", "path"].into_iter().find(|path| keys.has(path)));
        let (base, over) = items.split_at(self.maker.random.index(items.len() + 1));
        let (mut base, mut known) = (base.to_vec(), Vec::new());
        for item in &mut base {
            match (&*item, keys.zip(path)) {
                _ if !self.maker.random.one_in(3) => {}
                (Tree::Text(_), _) => known.push(item.clone()),
                (Tree::Map(_), Some((keys, path))) => {
                    let mut other = self.maker.table(keys);
                    other.set(path, item.get(path).cloned().unwrap_or(Tree::Empty));
                    known.push(std::mem::replace(item, other));
                }
                _ => {}
            }
        }
        (Some(Tree::List(base)), Some(Tree::List([&*known, over].concat())))
    }

    /// Whether the shape has a short form. A later value in short form replaces the earlier value.
    fn is_short(shape: &Shape) -> bool {
        keys_of(shape).is_some_and(|keys| keys.short.is_some())
    }

    /// The shape that the value has if it is a mapping.
    fn inner(shape: &Shape) -> Option<&Shape> {
        match shape {
            Shape::Table(_) | Shape::Named(..) | Shape::Map(_) | Shape::Processes(_) => Some(shape),
            Shape::Either([.., Shape::List(_)]) => None,
            Shape::Either(shapes) => shapes.last().and_then(Self::inner),
            _ => None,
        }
    }

    /// Puts the value into the second file, and perhaps another value into the first.
    fn replaced(&mut self, keys: &Keys, name: &str, shape: &Shape, tree: &Tree) -> Parts {
        let other = self.maker.random.one_in(2).then(|| self.maker.value(keys, name, shape));
        (other, Some(tree.clone()))
    }

    /// Splits a mapping whose keys are any names. The names keep their order.
    fn entries(&mut self, keys: &'static Keys, key: &str, of: &Shape, entries: &Entries) -> Parts {
        let at = self.maker.random.index(entries.len() + 1);
        let (mut base, mut over) = (Vec::new(), Vec::new());
        for (place, (name, value)) in entries.iter().enumerate() {
            let (first, second) = match place < at {
                false => (None, Some(value.clone())),
                true => match self.value(keys, key, of, value) {
                    (None, second) => (second, None),
                    parts => parts,
                },
            };
            base.extend(first.map(|value| (name.clone(), value)));
            over.extend(second.map(|value| (name.clone(), value)));
        }
        (Some(Tree::Map(base)), Some(Tree::Map(over)))
    }
}
