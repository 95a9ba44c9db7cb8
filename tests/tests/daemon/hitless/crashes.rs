//! A daemon that ends in the middle of a change.

use super::fire::{Servers, mesh, started, under_fire};
use super::kept::{links, tables};
use super::plans::{operations_to, replaces};
use kmesh_lite_tests::client::{Client, address, call};
use kmesh_lite_tests::host::{Host, LIMITS};
use nix::sys::signal::Signal;

/// Of the places to crash at, every third one is tried: each takes seconds.
const STEP: usize = 3;

/// Every operation, every link and every descriptor is a place to crash at.
#[test]
fn a_crash_at_any_point_of_a_change_is_survived() {
    let Some(host) = Host::new() else { return };
    let servers = Servers::start();
    let (mut daemon, _) = started(&host);
    // There is room for the four addresses that it has.
    let addresses = |limit| format!("addresses = {limit}\n");
    let small = mesh("127.0.0.2").replace(&addresses(LIMITS.addresses), &addresses(4));
    let other = small.replace("127.0.0.2", "127.0.0.3");
    // Everything changes, and the tables have to be larger.
    let large = other.replace(&addresses(4), &addresses(LIMITS.addresses))
        + r#"
        [services.more]
        vips = ["10.96.0.12"]
        ports = ["80:8080", "81:8081"]
        policy = "failover"
        endpoints = ["127.0.0.4", { address = "127.0.0.5", weight = 3 }]
        "#;
    for (to, grows) in [(&large, true), (&other, false)] {
        let mut crashes = 0;
        let mut places = 0;
        let mut survived = false;
        while !survived {
            // Anew, or tables that have grown would not have to grow again.
            daemon.signal(Signal::SIGKILL);
            daemon.wait();
            daemon.forget_everything();
            daemon.save(&small);
            daemon.start_again(&[]);
            assert_eq!(replaces(&daemon, to), grows);
            let open = Client::tcp4();
            open.connect("10.96.0.10:80").expect("connected");
            places = operations_to(&daemon, to) + links(&daemon);
            if grows {
                // Each is kept when it is filled, and let go of when another one is in charge.
                places += 2 * tables(&daemon).len();
            }
            under_fire(&servers, &["127.0.0.2", "127.0.0.3"], |fire| {
                daemon.signal(Signal::SIGKILL);
                daemon.wait();
                daemon.save(to);
                let at = (crashes * STEP + 1).to_string();
                let ready = daemon.launch_again(&[("KMESH_LITE_CRASH_AT", &at)]);
                daemon.wait_until("it is ready or crashes", |daemon| {
                    daemon.has_ended() || daemon.times_ready() > ready
                });
                survived = !daemon.has_ended();
                if survived {
                    return;
                }
                crashes += 1;
                fire.more();
                daemon.start_again(&[]);
                assert_eq!(daemon.state(), "routing", "after a crash at {at}");
            });
            assert_eq!(call("10.96.0.10:80"), Ok(address("127.0.0.3:8080")));
            assert_eq!(open.peer(), Ok(address("10.96.0.10:80")));
        }
        println!("{crashes} crashes, {places} places");
        assert!(
            crashes * STEP >= places,
            "{crashes} crashes at {places} places"
        );
    }
}
