//! Every table of slots, declared once: its map, its id, its row and the key by which a row is known.
//!
//! Everything that enumerates tables follows from here: plans, drift, the tables in memory and in the
//! kernel, the maps of the object, dumps. How a row is built and how it reads stands in the file of its
//! noun; CONTRIBUTING lists the files that a new table touches.

use super::fields::Fields;
use crate::model::Table;
use kmesh_lite_common::{
    Address, AddressId, AddressRow, Backend, BackendId, Frontend, FrontendId, FrontendKey, Name,
    Row as RowType, Service, ServiceId, Waypoint, WaypointId,
};
use std::collections::BTreeMap;
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

/// Writes everything that has one part, one variant or one call for each table.
macro_rules! declare {
    ($($table:ident $part:ident: $variant:ident($id:ty, $row:ty), key $key:ty,
        map $map:literal $(, keys $keys:literal)? $(, connects $connects:literal)?;)+) => {
        $(
            #[derive(Clone, Copy, Debug, PartialEq, Eq)]
            pub struct $table;

            impl Declared for $table {
                type Id = $id;

                const TABLE: Table = Table::$table;
                const MAP: &'static str = $map;
                const KEYS: Option<&'static str> = optional!($($keys)?);
                const CONNECTS: Option<&'static str> = optional!($($connects)?);

                fn id(index: u32) -> Option<$id> {
                    <$id>::from_index(index)
                }

                fn index(id: $id) -> u32 {
                    id.index()
                }

                fn row(id: $id, row: $row) -> Row {
                    Row::$variant(id, row)
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

        impl<S: Shape> Each<S> {
            pub fn make<M: Make<S>>(make: &mut M) -> Result<Self, M::Error> {
                Ok(Self {
                    $($part: make.part::<$table>()?,)+
                })
            }
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
                f.debug_struct("Each")
                    $(.field(stringify!($part), &self.$part))+
                    .finish()
            }
        }

        /// A row and where it goes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Row {
            $($variant($id, $row),)+
        }

        impl Row {
            pub fn on<O: OnRow>(&self, on: O) -> O::Out {
                match self {
                    $(Self::$variant(id, row) => on.row::<$table>(*id, row),)+
                }
            }
        }

        /// The key of a row.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Key {
            $($variant($key),)+
        }

        impl Key {
            pub fn on<O: OnKey>(&self, on: O) -> O::Out {
                match self {
                    $(Self::$variant(key) => on.key::<$table>(key),)+
                }
            }
        }

        /// Visits the tables in the order in which rows are written: a row refers to rows of tables
        /// before its own.
        pub fn for_each(visitor: &mut impl ForEach) {
            $(visitor.table::<$table>();)+
        }

        /// Does something for one table; nothing for the table of endpoints, which has no slots.
        pub fn on_table<O: OnTable>(table: Table, on: O) -> Option<O::Out> {
            match table {
                $(Table::$table => Some(on.table::<$table>()),)+
                Table::Endpoints => None,
            }
        }
    };
}

declare! {
    Waypoints waypoints: Waypoint(WaypointId, Waypoint), key Name,
        map "WAYPOINTS";
    Backends backends: Backend(BackendId, Backend), key Address,
        map "BACKENDS", connects "BACKEND_CONNECTS";
    Services services: Service(ServiceId, Service), key Name,
        map "SERVICES", connects "SERVICE_CONNECTS";
    Frontends frontends: Frontend(FrontendId, Frontend), key FrontendKey,
        map "FRONTENDS", keys "FRONTEND_IDS";
    Addresses addresses: Address(AddressId, AddressRow), key Address,
        map "ADDRESSES", keys "ADDRESS_IDS";
}

/// How the rows of a table read. The file of the noun says it.
pub trait Noun {
    type Row: RowType + PartialEq + fmt::Debug;
    /// A row is known by its key, whatever its id is.
    type Key: aya::Pod + Ord + Hash + fmt::Debug;

    /// What one row is called.
    const NOUN: &'static str;

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

/// Makes one part after the other.
pub trait Make<S: Shape> {
    type Error;
    fn part<T: Declared>(&mut self) -> Result<S::Of<T>, Self::Error>;
}

/// Something to be done for each table in turn.
pub trait ForEach {
    fn table<T: Declared>(&mut self);
}

/// Something to be done for the table that a value names.
pub trait OnTable {
    type Out;
    fn table<T: Declared>(self) -> Self::Out;
}

/// Something to be done with a row, whichever table holds it.
pub trait OnRow {
    type Out;
    fn row<T: Declared>(self, id: T::Id, row: &T::Row) -> Self::Out;
}

/// Something to be done with a key, whichever table it leads to.
pub trait OnKey {
    type Out;
    fn key<T: Declared>(self, key: &T::Key) -> Self::Out;
}

/// Rows by id: plans and dumps are in the order of ids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ById;

impl Shape for ById {
    type Of<T: Declared> = BTreeMap<T::Id, T::Row>;
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Shown<'a, 'b>(&'a mut fmt::Formatter<'b>);
        impl OnRow for Shown<'_, '_> {
            type Out = fmt::Result;
            fn row<T: Declared>(self, id: T::Id, row: &T::Row) -> fmt::Result {
                write!(self.0, "{} {id} {}", T::NOUN, T::name(&T::key(row)))?;
                T::describe(row, self.0)
            }
        }
        self.on(Shown(f))
    }
}

impl Row {
    pub fn table(&self) -> Table {
        struct Which;
        impl OnRow for Which {
            type Out = Table;
            fn row<T: Declared>(self, _: T::Id, _: &T::Row) -> Table {
                T::TABLE
            }
        }
        self.on(Which)
    }

    /// Where the row is in its table.
    pub fn index(&self) -> u32 {
        struct Index;
        impl OnRow for Index {
            type Out = u32;
            fn row<T: Declared>(self, id: T::Id, _: &T::Row) -> u32 {
                T::index(id)
            }
        }
        self.on(Index)
    }

    pub fn key(&self) -> Key {
        struct KeyOf;
        impl OnRow for KeyOf {
            type Out = Key;
            fn row<T: Declared>(self, _: T::Id, row: &T::Row) -> Key {
                T::wrap(T::key(row))
            }
        }
        self.on(KeyOf)
    }

    /// The noun, the id and the key.
    pub fn title(&self) -> String {
        struct Title;
        impl OnRow for Title {
            type Out = String;
            fn row<T: Declared>(self, id: T::Id, row: &T::Row) -> String {
                format!("{} {id} {}", T::NOUN, T::name(&T::key(row)))
            }
        }
        self.on(Title)
    }
}

impl Key {
    /// The name of the key, and what it leads to.
    pub fn title(&self) -> (String, &'static str) {
        struct Title;
        impl OnKey for Title {
            type Out = (String, &'static str);
            fn key<T: Declared>(self, key: &T::Key) -> Self::Out {
                (T::name(key), T::NOUN)
            }
        }
        self.on(Title)
    }

    pub fn table(&self) -> Table {
        struct Which;
        impl OnKey for Which {
            type Out = Table;
            fn key<T: Declared>(self, _: &T::Key) -> Table {
                T::TABLE
            }
        }
        self.on(Which)
    }
}
