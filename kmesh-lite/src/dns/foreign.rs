//! What an upstream said, to be passed on as it is: who knows less of records than the two ends must not change them. So this walks
//! over the records, and parses nothing of them but times.

use super::asked::{Asked, PAYLOAD};
use std::ops::Range;
use std::time::Duration;

const HEAD: usize = 12;
/// Flags of the third byte of a message, and of the fourth.
const IS_ANSWER: u8 = 0x80;
const OPCODE: u8 = 0x78;
const TRUNCATED: u8 = 0x02;
const RECURSION_DESIRED: u8 = 0x01;
const AUTHENTIC_DATA: u8 = 0x20;
const CHECKING_DISABLED: u8 = 0x10;
const RECURSION_AVAILABLE: u8 = 0x80;
const CODE: u8 = 0x0f;

const NO_ERROR: u8 = 0;
const FORMAT_ERROR: u8 = 1;
const SERVER_FAILURE: u8 = 2;
const NO_SUCH_NAME: u8 = 3;
const NOT_IMPLEMENTED: u8 = 4;
const REFUSED: u8 = 5;

/// The kind and class of a question.
const KIND: usize = 4;
const SOA: u16 = 6;
const OPT: u16 = 41;
/// Serial, refresh, retry, expire and minimum: the end of an SOA record.
const SOA_TIMES: usize = 20;

/// For no longer is an answer remembered, whatever it says.
const LONGEST: u32 = 86_400;
/// The same of the word that there is nothing (RFC 2308, 5).
const LONGEST_NOTHING: u32 = 10_800;
/// A longer name does not exist.
const NAME: usize = 255;

/// The answer of an upstream, without what is between it and us.
#[derive(Debug, PartialEq, Eq)]
pub struct ForeignAnswer {
    /// Without the OPT record, and what stands behind that.
    bytes: Vec<u8>,
    /// Where the question ends.
    question: usize,
    /// Where times to live are.
    times: Vec<usize>,
    additionals: u16,
    /// The rest of the code, from the OPT record.
    code_high: u8,
    /// For how long it may be remembered, in seconds.
    lasts: Option<u32>,
}

/// Why an answer is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// It may be forged; the answer may come behind it.
    #[error("an answer to another question")]
    Stray,
    #[error("an answer that cannot be read")]
    Malformed,
    /// By TCP there may be all of it.
    #[error("an answer that is cut off")]
    Truncated,
    /// Nobody else gives records to names of the mesh.
    #[error("records for a name of the mesh")]
    OfTheMesh,
}

impl ForeignAnswer {
    /// Of bytes that came from an upstream that was sent `asked` with the number `id`. `is_ours` knows names of the mesh by
    /// their keys.
    pub fn read(
        mut bytes: Vec<u8>,
        asked: &Asked,
        id: u16,
        is_ours: impl Fn(&[u8]) -> bool,
    ) -> Result<Self, Flaw> {
        let head = bytes.get(..HEAD).ok_or(Flaw::Stray)?;
        if number(head, 0) != Some(id) || head[2] & IS_ANSWER == 0 || head[2] & OPCODE != 0 {
            return Err(Flaw::Stray);
        }
        let (flags, code) = (head[2], head[3] & CODE);
        let counts = [4, 6, 8, 10].map(|at| number(head, at).unwrap_or_default());
        let [questions, answers, authorities, additionals] = counts;
        let asked = asked.question();
        let question = HEAD + asked.len();
        // The case is of the name alone.
        let is_same = bytes.get(HEAD..question).is_some_and(|it| {
            let (name, kind) = it.split_at(it.len() - KIND);
            let (asked, asked_kind) = asked.split_at(asked.len() - KIND);
            name.eq_ignore_ascii_case(asked) && kind == asked_kind
        });
        if questions != 1 || !is_same {
            // A server that does not understand the question may leave it out.
            return match questions == 0 && ![NO_ERROR, NO_SUCH_NAME].contains(&code) {
                true => Ok(Self::code(&bytes, &asked, code)),
                false => Err(Flaw::Stray),
            };
        }
        if flags & TRUNCATED != 0 {
            return Err(Flaw::Truncated);
        }
        let mut this = Self {
            bytes: Vec::new(),
            question,
            times: Vec::new(),
            additionals: 0,
            code_high: 0,
            lasts: None,
        };
        let is_nothing = code == NO_SUCH_NAME || answers == 0;
        let (mut lasts, mut of_nothing) = (u32::MAX, None);
        let (mut at, mut name) = (question, Vec::with_capacity(NAME));
        let others = u32::from(answers) + u32::from(authorities);
        for place in 0..others + u32::from(additionals) {
            let record = Record::read(&bytes, at, &mut name).ok_or(Flaw::Malformed)?;
            let is_additional = place >= others;
            if record.kind == OPT && is_additional {
                this.code_high = record.time.to_be_bytes()[0];
                bytes.truncate(at);
                break;
            }
            if is_ours(&name) {
                return Err(Flaw::OfTheMesh);
            }
            this.times.push(record.time_at);
            lasts = lasts.min(record.time);
            if record.kind == SOA && place >= u32::from(answers) && !is_additional {
                let minimum = record.data.end - 4;
                if record.data.len() < SOA_TIMES {
                    return Err(Flaw::Malformed);
                }
                let minimum = long(&bytes, minimum).ok_or(Flaw::Malformed)?;
                of_nothing = Some(record.time.min(minimum).min(LONGEST_NOTHING));
            }
            this.additionals += u16::from(is_additional);
            at = record.data.end;
        }
        bytes.truncate(at);
        this.bytes = bytes;
        let is_known = this.code_high == 0 && [NO_ERROR, NO_SUCH_NAME].contains(&code);
        let lasts = match (is_nothing, of_nothing) {
            // Nobody says for how long.
            (true, None) => 0,
            (_, of_nothing) => lasts.min(of_nothing.unwrap_or(LONGEST)).min(LONGEST),
        };
        this.lasts = (is_known && lasts > 0).then_some(lasts);
        Ok(this)
    }

    /// Of one that has a code, and not even the question.
    fn code(head: &[u8], question: &[u8], code: u8) -> Self {
        let mut bytes = head[..HEAD].to_vec();
        bytes[3] = (bytes[3] & !CODE) | code;
        bytes[4..].fill(0);
        bytes[5] = 1;
        bytes.extend_from_slice(question);
        Self {
            question: bytes.len(),
            bytes,
            times: Vec::new(),
            additionals: 0,
            code_high: 0,
            lasts: None,
        }
    }

    /// For how long it may be remembered, if at all.
    pub fn lasts(&self) -> Option<Duration> {
        self.lasts.map(|lasts| Duration::from_secs(lasts.into()))
    }

    pub fn length(&self) -> usize {
        self.bytes.len()
    }

    /// Whether somebody else may know more.
    pub fn trouble(&self) -> Option<&'static str> {
        match self.bytes[3] & CODE {
            FORMAT_ERROR => Some("Form Error"),
            SERVER_FAILURE => Some("Server Failure"),
            NOT_IMPLEMENTED => Some("Not Implemented"),
            REFUSED => Some("Query Refused"),
            _ => None,
        }
    }

    /// Whether that may be about EDNS, of which the server is too old to know.
    pub fn may_be_too_old(&self) -> bool {
        [FORMAT_ERROR, NOT_IMPLEMENTED].contains(&(self.bytes[3] & CODE))
    }

    /// The same as an answer to `asked`, which asks for the same; `age` seconds later.
    pub fn tell(&self, asked: &Asked, age: u32) -> Vec<u8> {
        let limit = usize::from(asked.limit());
        let question = asked.question();
        let mut bytes = Vec::with_capacity(self.bytes.len() + 11);
        bytes.extend_from_slice(&self.bytes);
        if bytes.len() + if asked.edns.is_some() { 11 } else { 0 } > limit {
            bytes.truncate(self.question);
            bytes[6..HEAD].fill(0);
            bytes[2] |= TRUNCATED;
        } else {
            bytes[10..HEAD].copy_from_slice(&self.additionals.to_be_bytes());
            for at in &self.times {
                let time = long(&bytes, *at).unwrap_or_default().saturating_sub(age);
                bytes[*at..at + 4].copy_from_slice(&time.to_be_bytes());
            }
        }
        // Names that are the question's are told in its case, as they point to it.
        bytes[HEAD..self.question].copy_from_slice(&question);
        bytes[..2].copy_from_slice(&asked.id.to_be_bytes());
        let desired = if asked.recursion_desired {
            RECURSION_DESIRED
        } else {
            0
        };
        bytes[2] = IS_ANSWER | (bytes[2] & TRUNCATED) | desired;
        let disabled = if asked.checking_disabled {
            CHECKING_DISABLED
        } else {
            0
        };
        bytes[3] = (bytes[3] & (RECURSION_AVAILABLE | AUTHENTIC_DATA | CODE)) | disabled;
        if asked.edns.is_some() {
            let flags = if asked.dnssec_ok() { 0x80 } else { 0 };
            let [size, rest] = PAYLOAD.to_be_bytes();
            bytes.extend_from_slice(&[0, 0, OPT as u8, size, rest]);
            bytes.extend_from_slice(&[self.code_high, 0, flags, 0, 0, 0]);
            let additionals = number(&bytes, 10).unwrap_or_default() + 1;
            bytes[10..HEAD].copy_from_slice(&additionals.to_be_bytes());
        }
        bytes
    }
}

/// What of a record has to be known.
struct Record {
    kind: u16,
    time: u32,
    time_at: usize,
    data: Range<usize>,
}

impl Record {
    /// The record that begins at a place, and the key of its name.
    fn read(bytes: &[u8], at: usize, name: &mut Vec<u8>) -> Option<Self> {
        let at = read_name(bytes, at, name)?;
        let length = usize::from(number(bytes, at + 8)?);
        let data = at + 10..at + 10 + length;
        bytes.get(data.clone())?;
        Some(Self {
            kind: number(bytes, at)?,
            time: long(bytes, at + 4)?,
            time_at: at + 4,
            data,
        })
    }
}

/// Reads the name that begins at a place, and tells where it ends there.
fn read_name(bytes: &[u8], begin: usize, name: &mut Vec<u8>) -> Option<usize> {
    name.clear();
    let (mut at, mut end, mut lowest) = (begin, None, begin);
    loop {
        let length = *bytes.get(at)?;
        match length >> 6 {
            0 if length == 0 => return Some(end.unwrap_or(at + 1)),
            0 => {
                let label = bytes.get(at + 1..at + 1 + usize::from(length))?;
                name.push(length);
                name.extend(label.iter().map(u8::to_ascii_lowercase));
                at += 1 + label.len();
                if name.len() >= NAME {
                    return None;
                }
            }
            3 => {
                let to = usize::from(number(bytes, at)? & 0x3fff);
                end.get_or_insert(at + 2);
                // Only back, so there is an end.
                if to >= lowest || to < HEAD {
                    return None;
                }
                (at, lowest) = (to, to);
            }
            _ => return None,
        }
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at + 2)?;
    Some(u16::from_be_bytes(bytes.try_into().ok()?))
}

fn long(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}
