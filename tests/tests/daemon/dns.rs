//! The names of the mesh by DNS: a real daemon, its agent, and programs that ask.

use crate::PROGRAM;
use kmesh_lite_tests::agent::Agent;
use kmesh_lite_tests::daemon::Daemon;
use kmesh_lite_tests::dig::{Dug, dig};
use kmesh_lite_tests::dnsmasq::Dnsmasq;
use kmesh_lite_tests::host::{Host, limited};
use kmesh_lite_tests::require;
use kmesh_lite_tests::resolv_conf::ResolvConf;
use kmesh_lite_tests::server::{Nginx, java, source};
use nix::sys::signal::Signal;

const AT: &str = "127.0.0.1:53";

/// Everything that can be a name, and an upstream that knows `internal`.
fn mesh(listen: &str, more: &str) -> String {
    limited(&format!(
        "[dns]\nlisten = [\"{listen}\"]\nupstreams = \"{}\"\ntimeout = \"500ms\"\n\
         [services.payments]\nvips = [\"10.96.0.10\", \"fd00:96::10\"]\nhostnames = [\"pay.example\", \"*.pay.example\"]\n\
         ports = [{{ port = 80, target = 8080, name = \"http\" }}]\nendpoints = [\"127.0.0.2\"]\n\
         [services.db]\nheadless = true\nvips = [\"10.96.0.11\"]\nports = [5432]\nendpoints = [\"db-1\", \"db-2\"]\n\
         [endpoints]\ndb-1 = {{ address = \"127.0.0.3\" }}\ndb-2 = {{ address = \"127.0.0.4\" }}\n{more}",
        Dnsmasq::AT
    ))
}

/// A host with an upstream, and where somebody asks.
fn host() -> Option<(Host, Dnsmasq)> {
    let host = Host::new()?;
    if !require::programs(&["dnsmasq", "dig"]) {
        return None;
    }
    Some((host, Dnsmasq::start("192.0.2.1 www.internal\n", &[])))
}

fn ask(name: &str, kind: &str) -> Dug {
    dig(AT, &[name, kind])
}

fn sorted(dug: Dug) -> Vec<String> {
    let mut answers = dug.answers;
    answers.sort();
    answers
}

fn wait(daemon: &mut Daemon, at: &str) {
    daemon.wait_until("names are answered", |_| {
        dig(at, &["+time=1", "payments.mesh", "A"]).status == "NOERROR"
    });
}

#[test]
fn every_kind_of_name_is_answered_and_others_are_passed_on() {
    let Some((host, mut dnsmasq)) = host() else {
        return;
    };
    let mut daemon = Daemon::with_agent(PROGRAM, &host, &mesh(AT, ""));
    wait(&mut daemon, AT);
    let payments = ask("payments.mesh", "A");
    assert_eq!(payments.answers, ["10.96.0.10"]);
    assert_eq!(payments.flags, ["qr", "aa", "rd", "ra"]);
    assert_eq!(ask("PayMents.MESH", "AAAA").answers, ["fd00:96::10"]);
    assert_eq!(
        dig(AT, &["+tcp", "pay.example", "A"]).answers,
        ["10.96.0.10"]
    );
    assert_eq!(ask("any.pay.example", "A").answers, ["10.96.0.10"]);
    assert_eq!(sorted(ask("db.mesh", "A")), ["127.0.0.3", "127.0.0.4"]);
    assert_eq!(ask("db-2.db.mesh", "A").answers, ["127.0.0.4"]);
    for name in ["_http._tcp.payments.mesh", "_80._tcp.payments.mesh"] {
        let srv = ask(name, "SRV").answers;
        assert_eq!(srv.len(), 1, "{name}");
        assert!(srv[0].ends_with(" 80 payments.mesh."), "{srv:?}");
    }
    assert_eq!(dig(AT, &["-x", "10.96.0.10"]).answers, ["payments.mesh."]);
    assert_eq!(dig(AT, &["-x", "fd00:96::10"]).answers, ["payments.mesh."]);

    let nothing = ask("payments.mesh", "TXT");
    assert_eq!(nothing.status, "NOERROR");
    assert!(nothing.answers.is_empty());
    assert!(nothing.authorities[0].starts_with("mesh. 5 IN SOA "));
    assert_eq!(ask("no.mesh", "A").status, "NXDOMAIN");
    assert_eq!(ask("mesh", "SOA").answers.len(), 1);
    assert_eq!(ask("mesh", "AXFR").answers.len(), 0);
    let newer = dig(AT, &["+edns=1", "+noednsnegotiation", "payments.mesh", "A"]);
    assert_eq!(newer.status, "BADVERS");
    assert_eq!(dig(AT, &["version.bind", "CH", "TXT"]).status, "REFUSED");
    assert_eq!(dig(AT, &["+opcode=notify", "mesh", "SOA"]).status, "NOTIMP");

    // What the upstream knows, and what is remembered of it when it has gone.
    let www = ask("www.internal", "A");
    assert_eq!(
        (&*www.status, &*www.answers),
        ("NOERROR", &["192.0.2.1".to_owned()][..])
    );
    assert_eq!(ask("no.internal", "A").status, "NXDOMAIN");
    dnsmasq.end();
    assert_eq!(ask("new.internal", "A").status, "SERVFAIL");
    assert_eq!(ask("payments.mesh", "A").answers, ["10.96.0.10"]);
    daemon.wait_until("the upstream is known to be away", |daemon| {
        let status = daemon.json(&["status"]);
        status["dns"]["upstreams"][0]["error"].is_string()
    });
}

#[test]
fn a_headless_service_is_those_of_its_endpoints_that_take_connections() {
    let Some((host, _dnsmasq)) = host() else {
        return;
    };
    let mut daemon = Daemon::with_agent(PROGRAM, &host, &mesh(AT, ""));
    wait(&mut daemon, AT);
    assert_eq!(sorted(ask("db.mesh", "A")), ["127.0.0.3", "127.0.0.4"]);
    assert!(daemon.verb(&["drain", "127.0.0.3"]).status.success());
    daemon.wait_until("its names follow", |_| {
        ask("db.mesh", "A").answers == ["127.0.0.4"]
    });
    assert!(daemon.verb(&["ready", "127.0.0.3"]).status.success());
    daemon.wait_until("it is back", |_| ask("db.mesh", "A").answers.len() == 2);

    daemon.save(&mesh(
        AT,
        "[services.new]\nvips = [\"10.96.0.12\"]\nports = [80]\n",
    ));
    assert!(daemon.verb(&["reload"]).status.success());
    daemon.wait_until("the new file counts", |_| {
        ask("new.mesh", "A").answers == ["10.96.0.12"]
    });
}

#[test]
fn names_are_answered_while_the_daemon_is_away() {
    let Some((host, _dnsmasq)) = host() else {
        return;
    };
    // The unit gives it port 53; here it has no right.
    let at = "127.0.0.1:5353";
    let mut daemon = Daemon::supervised(PROGRAM, &host, Some(&mesh(at, "")));
    let _agent = Agent::start(PROGRAM, &daemon);
    wait(&mut daemon, at);
    daemon.signal(Signal::SIGKILL);
    daemon.wait();
    assert_eq!(dig(at, &["payments.mesh", "A"]).answers, ["10.96.0.10"]);
    assert_eq!(dig(at, &["www.internal", "A"]).answers, ["192.0.2.1"]);
    assert_eq!(dig(at, &["no.mesh", "A"]).status, "NXDOMAIN");

    daemon.save(&mesh(
        at,
        "[services.new]\nvips = [\"10.96.0.12\"]\nports = [80]\n",
    ));
    daemon.start_again(&[]);
    daemon.wait_until("the new file counts", |_| {
        dig(at, &["new.mesh", "A"]).answers == ["10.96.0.12"]
    });
}

#[test]
fn a_port_that_somebody_else_has_is_told_and_taken_when_it_is_free() {
    let Some((host, mut dnsmasq)) = host() else {
        return;
    };
    // Nobody may ask himself.
    let upstream = |at: &str| format!("upstreams = \"{at}\"");
    let text = mesh(Dnsmasq::AT, "");
    let text = text.replace(&upstream(Dnsmasq::AT), &upstream("127.0.0.99:53"));
    let mut daemon = Daemon::with_agent(PROGRAM, &host, &text);
    daemon.wait_until("it is told", |daemon| {
        let status = daemon.json(&["status"]);
        let error = status["dns"]["listeners"][0]["error"].as_str();
        error.is_some_and(|error| error.contains("Address already in use"))
    });
    // Who was there is unharmed.
    assert_eq!(
        dig(Dnsmasq::AT, &["www.internal", "A"]).answers,
        ["192.0.2.1"]
    );
    dnsmasq.end();
    wait(&mut daemon, Dnsmasq::AT);
}

#[test]
fn programs_reach_a_service_by_name_without_an_address_in_the_file() {
    let Some((host, _dnsmasq)) = host() else {
        return;
    };
    if !require::programs(&["curl", "nginx", "getent", "python3", "unshare"]) {
        return;
    }
    let Some(java) = java() else { return };
    let _nginx = Nginx::start(8080);
    let text = format!(
        "[dns]\nlisten = [\"{AT}\"]\nupstreams = \"{0}\"\nresolvers = \"{0}\"\n\
         [services.payments]\nvips = [\"auto\"]\nports = [\"80:8080\"]\n\
         endpoints = [{{ dns = \"localhost.internal\" }}]\n",
        Dnsmasq::AT
    );
    _dnsmasq.hosts("127.0.0.2 localhost.internal\n192.0.2.1 www.internal\n");
    let mut daemon = Daemon::with_agent(PROGRAM, &host, &limited(&text));
    wait(&mut daemon, AT);
    let url = "http://payments.mesh/";
    daemon.wait_until("its endpoint is known", |daemon| {
        let status = daemon.json(&["status"]);
        status["names"][0]["addresses"][0].is_string()
    });
    let ours = ResolvConf::of("127.0.0.1");
    let answer = ours.output("curl", &["--silent", "--max-time", "20", url]);
    // nginx listens to both families by one socket, which has mapped addresses.
    let endpoint = "::ffff:127.0.0.2:8080";
    assert_eq!(answer.trim(), endpoint);
    let python = format!("import urllib.request as it; print(it.urlopen('{url}').read().decode())");
    let answer = ours.output("python3", &["-c", &python]);
    assert_eq!(answer.trim(), endpoint);
    let answer = ours.output(java, &[source("Fetch.java").to_str().unwrap(), url]);
    assert_eq!(answer.lines().last(), Some(endpoint));
    let hosts = ["payments.mesh", "www.internal"].map(|it| ours.output("getent", &["hosts", it]));
    assert!(hosts[0].contains("payments.mesh"), "{hosts:?}");
    assert!(hosts[1].contains("192.0.2.1"), "{hosts:?}");
}
