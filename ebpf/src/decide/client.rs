//! From a client to numbers that are always the same for it.

use kmesh_lite_common::Address;

/// 32 bits for a client, others for each `attempt`: the finalizer of SplitMix64 (Steele, Lea, Flood, 2014).
#[inline(always)]
pub fn mixed(client: u64, attempt: u32) -> u32 {
    let word = client.wrapping_add((attempt as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (word >> 32) as u32
}

/// A client that is known by its address. The same on hosts of either byte order.
#[inline(always)]
pub fn at_address(address: &Address) -> u64 {
    let [a, b, c, d] = address.words().map(u32::from_be);
    let high = ((a as u64) << 32) | b as u64;
    let low = ((c as u64) << 32) | d as u64;
    high.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ low
}
