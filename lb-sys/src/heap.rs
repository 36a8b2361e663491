//! The C library's allocator, told what a process is that runs for months: free memory goes back to
//! the system. Owns its settings; without glibc there are none to make.

/// One heap for all threads instead of one each, and large pieces (tables that have outgrown
/// themselves) apart from it, so that they go back as soon as they are free. To be called before
/// there is a second thread.
pub fn keep_heap_small() {
    #[cfg(target_env = "gnu")]
    {
        /// Bytes.
        const LARGE: libc::c_int = 256 * 1024;
        // SAFETY: mallopt(3) changes the allocator's settings and touches no memory of ours; a
        // value it does not take, it says so and changes nothing.
        unsafe {
            libc::mallopt(libc::M_ARENA_MAX, 1);
            libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
            libc::mallopt(libc::M_TRIM_THRESHOLD, LARGE);
        }
    }
}

/// Gives back every free page, also those between pieces that are in use: milliseconds, for the end
/// of something large.
pub fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) takes its own locks and gives back what is not allocated.
    unsafe {
        libc::malloc_trim(0);
    }
}
