//! Hides, in text that a child or a peer wrote, the values that drainit has given to processes: the
//! container's variables, the variables of the config, `env_file`s and secrets.
//!
//! drainit keeps only the length and a hash of a value, with a random key, so that no secret stays
//! in drainit's memory. The hash is of the first [`PREFIX`] bytes at most. Thus a long value is
//! found even if the text ends in the middle of the value. A value is also found if it is written
//! as in JSON or in a URL. Each line of a value, and the password of a URL, count as values.
//!
//! The values are kept for the whole program, because text comes from every process at any time.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, HashSet, VecDeque};
use std::ffi::OsString;
use std::hash::BuildHasher;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use memchr::memmem;

use crate::language::written::is_address;
use crate::types::{ChildText, MaskedText, Reason};

/// A shorter value of a variable is not hidden, because any message may contain it by chance.
const LEAST: usize = 6;
/// A shorter secret is hidden only where it stands alone, as a word.
const LEAST_IN_WORD: usize = 4;
/// The number of bytes by which a long value is recognised.
pub const PREFIX: usize = 64;
/// At most this many values are kept. Without this bound, a process that gets new values at each of
/// its restarts would fill the memory.
const MOST_VALUES: usize = 16_384;
/// The most characters of a line that drainit shows.
pub const LONGEST: usize = 500;
/// The number of readings of the config that are kept, as for [`written`](super::written).
const READINGS: usize = 4;

static MASK: LazyLock<RwLock<Mask>> = LazyLock::new(RwLock::default);

/// Whether a value is from a file with a secret. Such a value is hidden whatever its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Secret,
    Variable,
}

/// Hides a value from now on. The text that stands for the value has this `name`.
pub fn hide(kind: Kind, name: &str, value: &str) {
    MASK.write().unwrap_or_else(PoisonError::into_inner).hide(kind, name, value);
}

/// Hides the values of these variables from now on.
pub fn hide_variables(variables: &[(OsString, OsString)]) {
    MASK.write().unwrap_or_else(PoisonError::into_inner).hide_variables(variables);
}

/// Keeps the texts of a config. Messages show the values of variables that stand in the config.
pub(crate) fn keep_config(texts: Vec<String>) {
    MASK.write().unwrap_or_else(PoisonError::into_inner).keep_config(texts);
}

/// Shows a line of a child or a peer without the values, and at most 500 characters of it.
pub fn masked(text: &ChildText) -> MaskedText {
    let mask = MASK.read().unwrap_or_else(PoisonError::into_inner);
    text.masked(LONGEST, |text| mask.apply(text))
}

/// The beginning of a line that may be long. This is as much as [`masked`] needs to show the line.
pub fn shortened(line: &str) -> String {
    // A value that begins among the characters that are shown is found by its prefix.
    line.chars().take(LONGEST + PREFIX).collect()
}

/// A reason that ends with what a child or a peer wrote.
pub fn reason(own: impl Into<String>, said: &ChildText) -> Reason {
    Reason::saying(own, &masked(said))
}

/// The values to hide.
struct Mask {
    key: RandomState,
    /// The random weight of each byte in [`Sums`].
    weights: [u16; 256],
    /// The values by the length of their prefix, and then by the hash of their prefix.
    values: Vec<OfLength>,
    /// The prefixes in the order in which they came.
    order: VecDeque<(usize, u64)>,
    /// The hashes of the values that the config contains.
    in_config: HashSet<u64>,
    /// The hashes of the values of variables that were handled since the last change of `configs`,
    /// and since a value was last dropped. Each start has mostly the variables of the start before.
    handled: HashSet<u64>,
    configs: VecDeque<Vec<String>>,
}

/// The values whose prefix has this length.
struct OfLength {
    length: usize,
    /// The [`Sums`] of the prefixes, one bit each. Most places of a text need no hash, because they
    /// have another sum.
    sums: Box<[u64; SUMS / 64]>,
    values: HashMap<u64, Value>,
}

/// A value, without the value itself.
struct Value {
    name: Arc<str>,
    length: usize,
}

impl Default for Mask {
    fn default() -> Self {
        let key = RandomState::new();
        Self {
            weights: std::array::from_fn(|byte| key.hash_one(byte) as u16),
            key,
            values: Vec::new(),
            order: VecDeque::new(),
            in_config: HashSet::new(),
            handled: HashSet::new(),
            configs: VecDeque::new(),
        }
    }
}

impl Mask {
    fn keep_config(&mut self, texts: Vec<String>) {
        self.configs.push_front(texts);
        self.configs.truncate(READINGS);
        self.in_config.clear();
        self.handled.clear();
    }

    fn hide_variables(&mut self, variables: &[(OsString, OsString)]) {
        for (name, value) in variables {
            if self.handled.len() >= MOST_VALUES {
                self.handled.clear();
            }
            if self.handled.insert(self.key.hash_one(value.as_encoded_bytes())) {
                self.hide(Kind::Variable, &name.to_string_lossy(), &value.to_string_lossy());
            }
        }
    }

    fn hide(&mut self, kind: Kind, name: &str, value: &str) {
        let name: Arc<str> = name.into();
        for form in forms(value) {
            self.hide_form(if form.is_secret { Kind::Secret } else { kind }, &name, &form.text);
        }
    }

    fn hide_form(&mut self, kind: Kind, name: &Arc<str>, value: &str) {
        let is_shown = value.len() < LEAST || is_address(value);
        if value.is_empty() || kind == Kind::Variable && is_shown {
            return;
        }
        let prefix = &value.as_bytes()[..value.len().min(PREFIX)];
        let hash = self.key.hash_one(prefix);
        let place = self.values.binary_search_by_key(&prefix.len(), |one| one.length);
        if let Ok(place) = place
            && let Some(known) = self.values[place].values.get_mut(&hash)
        {
            known.length = known.length.max(value.len());
            return;
        }
        if kind == Kind::Variable && self.is_in_config(value) {
            return;
        }
        let place = place.unwrap_or_else(|place| {
            self.values.insert(place, OfLength::new(prefix.len()));
            place
        });
        let sum = Sums::of(&self.weights, prefix).over(0, prefix.len());
        self.values[place].add(sum, hash, Value { name: Arc::clone(name), length: value.len() });
        self.order.push_back((prefix.len(), hash));
        if self.order.len() > MOST_VALUES
            && let Some((length, hash)) = self.order.pop_front()
            && let Some(of_length) = self.values.iter_mut().find(|one| one.length == length)
        {
            of_length.values.remove(&hash);
            self.handled.clear();
        }
    }

    fn is_in_config(&mut self, value: &str) -> bool {
        let hash = self.key.hash_one(value.as_bytes());
        if self.in_config.contains(&hash) {
            return true;
        }
        let finder = memmem::Finder::new(value);
        let found = self.configs.iter().flatten().any(|one| finder.find(one.as_bytes()).is_some());
        if found && self.in_config.len() < MOST_VALUES {
            self.in_config.insert(hash);
        }
        found
    }

    /// Replaces each value by `${NAME}`. Values that overlap are replaced together.
    fn apply(&self, text: &str) -> String {
        let text = text.as_bytes();
        let sums = Sums::of(&self.weights, text);
        let mut out = Vec::with_capacity(text.len());
        // The end of the value that covers the current place.
        let mut covered = 0;
        for at in 0..text.len() {
            if let Some(value) = self.longest_at(text, at, &sums) {
                if at >= covered {
                    out.extend(format!("${{{}}}", value.name).bytes());
                }
                covered = covered.max(at + value.length);
            }
            if at >= covered {
                out.push(text[at]);
            }
        }
        String::from_utf8_lossy(&out).into_owned()
    }

    /// The longest value that begins at this place.
    fn longest_at(&self, text: &[u8], at: usize, sums: &Sums) -> Option<&Value> {
        let rest = &text[at..];
        let fits = self.values.iter().filter(|one| one.length <= rest.len());
        let found = fits.rev().filter(|one| one.has_sum(sums.over(at, at + one.length)));
        let mut found = found.filter_map(|one| {
            let value = one.values.get(&self.key.hash_one(&rest[..one.length]))?;
            let is_part = value.length < LEAST_IN_WORD && is_part_of_word(text, at, one.length);
            (!is_part).then_some(value)
        });
        found.next()
    }
}

impl OfLength {
    fn new(length: usize) -> Self {
        Self { length, sums: Box::new([0; SUMS / 64]), values: HashMap::new() }
    }

    fn add(&mut self, sum: usize, hash: u64, value: Value) {
        self.sums[sum / 64] |= 1 << (sum % 64);
        self.values.insert(hash, value);
    }

    fn has_sum(&self, sum: usize) -> bool {
        self.sums[sum / 64] & (1 << (sum % 64)) != 0
    }
}

/// The number of different sums.
const SUMS: usize = 4096;

/// The sums of the random weights of the bytes before each place of a text.
struct Sums(Vec<u16>);

impl Sums {
    fn of(weights: &[u16; 256], text: &[u8]) -> Self {
        let sum = |sum: &mut u16, byte: &u8| {
            *sum = sum.wrapping_add(weights[usize::from(*byte)]);
            Some(*sum)
        };
        Self(std::iter::once(0).chain(text.iter().scan(0, sum)).collect())
    }

    /// The sum of the bytes from one place to another, below [`SUMS`].
    fn over(&self, from: usize, to: usize) -> usize {
        usize::from(self.0[to].wrapping_sub(self.0[from])) % SUMS
    }
}

/// Whether the bytes at this place are a part of a longer word.
fn is_part_of_word(text: &[u8], at: usize, length: usize) -> bool {
    let before = at.checked_sub(1).and_then(|before| text.get(before));
    before.into_iter().chain(text.get(at + length)).any(|byte| {
        let is_ascii_part = byte.is_ascii_alphanumeric() || *byte == b'_';
        is_ascii_part || !byte.is_ascii()
    })
}

/// A form in which a program may print a value, or a part of the value.
struct Form {
    text: String,
    /// Whether the text is secret whatever the value is.
    is_secret: bool,
}

fn forms(value: &str) -> Vec<Form> {
    let lines = value.lines().map(str::trim).filter(|_| value.contains('\n'));
    let whole = [value.trim_end_matches(['\r', '\n'])];
    let mut forms = Vec::new();
    for text in whole.into_iter().chain(lines.filter(|line| line.len() >= LEAST_IN_WORD)) {
        let in_json = serde_json::to_string(text).unwrap_or_default();
        let in_json = in_json.trim_start_matches('"');
        let in_json = in_json.strip_suffix('"').unwrap_or(in_json).to_owned();
        for text in [text.to_owned(), in_json, percent_encoded(text)] {
            forms.push(Form { text, is_secret: false });
        }
    }
    let passwords = password(value).map(|found| [found.to_owned(), percent_decoded(found)]);
    let passwords = passwords.into_iter().flatten().filter(|one| one.len() >= LEAST_IN_WORD);
    forms.extend(passwords.map(|text| Form { text, is_secret: true }));
    forms
}

/// The password of a URL with a user, such as `postgres://app:PASSWORD@db/app`.
fn password(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let (user, _) = authority.rsplit_once('@')?;
    Some(user.split_once(':')?.1)
}

fn percent_encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
            char::from(byte).to_string()
        }
        other => format!("%{other:02X}"),
    };
    text.bytes().map(encode).collect()
}

fn percent_decoded(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|two| str::from_utf8(two).ok());
        let byte = digits.and_then(|two| u8::from_str_radix(two, 16).ok());
        let byte = byte.filter(|_| *first == b'%');
        out.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    // holds: C1070, C1071
    #[test]
    fn variables_are_hidden_again_after_another_config_or_a_dropped_value() {
        let variables = |value: &str| [("NAME".into(), OsString::from(value))];
        let mut mask = Mask::default();
        mask.keep_config(vec!["key: written here".to_owned()]);
        mask.hide_variables(&variables("written here"));
        assert_eq!(mask.apply("written here"), "written here", "the config shows it");
        mask.keep_config(Vec::new());
        mask.configs.truncate(1);
        mask.hide_variables(&variables("written here"));
        assert_eq!(mask.apply("written here"), "${NAME}");
        for number in 0..MOST_VALUES {
            mask.hide(Kind::Variable, "OTHER", &format!("number{number:06}"));
        }
        assert_eq!(mask.apply("written here"), "written here", "dropped");
        mask.hide_variables(&variables("written here"));
        assert_eq!(mask.apply("written here"), "${NAME}");
        (0..2 * MOST_VALUES)
            .for_each(|number| mask.hide_variables(&variables(&number.to_string())));
        assert!(mask.handled.len() <= MOST_VALUES);
    }

    #[test]
    fn given_values_are_hidden_in_every_form() {
        let mut mask = Mask::default();
        mask.keep_config(vec!["command: [app, --mode=production]".to_owned()]);
        let long: String = (100..170).map(|number| number.to_string()).collect();
        let key = "-----BEGIN KEY-----\nMIIEvQIBADAN\nBgkqhkiG9w0B\n";
        for (kind, name, value) in [
            (Kind::Secret, "TOKEN", "g3heim/\"wort"),
            (Kind::Secret, "PIN", "17"),
            (Kind::Secret, "LONG", &long),
            (Kind::Secret, "KEY", key),
            (Kind::Variable, "PASSWORD", "hunter2"),
            (Kind::Variable, "MORE", "nter2abc"),
            (Kind::Variable, "MODE", "production"),
            (Kind::Variable, "SHORT", "abcde"),
            (Kind::Variable, "IP", "10.96.0.10"),
            (Kind::Variable, "DB", "postgres://app:p%40ss-wort@db/app"),
        ] {
            mask.hide(kind, name, value);
        }
        for (text, shown) in [
            ("is g3heim/\"wort!", "is ${TOKEN}!"),
            (r#"{"a":"g3heim/\"wort"}"#, r#"{"a":"${TOKEN}"}"#),
            ("?t=g3heim%2F%22wort&", "?t=${TOKEN}&"),
            ("code 17, not 170 or a17", "code ${PIN}, not 170 or a17"),
            (&long[..64], "${LONG}"),
            (&format!("<{long}>"), "<${LONG}>"),
            ("at MIIEvQIBADAN at", "at ${KEY} at"),
            ("hunter2 of hunter2", "${PASSWORD} of ${PASSWORD}"),
            ("hunter2abc.", "${PASSWORD}."),
            ("production abcde 10.96.0.10", "production abcde 10.96.0.10"),
            ("to postgres://app:p%40ss-wort@db/app", "to ${DB}"),
            ("password p@ss-wort is wrong", "password ${DB} is wrong"),
            ("", ""),
        ] {
            assert_eq!(mask.apply(text), shown);
        }
    }

    #[test]
    fn values_are_bounded() {
        let mut mask = Mask::default();
        for number in 0..MOST_VALUES + 10 {
            mask.hide(Kind::Variable, "A", &format!("value-{number}"));
        }
        let kept: usize = mask.values.iter().map(|one| one.values.len()).sum();
        assert_eq!((mask.order.len(), kept), (MOST_VALUES, MOST_VALUES));
        assert_eq!(mask.apply("value-16390 value-3 "), "${A} value-3 ");
    }
}
