//! Connections that arrived at endpoints on this host, by where they came from.

use crate::model::{Locality, Mesh};
use kmesh_lite_common::{ArrivalKey, Protocol};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// Whose arrivals are one number. An endpoint of several services counts for each: which of them a client
/// asked for is known on its own host only.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Arrived {
    pub service: String,
    pub endpoint: SocketAddr,
    /// Of the endpoint of the mesh that has the address of the client; `None` where none has, or it has none.
    pub locality: Option<String>,
}

/// `counted` is by address, and says nothing of services. What arrived at no endpoint is left out.
pub fn arrivals(mesh: &Mesh, counted: &BTreeMap<ArrivalKey, u64>) -> BTreeMap<Arrived, u64> {
    let mut at: BTreeMap<IpAddr, Vec<(u16, IpAddr, u64)>> = BTreeMap::new();
    let mut localities: BTreeMap<IpAddr, Option<String>> = BTreeMap::new();
    for (key, count) in counted {
        let source = IpAddr::from(key.source);
        let port = key.port.get();
        let of_local = at.entry(key.local.into()).or_default();
        of_local.push((port, source, *count));
        localities.insert(source, None);
    }
    if at.is_empty() {
        return BTreeMap::new();
    }
    let mut found = Vec::new();
    for (name, service) in &mesh.services {
        for endpoint in &service.endpoints {
            // Another service may list the address without a locality.
            if let Some(locality @ None) = localities.get_mut(&endpoint.address)
                && endpoint.place.locality != Locality::default()
            {
                *locality = Some(endpoint.place.locality.to_string());
            }
            if at.contains_key(&endpoint.address) {
                found.push((name, service, endpoint));
            }
        }
    }
    let mut arrived = BTreeMap::new();
    for (name, service, endpoint) in found {
        let tcp = service.ports.iter();
        let tcp = tcp.filter(|mapping| mapping.protocol == Protocol::Tcp);
        let mut ports: Vec<_> = tcp.map(|mapping| endpoint.port(mapping)).collect();
        // Several ports of the service may lead to one.
        ports.sort_unstable();
        ports.dedup();
        for (port, source, count) in &at[&endpoint.address] {
            if ports.binary_search(port).is_ok() {
                let whose = Arrived {
                    service: name.to_string(),
                    endpoint: SocketAddr::new(endpoint.address, *port),
                    locality: localities[source].clone(),
                };
                *arrived.entry(whose).or_default() += count;
            }
        }
    }
    arrived
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Host;
    use crate::sources::Files;
    use kmesh_lite_common::{Address, Port};

    fn mesh(text: &str) -> Mesh {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mesh.toml");
        std::fs::write(&path, text).unwrap();
        Files::new(&path).load(&Host::default()).mesh.unwrap()
    }

    #[test]
    fn arrivals_are_told_by_service_endpoint_and_the_locality_of_the_client() {
        let mesh = mesh(
            r#"
            [services.web]
            vips = ["10.96.0.1"]
            ports = ["80:8080", "81:8080", "443:8443"]
            endpoints = [
                { address = "10.0.0.1", locality = "eu/a" },
                { address = "10.0.0.2", locality = "eu/b" },
            ]

            [services.same]
            vips = ["10.96.0.2"]
            ports = ["80:8080"]
            endpoints = ["10.0.0.1"]
            "#,
        );
        let address = |text: &str| Address::from(text.parse::<IpAddr>().unwrap());
        let key = |port, source: &str| ArrivalKey {
            local: address("10.0.0.1"),
            source: address(source),
            port: Port::new(port),
            zero: 0,
        };
        let counted = BTreeMap::from([
            (key(8080, "10.0.0.2"), 3),
            (key(8080, "::"), 4),
            (key(8443, "10.0.0.1"), 5),
            (key(22, "10.0.0.2"), 6),
        ]);
        let told: Vec<_> = arrivals(&mesh, &counted)
            .into_iter()
            .map(|(it, count)| {
                let locality = it.locality.unwrap_or_default();
                format!("{} {} {locality} {count}", it.service, it.endpoint)
            })
            .collect();
        let expected = [
            "same 10.0.0.1:8080  4",
            "same 10.0.0.1:8080 eu/b 3",
            "web 10.0.0.1:8080  4",
            "web 10.0.0.1:8080 eu/b 3",
            "web 10.0.0.1:8443 eu/a 5",
        ];
        assert_eq!(told, expected);
        assert!(arrivals(&mesh, &BTreeMap::new()).is_empty());
    }
}
