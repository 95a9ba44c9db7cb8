//! What was lowered before, to be edited.

use crate::model::{Name, Source};
use imbl::OrdSet;
use std::collections::BTreeMap;

/// What entries said without their groups the last time. A set that differs little from that is made of it, and shares what
/// is the same: then it is found fast what differs.
#[derive(Debug, Default)]
pub struct KeptSources {
    pub groups: BTreeMap<Name, OrdSet<Source>>,
    pub policies: BTreeMap<Name, OrdSet<Source>>,
}

/// A set of what is there now, in order, made of the one before where that differs little.
pub fn edited(before: Option<&OrdSet<Source>>, now: Vec<Source>) -> OrdSet<Source> {
    let Some(before) = before else {
        return now.into_iter().collect();
    };
    let few = now.len() / 4;
    let mut gone = Vec::new();
    let mut new = Vec::new();
    let mut old = before.iter().peekable();
    for source in &now {
        while let Some(it) = old.next_if(|it| *it < source) {
            gone.push(it);
        }
        if old.next_if(|it| *it == source).is_none() {
            new.push(source);
        }
    }
    gone.extend(old);
    if gone.len() + new.len() > few {
        return now.into_iter().collect();
    }
    let mut edited = before.clone();
    for source in gone {
        edited.remove(source);
    }
    for source in new {
        edited.insert(source.clone());
    }
    edited
}
