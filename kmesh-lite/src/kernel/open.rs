//! How many connections are open, read through mappings while programs count.

use super::bpf;
use super::connections::Gone;
use super::rows::Rows;
use crate::tables::{OpenConnections, Tables};
use kmesh_lite_common::{Connection, EndpointId, Open, Service, ServiceOpen, Stage};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::addr_of_mut;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// The maps of open connections. They are mapped for each call only, as the connection table is.
pub struct OpenTable {
    endpoints: OwnedFd,
    services: OwnedFd,
    /// How many rows there are.
    counts: [u32; 2],
}

impl OpenTable {
    pub fn new(endpoints: BorrowedFd<'_>, services: BorrowedFd<'_>) -> io::Result<Self> {
        Ok(Self {
            counts: [bpf::map_rows(endpoints)?, bpf::map_rows(services)?],
            endpoints: endpoints.try_clone_to_owned()?,
            services: services.try_clone_to_owned()?,
        })
    }

    fn endpoints(&self) -> io::Result<Rows<Open>> {
        Rows::map(self.endpoints.as_fd(), self.counts[0])
    }

    fn services(&self) -> io::Result<Rows<ServiceOpen>> {
        Rows::map(self.services.as_fd(), self.counts[1])
    }

    /// Begins a new term for these ids: sockets that remember an older one do not count for it any more.
    pub fn disown(&self, gone: &Gone) -> io::Result<()> {
        self.each(gone, |open, _| {
            // SAFETY: mapped words; no reference is made.
            let term = unsafe { AtomicU32::from_ptr(addr_of_mut!((*open).term)) };
            term.fetch_add(1, Ordering::SeqCst);
        })
    }

    /// Begins to count these ids from zero. No program counts for their last term any more.
    pub fn reset(&self, gone: &Gone) -> io::Result<()> {
        self.each(gone, |open, due| {
            // SAFETY: as above.
            unsafe {
                AtomicU32::from_ptr(addr_of_mut!((*open).count)).store(0, Ordering::SeqCst);
                if let Some(due) = due {
                    AtomicU64::from_ptr(due).store(0, Ordering::SeqCst);
                }
            }
        })
    }

    fn each(&self, gone: &Gone, act: impl Fn(*mut Open, Option<*mut u64>)) -> io::Result<()> {
        if !gone.endpoints.is_empty() {
            let rows = self.endpoints()?;
            let ids = gone.endpoints.iter();
            for id in ids.filter(|id| (1..=rows.count()).contains(*id)) {
                act(rows.place(id - 1)?, None);
            }
        }
        if !gone.services.is_empty() {
            let rows = self.services()?;
            let ids = gone.services.iter();
            for id in ids.filter(|id| (1..=rows.count()).contains(*id)) {
                let row = rows.place(id - 1)?;
                // SAFETY: inside the mapping; no reference is made.
                let (open, due) = unsafe { (addr_of_mut!((*row).open), addr_of_mut!((*row).due)) };
                act(open, Some(due));
            }
        }
        Ok(())
    }

    /// The counts, mapped for as long as they are counted in.
    pub fn counting(&self) -> io::Result<Counting> {
        Ok(Counting {
            endpoints: self.endpoints()?,
            services: self.services()?,
        })
    }

    /// The term of an endpoint's id.
    pub fn term(&self, id: EndpointId) -> io::Result<u32> {
        let endpoints = self.endpoints()?;
        match id.index() < endpoints.count() {
            true => Ok(endpoints.get(id.index())?.term),
            false => Ok(0),
        }
    }

    /// How many are open, of all whose connections are counted, and which connects were made.
    pub fn read(&self, tables: &Tables) -> io::Result<OpenConnections> {
        let mut open = OpenConnections::default();
        let limits = |row: &Service| row.picking.counts() || row.picking.interval != 0;
        let services = tables.rows.services.iter();
        let limited: Vec<_> = services.filter(|(_, row)| limits(row)).collect();
        if limited.is_empty() {
            return Ok(open);
        }
        let (of_endpoints, of_services) = (self.endpoints()?, self.services()?);
        for (id, row) in limited {
            if id.index() < of_services.count() {
                let there = of_services.get(id.index())?;
                if row.picking.counts() {
                    open.services.insert(*id, there.open.count);
                }
                if row.picking.interval != 0 {
                    open.due.insert(*id, there.due);
                }
            }
            if !row.picking.counts() {
                continue;
            }
            let listed = crate::tables::ranges(row).flat_map(|range| tables.listed(range));
            for id in listed.filter_map(|listed| listed.id) {
                if id.index() < of_endpoints.count() {
                    open.endpoints
                        .insert(id, of_endpoints.get(id.index())?.count);
                }
            }
        }
        Ok(open)
    }
}

/// Mapped counts.
pub struct Counting {
    endpoints: Rows<Open>,
    services: Rows<ServiceOpen>,
}

impl Counting {
    /// Counts a connection that is open already, or no more, where `stage` says of what it is one.
    pub fn count(&self, connection: &Connection, stage: Stage, one_more: bool) -> io::Result<()> {
        let by = if one_more { 1 } else { u32::MAX };
        let add = |open: *mut Open| {
            // SAFETY: mapped words; no reference is made.
            let count = unsafe { AtomicU32::from_ptr(addr_of_mut!((*open).count)) };
            count.fetch_add(by, Ordering::SeqCst);
        };
        if let Some(id) = connection.endpoint
            && stage.has(Stage::AT_ENDPOINT)
            && id.index() < self.endpoints.count()
        {
            add(self.endpoints.place(id.index())?);
        }
        if let Some(id) = connection.service
            && stage.has(Stage::AT_SERVICE)
            && id.index() < self.services.count()
        {
            let row = self.services.place(id.index())?;
            // SAFETY: inside the mapping; no reference is made.
            add(unsafe { addr_of_mut!((*row).open) });
        }
        Ok(())
    }
}
