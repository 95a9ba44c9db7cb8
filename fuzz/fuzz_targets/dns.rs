//! Questions and answers of DNS come from anybody. The input is a question, or, behind a byte that says so, what an upstream answers to
//! one. Nothing panics, an answer is an answer to its question and no longer than the client takes, and names of the mesh are
//! nobody else's.

#![no_main]

use hickory_proto::op::{Message, MessageType};
use kmesh_lite::dns::{Asked, ForeignAnswer, Reply, Terms, Transport, Tree, answer};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

const ZONE: &[u8] = br#"{"revision": 1, "names": {
    "payments.mesh": {"addresses": [["10.96.0.10", "fd00::10"]]},
    "near.mesh": {"addresses": [["10.0.0.1", "10.0.0.2"], ["10.0.0.3"]]},
    "_http._tcp.payments.mesh": {"services": [{"priority": 0, "weight": 1, "port": 80, "target": "payments.mesh"}]},
    "*.shop.internal": {"addresses": [["10.96.0.11"]]},
    "10.0.96.10.in-addr.arpa": {"pointer": "payments.mesh"}
}}"#;
const TERMS: Terms = Terms {
    ttl: 5,
    negative_ttl: 5,
};
/// What a question asks whose answers are the input: A of `a.b`, with EDNS.
const QUESTION: &[u8] = b"\0\x07\x01\0\0\x01\0\0\0\0\0\x01\x01a\x01b\0\0\x01\0\x01\0\0\x29\x04\xd0\0\0\0\0\0\0";

static TREE: LazyLock<Tree> = LazyLock::new(|| Tree::read("mesh", ZONE).expect("a zone"));

fuzz_target!(|input: &[u8]| {
    let Some((&choice, bytes)) = input.split_first() else {
        return;
    };
    match choice {
        0 => answered(bytes),
        _ => {
            asked(bytes, Transport::Udp);
            asked(bytes, Transport::Tcp);
        }
    }
});

fn asked(bytes: &[u8], transport: Transport) {
    let reply = answer(&TREE, TERMS, bytes, transport, &mut |below| below / 2);
    match reply {
        Reply::Answer { bytes: told, .. } => {
            let read = Message::from_vec(&told).expect("an answer can be read");
            assert_eq!(read.metadata.message_type, MessageType::Response);
            assert_eq!(told[..2], bytes[..2]);
            assert!(told.len() <= 1_232 || transport == Transport::Tcp);
            if let Ok(question) = Message::from_vec(bytes) {
                assert!(read.queries.is_empty() || read.queries == question.queries);
            }
        }
        Reply::Forward(asked) => {
            assert!(!TREE.is_ours(&asked.key));
            Message::from_vec(&asked.onward(1, true)).expect("a question can be passed on");
        }
        Reply::Silence => {}
    }
}

fn answered(bytes: &[u8]) {
    let question = Message::from_vec(QUESTION).expect("a question");
    let asked = Asked::read(question, Transport::Udp).expect("a question");
    // Most have the right head.
    let mut whole = b"\0\x07\x81\x80\0\x01".to_vec();
    whole.extend_from_slice(bytes);
    for bytes in [&whole[..], bytes] {
        if let Ok(answer) = ForeignAnswer::read(bytes.to_vec(), &asked, 7, |key| TREE.is_ours(key))
        {
            let told = answer.tell(&asked, 3);
            assert!(told.len() <= 1_232 && told[..2] == [0, 7]);
        }
    }
}
