use super::*;
use crate::api::{CommandProbe, Finding, Probe, Target};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Mutex;
use tokio::time::sleep;

pub fn check() -> Check {
    Check {
        probe: Probe::Tcp,
        interval: 10_000,
        fast_interval: 2_000,
        timeout: 1_000,
        jitter: 0,
        rise: 2,
        fall: 3,
        source: None,
    }
}

fn address(number: u32) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::from_bits(0x0a00_0000 + number).into(), 80)
}

fn duties(revision: u64, checks: &[Check], targets: &[(u32, u32, Option<bool>)]) -> Duties {
    let target = |(number, check, healthy): &(u32, u32, Option<bool>)| Target {
        address: address(*number),
        check: *check,
        healthy: *healthy,
    };
    Duties {
        revision,
        checks: checks.to_vec(),
        targets: targets.iter().map(target).collect(),
        ..Duties::default()
    }
}

/// How long a probe of a target takes, and whether it succeeds.
#[derive(Clone, Copy)]
struct Answer {
    takes: Duration,
    success: bool,
}

const UP: Answer = Answer {
    takes: Duration::from_millis(1),
    success: true,
};
const DOWN: Answer = Answer {
    takes: Duration::from_millis(1),
    success: false,
};
const HANGS: Answer = Answer {
    takes: Duration::from_secs(1),
    success: false,
};

/// Targets that answer as they are told, healthy ones as long as nothing was said.
#[derive(Default)]
struct World {
    answers: BTreeMap<SocketAddr, Answer>,
    /// When probes began.
    probes: Vec<(Instant, SocketAddr)>,
    flying: usize,
    most: usize,
}

#[derive(Clone, Default)]
struct Net(Arc<Mutex<World>>);

impl Net {
    fn set(&self, number: u32, answer: Answer) {
        self.0
            .lock()
            .unwrap()
            .answers
            .insert(address(number), answer);
    }

    fn times(&self, number: u32) -> Vec<Instant> {
        let world = self.0.lock().unwrap();
        let of = |(at, to): &(Instant, SocketAddr)| (*to == address(number)).then_some(*at);
        world.probes.iter().filter_map(of).collect()
    }
}

impl Probing for Net {
    fn follow(&mut self, _: &Duties) {}

    fn probe(
        &self,
        address: SocketAddr,
        _: &Arc<Check>,
    ) -> impl Future<Output = Outcome> + Send + 'static {
        let world = Arc::clone(&self.0);
        let answer = {
            let mut world = world.lock().unwrap();
            world.probes.push((Instant::now(), address));
            world.flying += 1;
            world.most = world.most.max(world.flying);
            world.answers.get(&address).copied().unwrap_or(UP)
        };
        async move {
            sleep(answer.takes).await;
            world.lock().unwrap().flying -= 1;
            Outcome {
                success: answer.success,
                reason: if answer.success { "up" } else { "down" }.into(),
            }
        }
    }
}

/// A daemon that takes everything, unless it was told what to say.
#[derive(Default)]
struct Ear {
    says: Mutex<VecDeque<Taken>>,
    heard: Mutex<Vec<HealthReport>>,
}

impl Daemon for Ear {
    async fn take(&self, report: HealthReport) -> Taken {
        self.heard.lock().unwrap().push(report);
        self.says.lock().unwrap().pop_front().unwrap_or(Taken::Yes)
    }
}

impl Ear {
    /// What was heard since the last call, as (revision, target, healthy).
    fn heard(&self) -> Vec<(u64, u32, bool)> {
        let reports = std::mem::take(&mut *self.heard.lock().unwrap());
        let findings = |report: HealthReport| {
            let revision = report.revision;
            let tuple = move |it: Finding| (revision, it.target, it.healthy);
            report.findings.into_iter().map(tuple)
        };
        reports.into_iter().flat_map(findings).collect()
    }
}

struct Scene {
    net: Net,
    ear: Arc<Ear>,
    duties: watch::Sender<Arc<Duties>>,
    _task: JoinSet<()>,
}

const ROOM: Room = Room {
    connects: 20_000,
    exchanges: 10,
    commands: 2,
};

impl Scene {
    fn new(room: Room, first: Duties) -> Self {
        let (net, ear) = (Net::default(), Arc::<Ear>::default());
        let (duties, receiver) = watch::channel(Arc::new(first));
        let mut task = JoinSet::new();
        task.spawn(run(receiver, net.clone(), Arc::clone(&ear), room));
        Self {
            net,
            ear,
            duties,
            _task: task,
        }
    }

    fn give(&self, duties: Duties) {
        self.duties.send_replace(Arc::new(duties));
    }

    fn say(&self, says: &[Taken]) {
        *self.ear.says.lock().unwrap() = says.to_vec().into();
    }
}

async fn pass(millis: u64) {
    sleep(Duration::from_millis(millis)).await;
}

#[tokio::test(start_paused = true)]
async fn a_verdict_is_told_when_it_is_known_and_when_it_turns() {
    let scene = Scene::new(ROOM, duties(1, &[check()], &[(0, 0, None)]));
    let begun = Instant::now();
    pass(100).await;
    assert_eq!(scene.ear.heard(), [(1, 0, true)]);

    // It goes on at the ordinary interval, then at the fast one until it has failed three times, and after that.
    scene.net.set(0, DOWN);
    pass(13_000).await;
    assert_eq!(scene.ear.heard(), []);
    pass(1_900).await;
    assert_eq!(scene.ear.heard(), [(1, 0, false)]);
    scene.net.set(0, UP);
    pass(4_000).await;
    assert_eq!(scene.ear.heard(), [(1, 0, true)]);
    pass(60_000).await;
    assert_eq!(scene.ear.heard(), []);
    let after = |at: Instant| (at - begun).as_secs();
    let times: Vec<_> = scene.net.times(0).into_iter().map(after).collect();
    assert_eq!(times, [0, 10, 12, 14, 16, 18, 28, 38, 48, 58, 68, 78]);
}

#[tokio::test(start_paused = true)]
async fn what_nobody_knows_is_known_after_failures_at_the_fast_interval() {
    let scene = Scene::new(ROOM, duties(1, &[check()], &[(0, 0, None)]));
    scene.net.set(0, DOWN);
    pass(3_900).await;
    assert_eq!(scene.ear.heard(), []);
    pass(200).await;
    assert_eq!(scene.ear.heard(), [(1, 0, false)]);
}

#[tokio::test(start_paused = true)]
async fn what_the_daemon_believes_is_where_a_new_target_begins() {
    let believed = [(0, 0, Some(true)), (1, 0, Some(false))];
    let scene = Scene::new(ROOM, duties(1, &[check()], &believed));
    scene.net.set(0, DOWN);
    // One success is not enough, nor is one failure: nothing flaps when an agent begins.
    pass(1_000).await;
    assert_eq!(scene.ear.heard(), []);
    pass(4_000).await;
    assert_eq!(scene.ear.heard(), [(1, 1, true), (1, 0, false)]);
}

#[tokio::test(start_paused = true)]
async fn new_duties_keep_what_is_known_and_tell_what_they_lack() {
    let all = [(0, 0, None), (1, 0, None), (2, 0, None)];
    let scene = Scene::new(ROOM, duties(1, &[check()], &all));
    pass(100).await;
    assert_eq!(scene.ear.heard().len(), 3);
    scene.net.set(0, DOWN);
    // It has failed once by then, and twice at 12 s.
    pass(11_000).await;
    let other = Check {
        timeout: 500,
        ..check()
    };
    // Other numbers; one is gone, one is believed already, one is checked in another way besides.
    let next = [
        (2, 1, None),
        (1, 1, Some(true)),
        (0, 1, Some(true)),
        (2, 0, None),
    ];
    scene.give(duties(2, &[other, check()], &next));
    pass(100).await;
    let mut heard = scene.ear.heard();
    heard.sort_unstable();
    assert_eq!(heard, [(2, 0, true), (2, 3, true)]);
    pass(3_000).await;
    assert_eq!(scene.ear.heard(), [(2, 2, false)]);

    // What is not among the duties is not probed.
    scene.give(duties(3, &[check()], &[(1, 0, Some(true))]));
    let probes = scene.net.times(2).len();
    pass(30_000).await;
    assert_eq!(scene.net.times(2).len(), probes);
}

#[tokio::test(start_paused = true)]
async fn a_report_that_comes_too_late_is_made_again_for_the_new_duties() {
    let scene = Scene::new(ROOM, duties(1, &[check()], &[(0, 0, None), (1, 0, None)]));
    scene.say(&[Taken::Superseded]);
    pass(5_000).await;
    assert_eq!(scene.ear.heard(), [(1, 0, true), (1, 1, true)]);
    scene.give(duties(2, &[check()], &[(1, 0, None), (0, 0, None)]));
    pass(100).await;
    assert_eq!(scene.ear.heard(), [(2, 1, true), (2, 0, true)]);
}

#[tokio::test(start_paused = true)]
async fn a_daemon_that_was_away_hears_the_newest_of_everything() {
    let all = [(0, 0, None), (1, 0, None)];
    let scene = Scene::new(ROOM, duties(1, &[check()], &all));
    scene.say(&[Taken::No; 1000]);
    pass(5_000).await;
    scene.net.set(0, DOWN);
    pass(60_000).await;
    // A few a minute.
    assert!(scene.ear.heard().len() < 60);
    scene.say(&[]);
    // The same duties once more are a sign of life.
    scene.give(duties(1, &[check()], &all));
    pass(50).await;
    assert_eq!(scene.ear.heard(), [(1, 0, false), (1, 1, true)]);
    pass(60_000).await;
    assert_eq!(scene.ear.heard(), []);
}

#[tokio::test(start_paused = true)]
async fn thousands_are_spread_over_an_interval_and_told_in_reports_of_a_bounded_size() {
    let all: Vec<_> = (0..10_000).map(|number| (number, 0, None)).collect();
    let scene = Scene::new(ROOM, duties(1, &[check()], &all));
    // Duties with all of them at once make a burst of verdicts if the daemon does not listen.
    scene.say(&[Taken::No; 4]);
    pass(10_200).await;
    let reports: Vec<_> = {
        let heard = scene.ear.heard.lock().unwrap();
        heard.iter().map(|it| it.findings.len()).collect()
    };
    assert!(reports.iter().all(|it| *it <= 500), "{reports:?}");
    assert!(reports.contains(&500), "{reports:?}");
    let told: BTreeSet<_> = scene.ear.heard().into_iter().map(|it| it.1).collect();
    assert_eq!(told.len(), 10_000);

    scene.net.0.lock().unwrap().probes.clear();
    pass(100_000).await;
    let world = scene.net.0.lock().unwrap();
    assert_eq!(world.probes.len(), 100_000);
    let first = world.probes.first().unwrap().0;
    let mut seconds = [0; 101];
    for (at, _) in &world.probes {
        seconds[(*at - first).as_secs() as usize] += 1;
    }
    let busiest = seconds.iter().max().unwrap();
    assert!(*busiest < 1_300, "{seconds:?}");
}

#[tokio::test(start_paused = true)]
async fn a_few_begin_at_once() {
    let all: Vec<_> = (0..10).map(|number| (number, 0, None)).collect();
    let scene = Scene::new(ROOM, duties(1, &[check()], &all));
    pass(50).await;
    assert_eq!(scene.ear.heard().len(), 10);
}

#[tokio::test(start_paused = true)]
async fn targets_that_all_hang_are_probed_in_turn_and_hold_up_no_others() {
    let slow = Check {
        interval: 2_000,
        ..check()
    };
    let command = Check {
        probe: Probe::Command(CommandProbe {
            program: "/bin/true".into(),
            arguments: Vec::new(),
        }),
        ..check()
    };
    let mut all: Vec<_> = (0..3_000).map(|number| (number, 0, None)).collect();
    all.push((5_000, 1, None));
    let room = Room {
        connects: 100,
        ..ROOM
    };
    let scene = Scene::new(room, duties(1, &[slow, command], &all));
    (0..3_000).for_each(|number| scene.net.set(number, HANGS));
    pass(120_000).await;
    // 100 a second, three times each in 90 s.
    let world = scene.net.0.lock().unwrap();
    assert_eq!(world.most, 101);
    drop(world);
    for number in 0..3_000 {
        assert!(scene.net.times(number).len() >= 3, "{number}");
    }
    let heard: BTreeSet<_> = scene.ear.heard().into_iter().collect();
    assert_eq!(heard.len(), 3_001);
    assert_eq!(scene.net.times(5_000).len(), 12);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_does_not_count_if_this_host_held_the_agent_up() {
    let check = Check { fall: 1, ..check() };
    let scene = Scene::new(ROOM, duties(1, &[check], &[(0, 0, Some(true))]));
    scene.net.set(0, HANGS);
    pass(500).await;
    // As if the process had been stopped.
    tokio::time::advance(Duration::from_secs(5)).await;
    pass(1_000).await;
    assert_eq!(scene.ear.heard(), []);
    // The next one counts.
    pass(11_000).await;
    assert_eq!(scene.ear.heard(), [(1, 0, false)]);
    let times = scene.net.times(0);
    assert_eq!(times[1] - times[0], Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn findings_that_come_together_are_one_report() {
    let all: Vec<_> = (0..20).map(|number| (number, 0, None)).collect();
    let scene = Scene::new(ROOM, duties(1, &[check()], &all));
    pass(1_000).await;
    let heard = scene.ear.heard.lock().unwrap();
    assert!(heard.len() <= 3, "{} reports", heard.len());
}
