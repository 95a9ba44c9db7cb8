//! Asking systemd about the service, for a moment at most.

use crate::doctor::unit::{PROPERTIES, Service, Unit};
use std::io::{self, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// The unit of the packages.
pub const UNIT: &str = "kmesh-lite.service";

/// systemd answers at once, unless it is in trouble itself.
const PATIENCE: Duration = Duration::from_secs(2);

/// What systemd says. `process` is the daemon that this is about, as far as it is known; without one
/// the unit speaks for the usual socket only.
pub fn show(process: Option<u32>, usual: bool) -> Service {
    let unit = match ask() {
        Ok(text) => Unit::parse(&text),
        Err(why) => return Service::Unknown(why),
    };
    if !unit.is_installed() {
        return Service::Unknown(format!("systemd knows no {UNIT}"));
    }
    match process {
        Some(process) if unit.main_pid() != Some(process) => {
            Service::Unknown(format!("process {process} is not the one of {UNIT}"))
        }
        None if !usual => Service::Unknown(format!("{UNIT} is not about this socket")),
        _ => Service::Known(unit),
    }
}

fn ask() -> Result<String, String> {
    let mut command = Command::new("systemctl");
    command
        .args(["show", UNIT, "--no-pager"])
        .arg(format!("--property={}", PROPERTIES.join(",")));
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => "systemd is not installed".to_owned(),
        _ => format!("cannot run systemctl: {error}"),
    })?;
    let Some(said) = read(&mut child) else {
        // It is ours, and nobody waits for it any more.
        let _ = child.kill();
        let _ = child.wait();
        return Err("systemctl did not answer in time".to_owned());
    };
    match child.wait() {
        Ok(status) if status.success() => Ok(said.0),
        _ => {
            let first = said.1.lines().next().unwrap_or("no reason given");
            Err(format!("systemctl: {first}"))
        }
    }
}

/// What it writes to stdout and stderr; None if that takes too long.
fn read(child: &mut Child) -> Option<(String, String)> {
    let (mut stdout, mut stderr) = (child.stdout.take()?, child.stderr.take()?);
    let (sender, received) = mpsc::channel();
    thread::spawn(move || {
        let (mut text, mut complaint) = (String::new(), String::new());
        // A pipe's worth of complaints waits while the answer is read, and systemctl has less to say.
        let _ = stdout.read_to_string(&mut text);
        let _ = stderr.read_to_string(&mut complaint);
        let _ = sender.send((text, complaint));
    });
    received.recv_timeout(PATIENCE).ok()
}
