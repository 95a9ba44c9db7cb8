//! How likely the next connect ends at each endpoint of a range: what the draws of the programs come to.

use kmesh_lite_ebpf::{DRAWS, WALK};

/// An endpoint that may be drawn, in the order of the rows of its range.
#[derive(Clone, Copy, Debug)]
pub struct Drawn {
    /// Of the total of the range.
    pub parts: u32,
    pub weight: u32,
    /// Its open connections.
    pub open: u32,
    pub has_room: bool,
}

/// The share of each, where one is drawn by its parts, or the one of two with fewer open connections for its weight.
pub fn shares(drawn: &[Drawn], is_least: bool) -> Vec<f64> {
    let chances = match is_least {
        true => least(drawn),
        false => drawn.iter().map(|it| u128::from(it.parts)).collect(),
    };
    let total: u128 = chances.iter().sum();
    let with_room = chances.iter().zip(drawn).filter(|(_, it)| it.has_room);
    let taken: u128 = with_room.map(|(chance, _)| chance).sum();
    // What is drawn and has no room is drawn again, and after some draws they are asked in their order.
    let missed = match taken == total {
        true => 0.0,
        false => (1.0 - taken as f64 / total as f64).powi(DRAWS as i32),
    };
    let walked = match missed == 0.0 {
        true => vec![0.0; drawn.len()],
        false => walked(drawn),
    };
    let each = chances.iter().zip(drawn).zip(walked);
    each.map(|((chance, it), walked)| match it.has_room {
        true if taken == 0 => walked,
        true => *chance as f64 / taken as f64 * (1.0 - missed) + walked * missed,
        false => 0.0,
    })
    .collect()
}

/// How often each is the one of two, out of the square of all parts. Of two draws of the same, the second one is the
/// row that follows.
fn least(drawn: &[Drawn]) -> Vec<u128> {
    let load = |at: usize| (u64::from(drawn[at].open), u64::from(drawn[at].weight));
    let compare = |one: usize, other: usize| {
        let ((open, weight), (open_there, weight_there)) = (load(one), load(other));
        (open * weight_there).cmp(&(open_there * weight))
    };
    let parts = |at: usize| u128::from(drawn[at].parts);
    let mut order: Vec<_> = (0..drawn.len()).collect();
    order.sort_by(|one, other| compare(*one, *other).reverse());
    let mut chances = vec![0; drawn.len()];
    // The parts of all that have more connections for their weight.
    let mut more: u128 = 0;
    for same in order.chunk_by(|one, other| compare(*one, *other).is_eq()) {
        let of_same: u128 = same.iter().map(|at| parts(*at)).sum();
        for at in same {
            let as_first = more + of_same - parts(*at);
            chances[*at] += parts(*at) * (as_first + more);
        }
        more += of_same;
    }
    for at in 0..drawn.len() {
        let next = (at + 1) % drawn.len();
        let winner = match compare(next, at).is_lt() {
            true => next,
            false => at,
        };
        chances[winner] += parts(at) * parts(at);
    }
    chances
}

/// How likely each is the first one with room from a random one on.
fn walked(drawn: &[Drawn]) -> Vec<f64> {
    let count = drawn.len();
    let mut shares = vec![0.0; count];
    for (at, share) in shares.iter_mut().enumerate() {
        if drawn[at].has_room {
            let before = (1..count.min(WALK as usize)).map(|back| (at + count - back) % count);
            let full = before.take_while(|before| !drawn[*before].has_room);
            *share = (full.count() + 1) as f64;
        }
    }
    let all: f64 = shares.iter().sum();
    shares.iter().map(|share| share / all.max(1.0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(weight: u32, open: u32, has_room: bool) -> Drawn {
        Drawn {
            parts: weight,
            weight,
            open,
            has_room,
        }
    }

    fn of(drawn: &[(u32, u32, bool)], is_least: bool) -> Vec<f64> {
        let drawn = drawn.iter();
        let drawn: Vec<_> = drawn.map(|it| endpoint(it.0, it.1, it.2)).collect();
        let shares = shares(&drawn, is_least);
        assert!(
            (shares.iter().sum::<f64>() - 1.0).abs() < 1e-9,
            "{shares:?}"
        );
        let round = |share: &f64| (share * 1e4).round() / 1e4;
        shares.iter().map(round).collect()
    }

    #[test]
    fn of_two_that_are_drawn_the_one_with_fewer_connections_wins() {
        let room = true;
        // Two of two are always both of them.
        assert_eq!(of(&[(1, 3, room), (1, 2, room)], true), [0.0, 1.0]);
        assert_eq!(of(&[(3, 3, room), (1, 2, room)], true), [1.0, 0.0]);
        // Where nobody has fewer, the first of the two draws counts.
        assert_eq!(of(&[(1, 2, room), (3, 6, room)], true), [0.25, 0.75]);
        // One of three that has more is never the one of two.
        let three = [(1, 9, room), (1, 0, room), (1, 0, room)];
        assert_eq!(of(&three, true), [0.0, 0.5556, 0.4444]);
        assert_eq!(of(&[(5, 70, room)], true), [1.0]);
    }

    #[test]
    fn what_has_no_room_leaves_its_share_to_the_others() {
        let (room, full) = (true, false);
        assert_eq!(of(&[(1, 1, full), (1, 9, room)], true), [0.0, 1.0]);
        assert_eq!(of(&[(1, 1, full), (1, 9, room)], false), [0.0, 1.0]);
        assert_eq!(of(&[(1, 0, room), (3, 0, room)], false), [0.25, 0.75]);
        // 1 of 16 times all four draws are in vain, and the walk gives the one after the full ones more.
        let found = of(
            &[(1, 0, full), (1, 0, full), (1, 0, room), (1, 0, room)],
            false,
        );
        assert_eq!(found, [0.0, 0.0, 0.5156, 0.4844]);
    }
}
