//! What is known of names, to be told.

use super::{Answers, Refusal, TroubleKind};
use crate::model::{Name, Question, Record, RecordKind};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// A name as its status has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameState {
    pub name: Arc<str>,
    pub is_srv: bool,
    pub services: BTreeSet<Name>,
    /// What counts of its answers.
    pub records: Vec<Record>,
    /// Since when that is so.
    pub since: Option<u64>,
    /// Why it has none, or none that are newer: since when, and the reason.
    pub trouble: Option<(u64, String)>,
    /// Whether that is about a part of the records, and the rest is of the moment.
    pub in_part: bool,
    /// How many records there are beyond the most.
    pub left_out: u32,
    pub refused: BTreeMap<IpAddr, Refusal>,
}

impl Answers {
    /// Every name that is asked for.
    pub fn states(&self) -> Vec<NameState> {
        let mut names: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (question, services) in &self.written.questions {
            let key = (&question.name, question.kind == RecordKind::Srv);
            names.entry(key).or_default().push((question, services));
        }
        let names = names.into_iter();
        names
            .map(|((name, is_srv), questions)| self.state(name, is_srv, &questions))
            .collect()
    }

    fn state(
        &self,
        name: &Arc<str>,
        is_srv: bool,
        questions: &[(&Question, &BTreeSet<Name>)],
    ) -> NameState {
        let known: Vec<_> = questions
            .iter()
            .filter_map(|(question, _)| self.known.get(question))
            .collect();
        let is_current = known.iter().any(|it| it.is_current());
        // That there is nothing of one family is no trouble while there is something of the other.
        let counting: Vec<_> = known.iter().filter(|it| !it.is_void(is_current)).collect();
        let answers: Vec<_> = counting
            .iter()
            .filter_map(|it| it.answer.as_ref())
            .collect();
        let records = answers.iter().flat_map(|it| it.records.iter());
        let mut records: Vec<_> = records.cloned().collect();
        records.sort();
        records.dedup();
        let troubles = counting.iter().filter_map(|it| it.trouble.as_ref());
        let mut troubles: Vec<_> = troubles.collect();
        // A failure says more.
        troubles.sort_by_key(|it| it.kind == TroubleKind::Nothing);
        let trouble = troubles
            .first()
            .map(|trouble| (trouble.since, trouble.reason.clone()));
        let is_unasked = known.is_empty();
        let asked = questions.iter().filter_map(|(it, _)| self.asked.get(*it));
        let nothing_yet = || Some((*asked.min()?, "nobody has asked for it yet".to_owned()));
        let left_out = answers.iter().map(|it| it.left_out);
        NameState {
            name: Arc::clone(name),
            is_srv,
            services: questions.iter().flat_map(|(_, it)| (*it).clone()).collect(),
            records,
            since: answers.iter().map(|it| it.since).max(),
            trouble: trouble.or_else(|| is_unasked.then(nothing_yet).flatten()),
            in_part: counting.iter().any(|it| it.in_part),
            left_out: left_out.fold(0, u32::saturating_add),
            refused: self.refused.get(name).cloned().unwrap_or_default(),
        }
    }
}
