//! Reading tables as they are.

use super::{KernelMaps, error};
use crate::kernel::bpf::io_error;
use crate::maps::{Contents, MapsError, Read};
use crate::model::Table;
use crate::tables::{Actual, Each};
use kmesh_lite_common::Endpoint;
use std::cell::Cell;
use std::io;

impl KernelMaps {
    /// These slots, with settings and callers.
    pub(super) fn contents(&self, slots: Each<Read>) -> Result<Contents, MapsError> {
        Ok(Contents {
            settings: self.settings.get(0).map_err(error("read", "settings"))?,
            slots,
            callers: self
                .callers
                .iter()
                .collect::<Result<_, _>>()
                .map_err(|cause| error("read", "callers")(io_error(cause)))?,
        })
    }

    /// Rows of the endpoint table; none if there are not so many.
    fn range(&self, first: u32, length: u32) -> io::Result<Option<Vec<Endpoint>>> {
        let end = first.checked_add(length);
        let Some(end) = end.filter(|end| *end <= self.endpoints.count()) else {
            return Ok(None);
        };
        let rows = (first..end).map(|index| self.endpoints.get(index));
        rows.collect::<io::Result<_>>().map(Some)
    }

    /// What `assembled` makes of ranges, unless one cannot be read.
    pub(super) fn with_ranges(
        &self,
        assembled: impl FnOnce(&dyn Fn(u32, u32) -> Option<Vec<Endpoint>>) -> Actual,
    ) -> Result<Actual, MapsError> {
        let failure = Cell::new(None);
        let actual = assembled(&|first, length| {
            let range = self.range(first, length);
            range.map_err(|cause| failure.set(Some(cause))).ok()?
        });
        match failure.take() {
            None => Ok(actual),
            Some(cause) => Err(error("read", Table::Endpoints.as_str())(cause)),
        }
    }
}
