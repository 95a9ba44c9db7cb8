//! Where the daemon's own words go: the journal under systemd, readable text on stderr otherwise.
//!
//! Levels: error, the mesh is not as the file says; warn, something differed or needs a look; info,
//! what changed and why; debug, what was looked at and left alone; trace, everything.

use log::{LevelFilter, Log, Metadata, Record};
use std::error::Error;
use std::io;
use systemd_journal_logger::{JournalLog, connected_to_journal};

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("cannot connect to the journal")]
    Journal(#[source] io::Error),
    #[error("a logger is installed already")]
    Install(#[source] log::SetLoggerError),
}

/// Starts logging; once a process.
pub fn init(level: LevelFilter) -> Result<(), LogError> {
    let sink: Box<dyn Log> = if connected_to_journal() {
        let journal = JournalLog::new()
            .map_err(LogError::Journal)?
            .with_syslog_identifier("kmesh-lite".to_owned())
            .with_extra_fields([("KMESH_LITE_VERSION", env!("CARGO_PKG_VERSION"))]);
        Box::new(journal)
    } else {
        let text = env_logger::Builder::new()
            .filter_level(LevelFilter::Trace)
            .format_target(false)
            .format_timestamp_millis()
            .build();
        Box::new(text)
    };
    log::set_boxed_logger(Box::new(Ours { sink, level })).map_err(LogError::Install)?;
    log::set_max_level(level);
    Ok(())
}

/// An error and its causes, as one line.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Lets our own words through by the level asked for, and only warnings of the libraries.
struct Ours {
    sink: Box<dyn Log>,
    level: LevelFilter,
}

impl Log for Ours {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let level = match metadata.target() {
            ours if ours.starts_with("kmesh_lite") => self.level,
            // It warns whenever what it watched is removed, of which we hear as an event.
            watcher if watcher.starts_with("notify::") => self.level.min(LevelFilter::Error),
            _ => self.level.min(LevelFilter::Warn),
        };
        metadata.level() <= level
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            self.sink.log(record);
        }
    }

    fn flush(&self) {
        self.sink.flush();
    }
}
