//! Which maps there are: those that the mesh is turned into, and those that outlive them.

use crate::model::Table;
use crate::tables::{Declared, for_each_table};
use std::sync::LazyLock;

/// The settings, whose label says what the other maps are.
pub const SETTINGS: &str = "SETTINGS";
pub const ENDPOINTS: &str = "ENDPOINTS";
pub const CALLERS: &str = "CALLERS";
/// Where questions to DNS servers go, and whose.
pub const NAMESERVER: &str = "NAMESERVER";
pub const ASKERS: &str = "ASKERS";
pub const ADDRESS_BITS: &str = "ADDRESS_BITS";
pub const BACKEND_BITS: &str = "BACKEND_BITS";
pub const OUTCOMES: &str = "OUTCOMES";
pub const ENDPOINT_CONNECTS: &str = "ENDPOINT_CONNECTS";

/// The maps that the mesh is turned into.
pub static TABLES: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let sized = sized_maps().into_iter().map(|(map, _)| map);
    let others = [
        SETTINGS,
        CALLERS,
        NAMESERVER,
        ASKERS,
        OUTCOMES,
        ADDRESS_BITS,
        BACKEND_BITS,
    ];
    others.into_iter().chain(sized).collect()
});

/// The maps whose size follows from the room of a table, with that table.
pub fn sized_maps() -> Vec<(&'static str, Table)> {
    let mut maps = vec![
        (ENDPOINTS, Table::Endpoints),
        (ENDPOINT_CONNECTS, Table::Endpoints),
    ];
    for_each_table!(T => {
        let of_table = [Some(T::MAP), T::KEYS, T::CONNECTS, T::ARRIVALS];
        maps.extend(of_table.into_iter().flatten().map(|map| (map, T::TABLE)));
    });
    maps
}

/// Maps that outlive the tables: what sockets remember, by themselves and in the connection table,
/// which of them have a header pending, and what is told about them.
pub const SOCKETS: [&str; 18] = [
    ORIGINALS,
    PENDING,
    EVENTS,
    BUCKETS,
    CONNECTIONS,
    LIVES,
    TRAFFIC,
    DURATIONS,
    ARRIVALS,
    UNCOUNTED,
    TELLERS,
    MOMENTS,
    MOMENTS_LOST,
    ENDPOINT_OPEN,
    SERVICE_OPEN,
    CLIENTS,
    FLOWS,
    ASKED,
];
pub const ORIGINALS: &str = "ORIGINALS";
pub const PENDING: &str = "PENDING";
pub const EVENTS: &str = "EVENTS";
pub const BUCKETS: &str = "BUCKETS";
pub const CONNECTIONS: &str = "CONNECTIONS";
pub const LIVES: &str = "LIVES";
pub const TELLERS: &str = "TELLERS";
pub const MOMENTS: &str = "MOMENTS";
pub const MOMENTS_LOST: &str = "MOMENTS_LOST";
pub const TRAFFIC: &str = "TRAFFIC";
pub const DURATIONS: &str = "DURATIONS";
pub const ARRIVALS: &str = "ARRIVALS";
pub const UNCOUNTED: &str = "UNCOUNTED";
pub const ENDPOINT_OPEN: &str = "ENDPOINT_OPEN";
pub const SERVICE_OPEN: &str = "SERVICE_OPEN";
/// What is remembered of clients.
pub const CLIENTS: &str = "CLIENTS";
/// Where sockets that are not connected send, and whose answers they get.
pub const FLOWS: &str = "FLOWS";
pub const ASKED: &str = "ASKED";
