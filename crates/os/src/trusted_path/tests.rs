//! Tests of the guard of paths against users who attack it.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{PermissionsExt as _, lchown, symlink};

use nix::unistd::{Uid, geteuid};

use super::*;
use crate::sys;
use crate::testing::isolated::in_own_process_of_root;
use crate::testing::temp_dir::TempDir;
use crate::users::User;

const OTHER: u32 = 10_001;

fn content(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    Place::behind(path)?.open(OFlag::O_RDONLY, Mode::empty())?.read_to_string(&mut text)?;
    Ok(text)
}

#[test]
fn links_of_root_and_of_the_own_user_are_followed() {
    let dir = TempDir::new();
    let at = |name: &str| dir.root().join(name);
    // Kubernetes mounts the volume of a ConfigMap in this form.
    fs::create_dir(at("..2026")).unwrap();
    fs::write(at("..2026/key"), "value").unwrap();
    symlink("..2026", at("..data")).unwrap();
    symlink("..data/key", at("key")).unwrap();
    symlink(at("key"), at("absolute")).unwrap();
    for name in ["key", "absolute", "..data/../absolute", "./..data/./key"] {
        assert_eq!(content(&at(name)).unwrap(), "value", "{name}");
    }
    for directory in ["", "/..data", "/..data/..", "/..data/."] {
        let path = PathBuf::from(format!("{}{directory}", dir.root().display()));
        let stat = Place::behind(&path).unwrap().stat().unwrap();
        assert!(is(&stat, SFlag::S_IFDIR), "{directory}");
    }
    assert!(is(&Place::behind(Path::new("/")).unwrap().stat().unwrap(), SFlag::S_IFDIR));
    symlink("loop", at("loop")).unwrap();
    for (name, errno) in [("loop", Errno::ELOOP), ("key/x", Errno::ENOTDIR), ("no", Errno::ENOENT)]
    {
        let error = content(&at(name)).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(errno as i32), "{name}");
    }
    // `of` does not follow the last link.
    assert!(is(&Place::of(&at("key")).unwrap().stat().unwrap(), SFlag::S_IFLNK));
    assert!(Place::of(&at("key")).unwrap().open(OFlag::O_RDONLY, Mode::empty()).is_err());
}

#[test]
fn a_directory_that_is_swapped_later_does_not_matter() {
    let dir = TempDir::new();
    let at = |name: &str| dir.root().join(name);
    fs::create_dir(at("was")).unwrap();
    fs::create_dir(at("other")).unwrap();
    let place = Place::of(&at("was/file")).unwrap();
    fs::rename(at("was"), at("moved")).unwrap();
    symlink("other", at("was")).unwrap();
    place.open(OFlag::O_WRONLY | OFlag::O_CREAT, Mode::S_IRWXU).unwrap();
    assert!(at("moved/file").exists() && !at("other/file").exists());
}

#[test]
fn a_refused_file_is_not_emptied() {
    if !geteuid().is_root() {
        return; // only root can give a directory to another user
    }
    let dir = TempDir::new();
    dir.file("d/private/file", 0o644, "content");
    let at = |name: &str| dir.root().join(name);
    fs::set_permissions(at("d/private"), fs::Permissions::from_mode(0o700)).unwrap();
    lchown(at("d"), Some(OTHER), None).unwrap();
    let d = at("d").display().to_string();
    assert_eq!(
        content(&at("d/private/file")).unwrap_err().to_string(),
        format!(
            "user {OTHER} could exchange names in `{d}`, and so let drainit use `{d}/private`, \
             which user {OTHER} may not enter; write a path on which only root can exchange names"
        )
    );
    fs::set_permissions(at("d/private"), fs::Permissions::from_mode(0o755)).unwrap();
    let place = Place::behind(&at("d/private/file")).unwrap();
    place.open(OFlag::O_WRONLY | OFlag::O_TRUNC, Mode::empty()).unwrap_err();
    assert_eq!(content(&at("d/private/file")).unwrap(), "content");
    assert!(Place::of(&at("d/new")).is_ok() && Place::of(&at("d/private/new")).is_err());
}

/// An access control list with the rights of the mode 0755, and an entry with all rights for a
/// user (tag 2) or a group (tag 8), in the form of the kernel.
fn list(tag: u16, id: u32) -> Vec<u8> {
    const NO_ID: u32 = u32::MAX;
    let mut entries = [(1, 7, NO_ID), (4, 5, NO_ID), (tag, 7, id), (16, 7, NO_ID), (32, 5, NO_ID)];
    entries.sort_unstable();
    let entry = |(tag, bits, id): (u16, u16, u32)| {
        [&tag.to_le_bytes()[..], &bits.to_le_bytes(), &id.to_le_bytes()].concat()
    };
    let version = 2_u32.to_le_bytes().to_vec();
    [version, entries.into_iter().flat_map(entry).collect()].concat()
}

/// A tree in which a user may exchange `d/pub` and `d/private`, and what the kernel lets the
/// user do in fact.
struct Attack {
    case: String,
    dir: TempDir,
    /// Whether the user can read the secret by himself.
    reaches: bool,
    has_exchanged: bool,
    /// Whether only root and this user, with these groups, could exchange the names.
    is_exact: bool,
    /// Whether everybody may write to the directory, and the config does not have the user.
    is_in_emptydir: bool,
}

/// The owner, group and mode of a file, and perhaps its access control list.
type Rights = (u32, u32, u32, Option<Vec<u8>>);

impl Attack {
    /// Makes the tree as root, and lets the user attack.
    fn by(
        (uid, gid, groups): (u32, u32, &str),
        [d, public, private, secret]: [&Rights; 4],
    ) -> Self {
        let dir = TempDir::new();
        let rights = |rights: &Rights| format!("{}:{} {:o}", rights.0, rights.1, rights.2);
        let case = format!(
            "{uid}:{gid} [{groups}], d {}{}, pub {}, private {}, secret {}",
            rights(d),
            if d.3.is_some() { " with a list" } else { "" },
            rights(public),
            rights(private),
            rights(secret)
        );
        dir.file("d/pub/token", 0o644, "public");
        dir.file("d/private/token", 0o600, "secret");
        let all = [("private/token", secret), ("private", private), ("pub", public), ("", d)];
        for (name, (owner, group, mode, list)) in all {
            let path = dir.root().join("d").join(name);
            lchown(&path, Some(*owner), Some(*group)).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).unwrap();
            if let Some(list) = list {
                sys::set_acl(File::open(&path).unwrap().as_fd(), list).unwrap();
            }
        }
        let run = |script: &str| {
            let ids = [format!("--reuid={uid}"), format!("--regid={gid}")];
            let of = match groups {
                "" => "--clear-groups".to_owned(),
                groups => format!("--groups={groups}"),
            };
            let mut command = std::process::Command::new("setpriv");
            command.args(ids).arg(of).args(["sh", "-c", script]).current_dir(dir.root());
            command.output().unwrap().status.success()
        };
        let reaches = run("cat d/private/token");
        let has_exchanged = run("mv d/pub d/x && mv d/private d/pub");
        let is_private = d.2 & 0o022 == 0 && d.3.is_none();
        let is_exact = is_private && (d.0 == 0 || (d.0, uid, gid, groups) == EXACT);
        let is_in_emptydir = d.2 & 0o1002 == 0o2 && uid != USER;
        Self { case, dir, reaches, has_exchanged, is_exact, is_in_emptydir }
    }

    /// Asserts that drainit is not led to what the user cannot reach, and does not refuse a
    /// path on which nobody has exchanged a name.
    fn assert(&self, drainit: &str, can_ask: bool) {
        let path = self.dir.root().join("d/pub/token");
        let found = content(&path);
        let case = format!("{drainit}: {}: {found:?}", self.case);
        let is_refused = found.as_ref().is_err_and(|it| ForeignName::of(it).is_some());
        let expected = if self.has_exchanged { "secret" } else { "public" };
        if self.has_exchanged && !self.reaches {
            assert!(is_refused, "{case}");
        } else if self.is_exact && can_ask {
            assert_eq!(found.unwrap(), expected, "{case}");
        }
        // drainit does not put a file there either.
        let may = !self.has_exchanged || self.reaches || self.is_in_emptydir;
        let written = Place::of(&self.dir.root().join("d/pub/new"));
        let is_refused = written.as_ref().is_err_and(|it| ForeignName::of(it).is_some());
        assert!(may || is_refused, "{case}: {written:?}");
    }
}

const USER: u32 = 11_000;
const GROUP: u32 = 12_000;
/// The owner of a directory, and the user who attacks: a user of the config.
const EXACT: (u32, u32, u32, &str) = (USER, USER, USER, "12000");

// holds: C723, C801, C1055
#[test]
fn a_stranger_leads_drainit_to_nothing_that_the_kernel_does_not_give_him() {
    in_own_process_of_root(|| {
        users::make_known([User { uid: USER, gid: USER, groups: vec![GROUP] }]);
        let root: &Rights = &(0, 0, 0o755, None);
        let (closed, secret): (&Rights, &Rights) = (&(0, 0, 0o750, None), &(0, 0, 0o640, None));
        let of_group: [&Rights; 2] = [&(0, GROUP, 0o750, None), &(0, GROUP, 0o640, None)];
        let ids: [(u32, u32, &str); 5] = [
            (USER, USER, "12000"),
            (OTHER, OTHER, ""),
            (OTHER, OTHER, "12000"),
            (OTHER, 0, ""),
            (USER, USER, "12000,0"),
        ];
        let directories: &[Rights] = &[
            (0, 0, 0o755, None),
            (USER, USER, 0o755, None),
            (USER, 0, 0o755, None),
            (USER, GROUP, 0o700, None),
            (OTHER, 0, 0o755, None),
            (OTHER, GROUP, 0o775, None),
            (0, 0, 0o775, None),
            (0, GROUP, 0o775, None),
            (0, GROUP, 0o1775, None),
            (0, GROUP, 0o2770, None),
            (0, 0, 0o777, None),
            (0, 0, 0o1777, None),
            (0, 0, 0o755, Some(list(2, USER))),
            (0, 0, 0o755, Some(list(2, OTHER))),
            (0, 0, 0o755, Some(list(8, GROUP))),
            (0, GROUP, 0o755, Some(list(2, OTHER))),
        ];
        let mut attacks = Vec::new();
        for (attacker, d) in ids.iter().flat_map(|it| directories.iter().map(move |d| (*it, d))) {
            for rest in [
                [root, closed, secret],
                [root, of_group[0], of_group[1]],
                [root, root, secret],
                [root, &(0, GROUP, 0o755, None), &(0, GROUP, 0o604, None)],
                [&(OTHER, OTHER, 0o755, None), closed, secret],
                [&(USER, USER, 0o755, None), closed, &(0, GROUP, 0o640, None)],
            ] {
                let [public, private, secret] = rest;
                // Nobody knows whether this user is in a group that has fewer rights than others.
                if secret.2 == 0o604 && attacker != (USER, USER, "12000") {
                    continue;
                }
                attacks.push(Attack::by(attacker, [d, public, private, secret]));
            }
        }
        let count = |of: fn(&&Attack) -> bool| attacks.iter().filter(of).count();
        let led = count(|attack| attack.has_exchanged && !attack.reaches);
        assert!(led > 60 && count(|attack| attack.reaches) > 60, "{led}");
        attacks.iter().for_each(|attack| attack.assert("root", true));
        // The capabilities are those of a thread.
        let with_capabilities = |kept: u64, look: &(dyn Fn(&Attack) + Sync)| {
            std::thread::scope(|scope| {
                let look = || {
                    sys::keep_capabilities(kept).unwrap();
                    attacks.iter().for_each(look);
                };
                scope.spawn(look).join().unwrap();
            });
        };
        let no_ids = !(1 << 6 | 1 << 7);
        with_capabilities(no_ids, &|attack| attack.assert("without SETUID", false));
        nix::sys::prctl::set_keepcaps(true).unwrap();
        let (root, drainit) = (Uid::from_raw(0), Uid::from_raw(13_000));
        nix::unistd::setresuid(drainit, drainit, root).unwrap();
        with_capabilities(u64::MAX, &|attack| attack.assert("another user", true));
        // This drainit has nothing to give away.
        with_capabilities(0, &|attack| {
            let found = content(&attack.dir.root().join("d/pub/token"));
            let is_refused = found.as_ref().is_err_and(|it| ForeignName::of(it).is_some());
            assert!(!is_refused, "{}: {found:?}", attack.case);
        });
        nix::unistd::setresuid(root, root, root).unwrap();
    });
}

// holds: C1056
#[test]
fn a_hard_link_leads_drainit_to_nothing_in_a_directory_of_everybody() {
    in_own_process_of_root(|| {
        for (owner, mode, is_link, may) in [
            (0, 0o777, false, true),
            (0, 0o1777, false, true),
            (0, 0o755, true, true),
            (0, 0o777, true, false),
            (0, 0o1777, true, false),
            (OTHER, 0o755, true, false),
        ] {
            let dir = TempDir::new();
            dir.file("d/token", 0o600, "secret");
            let at = |name: &str| dir.root().join(name);
            fs::set_permissions(at("d"), fs::Permissions::from_mode(mode)).unwrap();
            lchown(at("d"), Some(owner), None).unwrap();
            // The sysctl `fs.protected_hardlinks` is 0 by default, so anybody may do this.
            if is_link {
                fs::hard_link(at("d/token"), at("original")).unwrap();
            }
            let written = Place::of(&at("d/token"))
                .and_then(|place| place.open(OFlag::O_WRONLY | OFlag::O_APPEND, Mode::empty()));
            for used in [content(&at("d/token")).map(drop), written.map(drop)] {
                let case = format!("{owner} {mode:o} {is_link}: {used:?}");
                assert_eq!(used.is_ok(), may, "{case}");
                assert!(may || used.is_err_and(|it| ForeignName::of(&it).is_some()), "{case}");
            }
        }
    });
}

/// A process of another user, with its groups.
#[derive(Clone, Copy, Debug)]
struct Actor {
    user: u32,
    groups: [u32; 2],
}

impl Actor {
    fn owns(self, stat: &FileStat) -> bool {
        self.user == stat.st_uid
    }

    /// Whether the actor may do this with a file. An owner always may, after a change of the
    /// permissions.
    fn may(self, bits: u32, stat: &FileStat) -> bool {
        let for_group = self.groups.contains(&stat.st_gid) && stat.st_mode & bits << 3 != 0;
        self.owns(stat) || for_group || stat.st_mode & bits != 0
    }

    /// Whether the actor could make a name in a directory lead elsewhere.
    fn could_exchange(self, directory: &FileStat, entry: &FileStat) -> bool {
        let is_sticky = directory.st_mode & 0o1000 != 0;
        self.may(2, directory) && (!is_sticky || self.owns(directory) || self.owns(entry))
    }
}

// holds: C723, C801
#[test]
fn random_trees_agree_with_a_model_of_who_could_exchange_a_name() {
    if !geteuid().is_root() {
        return; // only root can give a file to another user
    }
    const SHARED: u32 = 20_000;
    // Nobody knows who is in a group, so any user may be in it.
    let actors: Vec<_> = [OTHER, 10_002, 10_003]
        .into_iter()
        .flat_map(|user| [user, SHARED, 0].map(|other| Actor { user, groups: [user, other] }))
        .collect();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = |bound: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % bound
    };
    for number in 0..400 {
        let dir = TempDir::new();
        let (mut at, mut path) = (dir.root().to_owned(), dir.root().to_owned());
        // The directory and the entry of each step, and whether the entry is a link.
        let mut steps = Vec::new();
        let stat = |path: &Path| fstatat(AT_FDCWD, path, AtFlags::AT_SYMLINK_NOFOLLOW).unwrap();
        let depth = 1 + below(3);
        for level in 0..=depth {
            let entry = at.join("entry");
            match level == depth {
                true => fs::write(&entry, "content").unwrap(),
                false => fs::create_dir(&entry).unwrap(),
            }
            let modes: &[u32] = match level == depth {
                true => &[0o600, 0o640, 0o644],
                false => &[0o700, 0o755, 0o755, 0o775, 0o777, 0o1777, 0o1777, 0o1775, 0o750],
            };
            let mut give = |path: &Path| {
                let owner = [0, 0, OTHER, 10_002][below(4) as usize];
                let group = if owner == 0 { [0, SHARED][below(2) as usize] } else { owner };
                lchown(path, Some(owner), Some(group)).unwrap();
            };
            give(&entry);
            let link = at.join("link");
            symlink("entry", &link).unwrap();
            give(&link);
            let mode = modes[below(modes.len() as u64) as usize];
            fs::set_permissions(&entry, fs::Permissions::from_mode(mode)).unwrap();
            let is_link = below(4) == 0;
            if is_link {
                steps.push((stat(&at), stat(&link), true));
            }
            steps.push((stat(&at), stat(&entry), false));
            path.push(if is_link { "link" } else { "entry" });
            at = entry;
        }
        let shown: Vec<_> = steps
            .iter()
            .map(|(_, entry, _)| format!("{}:{} {:o}", entry.st_uid, entry.st_gid, entry.st_mode))
            .collect();
        let found = content(&path);
        let case = format!("{number}: {} {shown:?}: {found:?}", path.display());
        let is_foreign = |(_, entry, is_link): &(FileStat, FileStat, bool)| {
            *is_link && !is_trusted(entry.st_uid)
        };
        let is_trap = |actor: &Actor| {
            let mut could = false;
            steps.iter().enumerate().any(|(place, (directory, entry, is_link))| {
                let is_last = place + 1 == steps.len();
                // A user who may write only to the last directory may replace the file anyway.
                could |= actor.could_exchange(directory, entry)
                    && (!is_last || actor.owns(directory) || actor.owns(entry));
                could && !is_link && !actor.may(if is_last { 4 } else { 1 }, entry)
            })
        };
        let trap = actors.iter().find(|actor| is_trap(actor));
        if steps.iter().any(is_foreign) || trap.is_some() {
            let refused = found.as_ref().is_err_and(|it| ForeignName::of(it).is_some());
            assert!(refused, "{trap:?} could choose the file: {case}");
        }
        let could = |steps: &[(FileStat, FileStat, bool)]| {
            let could_one = |(directory, entry, _): &(FileStat, FileStat, bool)| {
                actors.iter().any(|actor| actor.could_exchange(directory, entry))
            };
            steps.iter().any(could_one)
        };
        if !could(&steps) && !steps.iter().any(is_foreign) {
            assert!(found.is_ok(), "nobody could exchange a name: {case}");
        }
        if let Ok(place) = Place::of(&path) {
            // `of` does not follow the last link.
            let is_link = path.ends_with("link");
            let before = &steps[..steps.len() - 1 - usize::from(is_link)];
            let keeps = place.address() == path;
            assert_eq!(keeps, !could(before), "the address is {:?}: {case}", place.address());
        }
    }
}
