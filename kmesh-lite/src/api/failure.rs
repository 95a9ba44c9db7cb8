//! Why a request has no answer.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The body of every answer whose HTTP status is not 2xx.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("{error}")]
pub struct Failure {
    pub kind: FailureKind,
    pub error: String,
    /// The problems of the configuration, if these are the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problems: Option<Box<Findings>>,
}

/// What a client can decide by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The configuration cannot be used; HTTP 422, exit code 3.
    InvalidConfiguration,
    /// The kernel or the host refused; HTTP 500.
    Failed,
    /// The request itself is wrong; HTTP 400.
    BadRequest,
    /// The caller may not do that; HTTP 403.
    Forbidden,
    /// Nothing has the name that was asked for; HTTP 404.
    NotFound,
    /// It is not so any more; HTTP 409.
    Conflict,
    /// The daemon is stopping, or did not get to it in time; HTTP 503.
    Unavailable,
}

/// Problems of a configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Findings {
    /// How many of them make the configuration unusable.
    pub errors: usize,
    /// All of them as `check` prints them, without colour.
    pub text: String,
    /// All of them as `check --json` gives them.
    pub list: Value,
}

impl Default for Findings {
    fn default() -> Self {
        Self {
            errors: 0,
            text: String::new(),
            list: Value::Array(Vec::new()),
        }
    }
}

impl Findings {
    pub fn is_empty(&self) -> bool {
        self.errors == 0 && self.text.is_empty()
    }
}

impl Failure {
    pub fn new(kind: FailureKind, error: impl Into<String>) -> Self {
        Self {
            kind,
            error: error.into(),
            problems: None,
        }
    }

    pub fn with_problems(mut self, problems: Findings) -> Self {
        self.problems = Some(Box::new(problems));
        self
    }
}
