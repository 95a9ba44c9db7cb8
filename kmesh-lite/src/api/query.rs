//! What becomes of single questions to the agent.

use super::zone::{QueryOutcome, Transport};
use super::{Failure, FailureKind, now};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::net::SocketAddr;

/// A line of `GET /v1/trace/dns`. What is not known, and what an event does not have, is left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct QueryEvent {
    /// When it was; of a question, when it was answered.
    pub time: String,
    /// `query`; `lost` for a line that says how many questions are missing; `away` where the agent is not heard of, so that nothing
    /// is told of what it is asked, and `back` when it is.
    pub event: Cow<'static, str>,
    /// What came of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<QueryOutcome>,
    /// The same for people.
    pub text: String,
    /// How many questions are missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transport: Option<Transport>,
    /// Address and port of who asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// As it was written, without the dot at the end. All but letters, digits and what stands in names is escaped as in zone files
    /// (RFC 1035, 5.1): `\.`, `\032`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `A`, `AAAA`, and so on; `TYPE65280` where it has no name (RFC 3597).
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub record_type: Option<String>,
    /// Whose name it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Address and port of the upstream whose answer was passed on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
    /// The code of an answer that was passed on: `NOERROR`, `NXDOMAIN`, and so on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// From when the agent read the question until it had the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_seconds: Option<f64>,
}

impl QueryEvent {
    /// One that is about no question.
    pub fn notice(event: &'static str, text: &str) -> Self {
        Self {
            time: now(),
            event: event.into(),
            text: text.to_owned(),
            ..Self::default()
        }
    }

    /// As a line of JSON.
    pub fn line(&self) -> Result<String, serde_json::Error> {
        let mut text = serde_json::to_string(self)?;
        text.push('\n');
        Ok(text)
    }
}

/// `POST /v1/agent/dns/queries`: what the agent was asked since the last one, while somebody reads that
/// ([`Serving::trace`](super::Serving)). It comes once a second at least, so that its absence says something.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueriesReport {
    /// How many questions there was no room for.
    #[serde(default)]
    pub lost: u64,
    /// In the order in which they were answered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub queries: Vec<ToldQuery>,
}

/// One question, after it was answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToldQuery {
    /// When it was answered, by CLOCK_MONOTONIC.
    pub at_ns: u64,
    /// How long that took.
    pub took_ns: u64,
    pub transport: Transport,
    pub outcome: QueryOutcome,
    /// Who asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<SocketAddr>,
    /// As [`QueryEvent::name`]; none of what could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// As [`QueryEvent::record_type`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record_type: Option<String>,
    /// Whose answer was passed on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<SocketAddr>,
    /// As [`QueryEvent::code`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

impl QueriesReport {
    /// The most that one may have.
    pub const BYTES: usize = 512 * 1024;
    /// Questions of one, so that it is no longer than that, whatever their names are.
    pub const MOST: usize = 256;

    pub fn read(body: &[u8]) -> Result<Self, Failure> {
        serde_json::from_slice(body).map_err(|error| {
            let error = format!("the body is no report of questions: {error}");
            Failure::new(FailureKind::BadRequest, error)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_of_the_longest_names_is_not_too_long() {
        // 254 bytes, each of which is escaped, and each escape is one of JSON as well.
        let query = ToldQuery {
            at_ns: u64::MAX,
            took_ns: u64::MAX,
            transport: Transport::Udp,
            outcome: QueryOutcome::Malformed,
            client: "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%4294967295]:65535"
                .parse()
                .ok(),
            name: Some("\\000".repeat(254)),
            record_type: Some("TYPE65535".to_owned()),
            upstream: "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"
                .parse()
                .ok(),
            code: Some("RESERVED15".to_owned()),
        };
        let report = QueriesReport {
            lost: u64::MAX,
            queries: vec![query; QueriesReport::MOST],
        };
        let text = serde_json::to_vec(&report).unwrap();
        assert!(text.len() <= QueriesReport::BYTES, "{}", text.len());
        assert_eq!(QueriesReport::read(&text).unwrap(), report);
    }
}
