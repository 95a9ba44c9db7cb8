//! Meshes of any size, all of whose backends are addresses of loopback.

use kmesh_lite::model::{
    Backend, Balance, ClientsBy, Endpoint, Header, Limits, Mesh, Name, OnAllDown, OnRemove,
    OperatorState, Place, Policy, PortMapping, Protocol, Service, Speaker, Vip, Waypoint,
};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

/// Port of every service.
pub const PORT: u16 = 80;

/// So many services of so many endpoints each, no two alike.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub services: u32,
    pub endpoints: u32,
}

pub const SMALL: Size = Size {
    services: 1,
    endpoints: 100,
};

pub const LARGE: Size = Size {
    services: 1_000,
    endpoints: 100,
};

pub const MILLION: Size = Size {
    services: 10_000,
    endpoints: 100,
};

impl Size {
    /// Those of the file where it says nothing, or what this size needs.
    fn limits(self) -> Limits {
        let default = Limits::default();
        Limits {
            endpoints: default.endpoints.max(self.all()),
            backends: default.backends.max(self.all()),
            services: default.services.max(self.services),
            ..default
        }
    }

    pub fn all(self) -> u32 {
        self.services * self.endpoints
    }

    /// Endpoints of a service.
    pub fn addresses(self, service: u32) -> impl Iterator<Item = Ipv4Addr> {
        let first = service * self.endpoints;
        (first..first + self.endpoints).map(backend)
    }

    pub fn mesh(self, target: u16) -> Mesh {
        let mut mesh = Mesh {
            limits: self.limits(),
            ..Mesh::default()
        };
        let place = Arc::new(Place::default());
        for service in 0..self.services {
            let addresses = self.addresses(service);
            let endpoints: Vec<_> = addresses.map(|address| endpoint(address, &place)).collect();
            for endpoint in &endpoints {
                mesh.backends.insert(endpoint.address, Backend::default());
            }
            let name = name(service).parse().expect("a name");
            let service = self::service(service, target, endpoints);
            mesh.services.insert(name, Arc::new(service));
        }
        mesh
    }
}

/// Services of which those with these numbers are behind a waypoint each, with this header and at
/// this address. Any others have none.
pub fn behind(target: u16, waypoints: &[(u32, Header, SocketAddrV4)]) -> Mesh {
    let last = waypoints.iter().map(|(service, ..)| *service).max();
    let size = Size {
        services: last.unwrap_or_default() + 1,
        ..SMALL
    };
    let mut mesh = size.mesh(target);
    for (service, header, address) in waypoints {
        let name: Name = name(*service).parse().expect("a name");
        let waypoint = Waypoint {
            address: (*address).into(),
            header: *header,
            speaker: Speaker::Client,
            unit: None,
        };
        let service = mesh.services.get_mut(&name).expect("one of these");
        Arc::make_mut(service).waypoint = Some(name.clone());
        mesh.waypoints.insert(name, waypoint);
    }
    mesh
}

fn endpoint(address: Ipv4Addr, place: &Arc<Place>) -> Endpoint {
    Endpoint {
        address: address.into(),
        ports: Vec::new(),
        place: place.clone(),
        weight: 1,
        max_connections: None,
        check: None,
        state: OperatorState::Ready,
        of_name: None,
    }
}

fn service(number: u32, target: u16, endpoints: Vec<Endpoint>) -> Service {
    Service {
        vips: vec![Vip::Fixed(vip(number).ip().to_owned().into())],
        hostnames: Vec::new(),
        headless: false,
        port_names: BTreeMap::new(),
        ports: vec![PortMapping {
            protocol: Protocol::Tcp,
            port: PORT,
            target,
        }],
        policy: Policy::Random,
        balance: Balance::default(),
        max_connections: None,
        connects_per_second: None,
        client_connects_per_second: None,
        affinity: None,
        clients_by: ClientsBy::default(),
        hash_slots: None,
        prefer: Vec::new(),
        waypoint: None,
        on_remove: OnRemove::Keep,
        on_all_down: OnAllDown::Refuse,
        overprovision: None,
        slow_start: None,
        eject: None,
        endpoints,
        named: Vec::new(),
    }
}

pub fn name(service: u32) -> String {
    format!("service-{service:04}")
}

pub fn vip(service: u32) -> SocketAddrV4 {
    let first = Ipv4Addr::new(10, 96, 0, 1).to_bits();
    SocketAddrV4::new(Ipv4Addr::from_bits(first + service), PORT)
}

pub fn backend(number: u32) -> Ipv4Addr {
    let first = Ipv4Addr::new(127, 16, 0, 1).to_bits();
    Ipv4Addr::from_bits(first + number)
}

/// An address of loopback that no mesh mentions.
pub fn stranger(number: u32) -> Ipv4Addr {
    let first = Ipv4Addr::new(127, 64, 0, 1).to_bits();
    Ipv4Addr::from_bits(first + number)
}
