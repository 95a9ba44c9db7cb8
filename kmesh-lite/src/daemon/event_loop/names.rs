//! What follows from what the resolver said.

use super::{Daemon, Trigger};
use crate::api::{Failure, NamesReport};
use crate::daemon::datapath::Datapath;
use crate::daemon::hearsay::take_in_names;
use crate::daemon::last_answers::{LastAnswers, RecalledNames};
use crate::daemon::source::Source;
use crate::daemon::supervisor::Supervisor;
use crate::host::monotonic;
use crate::model::{Name, Record};
use crate::names::{Change, MOST_RECORDS};
use crate::report::{FEW, first_few};
use log::{debug, info, warn};
use std::net::{IpAddr, SocketAddr};

impl<S: Source, D: Datapath, N: Supervisor> Daemon<S, D, N> {
    /// What an earlier process knew of names, and where this one keeps it for the next.
    pub fn remember_names(&mut self, last_answers: LastAnswers, recalled: RecalledNames) {
        self.last_answers = Some(last_answers);
        self.state.recalled_names = recalled;
    }

    /// Takes in what the resolver said, and makes one pass for all of it. It can change which addresses the names of
    /// the file stand for, and nothing else.
    pub(super) fn learn_names(&mut self, report: NamesReport) -> Result<(), Failure> {
        let state = &mut self.state;
        let asked = state.roster.asked_names();
        let changes = take_in_names(report, asked, monotonic(), &mut state.names)?;
        if changes.is_empty() {
            return Ok(());
        }
        log_changes(&changes);
        // Ahead of the pass: the next process must not know less than the tables.
        if let Some(last) = &mut self.last_answers {
            last.keep(&self.state.names);
        }
        if self.state.resolve() {
            drop(self.pass_with_facts(Trigger::Fact));
        }
        self.tell_status();
        Ok(())
    }
}

/// Says what became of names. A resolver that fails may have a thousand.
fn log_changes(changes: &[Change]) {
    for is_trouble in [false, true] {
        let of_kind = changes
            .iter()
            .filter(|it| it.known.trouble.is_some() == is_trouble);
        let lines: Vec<_> = of_kind.map(line).collect();
        for line in first_few(&lines) {
            match is_trouble {
                true => warn!("{line}"),
                false => info!("{line}"),
            }
        }
        for line in lines.iter().skip(FEW) {
            debug!("{line}");
        }
    }
}

fn line(change: &Change) -> String {
    let services: Vec<_> = change.services.iter().map(Name::to_string).collect();
    let services = first_few(&services).join(", ");
    let question = &change.question;
    let answer = change.known.answer.as_deref();
    let addresses = answer.map(|answer| {
        let addresses: Vec<_> = answer.records.iter().map(title).collect();
        let few = first_few(&addresses).join(", ");
        match answer.left_out {
            0 => few,
            more => format!("{few}; {more} more than {MOST_RECORDS} are left out"),
        }
    });
    match (&change.known.trouble, addresses) {
        (None, Some(addresses)) => format!("{services}: {question} is {addresses}"),
        (None, None) => format!("{services}: {question} is unknown"),
        (Some(trouble), Some(addresses)) if change.known.in_part => format!(
            "{services}: {question} is not answered in full, and is {addresses}: {}",
            trouble.reason
        ),
        (Some(trouble), Some(addresses)) => format!(
            "{services}: {question} stays {addresses}: {}",
            trouble.reason
        ),
        (Some(trouble), None) => {
            format!(
                "{services}: {question} has not resolved: {}",
                trouble.reason
            )
        }
    }
}

fn title(record: &Record) -> String {
    match record.port {
        Some(port) => SocketAddr::new(record.address, port).to_string(),
        None => IpAddr::to_string(&record.address),
    }
}
