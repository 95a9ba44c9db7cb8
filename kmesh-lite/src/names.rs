//! What DNS says of the names of endpoints.
//!
//! In: meshes as the file has them, and answers, one after the other. Out: the mesh with the endpoints that the
//! answers stand for, which is what passes are about. No I/O here, and no clock: times are given, in nanoseconds of a
//! clock that is never set.
//!
//! The last answer of a name stays until there is another one, whatever becomes of the resolver. That holds
//! for the word that there is no such name, too: an operator's slip in DNS must not take a service down.
//! Where a name has addresses of one family, and none of the other any more, those of the other go.

mod answer;
mod endpoints;
mod state;

pub use answer::{Answer, MOST_RECORDS, Trouble, TroubleKind};
pub use endpoints::{MOST_ENDPOINTS, Refusal};
pub use state::NameState;

use crate::model::{Mesh, Name, NamedEndpoints, Question, Record, Service, Vip};
use endpoints::Room;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// What is known of one question.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownAnswer {
    /// The last one.
    pub answer: Option<Arc<Answer>>,
    /// Why there is none that is newer.
    pub trouble: Option<Trouble>,
    /// Whether that is about a part of the answer, and the rest is of the moment.
    pub in_part: bool,
}

impl KnownAnswer {
    /// Whether the answer is that of the moment.
    fn is_current(&self) -> bool {
        self.answer.is_some() && (self.trouble.is_none() || self.in_part)
    }

    /// Whether it is to be believed that there is nothing, `while` there is something of the other family.
    fn is_void(&self, while_other: bool) -> bool {
        let kind = self.trouble.as_ref().map(|trouble| trouble.kind);
        kind == Some(TroubleKind::Nothing) && while_other && !self.is_current()
    }
}

/// Everything that is known of names.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// As the file has it, without the endpoints that answers stand for.
    written: Mesh,
    known: BTreeMap<Question, KnownAnswer>,
    /// Since when something is asked of which nothing is known.
    asked: BTreeMap<Question, u64>,
    /// Addresses of services, where nothing else can be.
    vips: BTreeSet<IpAddr>,
    /// How many rows of endpoints the written mesh has.
    rows: usize,
    refused: BTreeMap<Arc<str>, BTreeMap<IpAddr, Refusal>>,
}

/// A change of what is known of a name, to be told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub question: Question,
    pub known: KnownAnswer,
    pub services: Vec<Name>,
}

impl Answers {
    /// Takes over a mesh as the file has it.
    pub fn follow(&mut self, mesh: &Mesh, now: u64) {
        // A mesh without names pays for nothing.
        if mesh.questions.is_empty() {
            *self = Self::default();
            return;
        }
        self.written = mesh.clone();
        self.known
            .retain(|question, _| mesh.questions.contains_key(question));
        let before = std::mem::take(&mut self.asked);
        let since = |question: &Question| before.get(question).copied().unwrap_or(now);
        let questions = mesh.questions.keys();
        self.asked = questions
            .map(|question| (question.clone(), since(question)))
            .collect();
        (self.vips, self.rows) = (BTreeSet::new(), 0);
        for service in mesh.services.values() {
            self.rows += service.endpoint_rows();
            let fixed = service.vips.iter().filter_map(|vip| match vip {
                Vip::Fixed(ip) => Some(*ip),
                Vip::Auto => None,
            });
            self.vips.extend(fixed);
        }
    }

    /// The mesh that a written one comes to.
    pub fn apply(&mut self, written: Mesh, before: Option<&Mesh>, now: u64) -> Mesh {
        self.follow(&written, now);
        match written.questions.is_empty() {
            true => written,
            false => self.resolved(before),
        }
    }

    /// Whether anything is asked.
    pub fn is_empty(&self) -> bool {
        self.written.questions.is_empty()
    }

    /// Takes over what an earlier process knew of questions of which nothing is known.
    pub fn recall(&mut self, recalled: &BTreeMap<Question, KnownAnswer>) {
        for (question, known) in recalled {
            if self.written.questions.contains_key(question) {
                let entry = self.known.entry(question.clone());
                entry.or_insert_with(|| known.clone());
            }
        }
    }

    /// What is asked, in the order that numbers of questions go by.
    pub fn questions(&self) -> impl Iterator<Item = &Question> {
        self.written.questions.keys()
    }

    pub fn known(&self) -> &BTreeMap<Question, KnownAnswer> {
        &self.known
    }

    /// Takes in what was found of a question. None if that was known, or if nobody asks.
    pub fn find(&mut self, question: &Question, found: Result<Answer, Trouble>) -> Option<Change> {
        match found {
            Ok(answer) => self.take(question, Some(answer), None),
            Err(trouble) => self.take(question, None, Some(trouble)),
        }
    }

    /// The same of an answer of which a part is not of the moment.
    pub fn find_in_part(
        &mut self,
        question: &Question,
        answer: Answer,
        trouble: Trouble,
    ) -> Option<Change> {
        self.take(question, Some(answer), Some(trouble))
    }

    fn take(
        &mut self,
        question: &Question,
        answer: Option<Answer>,
        trouble: Option<Trouble>,
    ) -> Option<Change> {
        let services = self.written.questions.get(question)?;
        let known = self.known.entry(question.clone()).or_default();
        let before = known.clone();
        let in_part = answer.is_some() && trouble.is_some();
        if let Some(answer) = answer {
            let is_same = |it: &Arc<Answer>| it.says_the_same(&answer);
            if !known.answer.as_ref().is_some_and(is_same) {
                known.answer = Some(Arc::new(answer));
            }
        }
        let since = known.trouble.as_ref().filter(|_| known.in_part == in_part);
        let since = since.map(|before| before.since);
        known.trouble = trouble.map(|trouble| Trouble {
            since: since.unwrap_or(trouble.since),
            ..trouble
        });
        known.in_part = in_part;
        (*known != before).then(|| Change {
            question: question.clone(),
            known: known.clone(),
            services: services.iter().cloned().collect(),
        })
    }

    /// The written mesh with the endpoints that answers stand for. Shares with `before`, which was given by this, what is the
    /// same.
    pub fn resolved(&mut self, before: Option<&Mesh>) -> Mesh {
        let mut mesh = self.written.clone();
        self.refused.clear();
        let services: BTreeSet<&Name> = self.written.questions.values().flatten().collect();
        let mut room = Room::of(&self.written, self.rows);
        for name in services {
            let Some(service) = self.written.services.get(name) else {
                continue;
            };
            let found = self.endpoints(service, &mesh, &mut room);
            let next = Service {
                endpoints: found.endpoints,
                ..(**service).clone()
            };
            for (of_name, refused) in found.refused {
                self.refused.entry(of_name).or_default().extend(refused);
            }
            for endpoint in next.endpoints.iter().filter(|it| it.of_name.is_some()) {
                if !mesh.backends.contains_key(&endpoint.address) {
                    mesh.backends.insert(endpoint.address, Default::default());
                }
            }
            let known = before.and_then(|before| before.services.get(name));
            let next = match known.filter(|known| ***known == next) {
                Some(known) => Arc::clone(known),
                None => Arc::new(next),
            };
            mesh.services.insert(name.clone(), next);
        }
        mesh
    }

    /// What the answers to a name say that count.
    fn records(&self, named: &NamedEndpoints) -> Vec<&Record> {
        let questions: Vec<_> = named.questions(true).collect();
        let known: Vec<_> = questions.iter().map(|it| self.known.get(it)).collect();
        let is_current = known.iter().flatten().any(|it| it.is_current());
        let known = known.into_iter().flatten();
        let known = known.filter(|it| !it.is_void(is_current));
        let answers = known.filter_map(|known| known.answer.as_deref());
        answers.flat_map(|answer| &answer.records).collect()
    }
}

#[cfg(test)]
mod tests;
