use super::lookup::Lookup;
use super::servers::Servers;
use super::*;
use crate::names::MOST_RECORDS;
use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, SOA, SRV};
use hickory_proto::rr::{Name, RData, Record as DnsRecord, RecordType};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::time::sleep;

type Answering = dyn Fn(&str, RecordType, bool, &mut Message) -> bool + Send + Sync;

/// A server that answers as it is told, by datagrams and connections.
struct Server {
    at: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl Server {
    /// `answer` is given the name, the kind and whether it is a connection; false is silence.
    async fn start(
        answer: impl Fn(&str, RecordType, bool, &mut Message) -> bool + Send + Sync + 'static,
    ) -> Self {
        let answer: Arc<Answering> = Arc::new(answer);
        let asked = Arc::new(AtomicUsize::new(0));
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = tcp.local_addr().unwrap();
        let udp = UdpSocket::bind(at).await.unwrap();
        let (by_udp, by_tcp) = (Arc::clone(&answer), answer);
        let count = Arc::clone(&asked);
        tokio::spawn(async move {
            let mut buffer = [0; 4096];
            while let Ok((length, from)) = udp.recv_from(&mut buffer).await {
                count.fetch_add(1, Ordering::SeqCst);
                if let Some(bytes) = reply(&buffer[..length], false, &*by_udp) {
                    // Something forged before each answer: it is for another question.
                    let mut forged = bytes.clone();
                    forged[0] ^= 1;
                    udp.send_to(&forged, from).await.unwrap();
                    udp.send_to(&bytes, from).await.unwrap();
                }
            }
        });
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = tcp.accept().await {
                let length = stream.read_u16().await.unwrap();
                let mut question = vec![0; length.into()];
                stream.read_exact(&mut question).await.unwrap();
                if let Some(bytes) = reply(&question, true, &*by_tcp) {
                    stream.write_u16(bytes.len() as u16).await.unwrap();
                    stream.write_all(&bytes).await.unwrap();
                }
            }
        });
        Self { at, asked }
    }

    fn lookup(&self) -> Lookup {
        lookup(servers(&[self.at]))
    }

    async fn ask(&self, name: &str, kind: RecordKind) -> Outcome {
        self.lookup().question(name, kind, true).await
    }
}

fn lookup(servers: Servers) -> Lookup {
    Lookup::new(Arc::new(servers), Arc::new(Semaphore::new(MOST)))
}

fn servers(all: &[SocketAddr]) -> Servers {
    let mut servers = Servers::of(all);
    servers.patience = Duration::from_millis(300);
    servers
}

fn reply(question: &[u8], by_tcp: bool, answer: &Answering) -> Option<Vec<u8>> {
    let question = Message::from_vec(question).unwrap();
    let mut message = question.clone();
    message.metadata.message_type = MessageType::Response;
    message.edns = None;
    let query = &question.queries[0];
    let name = query.name().to_ascii();
    let name = name.trim_end_matches('.').to_owned();
    answer(&name, query.query_type(), by_tcp, &mut message).then(|| message.to_vec().unwrap())
}

fn name(text: &str) -> Name {
    Name::from_ascii(format!("{text}.")).unwrap()
}

fn add(message: &mut Message, owner: &str, ttl: u32, data: RData) {
    message.add_answer(DnsRecord::from_rdata(name(owner), ttl, data));
}

fn a(address: &str) -> RData {
    RData::A(A(address.parse().unwrap()))
}

fn alias(to: &str) -> RData {
    RData::CNAME(CNAME(name(to)))
}

fn addresses(outcome: &Outcome) -> Vec<String> {
    let records = outcome.found.records.iter();
    records.map(|it| it.address.to_string()).collect()
}

#[tokio::test]
async fn an_answer_is_its_records_and_the_shortest_ttl() {
    let server = Server::start(|name, kind, _, message| {
        match kind {
            RecordType::A => {
                add(message, name, 60, a("10.0.0.2"));
                add(message, name, 30, a("10.0.0.1"));
                // Nobody asked for this one.
                add(message, "bank.example", 1, a("10.0.0.66"));
            }
            RecordType::AAAA => add(
                message,
                name,
                9,
                RData::AAAA(AAAA("fd00::1".parse().unwrap())),
            ),
            _ => {}
        }
        true
    })
    .await;
    let v4 = server.ask("db.internal", RecordKind::A).await;
    assert_eq!(addresses(&v4), ["10.0.0.1", "10.0.0.2"]);
    assert_eq!(v4.ttl, Some(Duration::from_secs(30)));
    let v6 = server.ask("db.internal", RecordKind::Aaaa).await;
    assert_eq!(addresses(&v6), ["fd00::1"]);
}

#[tokio::test]
async fn what_there_is_not_is_told_from_what_nobody_knows() {
    let server = Server::start(|name, _, _, message| {
        let soa = SOA::new(
            super::tests::name("a"),
            super::tests::name("b"),
            1,
            1,
            1,
            1,
            7,
        );
        let soa = DnsRecord::from_rdata(super::tests::name("internal"), 90, RData::SOA(soa));
        match name {
            "gone.internal" => {
                message.metadata.response_code = ResponseCode::NXDomain;
                message.add_authority(soa);
            }
            "empty.internal" => drop(message.add_authority(soa)),
            "broken.internal" => message.metadata.response_code = ResponseCode::ServFail,
            _ => return false,
        }
        true
    })
    .await;
    for (name, trouble, words) in [
        ("gone.internal", TroubleKind::Nothing, "NXDOMAIN"),
        ("empty.internal", TroubleKind::Nothing, "no A record"),
        ("broken.internal", TroubleKind::Failure, "Server Failure"),
        ("silent.internal", TroubleKind::Failure, "does not answer"),
    ] {
        let outcome = server.ask(name, RecordKind::A).await;
        assert_eq!(outcome.found.trouble, Some(trouble), "{name}");
        assert!(outcome.found.reason.contains(words), "{:?}", outcome.found);
        let ttl = (trouble == TroubleKind::Nothing).then_some(Duration::from_secs(7));
        assert_eq!(outcome.ttl, ttl, "{name}");
    }
}

#[tokio::test]
async fn aliases_are_followed_and_circles_end() {
    let server = Server::start(|name, _, _, message| {
        match name {
            "one.internal" => {
                add(message, name, 60, alias("two.internal"));
                add(message, "two.internal", 5, alias("three.internal"));
            }
            "three.internal" => add(message, name, 60, a("10.0.0.3")),
            "circle.internal" => {
                add(message, name, 60, alias("back.internal"));
                add(message, "back.internal", 60, alias("circle.internal"));
            }
            "to.internal" => add(message, name, 60, alias("fro.internal")),
            _ => add(message, name, 60, alias("to.internal")),
        }
        true
    })
    .await;
    let found = server.ask("one.internal", RecordKind::A).await;
    assert_eq!(addresses(&found), ["10.0.0.3"]);
    assert_eq!(found.ttl, Some(Duration::from_secs(5)));
    for circle in ["circle.internal", "to.internal"] {
        let found = server.ask(circle, RecordKind::A).await.found;
        assert_eq!(found.trouble, Some(TroubleKind::Failure));
        assert!(found.reason.contains("in a circle: "), "{found:?}");
    }
    assert!(server.asked.load(Ordering::SeqCst) < 40);
}

#[tokio::test]
async fn a_chain_of_aliases_that_is_too_long_or_ends_nowhere_is_called_so() {
    let server = Server::start(|name, _, _, message| {
        let number = name.trim_start_matches('n').split('.').next();
        let number: u32 = number.unwrap().parse().unwrap();
        match number {
            0..=20 => {
                let next = format!("n{}.internal", number + 1);
                add(message, name, 60, alias(&next));
            }
            100 => add(message, name, 60, alias("n101.internal")),
            _ => message.metadata.response_code = ResponseCode::NXDomain,
        }
        true
    })
    .await;
    for (name, trouble, words) in [
        ("n0.internal", TroubleKind::Failure, "more than 8 aliases"),
        (
            "n100.internal",
            TroubleKind::Nothing,
            "its alias (CNAME) n101.internal: ",
        ),
    ] {
        let found = server.ask(name, RecordKind::A).await.found;
        assert_eq!(found.trouble, Some(trouble));
        assert!(found.reason.contains(words), "{}", found.reason);
    }
    // As many as there may be.
    let found = server.ask("n13.internal", RecordKind::A).await.found;
    assert!(
        found.reason.starts_with("its alias (CNAME) n21"),
        "{}",
        found.reason
    );
}

#[tokio::test]
async fn an_answer_that_is_cut_off_by_a_connection_too_is_none() {
    let server = Server::start(|name, _, _, message| {
        add(message, name, 60, a("10.0.0.1"));
        message.metadata.truncation = true;
        true
    })
    .await;
    let found = server.ask("cut.internal", RecordKind::A).await.found;
    assert_eq!(found.trouble, Some(TroubleKind::Failure));
    assert!(
        found.reason.contains("cuts its answer off"),
        "{}",
        found.reason
    );
}

#[tokio::test]
async fn a_long_answer_comes_by_a_connection_and_is_cut() {
    let server = Server::start(|name, _, by_tcp, message| {
        if by_tcp {
            for number in 0..1000_u32 {
                let address = Ipv4Addr::from_bits(0x0a00_0000 + number);
                add(message, name, 60, RData::A(A(address)));
            }
        } else {
            message.metadata.truncation = true;
        }
        true
    })
    .await;
    let found = server.ask("many.internal", RecordKind::A).await.found;
    assert_eq!(found.records.len(), MOST_RECORDS);
    assert_eq!(found.records[0].address.to_string(), "10.0.0.0");
    assert_eq!(found.left_out as usize, 1000 - MOST_RECORDS);
}

#[tokio::test]
async fn the_next_server_is_asked_where_one_fails_or_is_old() {
    let silent = Server::start(|_, _, _, _| false).await;
    let broken = Server::start(|_, _, _, message| {
        message.metadata.response_code = ResponseCode::Refused;
        true
    })
    .await;
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    // The first time it does not understand.
    let old = Server::start(move |name, _, _, message| {
        match count.fetch_add(1, Ordering::SeqCst) {
            0 => {
                message.queries.clear();
                message.metadata.response_code = ResponseCode::FormErr;
            }
            _ => add(message, name, 60, a("10.0.0.1")),
        }
        true
    })
    .await;
    let all = servers(&[silent.at, broken.at, old.at]);
    let lookup = lookup(all);
    let found = lookup.question("db.internal", RecordKind::A, false).await;
    assert_eq!(addresses(&found), ["10.0.0.1"]);
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    // The silent one rests from then on. One that only refused this name may know another, and is the first.
    let before = [&silent, &broken].map(|it| it.asked.load(Ordering::SeqCst));
    lookup.question("db.internal", RecordKind::A, false).await;
    let after = [&silent, &broken].map(|it| it.asked.load(Ordering::SeqCst));
    assert_eq!(after, [before[0], before[1] + 1]);
}

fn srv(priority: u16, weight: u16, port: u16, target: &str) -> RData {
    RData::SRV(SRV::new(priority, weight, port, name(target)))
}

/// SRV records of two hosts, the second of which does what `second` says for a kind of record.
async fn with_second(
    second: impl Fn(RecordType, &mut Message) + Send + Sync + 'static,
) -> (Outcome, Server) {
    let server = Server::start(move |name, kind, _, message| {
        match (name, kind) {
            ("_pg._tcp.internal", RecordType::SRV) => {
                add(message, name, 60, srv(10, 5, 5433, "one.internal"));
                add(message, name, 60, srv(20, 7, 5434, "Two.internal"));
            }
            ("one.internal", RecordType::A) => add(message, name, 20, a("10.0.0.1")),
            ("two.internal", kind) => second(kind, message),
            _ => {}
        }
        true
    })
    .await;
    let lookup = server.lookup();
    let outcome = lookup.question("_pg._tcp.internal", RecordKind::Srv, true);
    (outcome.await, server)
}

fn aaaa(address: &str) -> RData {
    RData::AAAA(AAAA(address.parse().unwrap()))
}

#[tokio::test]
async fn the_hosts_of_srv_records_are_looked_up() {
    let (outcome, server) = with_second(|kind, message| match kind {
        RecordType::A => add(message, "two.internal", 20, a("10.0.0.2")),
        _ => add(message, "two.internal", 30, aaaa("fd00::2")),
    })
    .await;
    let records = outcome.found.records.iter();
    let said: Vec<_> = records
        .clone()
        .map(|it| (it.address.to_string(), it.port, it.rank, it.weight))
        .collect();
    let expected = [
        ("10.0.0.1".to_owned(), Some(5433), 10, 5),
        ("10.0.0.2".to_owned(), Some(5434), 20, 7),
        ("fd00::2".to_owned(), Some(5434), 20, 7),
    ];
    assert_eq!(said, expected);
    assert_eq!(outcome.ttl, Some(Duration::from_secs(20)));
    let targets: Vec<_> = records.map(|it| it.target).collect();
    assert_eq!(targets[1], targets[2]);
    assert_ne!(targets[0], targets[1]);
    assert!(outcome.found.trouble.is_none() && outcome.found.kept.is_empty());

    // Nobody asks for IPv6 addresses that no client could use.
    let before = server.asked.load(Ordering::SeqCst);
    let lookup = server.lookup();
    let v4 = lookup.question("_pg._tcp.internal", RecordKind::Srv, false);
    assert_eq!(addresses(&v4.await), ["10.0.0.1", "10.0.0.2"]);
    assert_eq!(server.asked.load(Ordering::SeqCst), before + 3);
}

#[tokio::test]
async fn a_host_of_srv_records_that_is_not_answered_is_told_and_kept() {
    let fails = |message: &mut Message| message.metadata.response_code = ResponseCode::ServFail;
    let gone = |message: &mut Message| message.metadata.response_code = ResponseCode::NXDomain;
    let (failure, nothing) = (TroubleKind::Failure, TroubleKind::Nothing);
    type Second = Box<dyn Fn(RecordType, &mut Message) + Send + Sync>;
    let cases: [(Second, _, &[bool], _); 5] = [
        (
            Box::new(move |_, it| fails(it)),
            failure,
            &[false, true],
            "Server Failure",
        ),
        // One rule for all names: that it is gone may be a slip.
        (
            Box::new(move |_, it| gone(it)),
            nothing,
            &[false, true],
            "NXDOMAIN",
        ),
        (Box::new(|_, _| {}), nothing, &[false, true], "record"),
        (
            Box::new(move |kind, it| match kind {
                RecordType::A => add(it, "two.internal", 20, a("10.0.0.2")),
                _ => fails(it),
            }),
            failure,
            &[true],
            "Server Failure",
        ),
        // It has no address of this family, as it says, and fails with the other.
        (
            Box::new(move |kind, it| {
                if kind == RecordType::A {
                    fails(it);
                }
            }),
            failure,
            &[false, true],
            "Server Failure",
        ),
    ];
    for (second, trouble, families, words) in cases {
        let (outcome, _server) = with_second(second).await;
        let found = outcome.found;
        assert_eq!(found.trouble, Some(trouble));
        assert!(
            found
                .records
                .iter()
                .any(|it| it.address.to_string() == "10.0.0.1")
        );
        let kept: Vec<_> = found.kept.iter().map(|it| it.ipv6).collect();
        assert_eq!(kept, families);
        let kept = &found.kept[0];
        assert_eq!((kept.port, kept.weight, kept.priority), (5434, 7, 20));
        let reason = &found.reason;
        assert!(
            reason.starts_with("its host two.internal: ") && reason.contains(words),
            "{reason}"
        );
    }
    // One family of two is no trouble.
    let (outcome, _server) = with_second(|kind, it| {
        if kind == RecordType::AAAA {
            add(it, "two.internal", 20, aaaa("fd00::2"));
        }
    })
    .await;
    assert_eq!(addresses(&outcome), ["10.0.0.1", "fd00::2"]);
    assert!(outcome.found.trouble.is_none() && outcome.found.kept.is_empty());
}

#[tokio::test]
async fn srv_records_that_lead_nowhere_say_so() {
    let server = Server::start(|name, kind, _, message| {
        match kind {
            RecordType::SRV if name == "none.internal" => {
                let none = RData::SRV(SRV::new(0, 0, 0, Name::root()));
                add(message, name, 60, none);
            }
            RecordType::SRV => add(message, name, 60, srv(1, 1, 80, "gone.internal")),
            _ => message.metadata.response_code = ResponseCode::NXDomain,
        }
        true
    })
    .await;
    for (name, words, kept) in [
        ("none.internal", "there is no such service", 0),
        ("dangling.internal", "its host gone.internal: ", 2),
    ] {
        let found = server.ask(name, RecordKind::Srv).await.found;
        assert_eq!(found.trouble, Some(TroubleKind::Nothing));
        assert!(found.reason.contains(words), "{}", found.reason);
        assert_eq!((found.records.len(), found.kept.len()), (0, kept));
    }
}

/// A daemon that takes what it is told, unless it is away.
#[derive(Default)]
struct Listener {
    heard: Mutex<Vec<NamesReport>>,
    away: AtomicUsize,
}

impl Daemon for Listener {
    async fn hear(&self, report: NamesReport) -> Taken {
        if self.away.load(Ordering::SeqCst) > 0 {
            self.away.fetch_sub(1, Ordering::SeqCst);
            return Taken::No;
        }
        self.heard.lock().unwrap().push(report);
        Taken::Yes
    }
}

impl Listener {
    fn heard(&self) -> Vec<NamesReport> {
        self.heard.lock().unwrap().clone()
    }

    async fn until(&self, holds: impl Fn(&[NamesReport]) -> bool) -> Vec<NamesReport> {
        for _ in 0..6_000 {
            let heard = self.heard();
            if holds(&heard) {
                return heard;
            }
            sleep(Duration::from_millis(10)).await;
        }
        panic!("in vain: {:?}", self.heard());
    }
}

fn duties(revision: u64, at: SocketAddr) -> Arc<Duties> {
    Arc::new(Duties {
        revision,
        questions: vec![Question {
            name: "db.internal".to_owned(),
            kind: RecordKind::A,
            ipv6: false,
        }],
        resolving: Some(Resolving {
            resolvers: vec![at],
            ttl_min: 50,
            ttl_max: 100,
        }),
        ..Duties::default()
    })
}

#[tokio::test]
async fn changes_are_told_once_and_everything_to_who_gives_other_duties() {
    let current = Arc::new(AtomicUsize::new(1));
    let last = Arc::clone(&current);
    let server = Server::start(move |name, _, _, message| {
        let last = last.load(Ordering::SeqCst);
        add(message, name, 0, a(&format!("10.0.0.{last}")));
        true
    })
    .await;
    let daemon = Arc::new(Listener::default());
    daemon.away.store(2, Ordering::SeqCst);
    let (give, given) = watch::channel(duties(1, server.at));
    let task = tokio::spawn(run(given, Arc::clone(&daemon), "/nonexistent".into()));
    let of = |report: &NamesReport| report.findings[0].records[0].address.to_string();
    let heard = daemon.until(|heard| !heard.is_empty()).await;
    assert_eq!(of(&heard[0]), "10.0.0.1");
    // Asked again and again, and nothing is told.
    let before = server.asked.load(Ordering::SeqCst);
    while server.asked.load(Ordering::SeqCst) < before + 4 {
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(daemon.heard().len(), 1);
    current.store(2, Ordering::SeqCst);
    let heard = daemon.until(|heard| heard.len() == 2).await;
    assert_eq!(of(&heard[1]), "10.0.0.2");
    give.send_replace(duties(2, server.at));
    let heard = daemon.until(|heard| heard.len() == 3).await;
    assert_eq!(
        (heard[2].revision, of(&heard[2])),
        (2, "10.0.0.2".to_owned())
    );
    drop(give);
    task.await.unwrap();
}
