//! Cgroups to make sockets in: hooks follow the cgroup in which a socket was made.

use kmesh_lite::kernel::Cgroups;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process;

const PREFIX: &str = "kmesh-lite-bench-";

/// A cgroup; removed when dropped.
pub struct Cgroup {
    folder: PathBuf,
    path: PathBuf,
}

/// This process is in a cgroup until this is dropped.
pub struct Inside {
    before: PathBuf,
}

impl Cgroup {
    pub fn new(name: &str) -> io::Result<Self> {
        let cgroups = Cgroups::find().map_err(io::Error::other)?;
        sweep(cgroups.mount())?;
        let path = Path::new("/").join(format!("{PREFIX}{}-{name}", process::id()));
        let folder = cgroups.folder(&path);
        fs::create_dir(&folder)?;
        Ok(Self { folder, path })
    }

    /// Its path below the mount, beginning with `/`.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn enter(&self) -> io::Result<Inside> {
        let text = fs::read_to_string("/proc/self/cgroup")?;
        let line = text.lines().find_map(|line| line.strip_prefix("0::"));
        let path = line.ok_or_else(|| io::Error::other("no cgroup v2 in /proc/self/cgroup"))?;
        let cgroups = Cgroups::find().map_err(io::Error::other)?;
        let before = cgroups.folder(Path::new(path));
        move_to(&self.folder)?;
        Ok(Inside { before })
    }
}

fn move_to(folder: &Path) -> io::Result<()> {
    fs::write(folder.join("cgroup.procs"), "0")
}

impl Drop for Inside {
    fn drop(&mut self) {
        if let Err(error) = move_to(&self.before) {
            eprintln!("cannot return to {}: {error}", self.before.display());
        }
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir(&self.folder) {
            eprintln!("cannot remove {}: {error}", self.folder.display());
        }
    }
}

/// Removes what runs that were killed left behind.
fn sweep(mount: &Path) -> io::Result<()> {
    for entry in fs::read_dir(mount)? {
        let entry = entry?;
        let name = entry.file_name();
        let rest = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        let pid = rest.and_then(|rest| rest.split('-').next());
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = fs::remove_dir(entry.path());
        }
    }
    Ok(())
}
