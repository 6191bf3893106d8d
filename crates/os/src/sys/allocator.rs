//! The system's allocator, adapted to an init that must not abort and that has secrets.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::panic_hook::out_of_memory;

/// The system's allocator. If there is no memory left, drainit stops all processes and exits. Rust
/// itself would abort, and could leave a core file with everything that drainit knows.
///
/// From the first secret on, freed memory is overwritten: a secret passes through many buffers on
/// its way to a process, and no buffer may keep it.
#[derive(Clone, Copy, Debug)]
pub struct Allocator;

static HAS_SECRETS: AtomicBool = AtomicBool::new(false);

/// Overwrites freed memory from now on. Call this before a secret is read.
pub fn wipe_from_now_on() {
    HAS_SECRETS.store(true, Ordering::Relaxed);
}

fn wipes() -> bool {
    HAS_SECRETS.load(Ordering::Relaxed)
}

// SAFETY: each function passes its arguments to the system's allocator and returns the allocator's
// result, or does what the default `realloc` of `GlobalAlloc` does.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller promises what the system's allocator asks for.
        some(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        some(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !wipes() {
            // SAFETY: as above.
            return some(unsafe { System.realloc(memory, layout, size) }, size);
        }
        if size <= layout.size() {
            // SAFETY: the bytes from `size` on are part of the memory, and the caller does not use
            // them any more.
            unsafe { wipe(memory.add(size), layout.size() - size) };
            // SAFETY: as above.
            return some(unsafe { System.realloc(memory, layout, size) }, size);
        }
        // SAFETY: the caller promises that the size fits the alignment. Both blocks have at least
        // `layout.size()` bytes, and do not overlap.
        unsafe {
            let new = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            if !new.is_null() {
                new.copy_from_nonoverlapping(memory, layout.size());
                self.dealloc(memory, layout);
            }
            new
        }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller promises what the system's allocator asks for, and gives back the
        // whole block.
        unsafe {
            if wipes() {
                wipe(memory, layout.size());
            }
            System.dealloc(memory, layout);
        }
    }
}

/// Overwrites memory. The compiler cannot leave this out, although nothing reads the memory later.
///
/// # Safety
/// The memory is valid to write for this many bytes.
unsafe fn wipe(memory: *mut u8, size: usize) {
    // SAFETY: the caller promises that the memory is valid to write for this many bytes.
    unsafe { libc::explicit_bzero(memory.cast(), size) };
}

fn some(memory: *mut u8, size: usize) -> *mut u8 {
    if memory.is_null() {
        out_of_memory(size);
    }
    memory
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::isolated::end_of_own_process;

    /// More bytes than a process can have.
    const TOO_MANY: usize = 1 << 48;

    /// Runs the test binary again, which asks for too much memory.
    // holds: S124, S204
    #[test]
    fn a_refused_allocation_is_reported_and_ends_with_70() {
        let layout = Layout::from_size_align(TOO_MANY, 1).unwrap();
        let small = Layout::from_size_align(16, 1).unwrap();
        for way in ["alloc", "alloc_zeroed", "realloc", "realloc after a secret"] {
            let output = end_of_own_process(way, |way| {
                if way == "realloc after a secret" {
                    wipe_from_now_on();
                }
                // SAFETY: the layouts are not empty, and the memory was allocated with `small`.
                let _ = unsafe {
                    match way {
                        "alloc" => Allocator.alloc(layout),
                        "alloc_zeroed" => Allocator.alloc_zeroed(layout),
                        _ => Allocator.realloc(Allocator.alloc(small), small, TOO_MANY),
                    }
                };
            });
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(70), "{way}: {said}");
            let line = format!("error: drainit is out of memory (it asked for {TOO_MANY} bytes)");
            assert!(said.contains(&line), "{way}: {said}");
        }
    }
}
