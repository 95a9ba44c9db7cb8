//! Verbs about the file, and its way into the kernel.

use super::values::drop_in;
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

#[derive(Debug, clap::Args)]
pub struct Reload {
    #[command(flatten)]
    pub socket: Socket,
    #[command(flatten)]
    pub format: Format,
}
