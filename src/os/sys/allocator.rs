//! The system's allocator, for an init that must not abort.

use std::alloc::{GlobalAlloc, Layout, System};

use crate::os::panic_hook::out_of_memory;

/// The system's allocator. Where it has no memory left, all processes are stopped, instead of the
/// abort that Rust makes of that: it tells nobody, and writes a core with all that drainit knows.
#[derive(Clone, Copy, Debug)]
pub struct Allocator;

// SAFETY: each function passes its arguments on to the system's allocator and returns its answer.
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
        // SAFETY: as above.
        some(unsafe { System.realloc(memory, layout, size) }, size)
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}

fn some(memory: *mut u8, size: usize) -> *mut u8 {
    if memory.is_null() {
        out_of_memory(size);
    }
    memory
}
