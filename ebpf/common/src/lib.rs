//! Keys and rows of the tables shared by the daemon and the eBPF programs: types, no decisions.
//!
//! Rules of this crate: every type is `repr(C)`, has no padding, and accepts every bit pattern, so
//! a row that something else scribbled on is wrong but never undefined behaviour. Addresses and
//! ports are in network byte order and say so in their type; everything else is in host order.
//! [`LAYOUT_VERSION`] or [`SOCKETS_VERSION`] changes with any layout here.

#![cfg_attr(not(feature = "std"), no_std)]

mod addr;
mod arrival;
mod authorization;
mod backend;
mod caller;
mod client;
mod connection;
mod endpoint;
mod event;
mod fields;
mod flow;
mod frontend;
mod guard;
mod moment;
mod name;
mod nameserver;
mod open;
mod original;
mod picking;
#[cfg(feature = "aya")]
mod pod;
mod rule;
mod service;
mod settings;
mod slot;
mod source;
mod traffic;
mod waypoint;

pub use addr::{Address, AddressId, AddressKind, AddressRow, Family, Port};
pub use arrival::ArrivalKey;
pub use authorization::{
    Action, Authorization, AuthorizationId, Closed, Judgement, Matching, Mode,
};
pub use backend::{Backend, BackendId};
pub use caller::Caller;
pub use client::{ClientKey, ClientRow, Held};
pub use connection::{Bucket, Connection, Life, PLACES, Stage};
pub use endpoint::{Endpoint, EndpointId, Member, Range, Seat};
pub use event::{Event, EventKind, SINK};
pub use fields::{Bit, SocketFields};
pub use flow::{Asked, Flow, FlowKey};
pub use frontend::{Frontend, FrontendId, FrontendKey, Protocol};
pub use guard::{Guard, GuardId};
pub use moment::{Interest, Moment, MomentKind, Teller};
pub use name::Name;
pub use nameserver::{Asker, DNS, Nameserver};
pub use open::{Open, ServiceOpen};
pub use original::{Original, Probe};
pub use picking::{Balance, ClientsBy, EachClient, Picking};
pub use rule::{PrincipalKind, Rule, RuleId, RuleKey};
pub use service::{PRIORITIES, Policy, Service, ServiceId};
pub use settings::{Label, Settings};
pub use slot::{Row, Slot, Stamp};
pub use source::{Destination, DestinationId, Found, Source, SourceId, SourceKey};
pub use traffic::{Durations, Ending, Traffic, TrafficKey};
pub use waypoint::{Header, Speaker, Waypoint, WaypointId};

/// Version of the tables: every layout in this crate but those of [`SOCKETS_VERSION`], and what the
/// programs expect of the rows.
pub const LAYOUT_VERSION: u32 = 13;

/// Version of what is about sockets and not about the mesh, and outlives a change of the tables:
/// [`Original`], [`Connection`], [`Open`], [`ClientRow`], [`Flow`], [`Event`], [`Moment`], and the keys of sockets with a pending header.
pub const SOCKETS_VERSION: u32 = 11;

/// Declares the id of a table's rows. Ids start at 1 so that `Option<Id>` is one `u32` and zeroed
/// memory refers to nothing; the row of id `n` is element `n - 1` of its array.
macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(transparent)]
        pub struct $name(core::num::NonZeroU32);

        impl $name {
            /// The id of the row at `index` of its array; `None` past the last id there can be.
            #[inline(always)]
            pub const fn from_index(index: u32) -> Option<Self> {
                match core::num::NonZeroU32::new(index.wrapping_add(1)) {
                    Some(id) => Some(Self(id)),
                    None => None,
                }
            }

            /// Where the row is in its array.
            #[inline(always)]
            pub const fn index(self) -> u32 {
                self.0.get() - 1
            }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                write!(f, "#{}", self.0)
            }
        }
    };
}
pub(crate) use id;

/// Declares a number that stands for one of a closed set of words. It is not a Rust `enum`, because
/// a foreign value in kernel memory must stay harmless.
macro_rules! word {
    ($(#[$doc:meta])* $name:ident: $repr:ty { $($(#[$vdoc:meta])* $variant:ident = $value:literal $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(transparent)]
        pub struct $name(pub $repr);

        #[allow(non_upper_case_globals, reason = "they stand where enum variants would")]
        impl $name {
            $($(#[$vdoc])* pub const $variant: Self = Self($value);)+

            /// Every value that has a meaning.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The word for it, as files and output spell it.
            pub const fn as_str(self) -> &'static str {
                match self.0 {
                    $($value => $text,)+
                    _ => "unknown",
                }
            }
        }

        impl core::fmt::Debug for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}
pub(crate) use word;
