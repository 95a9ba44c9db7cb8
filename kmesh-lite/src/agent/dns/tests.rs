use super::*;
use crate::api::{QueryOutcome, UpstreamOrder, UpstreamReport, ZoneRecords};
use hickory_proto::op::{Message, MessageType, Query, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio::time::Instant;

type Answering = dyn Fn(&str, bool, &mut Message) -> bool + Send + Sync;

/// Somebody whom questions are passed on to.
struct Upstream {
    at: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl Upstream {
    /// `answer` is given the name and whether it is a connection; false is silence.
    async fn start(
        answer: impl Fn(&str, bool, &mut Message) -> bool + Send + Sync + 'static,
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

    /// With this address for each name.
    async fn of(address: &'static str) -> Self {
        Self::start(move |name, _, message| {
            add(message, name, 60, address);
            true
        })
        .await
    }

    async fn silent() -> Self {
        Self::start(|_, _, _| false).await
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn reply(question: &[u8], by_tcp: bool, answer: &Answering) -> Option<Vec<u8>> {
    let mut message = Message::from_vec(question).unwrap();
    message.metadata.message_type = MessageType::Response;
    message.metadata.recursion_available = true;
    message.edns = None;
    let name = message.queries[0].name().to_ascii();
    let name = name.trim_end_matches('.').to_owned();
    answer(&name, by_tcp, &mut message).then(|| message.to_vec().unwrap())
}

fn name(text: &str) -> Name {
    Name::from_ascii(format!("{text}.")).unwrap()
}

fn add(message: &mut Message, owner: &str, ttl: u32, address: &str) {
    let data = RData::A(A(address.parse().unwrap()));
    message.add_answer(Record::from_rdata(name(owner), ttl, data));
}

/// An address at which nobody listens.
async fn free(ip: &str) -> SocketAddr {
    let ip: IpAddr = ip.parse().unwrap();
    let listener = TcpListener::bind((ip, 0)).await.unwrap();
    listener.local_addr().unwrap()
}

fn records(address: &str) -> Option<ZoneRecords> {
    Some(ZoneRecords {
        addresses: vec![vec![address.parse().unwrap()]],
        ..ZoneRecords::default()
    })
}

fn zone(revision: u64, since: Option<u64>, names: &[(&str, &str)]) -> Zone {
    let names = names.iter();
    let names = names.map(|(name, address)| match *address {
        "" => ((*name).to_owned(), None),
        address => ((*name).to_owned(), records(address)),
    });
    Zone {
        revision,
        since,
        names: names.collect(),
    }
}

fn whole(names: &[(&str, &str)]) -> Order {
    let text = serde_json::to_vec(&zone(1, None, names)).unwrap();
    Order::Whole(Box::new(Tree::read("", &text).unwrap()))
}

fn serving(listen: &[SocketAddr], upstreams: &[SocketAddr]) -> Serving {
    Serving {
        listen: listen.to_vec(),
        domain: "mesh".to_owned(),
        ttl_ms: 5_000,
        negative_ttl_ms: 5_000,
        upstreams: upstreams.to_vec(),
        order: UpstreamOrder::InOrder,
        timeout_ms: 200,
        attempts: 2,
        cache: 100,
        capture: false,
        trace: false,
    }
}

/// What serves names, in this thread.
struct Serves {
    orders: UnboundedSender<Order>,
    _task: JoinHandle<()>,
}

impl Serves {
    fn begin() -> Self {
        let (orders, waiting) = mpsc::unbounded_channel();
        let conf = PathBuf::from("/nonexistent");
        let task = spawn_local(serve(waiting, Arc::new(Notify::new()), conf));
        Self {
            orders,
            _task: task,
        }
    }

    /// One name of the mesh, and everything else from upstreams; comes back when it listens.
    async fn with(serving: Serving) -> Self {
        let this = Self::begin();
        this.order(whole(&[("payments.mesh", "10.96.0.10")]));
        this.order(Order::Serve(Some(serving)));
        this.wait("it listens", |it| {
            it.listeners.iter().all(|it| it.error.is_none())
        })
        .await;
        this
    }

    fn order(&self, order: Order) {
        assert!(self.orders.send(order).is_ok());
    }

    async fn report(&self) -> DnsReport {
        let (reply, told) = oneshot::channel();
        self.order(Order::Tell(reply));
        told.await.unwrap()
    }

    async fn wait(&self, what: &str, is_so: impl Fn(&DnsReport) -> bool) -> DnsReport {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let report = self.report().await;
            if is_so(&report) {
                return report;
            }
            assert!(Instant::now() < until, "{what}: {report:?}");
            sleep(Duration::from_millis(5)).await;
        }
    }

    async fn outcomes(&self, outcome: QueryOutcome) -> u64 {
        let report = self.report().await;
        let counts = report.queries.iter().filter(|it| it.outcome == outcome);
        counts.map(|it| it.count).sum()
    }
}

fn upstream(report: &DnsReport, at: SocketAddr) -> &UpstreamReport {
    report.upstreams.iter().find(|it| it.address == at).unwrap()
}

fn question(text: &str) -> Message {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name(text), RecordType::A));
    message
}

/// Asks by a datagram. The answer has to come from whom was asked.
async fn ask(at: SocketAddr, text: &str) -> Message {
    let own: IpAddr = match at {
        SocketAddr::V4(_) => "127.0.0.1".parse().unwrap(),
        SocketAddr::V6(_) => "::1".parse().unwrap(),
    };
    let socket = UdpSocket::bind((own, 0)).await.unwrap();
    socket.connect(at).await.unwrap();
    let question = question(text);
    socket.send(&question.to_vec().unwrap()).await.unwrap();
    let mut buffer = [0; 4096];
    let received = timeout(Duration::from_secs(10), socket.recv(&mut buffer));
    let length = received.await.expect("an answer").unwrap();
    let answer = Message::from_vec(&buffer[..length]).unwrap();
    assert_eq!(answer.metadata.id, question.metadata.id);
    answer
}

async fn send(stream: &mut TcpStream, question: &Message) {
    let bytes = question.to_vec().unwrap();
    stream.write_u16(bytes.len() as u16).await.unwrap();
    stream.write_all(&bytes).await.unwrap();
}

async fn receive(stream: &mut TcpStream) -> Message {
    let length = stream.read_u16().await.unwrap();
    let mut answer = vec![0; length.into()];
    stream.read_exact(&mut answer).await.unwrap();
    Message::from_vec(&answer).unwrap()
}

fn data(message: &Message) -> Vec<String> {
    let records = message.answers.iter();
    records.map(|it| it.data.to_string()).collect()
}

async fn told(at: SocketAddr, text: &str) -> String {
    let answer = ask(at, text).await;
    match &data(&answer)[..] {
        [one] => one.clone(),
        _ => answer.metadata.response_code.to_string(),
    }
}

const FAILURE: &str = "Server Failure";

#[tokio::test]
async fn names_are_answered_by_both_families_and_ways() {
    let here = async {
        let (v4, v6) = (free("127.0.0.1").await, free("::1").await);
        let _serves = Serves::with(serving(&[v4, v6], &[])).await;
        for at in [v4, v6] {
            assert_eq!(told(at, "payments.mesh").await, "10.96.0.10");
            assert_eq!(
                ask(at, "no.mesh").await.metadata.response_code,
                ResponseCode::NXDomain
            );
            // Several on one connection, asked before the first is answered.
            let mut stream = TcpStream::connect(at).await.unwrap();
            for _ in 0..3 {
                send(&mut stream, &question("payments.mesh")).await;
            }
            for _ in 0..3 {
                assert_eq!(data(&receive(&mut stream).await), ["10.96.0.10"]);
            }
        }
    };
    LocalSet::new().run_until(here).await;
}

#[tokio::test]
async fn an_answer_comes_from_the_address_that_was_asked() {
    let here = async {
        for (all, one) in [("0.0.0.0", "127.0.0.7"), ("::", "127.0.0.7"), ("::", "::1")] {
            let mut at = free(all).await;
            let _serves = Serves::with(serving(&[at], &[])).await;
            at.set_ip(one.parse().unwrap());
            assert_eq!(told(at, "payments.mesh").await, "10.96.0.10", "{all} {one}");
        }
    };
    LocalSet::new().run_until(here).await;
}

#[tokio::test]
async fn nobody_is_answered_before_the_names_are_known_and_a_swap_is_seen_by_the_next_question() {
    let here = async {
        let at = free("127.0.0.1").await;
        let serves = Serves::begin();
        serves.order(Order::Serve(Some(serving(&[at], &[]))));
        let report = serves.report().await;
        assert_eq!(report.zone, None);
        let error = report.listeners[0].error.as_deref();
        assert_eq!(error, Some("the daemon has not told the names yet"));
        assert!(TcpStream::connect(at).await.is_err());

        serves.order(whole(&[("a.mesh", "10.0.0.1"), ("b.mesh", "10.0.0.2")]));
        let is_listening = |it: &DnsReport| it.listeners[0].error.is_none();
        serves.wait("it listens", is_listening).await;
        assert_eq!(told(at, "a.mesh").await, "10.0.0.1");
        let difference = zone(2, Some(1), &[("a.mesh", "10.0.0.9"), ("b.mesh", "")]);
        serves.order(Order::Difference(difference));
        assert_eq!(serves.report().await.zone, Some(2));
        assert_eq!(told(at, "a.mesh").await, "10.0.0.9");
        assert_eq!(told(at, "b.mesh").await, "Non-Existent Domain");
        serves.order(whole(&[("b.mesh", "10.0.0.3")]));
        serves.report().await;
        assert_eq!(told(at, "a.mesh").await, "Non-Existent Domain");
        assert_eq!(told(at, "b.mesh").await, "10.0.0.3");

        serves.order(Order::Serve(None));
        assert!(serves.report().await.listeners.is_empty());
        assert!(TcpStream::connect(at).await.is_err());
    };
    LocalSet::new().run_until(here).await;
}

#[tokio::test]
async fn an_address_that_somebody_else_has_is_told_and_taken_when_it_is_free() {
    let here = async {
        let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = other.local_addr().unwrap();
        let serves = Serves::begin();
        serves.order(whole(&[]));
        serves.order(Order::Serve(Some(serving(&[at], &[]))));
        let told = |it: &DnsReport| {
            let error = it.listeners[0].error.clone().unwrap_or_default();
            error == "by TCP: Address already in use (os error 98)"
        };
        serves.wait("it is told", told).await;
        drop(other);
        let is_listening = |it: &DnsReport| it.listeners[0].error.is_none();
        serves.wait("it listens", is_listening).await;
    };
    LocalSet::new().run_until(here).await;
}

#[tokio::test]
async fn others_are_asked_once_while_their_answer_lasts() {
    let here = async {
        let upstream = Upstream::of("192.0.2.1").await;
        let at = free("127.0.0.1").await;
        let serves = Serves::with(serving(&[at], &[upstream.at])).await;
        for _ in 0..3 {
            assert_eq!(told(at, "www.debian.org").await, "192.0.2.1");
        }
        assert_eq!(upstream.asked(), 1);
        assert_eq!(serves.outcomes(QueryOutcome::Forwarded).await, 1);
        assert_eq!(serves.outcomes(QueryOutcome::Cached).await, 2);
        assert_eq!(serves.report().await.cached, 1);
        // Names of the mesh are none of theirs.
        assert_eq!(told(at, "no.mesh").await, "Non-Existent Domain");
        assert_eq!(upstream.asked(), 1);
    };
    LocalSet::new().run_until(here).await;
}

#[tokio::test]
async fn an_upstream_that_hangs_is_told_from_a_name_that_takes_long() {
    let here = async {
        let hangs = Arc::new(AtomicUsize::new(0));
        let does = Arc::clone(&hangs);
        let upstream = Upstream::start(move |name, _, message| {
            if does.load(Ordering::SeqCst) == 1 || name.ends_with("slow") {
                return false;
            }
            // The root has no address here, which is an answer.
            if !name.is_empty() {
                add(message, name, 0, "192.0.2.1");
            }
            true
        })
        .await;
        let at = free("127.0.0.1").await;
        let serving = Serving {
            capture: true,
            timeout_ms: 10_000,
            ..serving(&[at], &[upstream.at])
        };
        let serves = Serves::with(serving).await;
        // Before anybody has asked anything.
        serves.wait("an upstream answers", |it| it.forwards).await;
        let slow = spawn_local(ask(at, "a.slow"));
        let until = Instant::now() + Duration::from_millis(2_500);
        while Instant::now() < until {
            assert!(serves.report().await.forwards);
            sleep(Duration::from_millis(5)).await;
        }
        slow.abort();
        hangs.store(1, Ordering::SeqCst);
        let since = Instant::now();
        let fast = spawn_local(ask(at, "a.fast"));
        serves.wait("it hangs", |it| !it.forwards).await;
        println!("it was known to hang after {:?}", since.elapsed());
        fast.abort();
        // Nobody asks anything now.
        hangs.store(0, Ordering::SeqCst);
        serves.wait("it answers again", |it| it.forwards).await;
    };
    LocalSet::new().run_until(here).await;
}

#[tokio::test]
async fn an_answer_that_lasts_no_more_is_asked_for_again() {
    let here = async {
        let upstream = Upstream::start(|name, _, message| {
            add(message, name, 1, "192.0.2.1");
            true
        })
        .await;
        let at = free("127.0.0.1").await;
        let _serves = Serves::with(serving(&[at], &[upstream.at])).await;
        let until = Instant::now() + Duration::from_secs(20);
        while upstream.asked() < 2 {
            let answer = ask(at, "www.debian.org").await;
            assert!(answer.answers[0].ttl <= 1);
            assert!(Instant::now() < until);
            sleep(Duration::from_millis(20)).await;
        }
    };
    LocalSet::new().run_until(here).await;
}

#[tokio::test]
async fn the_same_question_of_many_is_asked_once() {
    let here = async {
        let upstream = Upstream::start(|name, _, message| {
            // Not remembered.
            add(message, name, 0, "192.0.2.1");
            true
        })
        .await;
        let at = free("127.0.0.1").await;
        let _serves = Serves::with(serving(&[at], &[upstream.at])).await;
        let mut stream = TcpStream::connect(at).await.unwrap();
        for _ in 0..20 {
            send(&mut stream, &question("www.debian.org")).await;
        }
        for _ in 0..20 {
            assert_eq!(data(&receive(&mut stream).await), ["192.0.2.1"]);
        }
        assert!(upstream.asked() < 20, "{}", upstream.asked());
    };
    LocalSet::new().run_until(here).await;
}

#[tokio::test]
async fn the_next_one_is_asked_where_one_is_silent_or_fails() {
    let here = async {
        let silent = Upstream::silent().await;
        let failing = Upstream::start(|_, _, message| {
            message.metadata.response_code = ResponseCode::ServFail;
            true
        })
        .await;
        let good = Upstream::of("192.0.2.1").await;
        let at = free("127.0.0.1").await;
        let upstreams = [silent.at, failing.at, good.at];
        let serves = Serves::with(serving(&[at], &upstreams)).await;
        assert_eq!(told(at, "www.debian.org").await, "192.0.2.1");
        let report = serves.report().await;
        let of_silent = upstream(&report, silent.at);
        assert_eq!(of_silent.error.as_deref(), Some("it does not answer"));
        assert!(of_silent.since_ns.is_some() && of_silent.failed == 1);
        let of_failing = upstream(&report, failing.at);
        assert_eq!((&of_failing.error, of_failing.failed), (&None, 1));
        assert_eq!(upstream(&report, good.at).failed, 0);
        // Nobody waits for the silent one again soon.
        assert_eq!(told(at, "www.debian.net").await, "192.0.2.1");
        assert_eq!((silent.asked(), failing.asked()), (1, 2));
    };
    LocalSet::new().run_until(here).await;
}

#[tokio::test]
async fn the_first_good_answer_of_a_race_counts() {
    let here = async {
        let silent = Upstream::silent().await;
        let good = Upstream::of("192.0.2.1").await;
        let at = free("127.0.0.1").await;
        let mut race = serving(&[at], &[silent.at, good.at]);
        (race.order, race.timeout_ms) = (UpstreamOrder::Race, 1_000);
        let serves = Serves::with(race).await;
        let begun = Instant::now();
        assert_eq!(told(at, "www.debian.org").await, "192.0.2.1");
        assert!(begun.elapsed() < Duration::from_millis(900));
        assert_eq!((silent.asked(), good.asked()), (1, 1));
        // Who lost is known to be silent in the end.
        let is_known = |it: &DnsReport| upstream(it, silent.at).error.is_some();
        serves.wait("the silent one is told", is_known).await;
    };
    LocalSet::new().run_until(here).await;
}

#[tokio::test]
async fn a_client_is_told_that_nobody_answers() {
    let here = async {
        let silent = Upstream::silent().await;
        let at = free("127.0.0.1").await;
        let serves = Serves::with(serving(&[at], &[silent.at])).await;
        assert_eq!(told(at, "www.debian.org").await, FAILURE);
        assert_eq!(silent.asked(), 2, "as often as the file says");
        assert_eq!(serves.outcomes(QueryOutcome::Failed).await, 1);
        // The mesh does not depend on it.
        assert_eq!(told(at, "payments.mesh").await, "10.96.0.10");
    };
    LocalSet::new().run_until(here).await;
}

#[tokio::test]
async fn a_long_answer_is_fetched_by_tcp_and_cut_for_who_takes_no_more() {
    let here = async {
        let upstream = Upstream::start(|name, by_tcp, message| {
            match by_tcp {
                true => (0..100).for_each(|_| add(message, name, 60, "192.0.2.1")),
                false => message.metadata.truncation = true,
            }
            true
        })
        .await;
        let at = free("127.0.0.1").await;
        let _serves = Serves::with(serving(&[at], &[upstream.at])).await;
        let answer = ask(at, "www.debian.org").await;
        assert!(answer.metadata.truncation && answer.answers.is_empty());
        let mut stream = TcpStream::connect(at).await.unwrap();
        send(&mut stream, &question("www.debian.org")).await;
        assert_eq!(receive(&mut stream).await.answers.len(), 100);
    };
    LocalSet::new().run_until(here).await;
}

#[tokio::test]
async fn an_upstream_has_no_say_in_names_of_the_mesh() {
    let here = async {
        let liar = Upstream::start(|name, _, message| {
            add(message, name, 60, "192.0.2.1");
            add(message, "payments.mesh", 60, "192.0.2.66");
            true
        })
        .await;
        let at = free("127.0.0.1").await;
        let serves = Serves::with(serving(&[at], &[liar.at])).await;
        assert_eq!(told(at, "www.debian.org").await, FAILURE);
        let report = serves.report().await;
        let error = upstream(&report, liar.at).error.as_deref();
        assert_eq!(error, Some("it gave records for a name of the mesh"));
        assert_eq!(report.cached, 0);
        assert_eq!(told(at, "payments.mesh").await, "10.96.0.10");
    };
    LocalSet::new().run_until(here).await;
}

#[tokio::test]
async fn nobody_asks_himself() {
    let here = async {
        let at = free("127.0.0.1").await;
        let serves = Serves::with(serving(&[at], &[at])).await;
        let begun = Instant::now();
        assert_eq!(told(at, "www.debian.org").await, FAILURE);
        assert!(begun.elapsed() < Duration::from_millis(150));
        let report = serves.report().await;
        let error = upstream(&report, at).error.clone().unwrap();
        assert!(error.contains("the agent itself"), "{error}");
    };
    LocalSet::new().run_until(here).await;
}

#[tokio::test]
async fn a_question_that_comes_back_by_somebody_else_goes_round_once() {
    let here = async {
        let (one, two) = (free("127.0.0.1").await, free("127.0.0.1").await);
        let first = Serves::with(serving(&[one], &[two])).await;
        let second = Serves::with(serving(&[two], &[one])).await;
        assert_eq!(told(one, "www.debian.org").await, FAILURE);
        let (first, second) = (first.report().await, second.report().await);
        // Each as often as the file says.
        assert!(upstream(&first, two).sent <= 2, "{first:?}");
        assert!(upstream(&second, one).sent <= 2, "{second:?}");
    };
    LocalSet::new().run_until(here).await;
}

/// Reports until nothing more was told.
async fn everything(watched: &mut watch::Watched) -> (Vec<(String, QueryOutcome)>, u64) {
    let (mut queries, mut lost) = (Vec::new(), 0);
    loop {
        let report = watched.report().await.expect("somebody answers");
        lost += report.lost;
        if report.queries.is_empty() {
            return (queries, lost);
        }
        queries.extend(report.queries.into_iter().map(|it| {
            let client = it.client.expect("a client");
            assert!(client.ip().is_loopback() && client.port() != 0);
            (it.name.unwrap_or_default(), it.outcome)
        }));
    }
}

#[tokio::test]
async fn questions_are_told_while_somebody_watches_and_at_no_other_time() {
    let here = async {
        let upstream = Upstream::of("192.0.2.1").await;
        let at = free("127.0.0.1").await;
        let serves = Serves::with(serving(&[at], &[upstream.at])).await;
        told(at, "early.mesh").await;
        let (watch, mut watched) = watch::watch();
        serves.order(Order::Watch(Some(watch)));
        serves.report().await;
        told(at, "payments.mesh").await;
        let mut stream = TcpStream::connect(at).await.unwrap();
        for name in ["no.mesh", "www.debian.org"] {
            send(&mut stream, &question(name)).await;
            receive(&mut stream).await;
        }
        told(at, "www.debian.org").await;
        let (queries, lost) = everything(&mut watched).await;
        let told_of = |name: &str, outcome| (name.to_owned(), outcome);
        assert_eq!(
            queries,
            [
                told_of("payments.mesh", QueryOutcome::Answered),
                told_of("no.mesh", QueryOutcome::Nxdomain),
                told_of("www.debian.org", QueryOutcome::Forwarded),
                told_of("www.debian.org", QueryOutcome::Cached),
            ]
        );
        assert_eq!(lost, 0);
        serves.order(Order::Watch(None));
        serves.report().await;
        told(at, "payments.mesh").await;
        assert_eq!(watched.report().await, None, "nobody is left to tell");
    };
    LocalSet::new().run_until(here).await;
}

#[tokio::test]
async fn connections_that_ask_nothing_keep_nobody_from_asking() {
    let here = async {
        let at = free("127.0.0.1").await;
        let _serves = Serves::with(serving(&[at], &[])).await;
        let mut idle = Vec::new();
        for _ in 0..300 {
            idle.push(TcpStream::connect(at).await.unwrap());
        }
        // The newest is there, and so is one more.
        for mut stream in [idle.pop().unwrap(), TcpStream::connect(at).await.unwrap()] {
            send(&mut stream, &question("payments.mesh")).await;
            receive(&mut stream).await;
        }
        // The oldest is not.
        let ended = idle[0].read(&mut [0]).await;
        assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    };
    LocalSet::new().run_until(here).await;
}

#[tokio::test]
async fn what_nobody_takes_is_bounded_and_counted() {
    let here = async {
        const QUESTIONS: usize = 5_000;
        let at = free("127.0.0.1").await;
        let serves = Serves::with(serving(&[at], &[])).await;
        let (watch, mut watched) = watch::watch();
        serves.order(Order::Watch(Some(watch)));
        serves.report().await;
        let mut stream = TcpStream::connect(at).await.unwrap();
        stream.set_nodelay(true).unwrap();
        for _ in 0..QUESTIONS {
            send(&mut stream, &question("payments.mesh")).await;
            receive(&mut stream).await;
        }
        let first = watched.report().await.unwrap();
        assert_eq!(first.queries.len(), QueriesReport::MOST);
        assert!(first.lost > 0);
        // One that the daemon did not take, and what waited behind it.
        watched.lose(&first);
        let next = watched.report().await.unwrap();
        assert_eq!((next.queries.len(), next.lost), (0, QUESTIONS as u64));
    };
    LocalSet::new().run_until(here).await;
}

#[tokio::test]
async fn an_upstream_is_told_by_its_address_in_either_order() {
    let here = async {
        let (silent, upstream) = (Upstream::silent().await, Upstream::of("192.0.2.1").await);
        for order in [UpstreamOrder::InOrder, UpstreamOrder::Race] {
            let at = free("127.0.0.1").await;
            let serving = Serving {
                order,
                ..serving(&[at], &[silent.at, upstream.at])
            };
            let serves = Serves::with(serving).await;
            let (watch, mut watched) = watch::watch();
            serves.order(Order::Watch(Some(watch)));
            assert_eq!(told(at, "www.debian.org").await, "192.0.2.1");
            let report = watched.report().await.unwrap();
            let [query] = &report.queries[..] else {
                panic!("{report:?}");
            };
            assert_eq!(query.upstream, Some(upstream.at), "{order:?}");
            assert_eq!(query.code.as_deref(), Some("NOERROR"));
            assert!(query.took_ns > 0 && query.at_ns > query.took_ns);
        }
    };
    LocalSet::new().run_until(here).await;
}
