//! Places at which a test can make this process end, as a crash would.

/// Ends the process at its nth call, if a test says so with `KMESH_LITE_CRASH_AT=n`.
#[cfg(feature = "faults")]
pub fn point() {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicI64, Ordering};
    static LEFT: LazyLock<AtomicI64> = LazyLock::new(|| {
        let at = std::env::var("KMESH_LITE_CRASH_AT").ok();
        AtomicI64::new(at.and_then(|at| at.parse().ok()).unwrap_or(0))
    });
    if LEFT.fetch_sub(1, Ordering::Relaxed) == 1 {
        std::process::abort();
    }
}

#[cfg(not(feature = "faults"))]
pub fn point() {}
