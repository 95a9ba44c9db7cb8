//! Aliases (CNAME) on the way from a name to records.

use super::lookup::Trouble;
use hickory_proto::op::Message;
use hickory_proto::rr::{Name, RData};

/// Names that one name leads to, one after the other.
const MOST_ALIASES: usize = 8;

/// The names that one name leads to, one after the other.
pub struct Aliases {
    names: Vec<Name>,
    pub ttl: u32,
}

impl Aliases {
    pub fn new(name: &Name) -> Self {
        Self {
            names: vec![name.clone()],
            ttl: u32::MAX,
        }
    }

    pub fn last(&self) -> &Name {
        &self.names[self.names.len() - 1]
    }

    /// Goes on to the next name, unless that is a circle or there are too many.
    pub fn follow(&mut self, to: &Name, ttl: u32) -> Result<(), Trouble> {
        let is_circle = self.names.contains(to);
        self.names.push(to.clone());
        self.ttl = self.ttl.min(ttl);
        if is_circle {
            let circle = self.shown().join(" -> ");
            return Err(Trouble::failure(format!(
                "its aliases (CNAME) lead in a circle: {circle}"
            )));
        }
        if self.names.len() > MOST_ALIASES + 1 {
            return Err(Trouble::failure(format!(
                "it leads through more than {MOST_ALIASES} aliases (CNAME)"
            )));
        }
        Ok(())
    }

    /// A trouble of the last name, as one of the first.
    pub fn told(&self, trouble: Trouble) -> Trouble {
        if self.names.len() == 1 {
            return trouble;
        }
        let last = self.last().to_ascii();
        let last = last.trim_end_matches('.');
        Trouble {
            reason: format!("its alias (CNAME) {last}: {}", trouble.reason),
            ..trouble
        }
    }

    fn shown(&self) -> Vec<String> {
        let names = self.names.iter().map(Name::to_ascii);
        names
            .map(|name| name.trim_end_matches('.').to_owned())
            .collect()
    }
}

/// Where a name leads by an answer, and for how long.
pub fn alias<'a>(answer: &'a Message, owner: &Name) -> Option<(&'a Name, u32)> {
    let mut records = answer.answers.iter();
    records.find_map(|record| match &record.data {
        RData::CNAME(to) if record.name == *owner => Some((&to.0, record.ttl)),
        _ => None,
    })
}
