//! How much room tables are made with: as much as the mesh needs and some more, within its limits.
//!
//! A table has no room to give back while programs run on it, so tables only grow. Each time, the room at least
//! doubles: a mesh that grows row by row is moved to other tables as seldom as that.

use super::Tables;
use super::auto;
use super::room::needs;
use crate::model::{Limits, Mesh, Table};

/// Tables are not made smaller than this, unless their limit is.
const LEAST: u64 = 128;

/// The room that tables are made with which a mesh is about to be put into.
pub fn room_for(mesh: &Mesh) -> Limits {
    let (vips, _) = auto::vips(mesh, &Tables::default());
    let needs = needs(mesh, &vips);
    let need = |table| {
        let mut needs = needs.iter();
        needs.find_map(|(of, need)| (*of == table).then_some(*need as u64))
    };
    let limits = &mesh.limits;
    Limits::each(
        |table| roomy(need(table).unwrap_or_default(), limits.of(table)),
        limits.connections,
        limits.flows,
    )
}

/// The room of tables that take the place of some with the room `now`, where a mesh needs so many rows of the
/// kernel's tables. It did not fit into the table that is `lacking`, because of gaps if not for its size.
pub fn larger(
    now: Limits,
    limits: &Limits,
    lacking: Option<Table>,
    rows: impl Fn(Table) -> u64,
) -> Limits {
    let of = |table| {
        let (now, limit) = (now.of(table), limits.of(table));
        let need = rows(table).div_ceil(2);
        let wanted = roomy(need, limit);
        let grows = wanted > now || lacking == Some(table);
        let room = match grows {
            true => wanted.max(now.saturating_mul(2).min(limit)),
            false => now,
        };
        // A limit that was lowered takes nothing away from what is there.
        room.max(now).max(capped(need))
    };
    Limits::each(of, now.connections, now.flows)
}

fn roomy(need: u64, limit: u32) -> u32 {
    let more = (need + need / 4).next_power_of_two().max(LEAST);
    capped(more).min(limit)
}

fn capped(rows: u64) -> u32 {
    u32::try_from(rows).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grown(now: u32, limit: u32, lacking: Option<Table>, rows: u64) -> u32 {
        let each = |value| Limits::each(|_| value, 1, 1);
        larger(each(now), &each(limit), lacking, |_| rows).endpoints
    }

    #[test]
    fn an_empty_mesh_gets_small_tables_and_the_connections_of_its_limits() {
        let room = room_for(&Mesh::default());
        let Limits {
            connections, flows, ..
        } = Limits::default();
        assert_eq!(room, Limits::each(|_| LEAST as u32, connections, flows));
        let few = Mesh {
            limits: Limits::each(|_| 7, 1, 1),
            ..Mesh::default()
        };
        assert_eq!(room_for(&few), few.limits);
    }

    #[test]
    fn a_mesh_that_grows_row_by_row_moves_a_few_times() {
        let (mut now, mut moves) = (128, 0);
        for need in 1..=100_000_u64 {
            if need > u64::from(now) {
                let room = grown(now, 100_000, Some(Table::Endpoints), 2 * need);
                assert!(room >= 2 * now || room == 100_000, "{now} to {room}");
                now = room;
                moves += 1;
            }
        }
        assert_eq!((now, moves), (100_000, 10));
    }

    #[test]
    fn room_is_within_the_limit_and_never_less_than_there_is() {
        let lacking = Some(Table::Endpoints);
        assert_eq!(grown(128, 100_000, lacking, 10), 256);
        assert_eq!(grown(100_000, 100_000, lacking, 10), 100_000);
        assert_eq!(grown(100_000, 1_000, lacking, 10), 100_000);
        assert_eq!(grown(128, 200, None, 300), 200);
        assert_eq!(grown(128, 1_000, None, 10), 128);
        // What is taken by rows that go is needed, too, until they are gone.
        assert_eq!(grown(128, 200, None, 500), 250);
    }
}
