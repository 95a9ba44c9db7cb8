//! A bit for each address that is ours, by a hash: it tells most addresses that are not at the cost of one
//! load, out of a table that is small enough to stay in the cache.

use kmesh_lite_common::Address;

/// How many bits there are for so many rows of addresses: a power of two, so that a full table has the
/// bits of an eighth of all other addresses set, and a small one hardly any.
pub const fn count(rows: u32) -> u32 {
    let bits = rows as u64 * 4;
    let largest = 1 << 31;
    if bits >= largest {
        return largest as u32;
    }
    match (bits as u32).next_power_of_two() {
        // Bits are stored in words.
        bits if bits < u64::BITS => u64::BITS,
        bits => bits,
    }
}

/// The bit of an address among `count` bits, a power of two.
#[inline(always)]
pub const fn of(address: &Address, count: u32) -> u32 {
    let [a, b, c, d] = address.words();
    let (high, low) = ((a as u64) << 32 | b as u64, (c as u64) << 32 | d as u64);
    // Odd numbers out of the digits of the golden ratio and of the square root of 2. The high bits of a
    // product depend on every bit of its factors.
    let mixed =
        (high ^ low.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0x6a09_e667_f3bc_c909);
    (mixed >> 33) as u32 & (count - 1)
}

/// Where a bit is: the index of its word, and the word with that bit alone.
#[inline(always)]
pub const fn place(bit: u32) -> (u32, u64) {
    (bit / u64::BITS, 1 << (bit % u64::BITS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_differ_little_have_bits_of_their_own() {
        let count = count(2 * 65_536);
        let mut set = std::collections::BTreeSet::new();
        let addresses = 10_000;
        for number in 0..addresses {
            let v4 = u32::from_be_bytes([10, 96, 0, 0]) + number;
            set.insert(of(&Address::from_v4_word(v4.to_be()), count));
        }
        // As many as chance would leave: of 524,288 bits, 10,000 draws meet some 95 times.
        assert!(set.len() > addresses as usize - 300, "{}", set.len());
    }

    #[test]
    fn there_are_words_of_bits_whatever_the_number_of_rows() {
        for rows in [0, 1, 2, 16, 17, 131_072, 32_000_000, u32::MAX] {
            let bits = count(rows);
            assert!(bits.is_power_of_two() && bits >= 64, "{rows}: {bits}");
        }
        assert_eq!(place(64), (1, 1));
        assert_eq!(place(130), (2, 4));
    }
}
