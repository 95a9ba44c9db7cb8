//! Who wants to know what happens to connections: the access log, and readers of `GET /v1/trace`; and who wants to know what the
//! agent is asked (`queries`).
//!
//! In: moments, on the thread that hears the programs; names, from the loop after each pass. Out: lines, into
//! bounded queues. Nobody waits for a reader: one that is too slow loses lines and is told how many.

mod naming;
mod queries;
mod reader;

use super::access_log::AccessLogWriter;
use crate::api::{ConnectionEvent, LogStatus};
use crate::control::{Filter, Lines};
use crate::host::monotonic;
use crate::kernel::Hear;
use crate::model::AccessLog;
use crate::report::is_logged;
use crate::tables::Tables;
use kmesh_lite_common::{Interest, Moment};
use naming::Naming;
use queries::QueryReaders;
use reader::Reader;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Readers at a time.
const READERS: usize = 8;
/// Those among them that may only look, so that they keep nobody else out.
const LOOKING: usize = 4;
/// Events that are kept for readers who ask for what was before.
const RECENT: usize = 4096;

/// All listeners; a handle.
#[derive(Clone, Default)]
pub struct Listeners(Arc<Shared>);

#[derive(Default)]
struct Shared {
    naming: Naming,
    inside: Mutex<Inside>,
}

#[derive(Default)]
struct Inside {
    readers: Vec<Reader<Filter>>,
    queries: QueryReaders,
    recent: VecDeque<(u64, ConnectionEvent)>,
    log: Option<AccessLogWriter>,
    lost_in_kernel: u64,
}

impl Inside {
    /// Whether there is room for another reader, of either kind; or how many there are.
    fn admit(&mut self, is_own: bool) -> Result<(), usize> {
        self.readers.retain(Reader::is_there);
        self.queries.tidy();
        let are_own = self.readers.iter().map(|reader| reader.is_own);
        let are_own = are_own.chain(self.queries.are_own());
        let looking = are_own.filter(|is_own| !is_own).count();
        if self.readers.len() + self.queries.len() >= READERS {
            return Err(READERS);
        }
        if !is_own && looking >= LOOKING {
            return Err(looking);
        }
        Ok(())
    }
}

impl Listeners {
    fn inside(&self) -> MutexGuard<'_, Inside> {
        let inside = self.0.inside.lock();
        inside.unwrap_or_else(PoisonError::into_inner)
    }

    /// What ids stand for from now on.
    pub fn name(&self, tables: Tables) {
        self.0.naming.follow(tables);
    }

    /// Writes this log from now on, or none.
    pub fn log_to(&self, wanted: Option<&AccessLog>) {
        let before = {
            let mut inside = self.inside();
            let there = inside.log.as_ref().map(AccessLogWriter::wanted);
            if there == wanted {
                return;
            }
            let before = inside.log.take();
            inside.log = wanted.map(|wanted| AccessLogWriter::start(wanted.clone()));
            before
        };
        // It writes what waits, for which the loop is not to wait. Where there is no thread, it waits.
        if before.is_some() {
            drop(std::thread::Builder::new().spawn(move || drop(before)));
        }
    }

    /// Opens the file of the log anew.
    pub fn reopen(&self) {
        if let Some(log) = &self.inside().log {
            log.reopen();
        }
    }

    /// What the programs have to tell for all of them.
    pub fn interest(&self) -> Interest {
        let mut inside = self.inside();
        inside.readers.retain(Reader::is_there);
        match (inside.readers.is_empty(), &inside.log) {
            (false, _) => Interest::ALL,
            (true, Some(_)) => Interest::ENDS,
            (true, None) => {
                inside.recent.clear();
                Interest::default()
            }
        }
    }

    /// What is wanted when no reader can be there any more.
    pub fn interest_without_readers(&self) -> Interest {
        match self.inside().log {
            Some(_) => Interest::ENDS,
            None => Interest::default(),
        }
    }

    /// A new reader, or how many there are where there are too many. What was `since` then is the beginning.
    pub fn join(&self, filter: Filter, since: Duration, is_own: bool) -> Result<Lines, usize> {
        let mut inside = self.inside();
        inside.admit(is_own)?;
        let from = monotonic().saturating_sub(since.as_nanos() as u64);
        let recent = inside.recent.iter();
        let recent = recent.filter(|(at, event)| *at >= from && filter.lets(event));
        let before = recent.filter_map(|(_, event)| event.line().ok()).collect();
        let (reader, lines, lost) = Reader::new(filter, is_own);
        inside.readers.push(reader);
        Ok(Lines {
            idle: None,
            before,
            lines,
            lost,
        })
    }

    pub fn status(&self) -> LogStatus {
        let inside = self.inside();
        let mut status = LogStatus {
            lost_in_kernel: inside.lost_in_kernel,
            readers: inside.readers.len(),
            dns_readers: inside.queries.len(),
            ..LogStatus::default()
        };
        if let Some(log) = &inside.log {
            log.tell(&mut status);
        }
        status
    }
}

impl Hear for Listeners {
    fn hear(&mut self, moment: &Moment) {
        let Some(event) = self.0.naming.tell(moment) else {
            return;
        };
        let mut inside = self.inside();
        let Inside {
            readers,
            recent,
            log,
            ..
        } = &mut *inside;
        if let Some(log) = log
            && is_logged(moment)
        {
            log.write(&event);
        }
        let mut text = None;
        for reader in readers.iter().filter(|it| it.filter.lets(&event)) {
            let text = text.get_or_insert_with(|| event.line().unwrap_or_default());
            reader.send(text);
        }
        if recent.len() == RECENT {
            recent.pop_front();
        }
        recent.push_back((moment.at, event));
    }

    fn lost(&mut self, moments: u64) {
        let mut inside = self.inside();
        inside.lost_in_kernel += moments;
        if let Some(log) = &inside.log {
            log.lost_in_kernel(moments);
        }
        for reader in &inside.readers {
            reader.lose(moments);
        }
    }
}
