//! Marks the keys of hash tables and what the loader sets as plain data, for aya.

use crate::{
    Address, ArrivalKey, Asked, Asker, Caller, ClientKey, ClientRow, Durations, Flow, FlowKey,
    FrontendKey, Name, Nameserver, RuleKey, SocketFields, SourceKey, Traffic, TrafficKey,
};

macro_rules! plain {
    ($($plain:ty)+) => {
        $(
            // SAFETY: `repr(C)` or transparent, without padding, valid for every bit pattern.
            unsafe impl aya::Pod for $plain {}
        )+
    };
}

plain! { Address ArrivalKey Asked Asker Nameserver Flow FlowKey FrontendKey Name Caller ClientKey ClientRow RuleKey SocketFields SourceKey TrafficKey Traffic Durations }
