//! A file without a name that outlives this process, and is replaced as a whole.

use crate::kernel::{Descriptors, Store};
use log::warn;
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fs::File;
use std::io::{self, BufWriter, Seek, Write};
use std::os::fd::AsFd;
use std::sync::Arc;

/// Where the file is. Descriptors of it have a name that ends with a number; the highest is the latest.
pub struct Kept {
    store: Arc<dyn Store>,
    name: &'static str,
    number: u64,
}

impl Kept {
    /// Takes what an earlier process kept under a name out of everything that it left.
    pub fn take_over(
        left: &mut Descriptors,
        store: Arc<dyn Store>,
        name: &'static str,
    ) -> (Self, Option<File>) {
        let number = |found: &str| found.strip_prefix(name)?.parse::<u64>().ok();
        let mut kept: Vec<_> = left
            .extract_if(.., |(name, _)| number(name).is_some())
            .filter_map(|(name, fd)| Some((number(&name)?, File::from(fd))))
            .collect();
        kept.sort_by_key(|(number, _)| *number);
        let last = kept.pop();
        let this = Self {
            store,
            name,
            number: last.as_ref().map_or(0, |(number, _)| *number),
        };
        // Left by a process that ended between two calls.
        for (number, _) in kept {
            this.release(number);
        }
        let file = last.and_then(|(_, mut file)| file.rewind().is_ok().then_some(file));
        (this, file)
    }

    /// Keeps what is written in place of what was kept before.
    pub fn keep(
        &mut self,
        write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
    ) -> io::Result<()> {
        let file = File::from(memfd_create(self.name, MFdFlags::MFD_CLOEXEC)?);
        let mut writer = BufWriter::new(file);
        write(&mut writer)?;
        writer.flush()?;
        let file = writer.into_inner()?;
        let next = self.number + 1;
        self.store
            .keep(&format!("{}{next}", self.name), file.as_fd())?;
        if self.number != 0 {
            self.release(self.number);
        }
        self.number = next;
        Ok(())
    }

    fn release(&self, number: u64) {
        let name = format!("{}{number}", self.name);
        if let Err(error) = self.store.release(&name) {
            warn!("cannot let go of {name}, which another one replaces: {error}");
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use std::os::fd::{BorrowedFd, OwnedFd};
    use std::sync::Mutex;

    /// Keeps what it is given, as systemd does.
    #[derive(Default)]
    pub struct InMemory(pub Mutex<Vec<(String, OwnedFd)>>);

    impl Store for InMemory {
        fn keep(&self, name: &str, fd: BorrowedFd<'_>) -> io::Result<()> {
            let fd = fd.try_clone_to_owned()?;
            self.0.lock().unwrap().push((name.to_owned(), fd));
            Ok(())
        }

        fn release(&self, name: &str) -> io::Result<()> {
            self.0.lock().unwrap().retain(|(kept, _)| kept != name);
            Ok(())
        }
    }
}
