//! Who may connect to what, on the host of the client.

use kmesh_lite_ebpf::Outcome;
use kmesh_lite_tests::cgroup::Cgroup;
use kmesh_lite_tests::client::{Client, Reached, address, call};
use kmesh_lite_tests::echo::Echo;
use kmesh_lite_tests::host::Host;
use nix::errno::Errno;
use socket2::{Domain, Socket, Type};
use std::net::UdpSocket;
use std::thread;

const VIP: &str = "10.96.0.10:80";
const VIP6: &str = "[fd00:96::10]:80";
const OTHER: &str = "10.96.0.11:80";

const DENIED: Reached = Err(Errno::EACCES);

/// Two services, with policies about the first one.
fn mesh(policies: &str) -> String {
    format!(
        r#"
        [services.web]
        vips = ["10.96.0.10", "fd00:96::10"]
        ports = ["80:8080"]
        endpoints = ["127.0.0.2"]

        [services.other]
        vips = ["10.96.0.11"]
        ports = ["80:8080"]
        endpoints = ["127.0.0.2"]

        {policies}
        "#
    )
}

fn policy(name: &str, action: &str, clients: &[String], more: &str) -> String {
    format!(
        "[policies.{name}]\naction = '{action}'\nservices = ['web']\nclients = {clients:?}\n{more}\n"
    )
}

fn cgroup(cgroup: &Cgroup) -> String {
    cgroup.path().display().to_string()
}

fn reached() -> Reached {
    Ok(address("127.0.0.2:8080"))
}

/// What a thread of another user and group reaches.
fn as_user(user: u32, group: u32, to: &'static str) -> Reached {
    let thread = thread::spawn(move || {
        // SAFETY: of this thread alone, which ends.
        unsafe {
            assert_eq!(nix::libc::syscall(nix::libc::SYS_setgid, group), 0);
            assert_eq!(nix::libc::syscall(nix::libc::SYS_setuid, user), 0);
        }
        call(to)
    });
    thread.join().unwrap()
}

#[test]
fn an_allow_policy_closes_its_services_to_everybody_else_over_both_families() {
    let Some(host) = Host::new() else { return };
    let _backends = Echo::everywhere(&[8080]);
    let below = |name| host.cgroup.child(name).unwrap();
    let (shop, batch) = (below("shop"), below("batch"));
    let nested = shop.child("nested").unwrap();
    let mut running = host.run(&mesh(&policy("shops", "allow", &[cgroup(&shop)], "")));
    for (client, expected) in [
        (&shop, reached()),
        (&nested, reached()),
        (&batch, DENIED),
        (&host.cgroup, DENIED),
    ] {
        for to in [VIP, VIP6] {
            let got = client.run(|| call(to)).unwrap();
            assert_eq!(got, expected, "{:?} to {to}", client.path());
        }
        // Nobody says anything of it.
        assert_eq!(client.run(|| call(OTHER)).unwrap(), reached());
    }
    assert_eq!(running.outcomes()[&Outcome::RefuseDenied], 4);
    let tables = running.snapshot().unwrap();
    let denied = &tables.counters.connects.authorizations;
    assert_eq!(denied.values().copied().collect::<Vec<_>>(), [4]);
    // The policy goes, and nothing is in the way.
    running.reload(&mesh(""));
    assert_eq!(batch.run(|| call(VIP)).unwrap(), reached());
}

#[test]
fn an_address_that_stands_for_none_is_that_of_an_endpoint_on_this_host() {
    let Some(host) = Host::new() else { return };
    let _backends = Echo::everywhere(&[8080]);
    let below = |name| host.cgroup.child(name).unwrap();
    let (shop, batch) = (below("shop"), below("batch"));
    let policy = policy("shops", "allow", &[cgroup(&shop)], "");
    let here = |protocol| {
        format!(
            "[services.web]\nvips = ['10.96.0.10', 'fd00:96::10']\nports = ['80:8080{protocol}']\n\
             endpoints = ['127.0.0.1', '127.0.0.3', '::1']\n{policy}"
        )
    };
    let mut running = host.run(&here(""));
    for (to, expected) in [
        ("0.0.0.0:8080", "127.0.0.1:8080"),
        ("[::ffff:0.0.0.0]:8080", "127.0.0.1:8080"),
        ("[::]:8080", "[::1]:8080"),
    ] {
        assert_eq!(batch.run(|| call(to)).unwrap(), DENIED, "{to}");
        assert_eq!(
            shop.run(|| call(to)).unwrap(),
            Ok(address(expected)),
            "{to}"
        );
    }
    // From where a socket is bound, it goes there.
    let bound = |own: &str| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&address(own).into()).unwrap();
        let connected = socket.connect(&address("0.0.0.0:8080").into());
        connected.map_err(|error| error.raw_os_error())
    };
    assert_eq!(
        batch.run(|| bound("127.0.0.3:0")).unwrap(),
        Err(Some(nix::libc::EACCES))
    );
    assert_eq!(batch.run(|| bound("127.0.0.2:0")).unwrap(), Ok(()));
    assert_eq!(shop.run(|| bound("127.0.0.3:0")).unwrap(), Ok(()));
    running.reload(&here("/udp"));
    let sent = |own: &str, to: &str| {
        let socket = UdpSocket::bind(own).unwrap();
        let sent = socket.send_to(b"?", to).map(drop);
        sent.map_err(|error| error.raw_os_error())
    };
    for (own, to) in [("0.0.0.0:0", "0.0.0.0:8080"), ("[::]:0", "[::]:8080")] {
        let denied = batch.run(|| sent(own, to)).unwrap();
        assert_eq!(denied, Err(Some(nix::libc::EACCES)), "{to}");
        assert_eq!(shop.run(|| sent(own, to)).unwrap(), Ok(()), "{to}");
    }
}

#[test]
fn a_deny_policy_wins_over_one_that_allows() {
    let Some(host) = Host::new() else { return };
    let _backends = Echo::everywhere(&[8080]);
    let shop = host.cgroup.child("shop").unwrap();
    let nested = shop.child("nested").unwrap();
    let allow = policy("shops", "allow", &[cgroup(&shop)], "");
    let deny = policy("nested", "deny", &[cgroup(&nested)], "");
    let _running = host.run(&mesh(&(allow + &deny)));
    assert_eq!(shop.run(|| call(VIP)).unwrap(), reached());
    assert_eq!(nested.run(|| call(VIP)).unwrap(), DENIED);
}

#[test]
fn users_and_groups_are_told_apart() {
    let Some(host) = Host::new() else { return };
    let _backends = Echo::everywhere(&[8080]);
    let allow = policy(
        "users",
        "allow",
        &["user:root".into(), "group:4242".into()],
        "",
    );
    let deny = policy("one", "deny", &["user:4243".into()], "");
    let _running = host.run(&mesh(&(allow + &deny)));
    assert_eq!(call(VIP), reached());
    assert_eq!(as_user(4241, 4241, VIP), DENIED);
    assert_eq!(as_user(4241, 4242, VIP), reached());
    assert_eq!(as_user(4243, 4242, VIP), DENIED);
}

#[test]
fn what_audit_mode_would_refuse_connects_and_is_counted() {
    let Some(host) = Host::new() else { return };
    let _backends = Echo::everywhere(&[8080]);
    let deny = policy("all", "deny", &["*".into()], "mode = 'audit'");
    let mut running = host.run(&mesh(&deny));
    assert_eq!(call(VIP), reached());
    assert_eq!(call(VIP6), reached());
    assert_eq!(running.outcomes()[&Outcome::RefuseDenied], 0);
    let tables = running.snapshot().unwrap();
    let audited = &tables.counters.connects.authorizations;
    assert_eq!(audited.values().copied().collect::<Vec<_>>(), [2]);
}

#[test]
fn a_connection_that_stands_goes_on_when_a_policy_comes() {
    let Some(host) = Host::new() else { return };
    let _backends = Echo::everywhere(&[8080]);
    let mut running = host.run(&mesh(""));
    let client = Client::tcp4();
    assert_eq!(client.connect(VIP), Ok(()));
    running.reload(&mesh(&policy("all", "deny", &["*".into()], "")));
    assert_eq!(call(VIP), DENIED);
    client.greeting();
    client.exchange("still here");
}
