//! Endpoints by what is counted of them.

use crate::tables::{Tables, filled, own_ports, title};
use kmesh_lite_common::{EndpointId, Frontend, Service, ServiceId};
use std::collections::BTreeMap;

/// An endpoint as a member of its service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Titled {
    pub service: String,
    /// As the file could name it.
    pub endpoint: String,
    pub is_drained: bool,
}

/// All endpoints of these services.
pub fn titles(tables: &Tables, wanted: impl Fn(ServiceId) -> bool) -> BTreeMap<EndpointId, Titled> {
    let mut frontends: BTreeMap<ServiceId, Vec<&Frontend>> = BTreeMap::new();
    for frontend in tables.rows.frontends.values() {
        if let Some(service) = frontend.service {
            frontends.entry(service).or_default().push(frontend);
        }
    }
    let services = tables.rows.services.iter().filter(|(id, _)| wanted(**id));
    let titled = services.flat_map(|(id, row)| {
        let own = frontends.get(id).map_or(&[][..], Vec::as_slice);
        of_service(tables, row, own)
    });
    titled.collect()
}

fn of_service(
    tables: &Tables,
    row: &Service,
    frontends: &[&Frontend],
) -> Vec<(EndpointId, Titled)> {
    let taking = filled(&row.v4).chain(filled(&row.v6));
    let taking = taking.map(|(_, range)| (range, false));
    let ranges = taking.chain([(&row.drained, true)]);
    let members = ranges.flat_map(|(range, is_drained)| {
        let listed = tables.listed(range);
        listed.map(move |listed| (listed, is_drained))
    });
    let titled = members.filter_map(|(listed, is_drained)| {
        let address = tables.address(&listed)?;
        let own = own_ports(frontends.iter().copied(), &listed);
        let titled = Titled {
            service: row.name.to_string(),
            endpoint: title(address, &own, frontends.iter().map(|it| it.key.port.get())),
            is_drained,
        };
        Some((listed.id?, titled))
    });
    titled.collect()
}
