//! Where the real configuration and the real kernel side are made. SEAM: to be filled at merge; nothing
//! else in `cli` or `daemon` knows the types behind it.

use crate::daemon::api::{DatapathStatus, Dump, Explanation, PlanText};
use crate::daemon::{Datapath, Loaded, Pass, Source};
use crate::model::{Mesh, Protocol};
use serde_json::Value;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum PartsError {
    #[error("{0} is not built in yet")]
    Missing(&'static str),
}

/// Reads `file`, which is absolute, and its drop-ins. With `color` its findings are for a terminal.
pub fn source(file: PathBuf, color: bool) -> Result<impl Source, PartsError> {
    let _ = (file, color);
    Err::<Stub, _>(PartsError::Missing("reading the configuration"))
}

/// Loads the programs; attaches nothing before the first pass.
pub fn datapath() -> Result<impl Datapath, PartsError> {
    Err::<Stub, _>(PartsError::Missing("the kernel side"))
}

/// JSON Schema of the file.
pub fn schema() -> Result<Value, PartsError> {
    Err(PartsError::Missing("the schema"))
}

enum Stub {}

impl Source for Stub {
    fn load(&mut self) -> Loaded {
        match *self {}
    }
    fn load_other(&self, _: &Path) -> Loaded {
        match *self {}
    }
    fn file(&self) -> &Path {
        match *self {}
    }
    fn drop_ins(&self) -> &Path {
        match *self {}
    }
}

impl Datapath for Stub {
    type Error = Infallible;

    fn reconcile(&mut self, _: &Mesh) -> Result<Pass, Infallible> {
        match *self {}
    }
    fn plan(&mut self, _: &Mesh) -> Result<PlanText, Infallible> {
        match *self {}
    }
    fn status(&mut self, _: &Mesh) -> Result<DatapathStatus, Infallible> {
        match *self {}
    }
    fn explain(&mut self, _: SocketAddr, _: Protocol) -> Result<Explanation, Infallible> {
        match *self {}
    }
    fn dump(&mut self) -> Result<Dump, Infallible> {
        match *self {}
    }
}
