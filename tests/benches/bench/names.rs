//! Names: how many questions a second the agent answers, beside servers that do nothing else, each of them
//! on one core and with the same 100,000 names, and what a new name takes.

use crate::machine::{Apart, on};
use crate::report::{Goal, Report, Row, Unit};
use crate::responders::{Mesh, Responder};
use crate::rounds::{Batch, Values, interleave};
use crate::{Effort, Error};
use std::fmt::Write;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Names, and so many questions about some of them, again and again.
pub const NAMES: u32 = 100_000;
const QUESTIONS: u32 = 20_000;
/// A step through the names that meets all of them: it has no factor in common with their number.
const STEP: u32 = 7_919;
/// Answers a second that the agent is to reach.
const WANTED: f64 = 50_000.0;
/// Half of what the unit of the agent lets it have, in megabytes: `MemoryMax=512M`.
const MEMORY: f64 = 268.0;
/// Before and after a name is new, while questions are asked all the time.
const MEANWHILE: Duration = Duration::from_secs(2);

/// The name with a number, and its address.
pub fn named(number: u32) -> (String, Ipv4Addr) {
    (
        format!("s{number}.mesh"),
        Ipv4Addr::from_bits(0x0a60_0000 + number),
    )
}

pub fn measure(effort: Effort, report: &mut Report) -> Result<(), Error> {
    report.begin("100,000 names: questions and answers, each server on one core");
    let asker = match Asker::new() {
        Ok(asker) => asker,
        Err(error) => {
            report.skip("names", error);
            return Ok(());
        }
    };
    let mesh = match Mesh::start(&asker.cores.one) {
        Ok(mesh) => mesh,
        Err(error) => {
            report.skip("names", error);
            return Ok(());
        }
    };
    let mut responders = vec![&mesh.agent];
    let others = [
        Responder::dnsmasq(&asker.cores.one),
        Responder::unbound(&asker.cores.one),
    ];
    for (other, name) in others.iter().zip(["dnsmasq", "unbound"]) {
        match other {
            Ok(responder) => responders.push(responder),
            Err(error) => report.skip(name, error),
        }
    }

    let asker = &asker;
    let seconds = effort.pick(1, 3);
    let mut cases: Vec<Batch<'_>> = Vec::new();
    for responder in &responders {
        let at = responder.at;
        cases.push(Box::new(move || Ok(asker.ask(at, seconds)?.finish()?.rate)));
    }
    let values = interleave(effort.pick(1, 9), &mut cases)?;
    drop(cases);
    for (responder, rates) in responders.iter().zip(&values) {
        report.add(rows(responder, rates, &values[0])?);
    }
    report.add(news(&mesh, asker)?);
    Ok(())
}

fn rows(responder: &Responder, rates: &Values, ours: &Values) -> Result<Vec<Row>, Error> {
    let goal = if responder.name == "agent" {
        Goal::AtLeast(WANTED)
    } else {
        Goal::None
    };
    let row = |what, unit, value| Row::alone(responder.name, what, unit, value, Goal::None);
    let unit = Unit::PerSecond;
    Ok(vec![
        Row::compared(responder.name, "answers", unit, rates, ours, goal),
        row(
            "until the first answer",
            Unit::Milliseconds,
            responder.start,
        ),
        row("memory", Unit::Megabytes, responder.memory()?),
    ])
}

/// A service is new while questions are asked all the time.
fn news(mesh: &Mesh, asker: &Asker) -> Result<Vec<Row>, Error> {
    mesh.agent.forget_peak()?;
    let run = asker.ask(mesh.agent.at, 2 * MEANWHILE.as_secs())?;
    std::thread::sleep(MEANWHILE);
    let duration = mesh.add_service()?;
    let figures = run.finish()?;
    let row = |what, unit, value, goal| Row::alone("agent", what, unit, value, goal);
    Ok(vec![
        row(
            "from save to the answer for a new name",
            Unit::Milliseconds,
            duration,
            Goal::None,
        ),
        row(
            "questions lost meanwhile",
            Unit::Times,
            figures.lost,
            Goal::Value(0.0),
        ),
        row(
            "peak memory meanwhile",
            Unit::Megabytes,
            mesh.agent.peak()?,
            Goal::Value(MEMORY),
        ),
    ])
}

/// dnsperf, on cores where no server is.
struct Asker {
    cores: Apart,
    folder: tempfile::TempDir,
}

/// It asks.
struct Asking(Child);

struct Figures {
    /// Answers a second.
    rate: f64,
    /// Questions without an answer.
    lost: f64,
}

impl Asker {
    fn new() -> Result<Self, Error> {
        let installed = Command::new("dnsperf").arg("-h").output();
        installed.map_err(|error| format!("cannot run dnsperf: {error}"))?;
        let asker = Self {
            cores: Apart::find()?,
            folder: tempfile::tempdir()?,
        };
        let mut text = String::new();
        for question in 0..QUESTIONS {
            let (name, _) =
                named((u64::from(question) * u64::from(STEP) % u64::from(NAMES)) as u32);
            writeln!(text, "{name} A")?;
        }
        fs::write(asker.file(), text)?;
        Ok(asker)
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("questions")
    }

    fn ask(&self, at: SocketAddr, seconds: u64) -> Result<Asking, Error> {
        let mut command = Command::new("dnsperf");
        command.args(["-s", &at.ip().to_string(), "-p", &at.port().to_string()]);
        command.args([
            "-l",
            &seconds.to_string(),
            "-c",
            "8",
            "-q",
            "100",
            "-t",
            "2",
        ]);
        command.arg("-d").arg(self.file());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        Ok(Asking(on(&self.cores.others, || command.spawn())??))
    }
}

impl Asking {
    fn finish(self) -> Result<Figures, Error> {
        let output = self.0.wait_with_output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let figure = |label: &str| {
            let line = text
                .lines()
                .find_map(|line| line.trim().strip_prefix(label));
            let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
            number.ok_or_else(|| Error::from(format!("dnsperf told no `{label}`: {text}")))
        };
        let answered = figure("Queries completed:")?;
        if answered == 0.0 || !text.contains("NOERROR") || text.contains("NXDOMAIN") {
            return Err(format!("not all names are known: {text}").into());
        }
        Ok(Figures {
            rate: figure("Queries per second:")?,
            lost: figure("Queries lost:")?,
        })
    }
}
