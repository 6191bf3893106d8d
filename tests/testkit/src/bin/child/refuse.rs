//! Makes the kernel refuse a system call, so that tests can check drainit's errors.

use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::libc;

/// Runs a program in which the system call `call` fails with EPERM if the second argument of the
/// call is 1.
#[allow(unsafe_code)] // no safe function installs a filter
pub(crate) fn run(call: u32, words: &[String]) {
    const NUMBER: u32 = 0;
    const SECOND_ARGUMENT: u32 = 16 + 8;
    let word = |code: u32, jf: u8, k: u32| libc::sock_filter {
        code: u16::try_from(code).unwrap(),
        jt: 0,
        jf,
        k,
    };
    let load = |k| word(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, k);
    let unless_is = |k, skip| word(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, skip, k);
    let answer = |k| word(libc::BPF_RET | libc::BPF_K, 0, k);
    let mut filter = [
        load(NUMBER),
        unless_is(call, 3),
        load(SECOND_ARGUMENT),
        unless_is(1, 1),
        answer(libc::SECCOMP_RET_ERRNO | libc::EPERM.unsigned_abs()),
        answer(libc::SECCOMP_RET_ALLOW),
    ];
    let length = u16::try_from(filter.len()).unwrap();
    let program = libc::sock_fprog { len: length, filter: filter.as_mut_ptr() };
    // SAFETY: the filter is valid during the call, and `len` is its length.
    let result = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program)
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    let (program, args) = words.split_first().unwrap();
    panic!("{program}: {}", Command::new(program).args(args).exec())
}
