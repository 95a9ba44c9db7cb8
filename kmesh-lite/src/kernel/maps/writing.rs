//! Carrying out operations of plans, without a choice.
//!
//! In: one operation at a time, and the generation that the plan leads to. Out: writes that no program that is
//! running can trip over.

use super::{KernelMaps, Readers};
use crate::kernel::bpf::{self, io_error};
use crate::kernel::connections::Gone;
use crate::kernel::counters;
use crate::kernel::keys::Keys;
use crate::model::Table;
use crate::plan::Op;
use crate::tables::{Declared, Key, Noun, Row, on_key, on_row, on_table};
use aya::maps::{HashMap, MapData, MapError};
use std::io;

impl KernelMaps {
    pub(super) fn carry_out(&mut self, op: &Op, generation: u64) -> io::Result<()> {
        match op {
            Op::Put(row) | Op::Retire(row) => {
                self.wait(Readers::MayHoldKeys)?;
                let live = matches!(op, Op::Put(_));
                match row {
                    Row::Address(_, row) => self.address_bits.set(&row.address)?,
                    Row::Backend(_, row) => self.backend_bits.set(&row.address)?,
                    _ => {}
                }
                on_row!(row, T(id, row) => {
                    let row: &<T as Noun>::Row = row;
                    let table = T::part_mut(&mut self.tables);
                    let index = T::index(*id);
                    table.rows.put(index, *row, generation, live)?;
                    match &mut table.ids {
                        Some(ids) if live => {
                            lead(ids, &T::key(row), index + 1, &mut self.readers)
                        }
                        _ => Ok(()),
                    }
                })
            }
            Op::PutRange(first, rows) => {
                self.wait(Readers::MayHoldRows)?;
                (*first..)
                    .zip(rows.iter())
                    .try_for_each(|(index, row)| self.endpoints.set(index, *row))
            }
            // A program that chose by the rows before may add one more to a number that was handed out
            // again, which a counter of connects can bear.
            Op::Count(ids) => {
                self.forget(&Gone {
                    endpoints: ids.iter().map(|id| id.index() + 1).collect(),
                    ..Gone::default()
                })?;
                ids.iter()
                    .try_for_each(|id| counters::reset(&mut self.endpoint_connects, id.index()))
            }
            Op::Commit => {
                // Where processors reorder loads, a program could see the new generation and old rows. One that
                // starts after a grace period cannot. On x86, whoever sees a store sees all that were
                // made before it, and programs read the generation before any row.
                if !cfg!(target_arch = "x86_64") {
                    bpf::grace_period()?;
                }
                self.settings.set_generation(generation)?;
                self.readers = Readers::MayHoldRows;
                Ok(())
            }
            Op::Free(row) => {
                self.wait(Readers::MayHoldRows)?;
                self.drop_key(&row.key())?;
                let id = row.index() + 1;
                let gone = match row {
                    Row::Service(..) => Some(&mut self.gone.services),
                    Row::Backend(..) => Some(&mut self.gone.backends),
                    Row::Waypoint(..) => Some(&mut self.gone.waypoints),
                    // No connection refers to them.
                    Row::Frontend(..)
                    | Row::Address(..)
                    | Row::Authorization(..)
                    | Row::Guard(..)
                    | Row::Rule(..)
                    | Row::Destination(..)
                    | Row::Source(..) => None,
                };
                if let Some(gone) = gone {
                    gone.insert(id);
                }
                self.free(row.table(), row.index())
            }
            Op::FreeSlot(table, index) => self.free(*table, *index),
            Op::Scrub(table, index) => {
                // The plan before the one for `generation` did not get to its commit.
                on_table!(table, T => {
                    let table = T::part_mut(&mut self.tables);
                    table.rows.scrub(*index, generation - 1)
                }, else Ok(()))
            }
            Op::DropKey(key) => self.drop_key(key),
            Op::PutCaller(cgroup, caller) => {
                self.wait(Readers::MayHoldKeys)?;
                put_key(&mut self.callers, *cgroup, *caller, &mut self.readers)
            }
            Op::CallerLevels(levels) => self.settings.set_caller_levels(*levels),
            Op::Accounting(on) => self.settings.set_accounting(*on),
            Op::DropCaller(cgroup) => {
                self.deleted_key();
                remove_key(&mut self.callers, cgroup)
            }
        }
    }

    fn free(&mut self, table: Table, index: u32) -> io::Result<()> {
        self.wait(Readers::MayHoldRows)?;
        if table == Table::Backends {
            self.backend_bits.lost();
        }
        on_table!(table, T => {
            let table = T::part_mut(&mut self.tables);
            table.rows.free(index)?;
            let mut counts = [&mut table.connects, &mut table.arrivals].into_iter().flatten();
            counts.try_for_each(|counts| counters::reset(counts, index))
        }, else Ok(()))
    }

    fn drop_key(&mut self, key: &Key) -> io::Result<()> {
        self.deleted_key();
        if let Key::Address(_) = key {
            self.address_bits.lost();
        }
        on_key!(key, T(key) => match &mut T::part_mut(&mut self.tables).ids {
            Some(ids) => ids.remove(key),
            None => Ok(()),
        })
    }

    fn deleted_key(&mut self) {
        self.readers = self.readers.max(Readers::MayHoldKeys);
    }
}

/// Makes a key lead to an id. Replacing frees the element that held the old one, like deleting it.
fn lead<K: aya::Pod>(ids: &mut Keys<K>, key: &K, id: u32, readers: &mut Readers) -> io::Result<()> {
    match ids.get(key) {
        Ok(Some(there)) if there == id => return Ok(()),
        Ok(Some(_)) => *readers = (*readers).max(Readers::MayHoldKeys),
        Ok(None) | Err(_) => {}
    }
    ids.insert(key, id)
}

/// Replacing the value of a key frees the element that held the old one, like deleting it.
fn put_key<K: aya::Pod, V: aya::Pod + PartialEq>(
    map: &mut HashMap<MapData, K, V>,
    key: K,
    value: V,
    readers: &mut Readers,
) -> io::Result<()> {
    match map.get(&key, 0) {
        Ok(there) if there == value => return Ok(()),
        Ok(_) => *readers = (*readers).max(Readers::MayHoldKeys),
        Err(_) => {}
    }
    map.insert(key, value, 0).map_err(io_error)
}

fn remove_key<K: aya::Pod, V: aya::Pod>(
    map: &mut HashMap<MapData, K, V>,
    key: &K,
) -> io::Result<()> {
    match map.remove(key) {
        Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
        Err(error) => match io_error(error) {
            absent if absent.kind() == io::ErrorKind::NotFound => Ok(()),
            error => Err(error),
        },
    }
}
