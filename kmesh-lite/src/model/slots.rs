//! How many slots a service lays out for each set of endpoints that clients are spread over by their hash.

use std::num::NonZeroU32;

/// Slots for so many endpoints at most. Steps are large, so that hardly any change of a file takes one: with another
/// number of slots nearly every client moves. The more slots an endpoint has, the fewer clients move that need not; it has
/// some eighty or more, until there are so many endpoints that the table would be too large.
const STEPS: [(usize, u32); 3] = [(12, 1_021), (100, 8_191), (6_500, 65_521)];
const LARGEST: u32 = 524_287;

/// The number of slots for a service of so many endpoints, which may say how many it wants at least. It is a prime,
/// because Maglev steps over all slots from any of them by any step; and no endpoint is without a slot.
pub fn slots(endpoints: usize, wanted: Option<NonZeroU32>) -> u32 {
    let step = STEPS.iter().find(|(most, _)| endpoints <= *most);
    let slots = match wanted {
        Some(wanted) => wanted.get(),
        None => step.map_or(LARGEST, |(_, slots)| *slots),
    };
    let endpoints = u32::try_from(endpoints).unwrap_or(u32::MAX / 2);
    let mut primes = (slots.max(endpoints).max(2)..).filter(|number| is_prime(*number));
    primes.next().unwrap_or(LARGEST)
}

/// The largest number of slots for so many endpoints that is no more than `room`; none where there is too little.
pub fn largest_slots(endpoints: usize, room: u64) -> Option<u32> {
    let least = u32::try_from(endpoints).ok()?.max(2);
    let most = u32::try_from(room).unwrap_or(u32::MAX);
    (least..=most).rev().find(|number| is_prime(*number))
}

fn is_prime(number: u32) -> bool {
    let mut divisors = (2..).take_while(|divisor| divisor * divisor <= number);
    number >= 2 && !divisors.any(|divisor| number.is_multiple_of(divisor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_primes_and_enough_for_every_endpoint() {
        for (endpoints, wanted, expected) in [
            (0, None, 1_021),
            (12, None, 1_021),
            (13, None, 8_191),
            (101, None, 65_521),
            (6_501, None, 524_287),
            (524_288, None, 524_309),
            (3, Some(1), 3),
            (4, Some(1), 5),
            (4, Some(1_000), 1_009),
            (2_000, Some(1_000), 2_003),
        ] {
            let wanted = wanted.and_then(NonZeroU32::new);
            assert_eq!(
                slots(endpoints, wanted),
                expected,
                "{endpoints}, {wanted:?}"
            );
        }
    }

    #[test]
    fn the_largest_number_of_slots_that_fits_is_the_one_that_is_taken() {
        for (endpoints, room) in [(0, 2), (3, 3), (4, 100_000), (90, 100), (2_000, 999_999)] {
            let largest = largest_slots(endpoints, room).unwrap();
            let wanted = NonZeroU32::new(largest);
            assert_eq!(slots(endpoints, wanted), largest);
            let more = slots(endpoints, NonZeroU32::new(largest + 1));
            assert!(u64::from(more) > room, "{endpoints}, {room}");
        }
        assert_eq!(largest_slots(90, 96), None);
        assert_eq!(largest_slots(5, 1), None);
    }
}
