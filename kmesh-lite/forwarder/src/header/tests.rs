use super::*;
use proptest::prelude::*;
use std::net::IpAddr;

const BOTH: Accept = Accept {
    tlv: true,
    proxy_v2: true,
};

const TLV4: &[u8] = b"\x01\0\0\0\x06\x0a\x60\0\x0a\0\x50\xfe\0\0\0\0";
const TLV6: &[u8] = b"\x01\0\0\0\x12\xfd\0\0\x96\0\0\0\0\0\0\0\0\0\0\0\x10\x01\xbb\xfe\0\0\0\0";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const PROXY4: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\xa8\x01\x07\x0a\x60\0\x0a\x9c\x40\0\x50";
const PROXY6: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24\
    \xfd\0\0\x07\0\0\0\0\0\0\0\0\0\0\0\x07\
    \xfd\0\0\x96\0\0\0\0\0\0\0\0\0\0\0\x10\x9c\x40\x01\xbb";
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

fn header(source: Option<&str>, destination: &str, length: usize) -> Decoded {
    Decoded::Header(Header {
        source: source.map(|source| source.parse().unwrap()),
        destination: destination.parse().unwrap(),
        length,
    })
}

/// Checks the answer for whole bytes, and that each shorter piece asks for more.
fn check(bytes: &[u8], expected: Decoded) {
    for length in 0..bytes.len() {
        assert_eq!(
            decode(&bytes[..length], BOTH),
            Decoded::NeedMore,
            "the first {length} bytes"
        );
    }
    assert_eq!(decode(bytes, BOTH), expected);
    let more = [bytes, b"\x01 and what the client says"].concat();
    assert_eq!(decode(&more, BOTH), expected, "with payload");
}

fn check_malformed(parts: &[&[u8]], expected: Malformed) {
    check(&parts.concat(), Decoded::Malformed(expected));
}

#[test]
fn tlv_is_read_byte_for_byte() {
    assert_eq!((TLV4.len(), TLV6.len()), (16, 28));
    check(TLV4, header(None, "10.96.0.10:80", 16));
    check(TLV6, header(None, "[fd00:96::10]:443", 28));
}

#[test]
fn proxy_v2_is_read_byte_for_byte() {
    assert_eq!((PROXY4.len(), PROXY6.len()), (28, 52));
    let source = Some("192.168.1.7:40000");
    check(PROXY4, header(source, "10.96.0.10:80", 28));
    let source = Some("[fd00:7::7]:40000");
    check(PROXY6, header(source, "[fd00:96::10]:443", 52));
}

#[test]
fn unknown_tlvs_are_skipped() {
    let (address, end) = TLV4.split_at(11);
    let between = b"\x02\0\0\0\x03abc\x7f\0\0\0\0\0\0\0\0\x01\xfe";
    let bytes = [address, between, end].concat();
    check(&bytes, header(None, "10.96.0.10:80", 16 + between.len()));
}

#[test]
fn tlvs_of_proxy_v2_are_skipped() {
    let mut bytes = [PROXY4, b"\x04\0\x02no"].concat();
    bytes[15] = 12 + 5;
    check(
        &bytes,
        header(Some("192.168.1.7:40000"), "10.96.0.10:80", 33),
    );
}

#[test]
fn local_goes_nowhere_whatever_it_holds() {
    check(LOCAL, Decoded::Local);
    check(&[SIGNATURE, b"\x20\x11\0\x03abc"].concat(), Decoded::Local);
    check(&[SIGNATURE, b"\x20\xff\0\0"].concat(), Decoded::Local);
}

#[test]
fn a_header_that_is_not_accepted_is_refused_at_its_first_byte() {
    let neither = Accept {
        tlv: false,
        proxy_v2: false,
    };
    let refused = Decoded::Malformed(Malformed::NotAccepted);
    for bytes in [TLV4, PROXY4] {
        assert_eq!(decode(bytes, neither), refused);
        assert_eq!(decode(&bytes[..1], neither), refused);
    }
    let tlv = Accept {
        tlv: true,
        proxy_v2: false,
    };
    assert_eq!(decode(PROXY6, tlv), refused);
    assert_eq!(decode(TLV6, tlv), decode(TLV6, BOTH));
}

#[test]
fn every_reason_is_told_at_the_first_byte_that_shows_it() {
    let signature = SIGNATURE;
    check_malformed(&[b"G"], Malformed::Unknown);
    check_malformed(&[b"\x01\0\0\0\x07"], Malformed::AddressLength);
    check_malformed(&[b"\x01\xff\xff\xff\xff"], Malformed::AddressLength);
    check_malformed(&[&TLV4[..11], b"\x01\0\0\0\x06"], Malformed::SecondAddress);
    check_malformed(&[&TLV4[..11], b"\xfe\0\0\0\x01"], Malformed::EndLength);
    check_malformed(&[&TLV4[..11], b"\x02\0\0\x10\0"], Malformed::TooLong);
    check_malformed(&[&TLV4[..11], b"\x02\xff\xff\xff\xff"], Malformed::TooLong);
    // Empty triples up to the last byte leave no room for the end.
    let empty = b"\x02\0\0\0\0".repeat((LONGEST - 11) / 5);
    check_malformed(&[&TLV4[..11], &empty], Malformed::TooLong);
    check_malformed(&[b"\r\n\r\n\0\r\nQUIT\r"], Malformed::Signature);
    check_malformed(&[b"\r\r"], Malformed::Signature);
    check_malformed(&[signature, b"\x11"], Malformed::Version);
    check_malformed(&[signature, b"\x22"], Malformed::Command);
    check_malformed(&[signature, b"\x21\0"], Malformed::Unspecified);
    check_malformed(&[signature, b"\x21\x12"], Malformed::Udp);
    check_malformed(&[signature, b"\x21\x22"], Malformed::Udp);
    check_malformed(&[signature, b"\x21\x31"], Malformed::Unix);
    check_malformed(&[signature, b"\x21\x32"], Malformed::Unix);
    check_malformed(&[signature, b"\x21\x13"], Malformed::Family);
    check_malformed(&[signature, b"\x21\x11\0\x0b"], Malformed::TooShort);
    check_malformed(&[signature, b"\x21\x21\0\x23"], Malformed::TooShort);
    check_malformed(&[signature, b"\x21\x11\xff\xff"], Malformed::TooLong);
    check_malformed(&[signature, b"\x20\0\xff\xff"], Malformed::TooLong);
}

#[test]
fn the_longest_header_is_taken_and_one_byte_more_is_not() {
    let fill = |length: usize| {
        let head = [
            b"\x02".as_slice(),
            &u32::try_from(length).unwrap().to_be_bytes(),
        ]
        .concat();
        [&TLV4[..11], &head, &vec![7; length], &TLV4[11..]].concat()
    };
    let most = LONGEST - 21;
    assert_eq!(
        decode(&fill(most), BOTH),
        header(None, "10.96.0.10:80", LONGEST)
    );
    assert_eq!(
        decode(&fill(most + 1), BOTH),
        Decoded::Malformed(Malformed::TooLong)
    );

    let fill = |length: usize| {
        let mut bytes = [PROXY4, &vec![7; length - PROXY4.len()]].concat();
        bytes[14..16].copy_from_slice(&u16::try_from(length - 16).unwrap().to_be_bytes());
        bytes
    };
    assert_eq!(
        decode(&fill(LONGEST), BOTH),
        header(Some("192.168.1.7:40000"), "10.96.0.10:80", LONGEST)
    );
    assert_eq!(
        decode(&fill(LONGEST + 1), BOTH),
        Decoded::Malformed(Malformed::TooLong)
    );
}

#[test]
fn reasons_have_names_of_their_own() {
    let names: std::collections::BTreeSet<_> = Malformed::ALL
        .iter()
        .map(|reason| reason.as_str())
        .collect();
    assert_eq!(names.len(), Malformed::ALL.len());
}

fn encode_tlv(destination: SocketAddr, between: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let address = match destination.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let address = [address, destination.port().to_be_bytes().to_vec()].concat();
    let mut bytes = Vec::new();
    let mut put = |kind: u8, value: &[u8]| {
        bytes.push(kind);
        bytes.extend(u32::try_from(value.len()).unwrap().to_be_bytes());
        bytes.extend(value);
    };
    put(0x01, &address);
    between.iter().for_each(|(kind, value)| put(*kind, value));
    put(0xfe, &[]);
    bytes
}

fn encode_proxy_v2(source: SocketAddr, destination: SocketAddr, tlvs: &[u8]) -> Vec<u8> {
    let (family, addresses) = match (source.ip(), destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            (0x11, [source.octets(), destination.octets()].concat())
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            (0x21, [source.octets(), destination.octets()].concat())
        }
        _ => panic!("expected one family"),
    };
    let rest = [
        &addresses,
        &source.port().to_be_bytes()[..],
        &destination.port().to_be_bytes(),
        tlvs,
    ]
    .concat();
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[0x21, family], &length, &rest].concat()
}

/// Bytes that are a header, or were one before something happened to them, or never were.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let golden = prop::sample::select(vec![TLV4, TLV6, PROXY4, PROXY6, LOCAL]);
    let damaged = (
        golden,
        prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        prop::collection::vec(any::<u8>(), 0..40),
    )
        .prop_map(|(golden, changes, more)| {
            let mut bytes = golden.to_vec();
            for (index, byte) in changes {
                let index = index.index(bytes.len());
                bytes[index] = byte;
            }
            bytes.extend(more);
            bytes
        });
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..100),
        damaged.clone(),
        damaged
    ]
}

fn between() -> impl Strategy<Value = Vec<(u8, Vec<u8>)>> {
    let kind = any::<u8>().prop_filter("kinds that mean something", |kind| {
        ![0x01, 0xfe].contains(kind)
    });
    prop::collection::vec((kind, prop::collection::vec(any::<u8>(), 0..50)), 0..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn cutting_never_changes_the_answer(bytes in bytes(), tlv: bool, proxy_v2: bool) {
        let accept = Accept { tlv, proxy_v2 };
        let whole = decode(&bytes, accept);
        let mut decided = false;
        for length in 0..=bytes.len() {
            let piece = decode(&bytes[..length], accept);
            prop_assert!(piece == whole || piece == Decoded::NeedMore && !decided);
            decided |= piece != Decoded::NeedMore;
        }
        if let Decoded::Header(header) = whole {
            prop_assert!(header.length <= bytes.len());
            prop_assert_eq!(decode(&bytes[..header.length], accept), whole);
            prop_assert_eq!(decode(&bytes[..header.length - 1], accept), Decoded::NeedMore);
        }
    }

    #[test]
    fn enough_bytes_always_decide(bytes in bytes(), fill: u8) {
        let mut bytes = bytes;
        bytes.resize(LONGEST, fill);
        prop_assert_ne!(decode(&bytes, BOTH), Decoded::NeedMore);
    }

    #[test]
    fn tlv_comes_back(destination: SocketAddr, between in between(), payload: Vec<u8>) {
        let header = encode_tlv(destination, &between);
        let decoded = decode(&[&header[..], &payload].concat(), BOTH);
        // The header has neither flow nor scope.
        let destination = SocketAddr::new(destination.ip(), destination.port());
        let expected = Header { source: None, destination, length: header.len() };
        prop_assert_eq!(decoded, Decoded::Header(expected));
    }

    #[test]
    fn proxy_v2_comes_back(
        ips in prop_oneof![
            any::<[std::net::Ipv4Addr; 2]>().prop_map(|ips| ips.map(IpAddr::from)),
            any::<[std::net::Ipv6Addr; 2]>().prop_map(|ips| ips.map(IpAddr::from)),
        ],
        ports: [u16; 2],
        tlvs in prop::collection::vec(any::<u8>(), 0..300),
        payload: Vec<u8>,
    ) {
        let source = SocketAddr::new(ips[0], ports[0]);
        let destination = SocketAddr::new(ips[1], ports[1]);
        let header = encode_proxy_v2(source, destination, &tlvs);
        let decoded = decode(&[&header[..], &payload].concat(), BOTH);
        let expected = Header { source: Some(source), destination, length: header.len() };
        prop_assert_eq!(decoded, Decoded::Header(expected));
    }
}
