//! A stranger in the place of the agent, who says what DNS answers. `fuzz/fuzz_targets/names.rs` is one as well.

use kmesh_lite::config::{Fragments, Host, Loader, Origin};
use kmesh_lite::daemon::hearsay::{AskedNames, REASON, hear_names};
use kmesh_lite::maps::Memory;
use kmesh_lite::model::{Endpoint, Facts, Mesh, Question, Service, Vip, unusable};
use kmesh_lite::names::{Answers, MOST_RECORDS};
use kmesh_lite::reconcile::prepare;
use kmesh_lite::tables::check;

/// Of the duties.
pub const REVISION: u64 = 7;

/// Services that share names with each other and with the file, of both families and of SRV records, within limits that
/// are soon reached.
const MESH: &str = "
    limits = { endpoints = 60, backends = 24 }
    [services.pg]
    vips = ['10.96.0.1', 'fd00:96::1']
    ports = [5432]
    endpoints = [{ dns = 'db.internal', port = 5433 }, '10.0.0.1', '10.0.0.2:5433']
    [services.web]
    vips = ['10.96.0.2']
    ports = [80, '53/udp']
    policy = 'failover'
    endpoints = [{ dns = 'db.internal', ports = { 80 = 8081 } }, { dns = 'web.internal', locality = 'eu/a', weight = 3 }]
    [services.srv]
    vips = ['10.96.0.3', 'auto']
    ports = [443]
    health = { check = 'tcp', source = '10.9.9.9' }
    endpoints = [{ dns = '_web._tcp.internal', srv = true }, '10.0.0.3:444']
    [services.plain]
    vips = ['10.96.0.4']
    ports = [25]
    endpoints = ['10.0.0.1', '10.0.0.9']
";

/// What there is to be answered, before anything was.
pub struct NamesSite {
    written: Mesh,
    names: Answers,
    questions: Vec<Question>,
}

impl NamesSite {
    pub fn new() -> Self {
        let fragments = Fragments::from_iter([(Origin::new("mesh.toml"), MESH)]);
        let written = Loader::default().load(&fragments, &Host::default()).mesh;
        let (written, mut names) = (written.unwrap(), Answers::default());
        names.follow(&written, 1);
        let questions = names.questions().cloned().collect();
        Self {
            written,
            names,
            questions,
        }
    }

    /// Some bodies, one after the other. Whatever they are, names stand for other addresses, and nothing else changes.
    pub fn hear(&self, bodies: &[&[u8]]) {
        let mut names = self.names.clone();
        let mut mesh = names.resolved(None);
        for (now, body) in (2..).zip(bodies) {
            let asked = AskedNames {
                revision: REVISION,
                questions: &self.questions,
            };
            let before = names.known().clone();
            let changes = hear_names(body, asked, now, &mut names);
            let Ok(changes) = changes else {
                assert!(before == *names.known());
                continue;
            };
            // No more than was asked, however often it is said.
            assert!(changes.len() <= self.questions.len());
            self.is_within_bounds(&names);
            for change in &changes {
                assert!(before.get(&change.question) != Some(&change.known));
                assert!(names.known()[&change.question] == change.known);
            }
            let next = names.resolved(Some(&mesh));
            self.is_as_written(&next);
            for state in names.states() {
                assert!(
                    self.written
                        .questions
                        .keys()
                        .any(|it| it.name == state.name)
                );
            }
            // What was refused is told, and is as little.
            let refused = names.states().into_iter().map(|it| it.refused.len());
            assert!(refused.sum::<usize>() <= self.questions.len() * MOST_RECORDS);
            if !changes.is_empty() {
                is_fit_for_the_kernel(&next);
            }
            mesh = next;
        }
    }

    /// Of each question one answer, which is as short as a reason.
    fn is_within_bounds(&self, names: &Answers) {
        for (question, known) in names.known() {
            assert!(self.questions.contains(question));
            if let Some(answer) = &known.answer {
                let count = answer.records.len();
                assert!(count > 0 && count <= MOST_RECORDS);
                assert!(answer.records.is_sorted());
            }
            if let Some(trouble) = &known.trouble {
                let reason = &trouble.reason;
                assert!(reason.len() <= REASON && !reason.contains(char::is_control));
                assert!(reason.capacity() <= 2 * REASON);
            }
            assert!(known.answer.is_some() || known.trouble.is_some());
        }
    }

    /// The mesh is what the file says, but for endpoints that have one of its names.
    fn is_as_written(&self, mesh: &Mesh) {
        let but_services = |mesh: &Mesh| Mesh {
            services: Default::default(),
            backends: Default::default(),
            ..mesh.clone()
        };
        assert!(but_services(mesh) == but_services(&self.written));
        assert!(mesh.services.keys().eq(self.written.services.keys()));
        for (name, service) in &mesh.services {
            self.service_is_as_written(mesh, service, &self.written.services[name]);
        }
        for (address, backend) in &mesh.backends {
            match self.written.backends.get(address) {
                Some(written) => assert!(backend == written),
                None => assert!(mesh.services.values().any(|service| {
                    let mut endpoints = service.endpoints.iter();
                    endpoints.any(|it| it.address == *address)
                })),
            }
        }
    }

    fn service_is_as_written(&self, mesh: &Mesh, service: &Service, written: &Service) {
        let but_endpoints = |service: &Service| Service {
            endpoints: Vec::new(),
            ..service.clone()
        };
        assert!(but_endpoints(service) == but_endpoints(written));
        let (named, of_file): (Vec<_>, Vec<_>) = service
            .endpoints
            .iter()
            .partition(|endpoint| endpoint.of_name.is_some());
        assert!(of_file.into_iter().eq(&written.endpoints));
        for endpoint in named {
            self.is_like_its_name(mesh, endpoint, written);
        }
    }

    /// An endpoint of a name is as the file says of the name, at an address where something can be.
    fn is_like_its_name(&self, mesh: &Mesh, endpoint: &Endpoint, service: &Service) {
        let of_name = endpoint.of_name.as_ref().unwrap();
        let named = service.named.iter().find(|it| it.name == of_name.name);
        let named = named.expect("a name of the service");
        let (ports, weight) = match named.is_srv {
            true => (endpoint.ports.clone(), endpoint.weight),
            false => (named.like.ports.clone(), named.like.weight),
        };
        let like = Endpoint {
            address: endpoint.address,
            ports,
            weight,
            of_name: endpoint.of_name.clone(),
            ..named.like.clone()
        };
        assert!(*endpoint == like);
        assert!(endpoint.ports.iter().all(|it| it.target > 0));
        assert!((1..=u32::from(u16::MAX)).contains(&endpoint.weight));
        let address = endpoint.address;
        assert!(unusable(address).is_none() && address.to_canonical() == address);
        assert!(!mesh.vip_ranges.iter().any(|range| range.contains(address)));
        let mut services = mesh.services.values();
        assert!(!services.any(|it| it.vips.contains(&Vip::Fixed(address))));
    }
}

/// Whatever names say, the mesh fits into its limits, and its tables are sound.
fn is_fit_for_the_kernel(mesh: &Mesh) {
    let mut maps = Memory::new(mesh.limits);
    let prepared = prepare(&mut maps, mesh, &Facts::default()).expect("it fits");
    assert!(check(&prepared.desired.tables).is_ok());
}
