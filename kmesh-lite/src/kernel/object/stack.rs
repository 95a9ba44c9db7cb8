//! How much of the stack the programs take, as the oldest kernels count it: those of the machines that tests run on count
//! less, and would take what others refuse.

use super::load::OBJECT;
use object::{File, Object, ObjectSection, ObjectSymbol, RelocationTarget, SymbolKind};
use std::collections::BTreeMap;

/// Of the kernel (MAX_BPF_STACK), for all functions that are called at once.
const STACK: usize = 512;
/// A frame is rounded up to so much (`check_max_stack_depth` of kernels before 6.8).
const STEP: usize = 32;

/// An instruction (RFC 9669), of which a wide one takes the place of two.
struct Instruction {
    code: u8,
    target: u8,
    source: u8,
    offset: i16,
    immediate: i32,
}

/// The frame pointer.
const R10: u8 = 10;

impl Instruction {
    fn all(bytes: &[u8]) -> Vec<Self> {
        let (words, _) = bytes.as_chunks::<8>();
        let read = |word: &[u8; 8]| Self {
            code: word[0],
            target: word[1] & 15,
            source: word[1] >> 4,
            offset: i16::from_le_bytes([word[2], word[3]]),
            immediate: i32::from_le_bytes([word[4], word[5], word[6], word[7]]),
        };
        words.iter().map(read).collect()
    }

    /// How far below the frame pointer it reads or writes, or the address that it makes lies.
    fn depth(&self, before: Option<&Self>) -> i64 {
        let is_copy = |it: &Self| it.code == 0xbf && it.source == R10 && it.target == self.target;
        match self.code & 7 {
            1 if self.source == R10 => -i64::from(self.offset),
            2 | 3 if self.target == R10 => -i64::from(self.offset),
            7 if self.code == 0x07 && before.is_some_and(is_copy) => -i64::from(self.immediate),
            _ => 0,
        }
    }

    /// Whether it calls another function of ours.
    fn is_call(&self) -> bool {
        self.code == 0x85 && self.source == 1
    }
}

/// A place in the object: section and address.
type Place = (usize, u64);

/// What a function takes, and which ones it calls.
#[derive(Debug)]
struct Frame {
    name: String,
    bytes: usize,
    calls: Vec<Place>,
}

fn frames() -> BTreeMap<Place, Frame> {
    let file = File::parse(OBJECT).expect("an object");
    let functions = file.symbols().filter(|it| it.kind() == SymbolKind::Text);
    let frame = |symbol: object::Symbol<'_, '_>| {
        let index = symbol.section_index().expect("a section");
        let section = file.section_by_index(index).expect("a section");
        let (from, size) = (symbol.address(), symbol.size());
        let code = section.data().expect("its bytes");
        let code = Instruction::all(&code[from as usize..(from + size) as usize]);
        let called: BTreeMap<u64, _> = section.relocations().collect();
        let call = |(number, it): (usize, &Instruction)| {
            let at = from + number as u64 * 8;
            let next = i64::from(it.immediate) + 1;
            let Some(relocation) = called.get(&at) else {
                return (index.0, at.wrapping_add_signed(next * 8));
            };
            let RelocationTarget::Symbol(target) = relocation.target() else {
                panic!("a call of {relocation:?}");
            };
            let target = file.symbol_by_index(target).expect("a symbol");
            let within = match target.kind() {
                SymbolKind::Section => next as u64 * 8,
                _ => target.address(),
            };
            (target.section_index().expect("a section").0, within)
        };
        let numbered = || code.iter().enumerate();
        let depth = numbered().map(|(at, it)| it.depth(at.checked_sub(1).map(|at| &code[at])));
        let frame = Frame {
            name: symbol.name().expect("a name").to_owned(),
            bytes: depth.max().unwrap_or(0).max(1) as usize,
            calls: numbered()
                .filter(|(_, it)| it.is_call())
                .map(call)
                .collect(),
        };
        ((index.0, from), frame)
    };
    functions.map(frame).collect()
}

/// The most that a function and those that it calls take, with the names on the way.
fn deepest(frames: &BTreeMap<Place, Frame>, at: Place) -> (usize, Vec<&str>) {
    let Some(frame) = frames.get(&at) else {
        panic!("nothing is called at {at:?}");
    };
    let below = frame.calls.iter().map(|at| deepest(frames, *at)).max();
    let (bytes, mut names) = below.unwrap_or_default();
    names.push(&frame.name);
    (bytes + frame.bytes.next_multiple_of(STEP), names)
}

#[test]
fn every_program_fits_the_stack_of_every_kernel() {
    if OBJECT.is_empty() {
        return;
    }
    let frames = frames();
    let all: Vec<_> = frames.keys().map(|at| deepest(&frames, *at)).collect();
    assert!(all.iter().any(|(_, names)| names.contains(&"connect6")));
    for (bytes, names) in all {
        assert!(bytes <= STACK, "{bytes} bytes: {}", names.join(" < "));
    }
}
