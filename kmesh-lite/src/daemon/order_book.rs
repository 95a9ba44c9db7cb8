//! What the operator wants of endpoints, written down: it counts until it is changed, whatever is restarted.

use super::replace::replace;
use crate::health::{Addressee, Order, Orders};
use crate::model::{Membership, Name, OperatorState, PortMapping, Protocol};
use log::{error, warn};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

const FILE: &str = "orders.json";

/// The file. Without one, nothing is written down.
#[derive(Debug, Default)]
pub struct OrderBook {
    path: Option<PathBuf>,
}

/// Why orders could not be written down.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {path}")]
pub struct OrderBookError {
    path: PathBuf,
    source: io::Error,
}

/// An order as it is written.
#[derive(Serialize, Deserialize)]
struct Line {
    service: String,
    /// Of one endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    address: Option<IpAddr>,
    /// The DNS name of all endpoints that it stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dns: Option<String>,
    /// Ports of the service, as `80/tcp`, behind which the endpoint has its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    ports: Vec<(u16, String, u16)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    weight: Option<u32>,
    uid: u32,
    at: String,
}

impl OrderBook {
    pub fn new(folder: &Path) -> Self {
        Self {
            path: Some(folder.join(FILE)),
        }
    }

    /// What is written there. What cannot be read is put aside, so that nothing is lost.
    pub fn read(&self) -> Orders {
        let Some(path) = &self.path else {
            return Orders::default();
        };
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Orders::default(),
            Err(error) => {
                error!(
                    "cannot read {}, what the operator wants of endpoints: {error}",
                    path.display()
                );
                return Orders::default();
            }
        };
        match serde_json::from_slice::<Vec<serde_json::Value>>(&text) {
            Ok(lines) => lines
                .into_iter()
                .filter_map(|line| match serde_json::from_value(line) {
                    Ok(line) => Line::order(line),
                    Err(error) => {
                        error!("an order in {} is not followed: {error}", path.display());
                        None
                    }
                })
                .filter(|(_, order)| !order.is_empty())
                .collect(),
            Err(error) => {
                let aside = path.with_extension("json.bad");
                let moved = fs::rename(path, &aside);
                error!(
                    "{} is not what a daemon wrote there: {error}; endpoints are as the file says{}",
                    path.display(),
                    match moved {
                        Ok(()) => format!(", and it is kept as {}", aside.display()),
                        Err(_) => String::new(),
                    }
                );
                Orders::default()
            }
        }
    }

    /// Writes all of them down, or leaves what is there.
    pub fn write(&self, orders: &Orders) -> Result<(), OrderBookError> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        let failed = |source| OrderBookError {
            path: path.clone(),
            source,
        };
        let lines: Vec<_> = orders.iter().map(Line::new).collect();
        let written = replace(path, |file| {
            serde_json::to_writer_pretty(&mut *file, &lines)?;
            file.write_all(b"\n")
        });
        written.map_err(failed)
    }
}

impl Line {
    fn new(((service, addressee), order): (&(Name, Addressee), &Order)) -> Self {
        let (endpoint, dns) = match addressee {
            Addressee::Endpoint(endpoint) => (Some(endpoint), None),
            Addressee::Name(name) => (None, Some(name.to_string())),
        };
        let ports = endpoint.into_iter().flat_map(|it| &it.ports);
        Self {
            service: service.to_string(),
            address: endpoint.map(|it| it.address),
            dns,
            ports: ports
                .map(|it| (it.port, it.protocol.to_string(), it.target))
                .collect(),
            state: order.state.map(|state| state.as_str().to_owned()),
            weight: order.weight,
            uid: order.uid,
            at: order.at.clone(),
        }
    }

    fn order(self) -> Option<((Name, Addressee), Order)> {
        let ports = self.ports.iter().map(|(port, protocol, target)| {
            let protocol = match protocol.as_str() {
                "udp" => Protocol::Udp,
                _ => Protocol::Tcp,
            };
            PortMapping {
                protocol,
                port: *port,
                target: *target,
            }
        });
        let ports = ports.collect();
        let addressee = match (self.address, self.dns) {
            (Some(address), _) => Addressee::Endpoint(Membership { address, ports }),
            (None, Some(name)) => Addressee::Name(name.into()),
            (None, None) => {
                warn!("an order of {} is about nothing", self.service);
                return None;
            }
        };
        let service = self.service;
        let state = match self.state.as_deref() {
            Some("ready") => Some(OperatorState::Ready),
            Some("drain") => Some(OperatorState::Drain),
            Some("maintenance") => Some(OperatorState::Maintenance),
            Some(other) => {
                warn!(
                    "{service}/{}: there is no state {other:?}",
                    addressee.title(None)
                );
                None
            }
            None => None,
        };
        let order = Order {
            state,
            weight: self.weight,
            uid: self.uid,
            at: self.at,
        };
        Some(((service.parse().ok()?, addressee), order))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orders() -> Orders {
        let endpoint = Membership {
            address: [10, 0, 0, 1].into(),
            ports: vec![PortMapping {
                protocol: Protocol::Udp,
                port: 53,
                target: 5353,
            }],
        };
        let order = Order {
            state: Some(OperatorState::Maintenance),
            weight: Some(7),
            uid: 1000,
            at: "2026-11-29T10:00:00.000Z".to_owned(),
        };
        let web: Name = "web".parse().unwrap();
        let of_name = Addressee::Name("db.internal".into());
        Orders::from_iter([
            ((web.clone(), endpoint.into()), order.clone()),
            ((web, of_name), order),
        ])
    }

    #[test]
    fn orders_are_there_for_the_next_daemon() {
        let folder = tempfile::tempdir().unwrap();
        let book = OrderBook::new(folder.path());
        assert!(book.read().is_empty());
        book.write(&orders()).unwrap();
        assert_eq!(OrderBook::new(folder.path()).read(), orders());
        book.write(&Orders::default()).unwrap();
        assert!(book.read().is_empty());
    }

    #[test]
    fn what_cannot_be_read_is_put_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        fs::write(&path, "[{\"service\": 7}").unwrap();
        let book = OrderBook::new(folder.path());
        assert!(book.read().is_empty());
        book.write(&orders()).unwrap();
        let aside = fs::read_to_string(path.with_extension("json.bad")).unwrap();
        assert_eq!(aside, "[{\"service\": 7}");
    }

    #[test]
    fn an_order_that_cannot_be_read_takes_no_other_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let book = OrderBook::new(folder.path());
        book.write(&orders()).unwrap();
        let path = folder.path().join(FILE);
        let text = fs::read_to_string(&path).unwrap();
        let text = text.replacen('[', "[{\"service\": 7}, ", 1);
        fs::write(&path, text).unwrap();
        assert_eq!(book.read(), orders());
    }

    #[test]
    fn an_order_that_cannot_be_written_leaves_what_was() {
        let folder = tempfile::tempdir().unwrap();
        let book = OrderBook::new(&folder.path().join("absent"));
        let error = book.write(&orders()).unwrap_err();
        assert!(error.to_string().contains("absent/orders.json"), "{error}");
    }
}
