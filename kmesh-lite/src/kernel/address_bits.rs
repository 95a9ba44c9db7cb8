//! A bit for each address that is ours, as the programs look it up.

use super::rows::Rows;
use kmesh_lite_common::Address;
use kmesh_lite_ebpf::bits;
use std::collections::BTreeMap;
use std::io;

/// The words of the bits.
pub struct AddressBits {
    words: Rows<u64>,
    /// Whether there may be bits of addresses that are gone. They cost a lookup, and mislead nobody.
    stale: bool,
}

impl AddressBits {
    pub fn new(words: Rows<u64>) -> Self {
        // What an earlier process left is not known.
        Self { words, stale: true }
    }

    fn place(&self, address: &Address) -> (u32, u64) {
        bits::place(bits::of(address, self.words.count() * u64::BITS))
    }

    /// Sets the bit of an address, before programs are to find it.
    pub fn set(&mut self, address: &Address) -> io::Result<()> {
        let (word, bit) = self.place(address);
        let there = self.words.get(word)?;
        match there & bit {
            0 => self.words.store(word, there | bit),
            _ => Ok(()),
        }
    }

    /// Whether programs look an address up at all.
    pub fn has(&self, address: &Address) -> bool {
        let (word, bit) = self.place(address);
        self.words.get(word).is_ok_and(|there| there & bit != 0)
    }

    /// An address is gone; its bit may be that of others.
    pub fn lost(&mut self) {
        self.stale = true;
    }

    /// Clears the bits that none of `addresses` has. No program may be running that saw others.
    pub fn keep_only(
        &mut self,
        addresses: impl FnOnce() -> io::Result<Vec<Address>>,
    ) -> io::Result<()> {
        if !self.stale {
            return Ok(());
        }
        let mut wanted: BTreeMap<u32, u64> = BTreeMap::new();
        for address in addresses()? {
            let (word, bit) = self.place(&address);
            *wanted.entry(word).or_default() |= bit;
        }
        for word in 0..self.words.count() {
            let wanted = wanted.get(&word).copied().unwrap_or_default();
            let there = self.words.get(word)?;
            if there & !wanted != 0 {
                self.words.store(word, there & wanted)?;
            }
        }
        self.stale = false;
        Ok(())
    }

    /// Lets go of the mapping.
    pub fn release(&mut self) {
        self.words.release();
    }
}
