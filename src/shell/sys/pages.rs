//! The pages of drainit's own code.

use std::{ptr, slice};

/// Lets go of the pages of our own code and constants, which most of the time after the start are not needed; one that is
/// needed again comes back from the page cache, without a look at the disk as long as the kernel keeps it there.
pub(crate) fn release_code() {
    // SAFETY: the callback is called before this returns, and needs no data.
    unsafe { libc::dl_iterate_phdr(Some(release_segments), ptr::null_mut()) };
}

/// For the first object, which is the program itself (dl_iterate_phdr(3)); of a shared library there is little to win.
unsafe extern "C" fn release_segments(
    object: *mut libc::dl_phdr_info,
    _size: libc::size_t,
    _data: *mut libc::c_void,
) -> libc::c_int {
    const ENOUGH: libc::c_int = 1;
    // SAFETY: the C library hands over a valid description, which stays as it is until the program ends.
    let (base, segments) = unsafe {
        let object = &*object;
        (object.dlpi_addr, slice::from_raw_parts(object.dlpi_phdr, object.dlpi_phnum.into()))
    };
    // SAFETY: takes an integer.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) }.unsigned_abs();
    for segment in segments {
        // What may be written to is not what the file says. Relocated constants (RELRO) are in such a segment, too.
        if segment.p_type == libc::PT_LOAD && segment.p_flags & libc::PF_W == 0 {
            let begin = base + segment.p_vaddr;
            let into_page = begin % page;
            let address = ptr::with_exposed_provenance_mut((begin - into_page) as usize);
            // SAFETY: these pages are mapped from the program's file and are never written to, so that they come back with
            // the same content. Where the kernel refuses, nothing changes.
            unsafe {
                libc::madvise(address, (segment.p_memsz + into_page) as usize, libc::MADV_DONTNEED);
            }
        }
    }
    ENOUGH
}
