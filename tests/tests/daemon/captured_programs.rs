//! `[dns] capture` under programs that people use: whatever server their resolv.conf names, they reach services by name, and
//! names of others resolve throughout.

use crate::PROGRAM;
use kmesh_lite_tests::agent::Agent;
use kmesh_lite_tests::daemon::Daemon;
use kmesh_lite_tests::dig::dig;
use kmesh_lite_tests::dnsmasq::Dnsmasq;
use kmesh_lite_tests::host::{Host, Stop, limited};
use kmesh_lite_tests::require;
use kmesh_lite_tests::resolv_conf::ResolvConf;
use kmesh_lite_tests::server::{Nginx, java, source};
use nix::sys::signal::Signal;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A server that programs know, and which is none of the mesh.
const KNOWN: [&str; 2] = ["10.53.0.1", "fd53::1"];
/// Servers that nobody has.
const NOBODY: [&str; 2] = ["192.0.2.53:53", "[2001:db8::53]:53"];
const FOREIGN: &str = "www.internal";
/// What the known server says of it, and what the upstream of the agent does.
const BY_ITSELF: &str = "192.0.2.99";
const BY_AGENT: &str = "192.0.2.1";

fn mesh() -> String {
    limited(&format!(
        "[dns]\ncapture = \"all\"\nupstreams = \"{}\"\n\
         [services.web]\nvips = [\"10.96.0.10\", \"fd00:96::10\"]\nports = [\"80:8080\"]\nendpoints = [\"127.0.0.2\"]\n",
        Dnsmasq::AT
    ))
}

/// A host with the server that programs know, and an upstream for the agent.
fn host() -> Option<(Host, [Dnsmasq; 2])> {
    let host = Host::new()?;
    if !require::programs(&["dnsmasq", "dig", "getent", "curl", "nginx", "unshare"]) {
        return None;
    }
    host.add(&KNOWN);
    let ips = KNOWN.map(|ip| ip.parse::<IpAddr>().unwrap());
    let known = Dnsmasq::start_at(&ips, 53, &format!("{BY_ITSELF} {FOREIGN}\n"), &[]);
    let upstream = Dnsmasq::start(&format!("{BY_AGENT} {FOREIGN}\n"), &[]);
    Some((host, [known, upstream]))
}

/// The addresses that glibc finds; none if it does not.
fn getent(conf: &ResolvConf, name: &str) -> Vec<String> {
    let output = conf.run("getent", &["ahosts", name]);
    let text = String::from_utf8(output.stdout).expect("text");
    let streams = text.lines().filter(|line| line.contains("STREAM"));
    let first = |line: &str| line.split_whitespace().next().map(str::to_owned);
    let mut found: Vec<_> = streams.filter_map(first).collect();
    found.sort();
    found
}

fn wait_for(daemon: &mut Daemon, conf: &ResolvConf, who: &str) {
    daemon.wait_until(who, |_| getent(conf, FOREIGN) == [who]);
}

#[test]
fn programs_reach_services_by_name_whatever_server_they_know() {
    let Some((host, _servers)) = host() else {
        return;
    };
    let Some(java) = java() else { return };
    let _nginx = Nginx::start(8080);
    let mut daemon = Daemon::with_agent(PROGRAM, &host, &mesh());
    let url = "http://web.mesh/";
    for server in KNOWN {
        let conf = ResolvConf::of(server);
        wait_for(&mut daemon, &conf, BY_AGENT);
        assert_eq!(getent(&conf, "web.mesh"), ["10.96.0.10", "fd00:96::10"]);
        assert!(getent(&conf, "no.mesh").is_empty());
        let hosts = conf.output("getent", &["hosts", "web.mesh"]);
        let fields: Vec<_> = hosts.split_whitespace().collect();
        assert_eq!(fields, ["fd00:96::10", "web.mesh"]);

        let endpoint = "::ffff:127.0.0.2:8080";
        for family in ["--ipv4", "--ipv6"] {
            let page = conf.output("curl", &["--silent", "--max-time", "20", family, url]);
            assert_eq!(page.trim(), endpoint, "{server} {family}");
        }
        let fetch = source("Fetch.java");
        let fetched = conf.output(&java, &[fetch.to_str().unwrap(), url]);
        let mut lines: Vec<_> = fetched.lines().collect();
        assert_eq!(lines.pop(), Some(endpoint), "{server}");
        lines.sort();
        assert_eq!(lines, ["10.96.0.10", "fd00:96:0:0:0:0:0:10"], "{server}");
    }
    // One that asks a server by its address, and looks who answers.
    for at in NOBODY {
        let (ip, _) = at.rsplit_once(':').unwrap();
        let from = format!(";; SERVER: {}#53", ip.trim_matches(['[', ']']));
        for how in ["+notcp", "+tcp"] {
            let dug = dig(at, &[how, "web.mesh", "A"]);
            assert!(dug.text.contains(&from), "{how}: {}", dug.text);
            assert_eq!(dug.answers, ["10.96.0.10"], "{at} {how}");
            let both = ["A", "AAAA"].map(|kind| dig(at, &[how, FOREIGN, kind]));
            assert_eq!(both[0].answers, [BY_AGENT], "{at} {how}");
            assert_eq!(both[1].status, "NOERROR", "{at} {how}");
        }
    }
}

/// glibc asks for both kinds of address at once, waits a second here, and asks again by another socket.
#[test]
fn glibc_resolves_names_of_others_throughout_the_death_of_agent_and_daemon() {
    let Some((host, _servers)) = host() else {
        return;
    };
    let conf = ResolvConf::of(KNOWN[0]);
    let mut daemon = Daemon::supervised(PROGRAM, &host, Some(&mesh()));
    let mut agent = Agent::start(PROGRAM, &daemon);
    wait_for(&mut daemon, &conf, BY_AGENT);
    for first in ["the agent", "the daemon"] {
        let (over, looked) = (AtomicBool::new(false), AtomicUsize::new(0));
        let worst = thread::scope(|scope| {
            let resolves = scope.spawn(|| {
                let mut worst = Duration::ZERO;
                while !over.load(Ordering::SeqCst) {
                    let since = Instant::now();
                    let found = getent(&conf, FOREIGN);
                    worst = worst.max(since.elapsed());
                    assert!(
                        found == [BY_AGENT] || found == [BY_ITSELF],
                        "{FOREIGN} is at {found:?} after {:?}",
                        since.elapsed()
                    );
                    looked.fetch_add(1, Ordering::SeqCst);
                }
                worst
            });
            let stop = Stop(&over);
            let more = |count: usize| {
                let until = looked.load(Ordering::SeqCst) + count;
                while looked.load(Ordering::SeqCst) < until && !resolves.is_finished() {
                    thread::yield_now();
                }
            };
            more(2);
            if first == "the agent" {
                agent.signal(Signal::SIGKILL);
                more(2);
                daemon.signal(Signal::SIGKILL);
            } else {
                daemon.signal(Signal::SIGKILL);
                agent.signal(Signal::SIGKILL);
            }
            more(5);
            drop(stop);
            resolves.join().expect("names resolve")
        });
        daemon.wait();
        println!(
            "{first} was killed first: the longest look-up took {} ms",
            worst.as_millis()
        );
        assert!(worst < Duration::from_secs(3), "{worst:?}");
        assert_eq!(getent(&conf, FOREIGN), [BY_ITSELF]);
        assert!(getent(&conf, "web.mesh").is_empty());

        daemon.start_again(&[]);
        drop(agent);
        agent = Agent::start(PROGRAM, &daemon);
        wait_for(&mut daemon, &conf, BY_AGENT);
    }
    assert_eq!(getent(&conf, "web.mesh"), ["10.96.0.10", "fd00:96::10"]);
}
