//! What the resolver said of names, kept beyond this process.
//!
//! The tables of the next process have the same endpoints from the first moment, whatever becomes of DNS.

use super::kept::Kept;
use crate::api::{self, KnownName};
use crate::kernel::{Descriptors, Store};
use crate::model::Question;
use crate::names::{Answer, Answers, KnownAnswer, Trouble, TroubleKind};
use log::warn;
use std::collections::BTreeMap;
use std::io::BufReader;
use std::sync::Arc;

const NAME: &str = "kmesh-names-";

/// What an earlier process knew.
pub type RecalledNames = BTreeMap<Question, KnownAnswer>;

/// Where it is kept.
pub struct LastAnswers {
    kept: Kept,
    said: bool,
}

impl LastAnswers {
    /// Takes what an earlier process kept out of everything that it left.
    pub fn take_over(left: &mut Descriptors, store: Arc<dyn Store>) -> (Self, RecalledNames) {
        let (kept, file) = Kept::take_over(left, store, NAME);
        let known = file.map(|file| serde_json::from_reader(BufReader::new(file)));
        let known: Vec<KnownName> = match known.transpose() {
            Ok(known) => known.unwrap_or_default(),
            Err(error) => {
                warn!("cannot read what the process before knew of names: {error}");
                Vec::new()
            }
        };
        let recalled = known.into_iter().map(recalled).collect();
        (Self { kept, said: false }, recalled)
    }

    /// Keeps what is known now in place of what was known before.
    pub fn keep(&mut self, names: &Answers) {
        let known: Vec<_> = names.known().iter().map(known).collect();
        let written = self
            .kept
            .keep(|to| serde_json::to_writer(to, &known).map_err(Into::into));
        match written {
            Ok(()) => self.said = false,
            Err(_) if self.said => {}
            Err(error) => {
                warn!("cannot keep what is known of names beyond this process: {error}");
                self.said = true;
            }
        }
    }
}

fn known((question, known): (&Question, &KnownAnswer)) -> KnownName {
    let answer = known.answer.as_deref();
    let trouble = known.trouble.as_ref();
    KnownName {
        name: question.name.to_string(),
        kind: question.kind.into(),
        records: answer.map_or_else(Vec::new, |it| it.records.iter().map(Into::into).collect()),
        left_out: answer.map_or(0, |it| it.left_out),
        since_ns: answer.map_or(0, |it| it.since),
        trouble: trouble.map(|it| match it.kind {
            TroubleKind::Nothing => api::TroubleKind::Nothing,
            TroubleKind::Failure => api::TroubleKind::Failure,
        }),
        reason: trouble.map_or_else(String::new, |it| it.reason.clone()),
        trouble_since_ns: trouble.map_or(0, |it| it.since),
        in_part: known.in_part,
    }
}

fn recalled(kept: KnownName) -> (Question, KnownAnswer) {
    let question = Question {
        name: kept.name.into(),
        kind: kept.kind.into(),
    };
    let records = kept.records.into_iter().map(Into::into).collect();
    let known = KnownAnswer {
        answer: Answer::new(records, kept.left_out, kept.since_ns).map(Arc::new),
        trouble: kept.trouble.map(|kind| Trouble {
            kind: kind.into(),
            reason: kept.reason,
            since: kept.trouble_since_ns,
        }),
        in_part: kept.in_part,
    };
    (question, known)
}

impl From<api::TroubleKind> for TroubleKind {
    fn from(kind: api::TroubleKind) -> Self {
        match kind {
            api::TroubleKind::Nothing => Self::Nothing,
            api::TroubleKind::Failure => Self::Failure,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::kept::tests::InMemory;
    use crate::model::{Mesh, Record, RecordKind};

    #[test]
    fn answers_outlive_the_process() {
        let question = |kind| Question {
            name: "db.internal".into(),
            kind,
        };
        let mut mesh = Mesh::default();
        for kind in [RecordKind::A, RecordKind::Aaaa, RecordKind::Srv] {
            mesh.questions.insert(question(kind), Default::default());
        }
        let mut names = Answers::default();
        names.follow(&mesh, 1);
        let record = |rank, port| Record {
            rank,
            address: "10.0.0.1".parse().unwrap(),
            port,
            weight: if port.is_some() { 7 } else { 1 },
            target: if port.is_some() { 9 } else { 0 },
        };
        let answer = |record| Ok(Answer::new(vec![record], 3, 5).unwrap());
        let trouble = |kind| {
            Err(Trouble {
                kind,
                reason: "SERVFAIL".to_owned(),
                since: 9,
            })
        };
        names.find(&question(RecordKind::A), answer(record(0, None)));
        names.find(&question(RecordKind::A), trouble(TroubleKind::Failure));
        names.find(&question(RecordKind::Aaaa), trouble(TroubleKind::Nothing));
        let (Ok(part), Err(why)) = (
            answer(record(20, Some(5432))),
            trouble(TroubleKind::Failure),
        ) else {
            unreachable!()
        };
        names.find_in_part(&question(RecordKind::Srv), part, why);

        let store = Arc::new(InMemory::default());
        let (mut kept, none) = LastAnswers::take_over(&mut Vec::new(), store.clone());
        assert!(none.is_empty());
        kept.keep(&names);
        let mut left = std::mem::take(&mut *store.0.lock().unwrap());
        let (_, recalled) = LastAnswers::take_over(&mut left, store);
        assert_eq!(recalled, *names.known());

        let mut next = Answers::default();
        next.follow(&mesh, 20);
        next.recall(&recalled);
        assert_eq!(next.known(), names.known());
    }
}
