//! A file that is replaced as a whole.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// Puts another file in the place of one, so that there is always one of the two, also after the power went.
pub fn replace(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let mut next = path.as_os_str().to_owned();
    next.push(".new");
    let next = PathBuf::from(next);
    let mut file = File::create(&next)?;
    write(&mut file)?;
    file.sync_all()?;
    fs::rename(&next, path)?;
    // The name, too, is to be there after the power went.
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}
