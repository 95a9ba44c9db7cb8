//! Loading the programs.

use kmesh_lite_tests::client::call;
use kmesh_lite_tests::host::{Host, Stop};
use nix::errno::Errno;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

const MESH: &str = r#"
    [services.nobody]
    vips = ["10.96.0.10"]
    ports = [80]
    endpoints = []
"#;

extern "C" fn nothing(_: libc::c_int) {}

/// A signal makes the verifier give up with EAGAIN. That is no reason to fail, nor to believe that
/// the kernel is too old to choose the error of `connect()`.
#[test]
fn loading_is_not_disturbed_by_signals() {
    let Some(host) = Host::new() else { return };
    let handler = SigHandler::Handler(nothing);
    let action = SigAction::new(handler, SaFlags::SA_RESTART, SigSet::empty());
    // SAFETY: the handler does nothing.
    unsafe { sigaction(Signal::SIGUSR1, &action) }.unwrap();
    // SAFETY: no arguments.
    let loader = unsafe { libc::pthread_self() };
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let _end = Stop(&stop);
        scope.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                // SAFETY: the thread that loads outlives this one.
                unsafe { libc::pthread_kill(loader, libc::SIGUSR1) };
                // Far shorter than a load takes: every one is hit.
                thread::sleep(std::time::Duration::from_millis(2));
            }
        });
        for _ in 0..5 {
            let _mesh = host.run(MESH);
            assert_eq!(call("10.96.0.10:80"), Err(Errno::EHOSTUNREACH));
        }
    });
}
