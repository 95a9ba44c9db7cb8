//! What people look at on a terminal, while connections come and go.

use crate::PROGRAM;
use kmesh_lite_tests::client::{address, call};
use kmesh_lite_tests::daemon::Daemon;
use kmesh_lite_tests::echo::Echo;
use kmesh_lite_tests::host::{Host, limited};
use kmesh_lite_tests::terminal::Terminal;
use nix::sys::signal::Signal;
use std::net::TcpStream;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

const MESH: &str = r#"
    [services.web]
    vips = ["10.96.0.10"]
    ports = ["80:8080"]
    endpoints = ["127.0.0.2"]

    [services.deaf]
    vips = ["10.96.0.13"]
    ports = ["80:9"]
    endpoints = ["127.0.0.3"]

    [services.quiet]
    vips = ["10.96.0.14"]
    ports = ["80:8080"]
    endpoints = ["127.0.0.4"]
"#;

/// A daemon, and a verb of it on a terminal.
fn on_terminal(arguments: &[&str]) -> Option<(Host, Vec<Echo>, Daemon, Terminal)> {
    let host = Host::new()?;
    let servers = Echo::everywhere(&[8080]);
    let daemon = Daemon::start(PROGRAM, &host, Some(&limited(MESH)));
    let mut command = Command::new(PROGRAM);
    command
        .args(arguments)
        .arg("--socket")
        .arg(daemon.path("socket"));
    let terminal = Terminal::run(&mut command);
    Some((host, servers, daemon, terminal))
}

/// The cells of the row that begins with a name.
fn row<'a>(screen: &'a str, name: &str) -> Option<Vec<&'a str>> {
    let mut lines = screen.lines().map(|line| line.split_whitespace());
    lines.find_map(|cells| {
        let cells: Vec<_> = cells.collect();
        (cells.first() == Some(&name)).then_some(cells)
    })
}

/// Connects all the time, to what answers and to what refuses, while `look` looks.
fn under_traffic(look: impl FnOnce()) {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                assert_eq!(call("10.96.0.10:80"), Ok(address("127.0.0.2:8080")));
                call("10.96.0.13:80").expect_err("nobody listens there");
            }
        });
        let looked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(look));
        over.store(true, Ordering::Relaxed);
        if let Err(panic) = looked {
            std::panic::resume_unwind(panic);
        }
    });
}

#[test]
fn top_shows_connections_as_they_come_and_go() {
    let Some((_host, _servers, _daemon, mut top)) = on_terminal(&["top", "--interval", "0.2"])
    else {
        return;
    };
    let held = TcpStream::connect("10.96.0.14:80").expect("a connection");
    under_traffic(|| {
        let cell = |screen: &str, name: &str, column: usize| {
            row(screen, name).and_then(|cells| cells.get(column).map(|it| (*it).to_owned()))
        };
        top.wait_until("rates of the service that answers", |screen| {
            let connects = cell(screen, "web", 1);
            connects.is_some_and(|it| it.parse::<f64>().is_ok_and(|it| it > 0.0))
        });
        assert!(top.is_full_screen());
        top.wait_until("all attempts at the other one fail", |screen| {
            cell(screen, "deaf", 4).is_some_and(|it| it.starts_with("100"))
        });
        top.wait_until("a connection that is held", |screen| {
            cell(screen, "quiet", 2).as_deref() == Some("1")
        });
        top.press("/web\r");
        top.wait_until("only what was asked for", |screen| {
            row(screen, "web").is_some() && row(screen, "deaf").is_none()
        });
        top.press("\r");
        top.wait_until("its endpoints", |screen| screen.contains("127.0.0.2"));
        top.press("\u{1b}");
        top.wait_until("its services again", |screen| row(screen, "web").is_some());
        top.press("?");
        top.wait_until("help", |screen| screen.contains("Ctrl-C"));
        top.press("qq");
        assert!(top.end().success());
        assert!(!top.is_full_screen());
    });
    drop(held);
}

#[test]
fn status_can_be_watched_through_the_end_of_a_daemon() {
    let Some((_host, _servers, mut daemon, terminal)) = on_terminal(&["status", "--watch=0.2"])
    else {
        return;
    };
    let connects = |screen: &str| {
        let cells = row(screen, "web")?;
        // Columns of words may have several.
        cells.iter().rev().nth(2)?.parse::<u64>().ok()
    };
    terminal.wait_until("no connects yet", |screen| connects(screen) == Some(0));
    for _ in 0..3 {
        call("10.96.0.10:80").expect("an answer");
    }
    terminal.wait_until("three connects", |screen| connects(screen) == Some(3));
    daemon.signal(Signal::SIGKILL);
    daemon.wait();
    terminal.wait_until("nobody answers", |screen| !screen.starts_with("routing"));
}
