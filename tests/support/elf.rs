//! Checks how a 64-bit little-endian ELF file is loaded (elf(5)).

use std::fs;
use std::path::Path;

const ET_DYN: u64 = 3;
const PT_LOAD: u64 = 1;
const PT_DYNAMIC: u64 = 2;
const PT_INTERP: u64 = 3;
const PT_GNU_RELRO: u64 = 0x6474_e552;
const PF_X: u64 = 1;
const PF_W: u64 = 2;
const DT_FLAGS: u64 = 30;
const DF_BIND_NOW: u64 = 8;

/// Asserts that a file is a static PIE with full RELRO. The kernel can load it at any address,
/// without a loader or a library; each page is either writable or executable; and relocation data
/// does not stay writable.
#[track_caller]
pub(crate) fn assert_hardened(path: &Path) {
    let file = fs::read(path).unwrap();
    let number = |place: u64, bytes: usize| {
        let place = usize::try_from(place).unwrap();
        let bytes = file[place..place + bytes].iter().rev();
        bytes.fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    };
    assert_eq!(number(16, 2), ET_DYN, "{} has a fixed address", path.display());
    let (headers, count) = (number(32, 8), number(56, 2));
    let headers: Vec<_> = (0..count).map(|n| headers + n * 56).collect();
    let find = |kind| headers.iter().find(|header| number(**header, 4) == kind);
    assert!(find(PT_INTERP).is_none(), "{} needs a loader", path.display());
    assert!(find(PT_GNU_RELRO).is_some(), "{} has no RELRO", path.display());
    for header in headers.iter().filter(|header| number(**header, 4) == PT_LOAD) {
        let rights = number(header + 4, 4);
        assert_ne!(rights & (PF_W | PF_X), PF_W | PF_X, "{}: writable code", path.display());
    }
    let dynamic = *find(PT_DYNAMIC).unwrap();
    let (start, size) = (number(dynamic + 8, 8), number(dynamic + 32, 8));
    let mut entries = (start..start + size).step_by(16);
    let flags = entries.find(|entry| number(*entry, 8) == DT_FLAGS);
    let flags = flags.map_or(0, |entry| number(entry + 8, 8));
    assert_eq!(flags & DF_BIND_NOW, DF_BIND_NOW, "{} has only partial RELRO", path.display());
}
