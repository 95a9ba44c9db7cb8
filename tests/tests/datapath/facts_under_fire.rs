//! Facts that flip and files that change over 100,000 endpoints, while clients connect without pause: every connect
//! ends at an endpoint that its service has and that is usable, before or after what happens meanwhile.

use kmesh_lite::model::{EndpointFact, Mesh, Name, Service, Vip};
use kmesh_lite_tests::client::call_address;
use kmesh_lite_tests::echo::Echo;
use kmesh_lite_tests::host::{self, Host, Stop};
use kmesh_lite_tests::mesh::{mesh_of, plain, standing};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const SERVICES: usize = 1000;
const ENDPOINTS: usize = 100;
/// Services that clients ask for, facts are about, and files change.
const ASKED: usize = 8;
/// Of each asked service.
const MOST_UNUSABLE: usize = 60;
const STEPS: usize = 300;
/// A step of so many is a file that changed, with facts of that moment.
const FILE: usize = 10;
/// A step of so many is a reload that somebody asks for: it compares everything.
const RELOAD: usize = 60;
const FACTS_A_SECOND: u32 = 200;
const THREADS: usize = 6;
const PORTS: [u16; 2] = [8080, 8081];

/// What happens at once, and what is so afterwards.
struct Step {
    facts: Vec<EndpointFact>,
    mesh: Mesh,
    is_reload: bool,
    /// Where a connect may end, by the address that is asked for.
    allowed: Vec<BTreeSet<SocketAddr>>,
}

/// A thousand services of a hundred endpoints, all at addresses of loopback.
fn large() -> Mesh {
    mesh_of((0..SERVICES).map(|number| {
        let endpoints = (0..ENDPOINTS).map(|at| (backend(number, at), 1));
        let name = format!("s{number:04}");
        (name, plain(&vip(number).to_string(), endpoints))
    }))
}

fn backend(service: usize, endpoint: usize) -> IpAddr {
    Ipv4Addr::from(0x7f10_0000 + (service * ENDPOINTS + endpoint) as u32).into()
}

fn vip(number: usize) -> IpAddr {
    Ipv4Addr::from(0x0a60_0000 + number as u32).into()
}

/// An asked service, as the file and the facts have it at the moment.
#[derive(Clone)]
struct Asked {
    name: Name,
    /// With all of its endpoints.
    service: Service,
    number: usize,
    /// Which of the addresses it has.
    vip: usize,
    port: u16,
    /// The endpoint that the file leaves out.
    absent: usize,
    unusable: BTreeSet<usize>,
}

impl Asked {
    fn all(mesh: &Mesh) -> Vec<Self> {
        let services = mesh.services.iter().take(ASKED).enumerate();
        let asked = services.map(|(number, (name, service))| Self {
            name: name.clone(),
            service: Service::clone(service),
            number,
            vip: number,
            port: PORTS[0],
            absent: 0,
            unusable: BTreeSet::new(),
        });
        asked.collect()
    }

    /// One of its endpoints becomes unusable, or usable again.
    fn flip(&mut self, endpoint: usize) -> Option<EndpointFact> {
        let usable = self.unusable.remove(&endpoint);
        if !usable {
            if self.unusable.len() >= MOST_UNUSABLE {
                return None;
            }
            self.unusable.insert(endpoint);
        }
        Some(EndpointFact {
            service: self.name.clone(),
            endpoint: (&self.service.endpoints[endpoint]).into(),
            standing: standing(usable),
        })
    }

    /// Puts it into a mesh that has all of its endpoints.
    fn put(&self, mesh: &mut Mesh) {
        let mut service = self.service.clone();
        service.vips = vec![Vip::Fixed(vip(self.vip))];
        service.ports[0].target = self.port;
        let absent = service.endpoints.remove(self.absent);
        mesh.backends.remove(&absent.address);
        mesh.services.insert(self.name.clone(), Arc::new(service));
    }

    fn allowed(&self) -> BTreeSet<SocketAddr> {
        let there = (0..ENDPOINTS).filter(|at| *at != self.absent && !self.unusable.contains(at));
        let there = there.map(|at| SocketAddr::new(backend(self.number, at), self.port));
        there.collect()
    }
}

/// All that is going to happen; the first step is where it begins.
fn steps() -> Vec<Step> {
    let mut random = fastrand::Rng::with_seed(1);
    let whole = large();
    let mut asked = Asked::all(&whole);
    let mut mesh = Mesh::default();
    let steps = (0..=STEPS).map(|number| {
        let is_reload = number % RELOAD == 0;
        let mut facts = Vec::new();
        if !is_reload {
            let flips = asked.iter_mut();
            facts.extend(flips.filter_map(|it| it.flip(random.usize(0..ENDPOINTS))));
        }
        if number % FILE == 0 {
            mesh = whole.clone();
            for it in &mut asked {
                // Addresses go from each service to the next one.
                it.vip = (it.vip + 1) % ASKED;
                it.port = PORTS[random.usize(0..PORTS.len())];
                it.absent = random.usize(0..ENDPOINTS);
                it.put(&mut mesh);
            }
        }
        let mut by_address: Vec<_> = asked.iter().collect();
        by_address.sort_by_key(|it| it.vip);
        Step {
            facts,
            mesh: mesh.clone(),
            is_reload,
            allowed: by_address.iter().map(|it| it.allowed()).collect(),
        }
    });
    steps.collect()
}

#[test]
fn while_facts_flip_and_files_change_every_connect_ends_at_an_endpoint_that_is_usable() {
    let Some(host) = Host::new() else { return };
    let _backends = PORTS.map(|port| Echo::brief(&format!("[::]:{port}")));
    let steps = steps();
    let mut running = host.idle();
    running.follow(&steps[0].mesh);

    // A connect belongs to a step between the last that had ended before it and the last that had begun after it.
    let (begun, ended) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let (stop, connects) = (AtomicBool::new(false), AtomicU64::new(0));
    let connect = |thread: usize| {
        host::give_way();
        let mut turn = thread;
        while !stop.load(Ordering::SeqCst) {
            turn += 1;
            let asked = turn % ASKED;
            let from = ended.load(Ordering::SeqCst);
            let reached = call_address(SocketAddr::new(vip(asked), 80));
            let to = begun.load(Ordering::SeqCst);
            let fits = |step: &Step| reached.is_ok_and(|it| step.allowed[asked].contains(&it));
            if !steps[from..=to].iter().any(fits) {
                stop.store(true, Ordering::SeqCst);
                panic!("address {asked} reached {reached:?} between steps {from} and {to}");
            }
            connects.fetch_add(1, Ordering::SeqCst);
        }
    };
    let (facts, took) = thread::scope(|scope| {
        let end = Stop(&stop);
        for thread in 0..THREADS {
            let connect = &connect;
            scope.spawn(move || connect(thread));
        }
        let (start, mut facts) = (Instant::now(), 0_u32);
        for (number, step) in steps.iter().enumerate().skip(1) {
            if stop.load(Ordering::SeqCst) {
                break;
            }
            let due = start + Duration::from_secs(1) * facts / FACTS_A_SECOND;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            facts += step.facts.len() as u32;
            begun.store(number, Ordering::SeqCst);
            let pass = if step.is_reload {
                running.follow(&step.mesh)
            } else {
                running.change(&step.mesh, step.facts.iter().cloned())
            };
            ended.store(number, Ordering::SeqCst);
            assert_eq!(pass.drift, Vec::<String>::new());
            assert!(!pass.replaced);
            // Of each asked service: two ranges, its row, its frontend, and what a file moves.
            let most = if number % FILE == 0 { 16 } else { 4 };
            assert!(pass.operations <= 1 + most * ASKED, "{:?}", pass.summary);
        }
        drop(end);
        (facts, start.elapsed())
    });
    let files = STEPS / FILE;
    println!(
        "{connects:?} connects over {} endpoints during {facts} facts, {:.0} a second, and {files} other files",
        SERVICES * ENDPOINTS,
        f64::from(facts) / took.as_secs_f64(),
    );
    let last = &steps[STEPS];
    let whole = running.follow(&last.mesh);
    assert_eq!((whole.operations, whole.drift.as_slice()), (0, &[][..]));
}
