//! Sockets at random, by the thousand: what is left of them in the table is right.

use super::{FOREIGN, MESH, asked, canonical, holds, keys};
use kmesh_lite_common::Traffic;
use kmesh_lite_ebpf::Outcome;
use kmesh_lite_tests::client::{Client, address, mapped};
use kmesh_lite_tests::echo::Echo;
use kmesh_lite_tests::eventually::eventually;
use kmesh_lite_tests::host::{Host, Running};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::process::Command;

/// Sockets of four threads, a hundred thousand in all, through everything that a socket can go through.
/// The table wraps around some fifty times below those that stay.
#[test]
fn the_table_holds_what_lives_after_any_storm() {
    storm(|host| host.run(MESH), 25_000);
}

/// The same where nearly every socket finds its bucket full.
#[test]
fn peer_names_are_right_in_a_table_that_is_too_small() {
    storm(|host| host.run_with_slots(16, MESH), 2_500);
}

const THREADS: usize = 4;
/// Sockets that a thread holds at a time.
const HELD: usize = 48;

fn storm(run: impl FnOnce(&Host) -> Running, sockets: usize) {
    let Some(host) = Host::new() else { return };
    // Closing waits for nobody, and hardly any connection is accepted before it is gone.
    let _servers = [Echo::brief("[::]:8080"), Echo::udp("127.0.0.2:5353")];
    let mesh = run(&host);
    let held: Vec<Held> = std::thread::scope(|scope| {
        let work = |seed| move || at_random(seed, sockets);
        let threads: Vec<_> = (0..THREADS).map(|seed| scope.spawn(work(seed))).collect();
        let held = threads.into_iter().map(|it| it.join().expect("no panic"));
        held.flatten().collect()
    });
    let mut mesh = mesh;
    let expected = held.iter().filter(|it| it.asked.is_some());
    let expected: BTreeMap<_, _> = expected.map(|it| (it.client.cookie(), it.asked)).collect();
    // Other tests of this process may be starting programs, which hold sockets that are closed here.
    let ours = |mesh: &Running| mesh.listed().keys().all(|it| expected.contains_key(it));
    assert!(eventually(|| ours(&mesh)), "{:?}", keys(&mesh.listed()));
    let listed = mesh.listed();
    if mesh.outcomes()[&Outcome::Unlisted] == 0 {
        assert_eq!(keys(&listed), keys(&expected));
    }
    for (cookie, connection) in &listed {
        assert_eq!(expected.get(cookie), Some(&Some(asked(connection))));
    }
    // The kernel has the same list of those that are connected.
    let living = sockets_of_the_kernel();
    for held in held.iter().filter(|it| it.client.peer().is_ok()) {
        assert!(living.contains(&held.client.cookie()));
        if let Some(to) = held.asked {
            assert_eq!(held.client.peer().map(canonical), Ok(to));
        }
    }
    assert!(!listed.is_empty());
    drop(held);
    holds(&mesh, []);
    // Every one that began to stand has ended.
    let open = |mesh: &Running| {
        let accounts = mesh.accounts().expect("accounts");
        assert_eq!(accounts.uncounted, 0);
        let mut all = Traffic::default();
        accounts.sums.values().for_each(|sums| all.add(sums));
        assert_ne!(all.established, 0);
        all.established as i64 - all.ended.iter().sum::<u64>() as i64
    };
    assert!(eventually(|| open(&mesh) == 0), "{}", open(&mesh));
}

struct Held {
    client: Client,
    /// What the table should have of it.
    asked: Option<SocketAddr>,
}

/// One thread of a storm. Gives the sockets that it still holds.
fn at_random(seed: usize, sockets: usize) -> Vec<Held> {
    let mut random = fastrand::Rng::with_seed(seed as u64);
    let mut held: Vec<Held> = Vec::new();
    for _ in 0..sockets {
        let client = match random.u8(0..4) {
            0 => Client::udp4(),
            1 => Client::tcp6(),
            _ => Client::tcp4(),
        };
        let mut new = Held {
            client,
            asked: None,
        };
        for _ in 0..random.usize(1..4) {
            new.connect(&mut random);
        }
        match random.u8(0..16) {
            // Some stay for long, and so stand in the way of others.
            0 => held.push(new),
            1 if !held.is_empty() => {
                let place = random.usize(0..held.len());
                held[place].connect(&mut random);
            }
            _ => {}
        }
        while held.len() > HELD {
            held.swap_remove(random.usize(0..held.len()));
        }
    }
    held
}

impl Held {
    /// Connects somewhere, and checks the name of the peer.
    fn connect(&mut self, random: &mut fastrand::Rng) {
        const TCP: [&str; 5] = [
            "10.96.0.10:80",
            "10.96.0.13:80",
            "10.96.0.14:80",
            "10.96.0.12:80",
            FOREIGN,
        ];
        const UDP: [&str; 3] = ["10.96.0.53:53", "10.96.0.53:54", FOREIGN];
        let socket = self.client.socket();
        let is_stream = socket.r#type().expect("a type") == socket2::Type::STREAM;
        let is_v6 = socket.domain().expect("a domain") == socket2::Domain::IPV6;
        if is_stream || random.bool() {
            self.client.disconnect();
        }
        let to = match is_stream {
            true => TCP[random.usize(0..TCP.len())],
            false => UDP[random.usize(0..UDP.len())],
        };
        let to = match is_v6 {
            true if to == "10.96.0.10:80" && random.bool() => address("[fd00:96::10]:80"),
            true => mapped(to),
            false => address(to),
        };
        let outcome = self.client.connect(&to.to_string());
        let is_refused = matches!(
            (canonical(to).to_string().as_str(), outcome),
            ("10.96.0.12:80" | "10.96.0.53:54", Err(_))
        );
        if is_refused {
            // The socket remembers what it did.
        } else if canonical(to) == address(FOREIGN) {
            self.asked = None;
        } else {
            self.asked = Some(canonical(to));
        }
        if outcome.is_ok() {
            assert_eq!(self.client.peer(), Ok(to));
        }
    }
}

/// Cookies of the sockets of this network namespace.
fn sockets_of_the_kernel() -> BTreeSet<u64> {
    let output = Command::new("ss").args(["-tuaneH"]).output();
    let output = output.expect("ss, of iproute2");
    let text = String::from_utf8(output.stdout).expect("text");
    let cookies = text
        .split_whitespace()
        .filter_map(|word| word.strip_prefix("sk:"));
    cookies
        .map(|it| u64::from_str_radix(it, 16).expect("a number"))
        .collect()
}
