//! One question, and what is said to it.

use super::asked::Asked;
use super::key;
use super::tree::{Found, Held, Tree};
use crate::api::{QueryKind, QueryOutcome, Transport};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, NS, PTR, SOA, SRV};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::LazyLock;

/// The head of a message.
const HEAD: usize = 12;
/// Flags in its third byte.
const IS_ANSWER: u8 = 0x80;
const OPCODE: u8 = 0x78;
const RECURSION_DESIRED: u8 = 0x01;
/// For who would copy the domain, which nobody does: RFC 1912 and RFC 6303.
const REFRESH: i32 = 3_600;
const RETRY: i32 = 1_200;
const EXPIRE: i32 = 604_800;

/// Nobody reads mail about it (RFC 6303).
static NOBODY: LazyLock<Name> =
    LazyLock::new(|| Name::from_ascii("nobody.invalid.").unwrap_or_else(|_| Name::root()));

/// For how long answers count, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    pub ttl: u32,
    /// The word that there is nothing.
    pub negative_ttl: u32,
}

/// What becomes of a question.
#[derive(Debug)]
pub enum Reply {
    Answer {
        bytes: Vec<u8>,
        kind: QueryKind,
        outcome: QueryOutcome,
    },
    /// Others know.
    Forward(Box<Asked>),
    /// It is none, and what sent it might answer an answer.
    Silence,
}

/// What is said to the bytes of a question. `draw` gives some number below the one that it is given.
pub fn answer(
    tree: &Tree,
    terms: Terms,
    bytes: &[u8],
    transport: Transport,
    draw: &mut impl FnMut(usize) -> usize,
) -> Reply {
    let Some(head) = bytes.get(..HEAD) else {
        return Reply::Silence;
    };
    if head[2] & IS_ANSWER != 0 {
        return Reply::Silence;
    }
    if head[2] & OPCODE != 0 {
        return bare(head, ResponseCode::NotImp, QueryOutcome::Refused);
    }
    let Some(asked) = Asked::of(bytes, transport) else {
        return bare(head, ResponseCode::FormErr, QueryOutcome::Malformed);
    };
    if let Some(code) = refused(&asked) {
        return Reply::Answer {
            bytes: asked.refusal(code),
            kind: asked.query_kind(),
            outcome: QueryOutcome::Refused,
        };
    }
    let found = tree.find(&asked.key);
    let code = match found {
        Found::Foreign => return Reply::Forward(Box::new(asked)),
        Found::Nothing => ResponseCode::NXDomain,
        _ => ResponseCode::NoError,
    };
    let mut message = asked.response(code);
    message.metadata.authoritative = true;
    let (held, is_apex) = match found {
        Found::Held(held) => (Some(held), false),
        Found::Apex(held) => (held, true),
        _ => (None, false),
    };
    let mut data = Vec::new();
    if is_apex {
        of_apex(tree, terms, asked.kind, &mut data);
    }
    if let Some(held) = held {
        of_name(held, asked.kind, draw, &mut data);
    }
    let outcome = match (data.is_empty(), code) {
        (false, _) => QueryOutcome::Answered,
        (true, ResponseCode::NXDomain) => QueryOutcome::Nxdomain,
        (true, _) => QueryOutcome::Nodata,
    };
    if data.is_empty() {
        // For how long that counts (RFC 2308). A name outside of the domain is a zone of its own.
        let owner = match tree.is_in_domain(&asked.key) {
            true => tree.apex(),
            false => asked.name.clone(),
        };
        let soa = RData::SOA(soa(&owner, tree, terms));
        message.add_authority(Record::from_rdata(owner, terms.negative_ttl, soa));
    }
    if asked.kind == RecordType::SRV
        && let Some(held) = held
    {
        of_targets(tree, terms, held, draw, &mut message);
    }
    let record = |data| Record::from_rdata(asked.name.clone(), terms.ttl, data);
    message.add_answers(data.into_iter().map(record));
    Reply::Answer {
        kind: asked.query_kind(),
        outcome,
        bytes: asked.bytes(message),
    }
}

/// Nothing but a head and a code.
fn bare(head: &[u8], code: ResponseCode, outcome: QueryOutcome) -> Reply {
    let flags = IS_ANSWER | (head[2] & (OPCODE | RECURSION_DESIRED));
    let mut bytes = vec![head[0], head[1], flags, code.low()];
    bytes.resize(HEAD, 0);
    Reply::Answer {
        bytes,
        kind: QueryKind::Other,
        outcome,
    }
}

/// Why a question is not answered, whatever it is about.
fn refused(asked: &Asked) -> Option<ResponseCode> {
    if asked.edns.is_some_and(|edns| edns.version > 0) {
        return Some(ResponseCode::BADVERS);
    }
    if asked.class != DNSClass::IN {
        return Some(ResponseCode::Refused);
    }
    match u16::from(asked.kind) {
        // Copies of a zone, and what is about a message and no name (RFC 6895, 3.1): OPT, and 128 to 254.
        0 | 41 | 128..=254 => Some(ResponseCode::Refused),
        _ => None,
    }
}

fn of_apex(tree: &Tree, terms: Terms, kind: RecordType, data: &mut Vec<RData>) {
    let apex = tree.apex();
    let is_any = kind == RecordType::ANY;
    if is_any || kind == RecordType::SOA {
        data.push(RData::SOA(soa(&apex, tree, terms)));
    }
    if is_any || kind == RecordType::NS {
        // The server has no name: RFC 6303 has it like this.
        data.push(RData::NS(NS(apex)));
    }
}

fn soa(owner: &Name, tree: &Tree, terms: Terms) -> SOA {
    // As much of the number as there is room for: it is other than before.
    let serial = tree.revision() as u32;
    let (nobody, negative_ttl) = (NOBODY.clone(), terms.negative_ttl);
    SOA::new(
        owner.clone(),
        nobody,
        serial,
        REFRESH,
        RETRY,
        EXPIRE,
        negative_ttl,
    )
}

fn of_name(
    held: &Held,
    kind: RecordType,
    draw: &mut impl FnMut(usize) -> usize,
    data: &mut Vec<RData>,
) {
    let is_any = kind == RecordType::ANY;
    let v4 = is_any || kind == RecordType::A;
    let v6 = is_any || kind == RecordType::AAAA;
    if v4 || v6 {
        of_addresses(held, v4, v6, draw, data);
    }
    if is_any || kind == RecordType::SRV {
        data.extend(held.services.iter().map(|srv| {
            let target = srv.target.clone();
            RData::SRV(SRV::new(srv.priority, srv.weight, srv.port, target))
        }));
    }
    if let Some(pointer) = &held.pointer
        && (is_any || kind == RecordType::PTR)
    {
        data.push(RData::PTR(PTR((**pointer).clone())));
    }
}

/// Those that are equally good in another order each time.
fn of_addresses(
    held: &Held,
    v4: bool,
    v6: bool,
    draw: &mut impl FnMut(usize) -> usize,
    data: &mut Vec<RData>,
) {
    for list in &held.addresses {
        let begin = data.len();
        data.extend(list.iter().filter_map(|address| match address {
            IpAddr::V4(address) => v4.then_some(RData::A(A(*address))),
            IpAddr::V6(address) => v6.then_some(RData::AAAA(AAAA(*address))),
        }));
        let drawn = &mut data[begin..];
        for place in (1..drawn.len()).rev() {
            drawn.swap(place, draw(place + 1).min(place));
        }
    }
}

/// What whoever asks for SRV records asks for next.
fn of_targets(
    tree: &Tree,
    terms: Terms,
    held: &Held,
    draw: &mut impl FnMut(usize) -> usize,
    message: &mut Message,
) {
    let mut told = HashSet::new();
    for srv in &held.services {
        let key = key::of(&srv.target);
        if let Found::Held(held) = tree.find(&key)
            && told.insert(key)
        {
            let mut data = Vec::new();
            of_addresses(held, true, true, draw, &mut data);
            let record = |data| Record::from_rdata(srv.target.clone(), terms.ttl, data);
            message.add_additionals(data.into_iter().map(record));
        }
    }
}
