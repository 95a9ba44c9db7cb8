//! `dump`: the kernel's tables.

mod text;

use super::ask::{ask, failed};
use super::error::CliError;
use super::output::{Output, WriteError};
use super::{Exit, VerbResult, args};
use crate::control::ClientError;
use crate::report;
use std::cell::RefCell;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::thread;

/// Neither as JSON nor as text is all of it ever held: there may be millions of rows.
pub fn run(args: args::Dump, output: &mut Output) -> VerbResult {
    let socket = args.socket.path;
    if args.format.json {
        let stdout = BufWriter::new(io::stdout().lock());
        return write(socket, stdout).map(|()| Exit::Fine);
    }
    let (reader, writer) = io::pipe().map_err(ClientError::Start)?;
    let (made, shown) = thread::scope(|scope| {
        // The writer goes with its thread, which ends the text.
        let made = scope.spawn(move || write(socket, BufWriter::new(writer)));
        let shown = text::show(reader, output);
        (made.join(), shown)
    });
    match made.unwrap_or_else(|panic| std::panic::resume_unwind(panic)) {
        // Why nobody reads any more is the better reason.
        Ok(()) | Err(CliError::Write(_)) => shown?,
        Err(error) => return Err(error),
    }
    Ok(Exit::Fine)
}

/// Writes the dump as JSON.
fn write(socket: PathBuf, to: impl Write) -> Result<(), CliError> {
    // Of the two, the second is called only where the first has written nothing.
    let to = RefCell::new(to);
    let written = ask(
        socket,
        |daemon| match daemon.copy("dump", &mut *to.borrow_mut()) {
            Err(ClientError::Write(error)) => Ok(Err(error)),
            copied => copied.map(Ok),
        },
        |kernel, _| {
            let actual = kernel.read().map_err(failed)?;
            Ok(report::dump(&actual, &mut *to.borrow_mut()))
        },
    )?;
    written.map_err(|error| WriteError(error).into())
}
