//! Answers to requests.

use super::Daemon;
use super::reload::{Applied, Outcome, Stopped};
use crate::api::{
    ConfigStatus, Dump, Explanation, Failure, FailureKind, FileText, PlanText, Reloaded, Status,
};
use crate::daemon::datapath::{Blame, Datapath};
use crate::daemon::supervisor::Supervisor;
use crate::host;
use crate::model::{Mesh, Protocol};
use crate::report;
use crate::sources::Source;
use std::net::SocketAddr;

impl<S: Source, D: Datapath, N: Supervisor> Daemon<S, D, N> {
    pub(super) fn status(&mut self, name: Option<&str>) -> Result<Status, Failure> {
        let empty = Mesh::default();
        let held = self.state.applied.as_ref().or(self.state.mesh.as_ref());
        let mesh = held.map_or(&empty, |mesh| mesh);
        let snapshot = self.datapath.snapshot().map_err(failed::<D>)?;
        let mut datapath = report::status(&snapshot, mesh, &self.state.facts);
        datapath.show_only(name)?;
        let state = &self.state;
        Ok(Status {
            state: state.kind(),
            verdict: state.verdict(),
            failure: state.failure.clone(),
            config: Some(ConfigStatus {
                path: state.path.clone(),
                present: state.present,
                files: state.files.clone(),
                problems: (!state.findings.is_empty()).then(|| state.findings.clone()),
            }),
            last_reload: state.last_reload.clone(),
            last_pass: state.last_pass.clone(),
            datapath,
            daemon: Some(state.about()),
        })
    }

    pub(super) fn reloaded(&self, outcome: Outcome<D::Error>) -> Result<Reloaded, Failure> {
        let findings = || self.state.findings.clone();
        match outcome {
            Ok(Applied { pass, took }) => Ok(Reloaded {
                operations: pass.operations,
                summary: pass.words,
                drift: pass.drift,
                took_ms: took.as_secs_f64() * 1e3,
                problems: Some(findings()).filter(|findings| !findings.is_empty()),
            }),
            Err(Stopped::Invalid) => Err(Failure::new(
                FailureKind::InvalidConfiguration,
                self.state.verdict(),
            )
            .with_problems(findings())),
            Err(Stopped::Absent) => Err(Failure::new(
                FailureKind::InvalidConfiguration,
                self.state.verdict(),
            )),
            Err(Stopped::Refused(error) | Stopped::Host(error)) => Err(failed::<D>(error)),
        }
    }

    pub(super) fn plan(&mut self, texts: Option<Vec<FileText>>) -> Result<PlanText, Failure> {
        let mut path = self.state.path.display().to_string();
        let mut loaded = match texts {
            None => self.source.load(),
            Some(texts) => {
                if let Some(first) = texts.first() {
                    path.clone_from(&first.path);
                }
                self.source.load_texts(texts)
            }
        };
        self.override_capture(&mut loaded);
        let invalid = |error| Err(Failure::new(FailureKind::InvalidConfiguration, error));
        match &loaded.mesh {
            _ if !loaded.present => invalid(format!("{path} does not exist")),
            Some(mesh) if loaded.errors() == 0 => {
                let facts = host::facts(self.units.cgroups(), mesh);
                let facts = facts.map_err(|error| {
                    let error = format!("cannot list the addresses of this host: {error}");
                    Failure::new(FailureKind::Failed, error)
                })?;
                let change = self.datapath.change(mesh, &facts).map_err(failed::<D>)?;
                Ok(report::plan(&change))
            }
            _ => {
                let findings = loaded.findings();
                invalid(format!("{path} has {}", findings.count()))
                    .map_err(|failure| failure.with_problems(findings))
            }
        }
    }

    pub(super) fn explain(
        &mut self,
        address: SocketAddr,
        protocol: Protocol,
    ) -> Result<Explanation, Failure> {
        let actual = self.datapath.read().map_err(failed::<D>)?;
        Ok(report::explain(&actual.tables, address, protocol))
    }

    pub(super) fn dump(&mut self) -> Result<Dump, Failure> {
        let actual = self.datapath.read().map_err(failed::<D>)?;
        Ok(report::dump(&actual))
    }
}

fn failed<D: Datapath>(error: D::Error) -> Failure {
    let kind = match D::blame(&error) {
        Blame::Configuration => FailureKind::InvalidConfiguration,
        Blame::Host => FailureKind::Failed,
    };
    Failure::new(kind, crate::log::chain(&error))
}
