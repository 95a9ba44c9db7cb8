//! Verbs about the file, and its way into the kernel.

use super::values::{drop_in, trial};
use super::{CONFIG, Format, Socket};
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kmesh-lite check                                  the file and its drop-ins
  kmesh-lite check - < mesh.toml                    a file alone, from standard input
  kmesh-lite check --with ./20-shop.toml            a drop-in before it is one
  kmesh-lite check --with %s --as 20-shop.toml      the same from Ansible's `validate`, which gives it
                                                    another name until it is valid

Exit codes: 0 valid, 3 not valid.")]
pub struct Check {
    /// The file; drop-ins are read from mesh.d beside it. A hyphen reads standard input, and no drop-ins
    #[arg(value_name = "PATH", default_value = CONFIG)]
    pub path: PathBuf,
    /// Judge this file as if it stood in mesh.d, in place of a drop-in of the same name; a hyphen is standard input
    #[arg(long, value_name = "FILE")]
    pub with: Option<PathBuf>,
    /// The name that the file of --with will have in mesh.d [default: its own]
    #[arg(long = "as", value_name = "NAME", requires = "with", value_parser = drop_in)]
    pub name: Option<String>,
    #[command(flatten)]
    pub format: Format,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kmesh-lite plan                         the daemon's own file
  kmesh-lite plan ./mesh.toml             another one, and its drop-ins
  kmesh-lite plan --exit-code             for scripts: 0 nothing to do, 4 something to do")]
pub struct Plan {
    /// Another file than the daemon's own; drop-ins are read from mesh.d beside it
    pub path: Option<PathBuf>,
    /// Exit with 4 if there is something to do
    #[arg(long)]
    pub exit_code: bool,
    #[command(flatten)]
    pub socket: Socket,
    #[command(flatten)]
    pub format: Format,
}

const TRIAL: &str = "\
With --confirm, what is applied is on trial: the state before comes back unless `kmesh-lite confirm` comes in time, in one
pass, and also where the daemon was killed or the host restarted meanwhile. The file is not touched. It is applied again
when it changes, or by `kmesh-lite reload`; until then `status` says why it is not. The state before is the one of a
minute ago at most, so a file that was saved, and applied by the daemon, a moment before is on trial, too. Changes of the
file while a trial is pending belong to it. Another `reload --confirm` gives it more time, and still goes back to where it
began; a `reload` without it applies the file, and confirms nothing.";

#[derive(Debug, clap::Args)]
#[command(after_long_help = TRIAL, after_help = "\
Examples:
  kmesh-lite reload                       apply the file now, and repair what something else changed
  kmesh-lite reload --confirm 60s         and go back to the state before, unless this comes within a minute:
  kmesh-lite confirm

Exit codes: 0 applied, 1 failed, 3 the file is not valid, or a policy would lock you out.")]
pub struct Reload {
    /// Go back to the state before after this time, unless it is confirmed: 30s, 5m, 1h at most
    #[arg(long, value_name = "TIME", value_parser = trial)]
    pub confirm: Option<u64>,
    #[command(flatten)]
    pub socket: Socket,
    #[command(flatten)]
    pub format: Format,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kmesh-lite reload --confirm 60s         apply the file for a minute
  kmesh-lite confirm                      it stays

Exit codes: 0 confirmed, 1 there is nothing to confirm, or not any more.")]
pub struct Confirm {
    #[command(flatten)]
    pub socket: Socket,
    #[command(flatten)]
    pub format: Format,
}
