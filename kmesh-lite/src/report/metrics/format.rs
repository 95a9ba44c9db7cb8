//! The formats of an answer: who gets which, and text as a writer of bytes takes it.

use std::fmt;
use std::io::{self, Write};

/// The format of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The text format of Prometheus, version 0.0.4.
    Prometheus,
    /// OpenMetrics, version 1.0.0.
    OpenMetrics,
}

impl Format {
    /// What a client that accepts these types is given: the text format, unless it asks for OpenMetrics.
    pub fn accepted(accept: Option<&str>) -> Self {
        let asks = |accept: &str| {
            let mut types = accept.split(',');
            types.any(|it| it.trim_start().starts_with("application/openmetrics-text"))
        };
        if accept.is_some_and(asks) {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }

    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Text for a writer of bytes, whose error is kept.
pub struct Text<'a> {
    pub to: &'a mut dyn Write,
    pub failed: Option<io::Error>,
}

impl fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.to.write_all(text.as_bytes()).map_err(|error| {
            self.failed = Some(error);
            fmt::Error
        })
    }
}
