//! Every table of slots, declared once: its map, its id, its row and the key by which a row is known.
//!
//! Everything that enumerates tables follows from here: plans, drift, the tables in memory and in the
//! kernel, the maps of the object, dumps. How a row is built and how it reads stands in the file of its
//! noun; CONTRIBUTING lists the files that a new table touches.

use super::auto::Vips;
use super::fields::Fields;
use super::id_map::IdMap;
use crate::model::{Mesh, Table};
use kmesh_lite_common::{
    Address, AddressId, AddressRow, Authorization, AuthorizationId, Backend, BackendId,
    Destination, DestinationId, Frontend, FrontendId, FrontendKey, Guard, GuardId, Name,
    Row as RowType, Rule, RuleId, RuleKey, Service, ServiceId, Source, SourceId, SourceKey,
    Waypoint, WaypointId,
};
use std::fmt;
use std::hash::Hash;

macro_rules! optional {
    () => {
        None
    };
    ($map:literal) => {
        Some($map)
    };
}

/// Writes everything that has one part, one variant or one call for each table. `$d` is a dollar sign,
/// for the macros that it writes.
macro_rules! declare {
    ($d:tt $($table:ident $part:ident: $variant:ident($id:ty, $row:ty as $held:ty), key $key:ty,
        map $map:literal $(, keys $keys:literal)? $(, connects $connects:literal)? $(, arrivals $arrivals:literal)?;)+) => {
        $(
            #[derive(Clone, Copy, Debug, PartialEq, Eq)]
            pub struct $table;

            impl Declared for $table {
                type Id = $id;

                const TABLE: Table = Table::$table;
                const MAP: &'static str = $map;
                const KEYS: Option<&'static str> = optional!($($keys)?);
                const CONNECTS: Option<&'static str> = optional!($($connects)?);
                const ARRIVALS: Option<&'static str> = optional!($($arrivals)?);

                fn id(index: u32) -> Option<$id> {
                    <$id>::from_index(index)
                }

                fn index(id: $id) -> u32 {
                    id.index()
                }

                fn row(id: $id, row: $row) -> Row {
                    Row::$variant(id, row.into())
                }

                fn wrap(key: $key) -> Key {
                    Key::$variant(key)
                }

                fn part<S: Shape>(each: &Each<S>) -> &S::Of<Self> {
                    &each.$part
                }

                fn part_mut<S: Shape>(each: &mut Each<S>) -> &mut S::Of<Self> {
                    &mut each.$part
                }
            }
        )+

        /// One part for each table.
        pub struct Each<S: Shape> {
            $(pub $part: S::Of<$table>,)+
        }

        impl<S: Shape> Clone for Each<S>
        where
            $(S::Of<$table>: Clone,)+
        {
            fn clone(&self) -> Self {
                Self {
                    $($part: self.$part.clone(),)+
                }
            }
        }

        impl<S: Shape> Default for Each<S>
        where
            $(S::Of<$table>: Default,)+
        {
            fn default() -> Self {
                Self {
                    $($part: Default::default(),)+
                }
            }
        }

        impl<S: Shape> PartialEq for Each<S>
        where
            $(S::Of<$table>: PartialEq,)+
        {
            fn eq(&self, other: &Self) -> bool {
                $(self.$part == other.$part)&&+
            }
        }

        impl<S: Shape> fmt::Debug for Each<S>
        where
            $(S::Of<$table>: fmt::Debug,)+
        {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut each = f.debug_struct("Each");
                $(each.field(stringify!($part), &self.$part);)+
                each.finish()
            }
        }

        /// A row and where it goes. A plan may have a hundred thousand of them, mostly of the small kinds.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Row {
            $($variant($id, $held),)+
        }

        /// The key of a row.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Key {
            $($variant($key),)+
        }

        /// `each!(T => expression)` makes a part for each table; the expression may use `?`.
        macro_rules! each {
            ($d T:ident => $d part:expr) => {
                $crate::tables::Each {
                    $($part: {
                        type $d T = $crate::tables::$table;
                        $d part
                    },)+
                }
            };
        }

        /// `for_each_table!(T => block)` does something for each table, in the order in which rows are
        /// written: a row refers to rows of tables before its own.
        macro_rules! for_each_table {
            ($d T:ident => $d body:block) => {
                $({
                    type $d T = $crate::tables::$table;
                    $d body
                })+
            };
        }

        /// `on_table!(table, T => expression, else other)`: the expression for the table that a value
        /// names; `other` for the table of endpoints, which has no slots.
        macro_rules! on_table {
            ($d table:expr, $d T:ident => $d body:expr, else $d other:expr) => {
                match $d table {
                    $($crate::model::Table::$table => {
                        type $d T = $crate::tables::$table;
                        $d body
                    })+
                    $crate::model::Table::Endpoints => $d other,
                }
            };
        }

        /// `on_row!(row, T(id, row) => expression)`: the expression for a row of any table.
        macro_rules! on_row {
            ($d value:expr, $d T:ident($d id:pat, $d row:pat) => $d body:expr) => {
                match $d value {
                    $($crate::tables::Row::$variant($d id, $d row) => {
                        type $d T = $crate::tables::$table;
                        $d body
                    })+
                }
            };
        }

        /// `on_key!(key, T(key) => expression)`: the expression for a key of any table.
        macro_rules! on_key {
            ($d value:expr, $d T:ident($d key:pat) => $d body:expr) => {
                match $d value {
                    $($crate::tables::Key::$variant($d key) => {
                        type $d T = $crate::tables::$table;
                        $d body
                    })+
                }
            };
        }

        pub(crate) use {each, for_each_table, on_key, on_row, on_table};
    };
}

declare! { $
    Waypoints waypoints: Waypoint(WaypointId, Waypoint as Box<Waypoint>), key Name,
        map "WAYPOINTS";
    Authorizations authorizations: Authorization(AuthorizationId, Authorization as Box<Authorization>), key Name,
        map "AUTHORIZATIONS", connects "AUTHORIZATION_CONNECTS", arrivals "AUTHORIZATION_ARRIVALS";
    Guards guards: Guard(GuardId, Guard as Box<Guard>), key Name,
        map "GUARDS";
    Backends backends: Backend(BackendId, Backend as Backend), key Address,
        map "BACKENDS";
    Services services: Service(ServiceId, Service as Box<Service>), key Name,
        map "SERVICES", connects "SERVICE_CONNECTS";
    Rules rules: Rule(RuleId, Rule as Rule), key RuleKey,
        map "RULES", keys "RULE_IDS";
    Frontends frontends: Frontend(FrontendId, Frontend as Frontend), key FrontendKey,
        map "FRONTENDS", keys "FRONTEND_IDS";
    Addresses addresses: Address(AddressId, AddressRow as AddressRow), key Address,
        map "ADDRESSES", keys "ADDRESS_IDS";
    Destinations destinations: Destination(DestinationId, Destination as Destination), key FrontendKey,
        map "DESTINATIONS", keys "DESTINATION_IDS";
    Sources sources: Source(SourceId, Source as Source), key SourceKey,
        map "SOURCES", keys "SOURCE_IDS";
}

/// How the rows of a table read. The file of the noun says it.
pub trait Noun {
    type Row: RowType + PartialEq + fmt::Debug;
    /// A row is known by its key, whatever its id is.
    type Key: aya::Pod + Ord + Hash + fmt::Debug;

    /// What one row is called.
    const NOUN: &'static str;

    /// Rows that a mesh needs.
    fn needed(mesh: &Mesh, vips: &Vips) -> usize;

    fn key(row: &Self::Row) -> Self::Key;
    /// The key as operators write it.
    fn name(key: &Self::Key) -> String;
    /// Everything else in a row, as plans show it.
    fn describe(row: &Self::Row, f: &mut fmt::Formatter<'_>) -> fmt::Result;
    /// All of a row, as dumps show it.
    fn fields(row: &Self::Row) -> Fields;
}

/// A table of slots.
pub trait Declared: Noun + Sized + 'static {
    type Id: Copy + Ord + fmt::Debug + fmt::Display;

    const TABLE: Table;
    /// The map of the slots.
    const MAP: &'static str;
    /// The map from keys to ids, where the programs search by key.
    const KEYS: Option<&'static str>;
    /// The map that counts connects by id, where they are counted.
    const CONNECTS: Option<&'static str>;
    /// The same of what arrives.
    const ARRIVALS: Option<&'static str>;

    fn id(index: u32) -> Option<Self::Id>;
    fn index(id: Self::Id) -> u32;
    fn row(id: Self::Id, row: Self::Row) -> Row;
    fn wrap(key: Self::Key) -> Key;
    /// The part that belongs to this table.
    fn part<S: Shape>(each: &Each<S>) -> &S::Of<Self>;
    fn part_mut<S: Shape>(each: &mut Each<S>) -> &mut S::Of<Self>;
}

/// A type for each table.
pub trait Shape {
    type Of<T: Declared>;
}

/// Rows by id: plans and dumps are in the order of ids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ById;

impl Shape for ById {
    type Of<T: Declared> = IdMap<T>;
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.title())?;
        on_row!(self, T(_, row) => T::describe(row, f))
    }
}

impl Row {
    pub fn table(&self) -> Table {
        on_row!(self, T(_, _) => T::TABLE)
    }

    /// Where the row is in its table.
    pub fn index(&self) -> u32 {
        on_row!(self, T(id, _) => T::index(*id))
    }

    pub fn key(&self) -> Key {
        on_row!(self, T(_, row) => T::wrap(T::key(row)))
    }

    /// The noun, the id and the key.
    pub fn title(&self) -> String {
        on_row!(self, T(id, row) => format!("{} {id} {}", T::NOUN, T::name(&T::key(row))))
    }
}

impl Key {
    pub fn table(&self) -> Table {
        on_key!(self, T(_) => T::TABLE)
    }

    /// What the key leads to.
    pub fn noun(&self) -> &'static str {
        on_key!(self, T(_) => T::NOUN)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&on_key!(self, T(key) => T::name(key)))
    }
}
