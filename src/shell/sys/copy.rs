//! `memcpy` and `memmove` in place of musl's for x86-64, which are `rep movs` at every length. That takes about 30 ns to
//! begin, and nearly all copies are of some ten bytes: it was a quarter of the time for a config.
//!
//! Both are here, because musl's `memmove` is linked with its `memcpy`. They are in assembly, because what the compiler
//! makes of a copy may be a call of `memcpy`.

use std::arch::naked_asm;

/// Copies `len` bytes.
///
/// Up to 64 are all read before any is written: two equal pieces, one from each end, which meet or overlap in the middle.
/// Beyond that all goes upwards, but what is at the end is read first and written last. So `from` may overlap `to` if the
/// bytes are few, or if it lies above.
///
/// # Safety
/// `len` bytes can be read at `from` and written at `to`.
#[unsafe(naked)]
#[cfg_attr(not(test), unsafe(no_mangle))]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    naked_asm!(
        "mov rax, rdi",
        "cmp rdx, 16",
        "jb 20f",
        "cmp rdx, 32",
        "ja 30f",
        // 16 to 32
        "movups xmm0, [rsi]",
        "movups xmm1, [rsi + rdx - 16]",
        "movups [rdi], xmm0",
        "movups [rdi + rdx - 16], xmm1",
        "ret",
        "20:",
        "cmp edx, 8",
        "jb 21f",
        "mov rcx, [rsi]",
        "mov rsi, [rsi + rdx - 8]",
        "mov [rdi], rcx",
        "mov [rdi + rdx - 8], rsi",
        "ret",
        "21:",
        "cmp edx, 4",
        "jb 22f",
        "mov ecx, [rsi]",
        "mov esi, [rsi + rdx - 4]",
        "mov [rdi], ecx",
        "mov [rdi + rdx - 4], esi",
        "ret",
        "22:",
        "test edx, edx",
        "jz 23f",
        // 1 to 3: the first, the last, and between them the last of two, or the second of three
        "mov r8, rdx",
        "shr r8, 1",
        "movzx ecx, byte ptr [rsi]",
        "movzx r9d, byte ptr [rsi + r8]",
        "movzx esi, byte ptr [rsi + rdx - 1]",
        "mov [rdi], cl",
        "mov [rdi + r8], r9b",
        "mov [rdi + rdx - 1], sil",
        "23:",
        "ret",
        "30:",
        "cmp rdx, 64",
        "ja 31f",
        // 33 to 64
        "movups xmm0, [rsi]",
        "movups xmm1, [rsi + 16]",
        "movups xmm2, [rsi + rdx - 32]",
        "movups xmm3, [rsi + rdx - 16]",
        "movups [rdi], xmm0",
        "movups [rdi + 16], xmm1",
        "movups [rdi + rdx - 32], xmm2",
        "movups [rdi + rdx - 16], xmm3",
        "ret",
        "31:",
        "cmp rdx, 2048",
        "ja 40f",
        // 65 to 2048: pieces of 64, and the last 64
        "movups xmm4, [rsi + rdx - 64]",
        "movups xmm5, [rsi + rdx - 48]",
        "movups xmm6, [rsi + rdx - 32]",
        "movups xmm7, [rsi + rdx - 16]",
        "lea r8, [rdi + rdx - 64]",
        "32:",
        "movups xmm0, [rsi]",
        "movups xmm1, [rsi + 16]",
        "movups xmm2, [rsi + 32]",
        "movups xmm3, [rsi + 48]",
        "movups [rdi], xmm0",
        "movups [rdi + 16], xmm1",
        "movups [rdi + 32], xmm2",
        "movups [rdi + 48], xmm3",
        "add rsi, 64",
        "add rdi, 64",
        "cmp rdi, r8",
        "jb 32b",
        "movups [r8], xmm4",
        "movups [r8 + 16], xmm5",
        "movups [r8 + 32], xmm6",
        "movups [r8 + 48], xmm7",
        "ret",
        "40:",
        // More: as musl does, and the last 16.
        "movups xmm0, [rsi + rdx - 16]",
        "lea r8, [rdi + rdx - 16]",
        "mov rcx, rdx",
        "shr rcx, 3",
        "rep movsq",
        "movups [r8], xmm0",
        "ret",
    )
}

/// Copies `len` bytes; `from` may overlap `to`.
///
/// # Safety
/// `len` bytes can be read at `from` and written at `to`.
#[unsafe(naked)]
#[cfg_attr(not(test), unsafe(no_mangle))]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    naked_asm!(
        "cmp rdx, 64",
        "jbe {memcpy}",
        // Not from within what is written, or from above.
        "mov rcx, rdi",
        "sub rcx, rsi",
        "cmp rcx, rdx",
        "jae {memcpy}",
        // Downwards, and the first 8 bytes at the end.
        "mov rax, rdi",
        "mov r8, [rsi]",
        "lea rdi, [rdi + rdx - 8]",
        "lea rsi, [rsi + rdx - 8]",
        "mov rcx, rdx",
        "shr rcx, 3",
        "std",
        "rep movsq",
        "cld",
        "mov [rax], r8",
        "ret",
        memcpy = sym memcpy,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `copy` makes of a numbered buffer.
    fn copied(
        copy: unsafe extern "C" fn(*mut u8, *const u8, usize) -> *mut u8,
        to: usize,
        from: usize,
        len: usize,
    ) -> Vec<u8> {
        let mut bytes = numbered(to.max(from) + len + 1);
        let start = bytes.as_mut_ptr();
        // SAFETY: both places, and `len` bytes after them, are in the buffer.
        let returned = unsafe { copy(start.add(to), start.add(from), len) };
        assert_eq!(returned, start.wrapping_add(to));
        bytes
    }

    fn numbered(len: usize) -> Vec<u8> {
        // 251 is prime, so that no two pieces are alike.
        (0_u8..251).cycle().take(len).collect()
    }

    fn expected(to: usize, from: usize, len: usize) -> Vec<u8> {
        let mut bytes = numbered(to.max(from) + len + 1);
        let source = bytes[from..from + len].to_vec();
        bytes[to..to + len].copy_from_slice(&source);
        bytes
    }

    fn lengths() -> impl Iterator<Item = usize> {
        (0..300).chain(2000..2100).chain([4096, 10_000])
    }

    #[test]
    fn every_length_is_copied() {
        for len in lengths() {
            for (to, from) in [(1, len + 3), (len + 3, 2)] {
                assert_eq!(copied(memcpy, to, from, len), expected(to, from, len), "{len}");
            }
        }
    }

    #[test]
    fn what_overlaps_is_moved() {
        for len in lengths() {
            for apart in [0, 1, 2, 7, 8, 15, 16, 17, 63, 64, 65, 200, 2047] {
                for (to, from) in [(1, 1 + apart), (1 + apart, 1)] {
                    let moved = copied(memmove, to, from, len);
                    assert_eq!(moved, expected(to, from, len), "{len} from {from} to {to}");
                }
            }
        }
    }
}
