//! Tables that somebody else wrote to.

use kmesh_lite::maps::Memory;
use kmesh_lite::model::Facts;
use kmesh_lite::reconcile::{Left, apply, prepare, prepare_next};
use kmesh_lite::tables::Row as PlanRow;
use kmesh_lite_common::{
    Address, AddressId, BackendId, Caller, Endpoint, EndpointId, FrontendId, FrontendKey, Member,
    Port, Row, Slot, Stamp,
};
use kmesh_lite_ebpf::decide;
use kmesh_lite_tests::mesh::{connects, draft, facts, mesh_of, pair, plain, universe};
use kmesh_lite_tests::pass::{filled, pass, settled};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use std::collections::BTreeMap;

/// One thing done to the tables.
#[derive(Clone, Debug)]
enum Tamper {
    LoseAddressKey(Index),
    LoseFrontendKey(Index),
    /// A key that leads to some row, or to none.
    AddressKey(Index, u32),
    FrontendKey(Index, Index, u32),
    /// Overwrite a version of a row, or add a slot.
    Row(Table, Index, usize, Bytes),
    Slot(Table, u32, [Stamp; 2], Bytes),
    Stamp(Table, Index, usize, Stamp),
    Endpoint(Index, [u32; 4]),
    LoseEndpoint(Index),
    Generation(u64),
    CallerLevels(u32),
    Caller(u64, u32),
}

#[derive(Clone, Copy, Debug)]
enum Table {
    Waypoints,
    Backends,
    Services,
    Frontends,
    Addresses,
}

/// Four bytes to write, and where in the row.
#[derive(Clone, Copy, Debug)]
struct Bytes(usize, u32);

impl Bytes {
    fn write<T: Row>(self, row: &mut T) {
        let size = size_of::<T>();
        let at = self.0 % (size - 3);
        // SAFETY: a `Row` has no padding and is valid for every bit pattern.
        let bytes = unsafe { std::slice::from_raw_parts_mut((&raw mut *row).cast::<u8>(), size) };
        bytes[at..at + 4].copy_from_slice(&self.1.to_ne_bytes());
    }
}

fn number() -> impl Strategy<Value = u32> {
    prop_oneof![4 => 0..9u32, 1 => any::<u32>(), 1 => Just(u32::MAX)]
}

fn generation() -> impl Strategy<Value = u64> {
    let last = [u64::MAX, u64::MAX >> 1, 1 << 63, (1 << 62) + 1];
    prop_oneof![4 => 0..6u64, 1 => any::<u64>(), 1 => select(last.to_vec())]
}

fn stamp() -> impl Strategy<Value = Stamp> {
    prop_oneof![
        1 => Just(Stamp::NEVER),
        4 => (0..6u64, any::<bool>()).prop_map(|(generation, live)| Stamp::new(generation, live)),
        1 => (any::<u64>(), any::<bool>())
            .prop_map(|(generation, live)| Stamp::new(generation, live)),
    ]
}

fn tamper() -> impl Strategy<Value = Tamper> {
    use Table::*;
    let table = || select(vec![Waypoints, Backends, Services, Frontends, Addresses]);
    let bytes = || (0..512usize, number()).prop_map(|(at, value)| Bytes(at, value));
    let index = any::<Index>;
    prop_oneof![
        index().prop_map(Tamper::LoseAddressKey),
        index().prop_map(Tamper::LoseFrontendKey),
        (index(), number()).prop_map(|(key, id)| Tamper::AddressKey(key, id)),
        (index(), index(), number())
            .prop_map(|(address, port, id)| Tamper::FrontendKey(address, port, id)),
        (table(), index(), 0..2usize, bytes())
            .prop_map(|(table, at, version, bytes)| Tamper::Row(table, at, version, bytes)),
        (table(), 0..20u32, [stamp(), stamp()], bytes())
            .prop_map(|(table, at, stamps, bytes)| Tamper::Slot(table, at, stamps, bytes)),
        (table(), index(), 0..2usize, stamp())
            .prop_map(|(table, at, version, stamp)| Tamper::Stamp(table, at, version, stamp)),
        (index(), [number(), number(), number(), number()])
            .prop_map(|(at, row)| Tamper::Endpoint(at, row)),
        index().prop_map(Tamper::LoseEndpoint),
        generation().prop_map(Tamper::Generation),
        number().prop_map(Tamper::CallerLevels),
        (0..6u64, number()).prop_map(|(cgroup, caller)| Tamper::Caller(cgroup, caller)),
    ]
}

impl Tamper {
    fn carry_out(&self, maps: &mut Memory) {
        match self {
            Self::LoseAddressKey(at) => lose(&mut maps.tables.addresses.ids, at),
            Self::LoseFrontendKey(at) => lose(&mut maps.tables.frontends.ids, at),
            Self::AddressKey(key, id) => {
                if let Some(id) = AddressId::from_index(*id) {
                    maps.tables.addresses.ids.insert(address(key), id);
                }
            }
            Self::FrontendKey(key, port, id) => {
                if let Some(id) = FrontendId::from_index(*id) {
                    let connects = connects([address(key)]);
                    let asked = port.get(&connects);
                    let key = FrontendKey::new(asked.address, asked.port, asked.protocol);
                    maps.tables.frontends.ids.insert(key, id);
                }
            }
            Self::Row(table, at, version, bytes) => match table {
                Table::Waypoints => {
                    scribble(&mut maps.tables.waypoints.slots, at, *version, *bytes)
                }
                Table::Backends => scribble(&mut maps.tables.backends.slots, at, *version, *bytes),
                Table::Services => scribble(&mut maps.tables.services.slots, at, *version, *bytes),
                Table::Frontends => {
                    scribble(&mut maps.tables.frontends.slots, at, *version, *bytes)
                }
                Table::Addresses => {
                    scribble(&mut maps.tables.addresses.slots, at, *version, *bytes)
                }
            },
            Self::Slot(table, at, stamps, bytes) => match table {
                Table::Waypoints => add(&mut maps.tables.waypoints.slots, *at, *stamps, *bytes),
                Table::Backends => add(&mut maps.tables.backends.slots, *at, *stamps, *bytes),
                Table::Services => add(&mut maps.tables.services.slots, *at, *stamps, *bytes),
                Table::Frontends => add(&mut maps.tables.frontends.slots, *at, *stamps, *bytes),
                Table::Addresses => add(&mut maps.tables.addresses.slots, *at, *stamps, *bytes),
            },
            Self::Stamp(table, at, version, stamp) => match table {
                Table::Waypoints => {
                    stamp_on(&mut maps.tables.waypoints.slots, at, *version, *stamp)
                }
                Table::Backends => stamp_on(&mut maps.tables.backends.slots, at, *version, *stamp),
                Table::Services => stamp_on(&mut maps.tables.services.slots, at, *version, *stamp),
                Table::Frontends => {
                    stamp_on(&mut maps.tables.frontends.slots, at, *version, *stamp)
                }
                Table::Addresses => {
                    stamp_on(&mut maps.tables.addresses.slots, at, *version, *stamp)
                }
            },
            Self::Endpoint(at, [backend, alias, keep, weight]) => {
                let member = |index: u32| {
                    let index = index.min(u32::MAX - 1);
                    let backend = BackendId::from_index(index).expect("not the last");
                    let counter = EndpointId::from_index(index).expect("not the last");
                    let address = Address::from_v4_word(index);
                    let port = Some(Port::new(index as u16));
                    Member::new(backend, address, counter, port, index % 2 == 1)
                };
                let row = Endpoint {
                    own: member(*backend),
                    alias: member(*alias),
                    keep: *keep,
                    weight: *weight,
                };
                if let Some(there) = nth(&mut maps.endpoints, at) {
                    *there = row;
                }
            }
            Self::LoseEndpoint(at) => lose(&mut maps.endpoints, at),
            Self::Generation(generation) => maps.settings.generation = *generation,
            Self::CallerLevels(levels) => maps.settings.caller_levels = *levels,
            Self::Caller(cgroup, caller) => {
                maps.callers.insert(*cgroup, Caller(*caller));
            }
        }
    }
}

fn address(at: &Index) -> Address {
    let all: Vec<_> = universe().collect();
    *at.get(&all)
}

fn nth<'a, K: Ord, V>(map: &'a mut BTreeMap<K, V>, at: &Index) -> Option<&'a mut V> {
    let length = map.len();
    (length > 0).then(|| map.values_mut().nth(at.index(length)))?
}

fn lose<K: Ord + Copy, V>(map: &mut BTreeMap<K, V>, at: &Index) {
    if !map.is_empty() {
        let key = *map.keys().nth(at.index(map.len())).expect("it is inside");
        map.remove(&key);
    }
}

fn scribble<T: Row>(slots: &mut BTreeMap<u32, Slot<T>>, at: &Index, version: usize, bytes: Bytes) {
    if let Some(slot) = nth(slots, at) {
        bytes.write(&mut slot.rows[version]);
    }
}

/// A slot like one that is there, at another index.
fn add<T: Row>(slots: &mut BTreeMap<u32, Slot<T>>, at: u32, stamps: [Stamp; 2], bytes: Bytes) {
    if let Some(mut slot) = slots.values().next().copied() {
        slot.stamps = stamps;
        bytes.write(&mut slot.rows[0]);
        slots.insert(at, slot);
    }
}

fn stamp_on<T>(slots: &mut BTreeMap<u32, Slot<T>>, at: &Index, version: usize, stamp: Stamp) {
    if let Some(slot) = nth(slots, at) {
        slot.stamps[version] = stamp;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn one_pass_repairs_whatever_was_done_to_the_tables(
        draft in draft(),
        facts in facts(),
        tampers in prop::collection::vec(tamper(), 1..6),
    ) {
        let mesh = draft.mesh();
        let mut maps = filled(&mesh, &facts);
        for tamper in &tampers {
            tamper.carry_out(&mut maps);
        }
        for connect in connects(universe()) {
            decide(&maps, &connect);
        }
        // Nobody connected.
        maps.open.take();
        let prepared = prepare(&mut maps, &mesh, &facts).unwrap();
        // Neither may what shows the drift panic.
        drop((prepared.summary(), prepared.plan.to_string()));
        for (id, row) in &prepared.actual.tables.rows.services {
            drop(PlanRow::Service(*id, (*row).into()).to_string());
        }
        apply(&mut maps, &prepared).unwrap();
        settled(&mut maps, &mesh, &facts, &prepared.desired.tables);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// A small pass writes where everything is as the last one left it, or not at all.
    #[test]
    fn what_a_small_pass_does_not_see_the_next_full_one_repairs(
        (before, after) in pair(),
        facts in facts(),
        tampers in prop::collection::vec(tamper(), 1..4),
    ) {
        let (before, after) = (before.mesh(), after.mesh());
        let mut maps = Memory::new(before.limits);
        let left = Left::after(pass(&mut maps, &before, &facts), None);
        for tamper in &tampers {
            tamper.carry_out(&mut maps);
        }
        if let Some(small) = prepare_next(&mut maps, &left, &after, &facts).unwrap() {
            apply(&mut maps, &small).unwrap();
        }
        let prepared = prepare(&mut maps, &after, &facts).unwrap();
        apply(&mut maps, &prepared).unwrap();
        settled(&mut maps, &after, &facts, &prepared.desired.tables);
    }
}

/// What an operator reads when a key was deleted from outside.
#[test]
fn a_deleted_key_is_named_in_the_plan() {
    let mesh = mesh_of([("cart".to_owned(), plain("10.96.0.1", []))]);
    let facts = Facts::default();
    let mut maps = filled(&mesh, &facts);
    maps.tables.frontends.ids.clear();
    let prepared = prepare(&mut maps, &mesh, &facts).unwrap();
    assert_eq!(
        prepared.summary(),
        ["service cart: + frontend 10.96.0.1:80/tcp to port 8080"]
    );
    apply(&mut maps, &prepared).unwrap();
    settled(&mut maps, &mesh, &facts, &prepared.desired.tables);
}
