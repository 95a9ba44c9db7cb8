//! What a question asks, and what every answer to it has.

use super::key;
use crate::api::{QueryKind, Transport};
use hickory_proto::op::{Edns, Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RecordType};
use hickory_proto::serialize::binary::{BinEncodable, BinEncoder};

/// A datagram that no network on the way has to split (DNS flag day 2020).
pub const PAYLOAD: u16 = 1_232;
/// What a client takes that says nothing of it.
const SHORT: u16 = 512;

/// One question to us.
#[derive(Clone, Debug)]
pub struct Asked {
    pub id: u16,
    /// In the case in which it was written.
    pub name: Name,
    pub key: Vec<u8>,
    pub kind: RecordType,
    pub class: DNSClass,
    pub recursion_desired: bool,
    pub authentic_data: bool,
    pub checking_disabled: bool,
    pub edns: Option<Extended>,
    pub transport: Transport,
}

/// What a client says by EDNS (RFC 6891).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extended {
    pub version: u8,
    /// The longest datagram that it takes.
    pub payload: u16,
    pub dnssec_ok: bool,
}

impl Asked {
    /// Of the bytes of a message.
    pub fn of(bytes: &[u8], transport: Transport) -> Option<Self> {
        Self::read(Message::from_vec(bytes).ok()?, transport)
    }

    /// Of a message that has one question.
    pub fn read(message: Message, transport: Transport) -> Option<Self> {
        let edns = message.edns.as_ref().map(|edns| Extended {
            version: edns.version(),
            payload: edns.max_payload(),
            dnssec_ok: edns.flags().dnssec_ok,
        });
        let metadata = message.metadata;
        let [query] = <[Query; 1]>::try_from(message.queries).ok()?;
        let (kind, class) = (query.query_type(), query.query_class());
        let name = query.name().clone();
        Some(Self {
            id: metadata.id,
            key: key::of(&name),
            name,
            kind,
            class,
            recursion_desired: metadata.recursion_desired,
            authentic_data: metadata.authentic_data,
            checking_disabled: metadata.checking_disabled,
            edns,
            transport,
        })
    }

    pub fn query_kind(&self) -> QueryKind {
        match self.kind {
            RecordType::A => QueryKind::A,
            RecordType::AAAA => QueryKind::Aaaa,
            RecordType::SRV => QueryKind::Srv,
            RecordType::PTR => QueryKind::Ptr,
            _ => QueryKind::Other,
        }
    }

    /// How long an answer may be.
    pub fn limit(&self) -> u16 {
        match (self.transport, self.edns) {
            (Transport::Tcp, _) => u16::MAX,
            (Transport::Udp, None) => SHORT,
            (Transport::Udp, Some(edns)) => edns.payload.clamp(SHORT, PAYLOAD),
        }
    }

    /// An answer to which records can be added.
    pub fn response(&self, code: ResponseCode) -> Message {
        let mut message = Message::response(self.id, OpCode::Query);
        message.metadata.recursion_desired = self.recursion_desired;
        message.metadata.recursion_available = true;
        message.metadata.checking_disabled = self.checking_disabled;
        message.metadata.response_code = code;
        message.add_query(self.query());
        if let Some(extended) = self.edns {
            message.set_edns(edns(extended.dnssec_ok));
        }
        message
    }

    fn query(&self) -> Query {
        let mut query = Query::query(self.name.clone(), self.kind);
        query.set_query_class(self.class);
        query
    }

    /// The whole answer that is nothing but a code.
    pub fn refusal(&self, code: ResponseCode) -> Vec<u8> {
        self.bytes(self.response(code))
    }

    /// An answer as it is sent. One that is too long has no records, and says so.
    pub fn bytes(&self, mut message: Message) -> Vec<u8> {
        if let Some(bytes) = fitting(&message, self.limit()) {
            return bytes;
        }
        // What is beside the answer can be asked for, too.
        message.additionals.clear();
        if let Some(bytes) = fitting(&message, self.limit()) {
            return bytes;
        }
        if self.transport == Transport::Tcp {
            // There is no longer way: the first ones are the best.
            while message.answers.len() > 1 {
                message.answers.truncate(message.answers.len() / 2);
                if let Some(bytes) = fitting(&message, self.limit()) {
                    return bytes;
                }
            }
        }
        message.answers.clear();
        message.authorities.clear();
        message.metadata.truncation = true;
        // A question, which came in as short a datagram, and nothing else.
        message.to_vec().unwrap_or_default()
    }

    /// The same question with another number, to be asked of an upstream. Only what is for the upstream is told on: other options
    /// of EDNS are between the client and us.
    pub fn onward(&self, id: u16, is_extended: bool) -> Vec<u8> {
        let mut message = Message::query();
        message.metadata.id = id;
        message.metadata.recursion_desired = self.recursion_desired;
        message.metadata.authentic_data = self.authentic_data;
        message.metadata.checking_disabled = self.checking_disabled;
        message.add_query(self.query());
        if is_extended {
            message.set_edns(edns(self.dnssec_ok()));
        }
        // A question that was read can be written.
        message.to_vec().unwrap_or_default()
    }

    pub fn dnssec_ok(&self) -> bool {
        self.edns.is_some_and(|edns| edns.dnssec_ok)
    }

    /// The question as on the wire.
    pub fn question(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.name.len() + 5);
        let mut encoder = BinEncoder::new(&mut bytes);
        // Names that were read can be written.
        let _ = self.query().emit(&mut encoder);
        bytes
    }
}

fn edns(dnssec_ok: bool) -> Edns {
    let mut edns = Edns::new();
    edns.set_max_payload(PAYLOAD).set_version(0);
    edns.set_dnssec_ok(dnssec_ok);
    edns
}

/// A message if it is no longer than that.
fn fitting(message: &Message, limit: u16) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(usize::from(PAYLOAD).min(limit.into()));
    let mut encoder = BinEncoder::new(&mut bytes);
    encoder.set_max_size(limit);
    message.emit(&mut encoder).ok()?;
    // The crate leaves out what does not fit, and says so.
    let is_cut = bytes.get(2).is_none_or(|flags| flags & 0x02 != 0);
    (!is_cut).then_some(bytes)
}
