//! What authorization costs: a connect() that is judged on its way out, one that is judged where it arrives, what goes
//! over a connection that stands, and the change of one network in 100,000.
//!
//! What arrives is judged in a whole network namespace, so each case has one of its own.

use crate::connect::{Listener, follow};
use crate::mesh::{self, SMALL};
use crate::programs::{counted, took};
use crate::report::{Goal, Report, Row, Unit};
use crate::rounds::{Batch, Values, interleave, quantile};
use crate::{Effort, Error};
use aya::sys::{Stats, enable_stats};
use ipnetwork::{IpNetwork, Ipv4Network};
use kmesh_lite::config::{Fragments, Host, Loader, Origin, fragment};
use kmesh_lite::host::{self, Cgroups};
use kmesh_lite::kernel::{Kernel, KernelOptions};
use kmesh_lite::model::{
    Action, Authorization, CgroupRef, LocalPorts, Mesh, Mode, Principal, Protocol, Source,
};
use kmesh_lite::reconcile::Extent;
use kmesh_lite_tests::cgroup::Cgroup;
use kmesh_lite_tests::netns::NetNs;
use nix::sched::{CloneFlags, setns};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::time::Instant;

const FEW: u32 = 10;
const MANY: u32 = 100_000;

pub fn measure(effort: Effort, report: &mut Report) -> Result<(), Error> {
    outbound(effort, report)?;
    inbound(effort, report)?;
    change(effort, report)
}

fn policy() -> Authorization {
    Authorization {
        action: Action::Allow,
        mode: Mode::Enforce,
        services: Default::default(),
        ports: Default::default(),
        clients: None,
        from: None,
        on_error: None,
        enforce_existing: false,
        force: false,
    }
}

/// The mesh with a policy that allows root, and so many users that nobody is.
fn with_clients(mut mesh: Mesh, users: u32) -> Mesh {
    let names = mesh.services.keys().cloned().collect();
    let users = (1_000_000..1_000_000 + users).map(|user| Principal::User(user.to_string()));
    let root = Principal::User("0".to_owned());
    let policy = Authorization {
        services: names,
        clients: Some(users.chain([root]).collect()),
        ..policy()
    };
    mesh.limits.rules = mesh.limits.rules.max(2 * MANY);
    mesh.policies
        .insert("clients".parse().expect("a name"), policy);
    mesh
}

fn outbound(effort: Effort, report: &mut Report) -> Result<(), Error> {
    let listener = Listener::new()?;
    let plain = Cgroup::new("plain")?;
    let [none, few, many] = [
        Cgroup::new("none")?,
        Cgroup::new("few")?,
        Cgroup::new("many")?,
    ];
    let mesh = SMALL.mesh(listener.port);
    let _none = follow(&mesh, &none)?;
    let _few = follow(&with_clients(mesh.clone(), FEW), &few)?;
    let _many = follow(&with_clients(mesh, MANY), &many)?;
    let direct = SocketAddrV4::new(mesh::backend(0), listener.port);
    let values = interleave(
        effort.pick(10, 200),
        &mut [
            listener.connects(&plain, move |_| direct),
            listener.connects(&none, |_| mesh::vip(0)),
            listener.connects(&few, |_| mesh::vip(0)),
            listener.connects(&many, |_| mesh::vip(0)),
        ],
    )?;
    let [direct, none, few, many] = &values[..] else {
        unreachable!("a value for each case");
    };
    let row = |what: &str, values, base, goal| {
        Row::compared("judged out", what, Unit::Nanoseconds, values, base, goal)
    };
    report.begin("connect() to a VIP that policies are about, by who the client is");
    report.add(vec![
        row("direct", direct, direct, Goal::None),
        row("VIP, no policy, against direct", none, direct, Goal::None),
        row(
            "VIP, 10 clients, against no policy",
            few,
            none,
            Goal::Ratio(1.02),
        ),
        row(
            "VIP, 100,000 clients, against no policy",
            many,
            none,
            Goal::Ratio(1.02),
        ),
    ]);
    Ok(())
}

/// Networks that no address of loopback is in, and one that all are in.
fn networks(count: u32) -> impl Iterator<Item = IpNetwork> {
    let others = (0..count).map(|number| {
        let address = Ipv4Addr::from_bits(Ipv4Addr::new(10, 0, 0, 0).to_bits() + number * 16);
        network(address, 28)
    });
    others.chain([network(Ipv4Addr::new(127, 0, 0, 0), 8)])
}

fn network(address: Ipv4Addr, prefix: u8) -> IpNetwork {
    Ipv4Network::new(address, prefix).expect("a prefix").into()
}

/// A mesh that says from where connections may arrive at a port.
fn with_sources(port: u16, networks: u32) -> Mesh {
    let mut mesh = Mesh::default();
    let policy = Authorization {
        ports: [Protocol::Tcp, Protocol::Udp]
            .map(|protocol| LocalPorts {
                address: None,
                protocol,
                range: Some((port, port)),
            })
            .into(),
        from: Some(self::networks(networks).map(Source::Network).collect()),
        ..policy()
    };
    mesh.policies
        .insert("sources".parse().expect("a name"), policy);
    mesh
}

/// A network namespace with a listener, and with a mesh that judges what arrives there.
struct Site {
    namespace: File,
    listener: Listener,
    echo: (TcpStream, TcpStream),
    /// A client that is connected, and a server that is not: each datagram to it looks for a socket.
    datagrams: (UdpSocket, UdpSocket),
    _kernel: Option<Kernel>,
    /// What the mesh captures. Clients are elsewhere: what they do on their way out is not measured.
    _cgroup: Cgroup,
}

impl Site {
    fn new(name: &str, mesh: impl FnOnce(u16) -> Option<Mesh>) -> Result<Self, Error> {
        let cgroup = Cgroup::new(name)?;
        let _inside = NetNs::enter()?;
        let listener = Listener::new()?;
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let client = TcpStream::connect(server.local_addr()?)?;
        let (server, _) = server.accept()?;
        for end in [&client, &server] {
            end.set_nodelay(true)?;
        }
        let receiver = UdpSocket::bind((Ipv4Addr::LOCALHOST, listener.port))?;
        let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        sender.connect(receiver.local_addr()?)?;
        let kernel = mesh(listener.port).map(|mesh| follow(&mesh, &cgroup));
        Ok(Self {
            namespace: File::open("/proc/thread-self/ns/net")?,
            listener,
            echo: (client, server),
            datagrams: (sender, receiver),
            _kernel: kernel.transpose()?,
            _cgroup: cgroup,
        })
    }

    /// Connects in the namespace.
    fn connects<'a>(&'a self, cgroup: &'a Cgroup, home: &'a File) -> Batch<'a> {
        let to = SocketAddrV4::new(Ipv4Addr::LOCALHOST, self.listener.port);
        let mut batch = self.listener.connects(cgroup, move |_| to);
        Box::new(move || {
            setns(&self.namespace, CloneFlags::CLONE_NEWNET)?;
            let connected = batch();
            setns(home, CloneFlags::CLONE_NEWNET)?;
            connected
        })
    }

    /// 64 bytes there and back, over a connection that stands.
    fn exchanges(&self) -> Batch<'_> {
        Box::new(move || {
            let (mut client, mut server) = (&self.echo.0, &self.echo.1);
            let mut bytes = [0; 64];
            let mut durations = Vec::with_capacity(200);
            for _ in 0..200 {
                let begin = Instant::now();
                client.write_all(&bytes)?;
                server.read_exact(&mut bytes)?;
                server.write_all(&bytes)?;
                client.read_exact(&mut bytes)?;
                durations.push(begin.elapsed().as_nanos() as f64);
            }
            Ok(quantile(&durations, 0.5))
        })
    }
}

impl Site {
    /// A datagram of 64 bytes, to a server that is not connected.
    fn sends(&self) -> Batch<'_> {
        Box::new(move || {
            let (sender, receiver) = &self.datagrams;
            let mut bytes = [0; 64];
            let mut durations = Vec::with_capacity(200);
            for _ in 0..200 {
                let begin = Instant::now();
                sender.send(&bytes)?;
                receiver.recv(&mut bytes)?;
                durations.push(begin.elapsed().as_nanos() as f64);
            }
            Ok(quantile(&durations, 0.5))
        })
    }
}

fn inbound(effort: Effort, report: &mut Report) -> Result<(), Error> {
    let cgroup = Cgroup::new("arrivals")?;
    let home = File::open("/proc/thread-self/ns/net")?;
    let sites = [
        Site::new("without", |_| None)?,
        Site::new("again", |_| None)?,
        Site::new("other", |port| Some(with_sources(port ^ 1, FEW)))?,
        Site::new("few", |port| Some(with_sources(port, FEW)))?,
        Site::new("many", |port| Some(with_sources(port, MANY)))?,
    ];
    let mut batches: Vec<_> = sites
        .iter()
        .map(|site| site.connects(&cgroup, &home))
        .collect();
    let values = interleave(effort.pick(10, 200), &mut batches)?;
    let [none, noise, other, few, many] = &values[..] else {
        unreachable!("a value for each case");
    };
    let row = |what: &str, values, base, goal| {
        Row::compared("judged in", what, Unit::Nanoseconds, values, base, goal)
    };
    report
        .begin("connect() over loopback to a port that policies are about, by where it comes from");
    report.add(vec![
        row("no policy", none, none, Goal::None),
        row(
            "the same again, which is the noise",
            noise,
            none,
            Goal::None,
        ),
        row("policies about another port", other, none, Goal::None),
        row("10 networks", few, none, Goal::None),
        row("100,000 networks", many, none, Goal::None),
        row("100,000 networks, against 10", many, few, Goal::Same),
    ]);
    let more = |what: &str, values: &Values| {
        let more = values.differences(none).median();
        Row::alone(
            "judged in",
            what,
            Unit::Nanoseconds,
            more,
            Goal::Value(200.0),
        )
    };
    report.add(vec![
        more("more than without, another port", other),
        more("more than without, 10 networks", few),
        more("more than without, 100,000 networks", many),
    ]);
    report.add(runs(effort, &sites[2..], &cgroup, &home)?);
    let mut batches: Vec<_> = sites.iter().map(Site::sends).collect();
    let values = interleave(effort.pick(10, 200), &mut batches)?;
    let row = |what: &str, place: usize| {
        let goal = Goal::None;
        Row::compared(
            "datagrams in",
            what,
            Unit::Nanoseconds,
            &values[place],
            &values[0],
            goal,
        )
    };
    report.add(vec![
        row("no policy", 0),
        row("policies about another port", 2),
        row("10 networks", 3),
        row("100,000 networks", 4),
    ]);
    let mut batches: Vec<_> = sites.iter().map(Site::exchanges).collect();
    let values = interleave(effort.pick(10, 200), &mut batches)?;
    report.add(vec![Row::compared(
        "judged in",
        "64 bytes there and back over one that stands, 100,000 networks",
        Unit::Nanoseconds,
        &values[4],
        &values[0],
        Goal::Same,
    )]);
    Ok(())
}

/// What the program itself takes, as the kernel counts it, at sites that have it.
fn runs(effort: Effort, sites: &[Site], cgroup: &Cgroup, home: &File) -> Result<Vec<Row>, Error> {
    let _counting = enable_stats(Stats::RunTime)?;
    let mut rows = Vec::new();
    for (site, what) in sites.iter().zip([
        "a run of the program, another port",
        "a run of the program, 10 networks",
        "a run of the program, 100,000 networks",
    ]) {
        let mut connects = site.connects(cgroup, home);
        connects()?;
        let before = counted()?;
        for _ in 0..effort.pick(2, 50) {
            connects()?;
        }
        let took = took(&before, &counted()?);
        let took = took.get("inbound").ok_or("the program did not run")?;
        let (unit, goal) = (Unit::Nanoseconds, Goal::Value(200.0));
        rows.push(Row::alone("judged in", what, unit, *took, goal));
    }
    Ok(rows)
}

/// One network less or more, in a small pass, and in the file.
fn change(effort: Effort, report: &mut Report) -> Result<(), Error> {
    let cgroup = Cgroup::new("change")?;
    let (mut loads, mut passes) = (Vec::new(), Vec::new());
    let text = |count| {
        let networks: Vec<_> = networks(count)
            .map(|it| format!("{it:?}", it = it.to_string()))
            .collect();
        format!(
            "[groups.all]\nfrom = [\n{}\n]\n[policies.sources]\naction = 'allow'\nports = [9]\nfrom = ['group:all']\n",
            networks.join(",\n")
        )
    };
    let mut loader = Loader::default();
    let mut revision = 0;
    let mut load = |text: String| {
        revision += 1;
        let mut fragments = Fragments::default();
        let text = text.into_bytes();
        fragments.push(fragment(Origin::new("mesh.toml"), revision, text));
        let begin = Instant::now();
        let loaded = loader.load(&fragments, &Host::default());
        let took = begin.elapsed().as_secs_f64() * 1e3;
        let mut mesh = loaded.mesh.ok_or("the text is no mesh")?;
        mesh.capture.cgroups = vec![CgroupRef::Path(cgroup.path().to_owned())];
        Ok::<_, Error>((mesh, took))
    };
    let _inside = NetNs::enter()?;
    let (mesh, _) = load(text(MANY))?;
    let mut kernel = Kernel::load(mesh.limits, KernelOptions::default())?;
    let facts = host::facts(&host::this_host(), &Cgroups::find()?, &mesh);
    let begin = Instant::now();
    kernel.reconcile(&mesh, &facts, Extent::Everything)?;
    let first = begin.elapsed().as_secs_f64() * 1e3;
    for round in 0..effort.pick(2, 10) {
        let (mesh, took) = load(text(MANY - 1 + round % 2))?;
        loads.push(took);
        let begin = Instant::now();
        let pass = kernel.reconcile(&mesh, &facts, Extent::Changes)?;
        passes.push(begin.elapsed().as_secs_f64() * 1e3);
        if !(1..=6).contains(&pass.operations) {
            return Err(format!("one network took {} operations", pass.operations).into());
        }
        kernel.quiesce();
    }
    let row =
        |what: &str, value, goal| Row::alone("networks", what, Unit::Milliseconds, value, goal);
    report.begin("one of 100,000 networks of a policy");
    report.add(vec![
        row("all of them, into the kernel", first, Goal::None),
        row(
            "one less or more, into the kernel",
            quantile(&passes, 0.5),
            Goal::Value(20.0),
        ),
        row(
            "one less or more, read in the file",
            quantile(&loads, 0.5),
            Goal::None,
        ),
    ]);
    Ok(())
}
