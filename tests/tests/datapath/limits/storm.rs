//! Thousands of sockets at once: no limit is passed, not for an instant, and nothing is left when they are gone.

use super::{WEB, comes_to_be, limited, open};
use kmesh_lite_tests::client::{Client, address};
use kmesh_lite_tests::echo::Echo;
use kmesh_lite_tests::eventually::eventually;
use kmesh_lite_tests::host::{Host, Running};
use nix::errno::Errno;
use std::collections::BTreeSet;
use std::process::Command;
use std::sync::atomic::{AtomicI64, Ordering};

const THREADS: usize = 4;
const SOCKETS: usize = 4_000;
/// Of all endpoints together.
const ROOM: i64 = 12;

/// Clients of four threads hold as many connections as there is room for and ask for more, all the time.
#[test]
fn no_limit_is_passed_and_the_counts_are_those_of_the_kernel() {
    for (slots, accounting) in [(1_024, true), (1_024, false), (2, true)] {
        let Some(host) = Host::new() else { return };
        let _servers = [Echo::brief("[::]:8080")];
        let endpoints = [
            ("127.0.0.2", "a/x", 3),
            ("127.0.0.3", "a/x", 4),
            ("127.0.0.4", "b/y", 5),
        ];
        let text = limited(
            "policy = 'failover'\nbalance = 'least-connections'",
            &endpoints,
        );
        let text = format!("{text}\n[accounting]\nenabled = {accounting}");
        let mut mesh = host.run_with_slots(slots, &text);
        let (open_now, most, refused) = (AtomicI64::new(0), AtomicI64::new(0), AtomicI64::new(0));
        let held: Vec<Client> = std::thread::scope(|scope| {
            let work = |seed: usize| {
                let (open_now, most, refused) = (&open_now, &most, &refused);
                move || at_random(seed, open_now, most, refused)
            };
            let threads: Vec<_> = (0..THREADS).map(|seed| scope.spawn(work(seed))).collect();
            let held = threads.into_iter().map(|it| it.join().expect("no panic"));
            held.flatten().collect()
        });
        assert!(most.into_inner() <= ROOM);
        assert_ne!(refused.into_inner(), 0);
        // The kernel has the same list of those that stand.
        let living = sockets_of_the_kernel();
        let standing = held.iter().filter(|it| it.peer().is_ok());
        let standing: Vec<_> = standing.collect();
        assert!(standing.iter().all(|it| living.contains(&it.cookie())));
        assert!(standing.iter().all(|it| it.peer() == Ok(address(WEB))));
        if !accounting {
            let all = |mesh: &mut Running| open(mesh).1 as usize == held.len();
            assert!(eventually(|| all(&mut mesh)), "{:?}", open(&mut mesh));
        }
        drop(held);
        let none = endpoints.map(|(name, ..)| (name, 0));
        comes_to_be(&mut mesh, &none, 0);
    }
}

/// One thread. Gives the sockets that it still holds.
fn at_random(
    seed: usize,
    open_now: &AtomicI64,
    most: &AtomicI64,
    refused: &AtomicI64,
) -> Vec<Client> {
    let mut random = fastrand::Rng::with_seed(seed as u64);
    let mut held = Vec::new();
    for _ in 0..SOCKETS {
        let client = Client::tcp4();
        match client.connect(WEB) {
            Ok(()) => {
                // Only after it was counted, and until before it is not: this number is never too high.
                let now = open_now.fetch_add(1, Ordering::SeqCst) + 1;
                most.fetch_max(now, Ordering::SeqCst);
                held.push(client);
            }
            Err(Errno::ECONNREFUSED) => {
                refused.fetch_add(1, Ordering::SeqCst);
            }
            Err(other) => panic!("{other}"),
        }
        while held.len() > random.usize(1..5) {
            let client = held.swap_remove(random.usize(0..held.len()));
            open_now.fetch_sub(1, Ordering::SeqCst);
            if random.bool() {
                client.disconnect();
            }
            drop(client);
        }
    }
    held
}

/// Cookies of the sockets of this network namespace.
fn sockets_of_the_kernel() -> BTreeSet<u64> {
    let output = Command::new("ss").args(["-taneH"]).output();
    let output = output.expect("ss, of iproute2");
    let text = String::from_utf8(output.stdout).expect("text");
    let cookies = text
        .split_whitespace()
        .filter_map(|word| word.strip_prefix("sk:"));
    cookies
        .map(|it| u64::from_str_radix(it, 16).expect("a number"))
        .collect()
}
