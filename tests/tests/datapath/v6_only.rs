//! IPv6 sockets that cannot be sent to an IPv4 endpoint.

use kmesh_lite_ebpf::Outcome;
use kmesh_lite_tests::client::{Client, address};
use kmesh_lite_tests::echo::Echo;
use kmesh_lite_tests::host::Host;
use nix::errno::Errno;

const MESH: &str = r#"
    [services.four]
    vips = ["fd00:96::10"]
    ports = ["80:8080", "53:5353/udp"]
    endpoints = ["127.0.0.2"]

    [services.six]
    vips = ["fd00:96::11"]
    ports = ["80:8080"]
    endpoints = ["::1"]
"#;

#[test]
fn a_socket_for_ipv6_alone_is_told_that_the_endpoint_is_unreachable() {
    let Some(host) = Host::new() else { return };
    let mut mesh = host.run(MESH);
    let _backends = [Echo::tcp("127.0.0.2:8080"), Echo::tcp("[::1]:8080")];
    let tcp = Client::tcp6().v6only().connect("[fd00:96::10]:80");
    assert_eq!(tcp, Err(Errno::EHOSTUNREACH));
    let udp = Client::udp6().v6only().connect("[fd00:96::10]:53");
    assert_eq!(udp, Err(Errno::EHOSTUNREACH));
    assert_eq!(mesh.outcomes()[&Outcome::RefuseFamily], 2);
    // An endpoint of IPv6 can be reached, and a socket for both families reaches either.
    for (client, to, lands) in [
        (Client::tcp6().v6only(), "[fd00:96::11]:80", "[::1]:8080"),
        (Client::tcp6(), "[fd00:96::10]:80", "127.0.0.2:8080"),
    ] {
        assert_eq!(client.connect(to), Ok(()));
        assert_eq!(client.greeting(), address(lands));
    }
    assert_eq!(mesh.outcomes()[&Outcome::RefuseFamily], 2);
}

#[test]
fn a_stream_that_is_bound_to_an_ipv6_address_is_told_so_too() {
    let Some(host) = Host::new() else { return };
    let mut mesh = host.run(MESH);
    let _backends = [Echo::tcp("127.0.0.2:8080"), Echo::tcp("[::1]:8080")];
    let bound = Client::tcp6().bind("[::1]:0").connect("[fd00:96::10]:80");
    assert_eq!(bound, Err(Errno::EHOSTUNREACH));
    assert_eq!(mesh.outcomes()[&Outcome::RefuseFamily], 1);
    // Neither is bound to one family.
    for own in ["[::]:0", "[::ffff:127.0.0.1]:0"] {
        let client = Client::tcp6().bind(own);
        assert_eq!(client.connect("[fd00:96::10]:80"), Ok(()), "{own}");
        assert_eq!(client.greeting(), address("127.0.0.2:8080"));
    }
    let client = Client::tcp6().bind("[::1]:0");
    assert_eq!(client.connect("[fd00:96::11]:80"), Ok(()));
}
