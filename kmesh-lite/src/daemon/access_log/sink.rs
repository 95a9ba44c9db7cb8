//! Where lines go: the journal, an entry each, or a file of JSON lines. Opened when it is needed.

use crate::api::ConnectionEvent;
use crate::model::LogTarget;
use log::{Level, Record};
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, OFlag, fallocate};
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use systemd_journal_logger::JournalLog;

/// Bytes for which there has to be room before a full disk counts as mended.
const ROOM: i64 = 16 * 1024;

/// Of a file that is made: who connects where is not for everybody.
const MODE: u32 = 0o640;

pub enum Sink {
    Journal(Option<JournalLog>),
    File(PathBuf, Option<File>),
}

impl Sink {
    pub fn new(to: LogTarget) -> Self {
        match to {
            LogTarget::Journal => Self::Journal(None),
            LogTarget::File(path) => Self::File(path, None),
        }
    }

    pub fn name(&self) -> String {
        match self {
            Self::Journal(_) => "to the journal".to_owned(),
            Self::File(path, _) => path.display().to_string(),
        }
    }

    pub fn close(&mut self) {
        match self {
            Self::Journal(journal) => *journal = None,
            Self::File(_, file) => *file = None,
        }
    }

    pub fn open(&mut self) -> io::Result<()> {
        match self {
            Self::Journal(journal) if journal.is_none() => {
                let new = JournalLog::empty()?;
                *journal = Some(new.with_syslog_identifier("kmesh-lite-access".to_owned()));
            }
            Self::File(path, file) if file.is_none() => *file = Some(open(path)?),
            _ => {}
        }
        Ok(())
    }

    /// Whether there is room for many lines.
    pub fn has_room(&mut self) -> io::Result<()> {
        self.open()?;
        let Self::File(_, Some(file)) = self else {
            return Ok(());
        };
        let length = file.metadata()?.len() as i64;
        match fallocate(&*file, FallocateFlags::FALLOC_FL_KEEP_SIZE, length, ROOM) {
            // Not every file system can tell.
            Ok(()) | Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    pub fn write(&mut self, event: &ConnectionEvent) -> io::Result<()> {
        self.open()?;
        match self {
            Self::Journal(Some(journal)) => send(journal, event),
            Self::File(_, Some(file)) => {
                let text = event.line()?;
                append(file, text.as_bytes())
            }
            _ => Ok(()),
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true);
    // A pipe or a device might make us wait, and a link lead to what is no log.
    options.custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW).bits());
    // Nobody else reads it, not even for a moment.
    options.mode(MODE);
    let file = match options.clone().create_new(true).open(path) {
        Ok(new) => {
            // Whatever the process's mask: the group is there to read it.
            new.set_permissions(Permissions::from_mode(MODE))?;
            new
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => match options.open(path) {
            Err(error) if error.raw_os_error() == Some(Errno::ELOOP as i32) => {
                return Err(io::Error::other("it is a symbolic link"));
            }
            opened => opened?,
        },
        Err(error) => return Err(error),
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    Ok(file)
}

/// Writes a whole line or nothing: half of one would spoil the next.
fn append(file: &mut File, text: &[u8]) -> io::Result<()> {
    let written = file.write(text)?;
    if written == text.len() {
        return Ok(());
    }
    let rest = file.write_all(&text[written..]);
    if rest.is_err() {
        let length = file.metadata()?.len();
        file.set_len(length.saturating_sub(written as u64))?;
    }
    rest
}

/// One entry of the journal, with a field for each fact.
fn send(journal: &JournalLog, event: &ConnectionEvent) -> io::Result<()> {
    let fields = event.fields()?;
    let pairs: Vec<(&str, &str)> = fields
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()))
        .collect();
    let message = message(event);
    journal.journal_send(
        &Record::builder()
            .args(format_args!("{message}"))
            // What the journal calls informational.
            .level(Level::Debug)
            .target("kmesh_lite::access_log")
            .key_values(&pairs.as_slice())
            .build(),
    )
}

/// "shop 10.96.0.10:80 from shop.service: closed".
fn message(event: &ConnectionEvent) -> String {
    let mut text = String::new();
    for part in [&event.service, &event.original_destination]
        .into_iter()
        .flatten()
    {
        text.push_str(part);
        text.push(' ');
    }
    if let Some(client) = event
        .unit
        .as_ref()
        .or(event.command.as_ref())
        .or(event.client.as_ref())
    {
        text.push_str("from ");
        text.push_str(client);
        text.push_str(": ");
    }
    text + &event.text
}
