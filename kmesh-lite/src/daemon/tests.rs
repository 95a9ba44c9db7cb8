//! End to end over a real socket, with a loop behind it.

use super::event::{Event, Events, Signal};
use super::fake::{self, FakeDatapath, FakeSource, FakeSupervisor, Kernel};
use super::last_good::LastGood;
use super::*;
use crate::api::{Failure, FailureKind, Status};
use crate::control::Control;
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};

struct Fixture {
    socket: PathBuf,
    source: FakeSource,
    control: Option<Control>,
    events: Sender<Event>,
    thread: Option<JoinHandle<()>>,
    _folder: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("control.sock");
        let (events, queue) = mpsc::channel();
        let source = FakeSource::default();
        source.write("pay.ments\nweb");
        let mut meshes = MeshSource::new(source.clone(), Vec::new(), LastGood::default());
        let loaded = meshes.load();
        let units = fake::units(folder.path(), &events);
        let mut queue = Events::new(queue, Duration::from_secs(3600), None);
        let datapath = FakeDatapath(Kernel::default());
        let mut daemon = Daemon::new(meshes, datapath, units, FakeSupervisor::default());
        daemon.start(loaded, None).unwrap();
        Self {
            control: Some(Control::listen(&socket, None, requests(events.clone())).unwrap()),
            socket,
            source,
            events,
            thread: Some(thread::spawn(move || daemon.run(&mut queue))),
            _folder: folder,
        }
    }

    fn answer(&self, request: &str) -> String {
        let mut stream = UnixStream::connect(&self.socket).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn head(&self, request: &str) -> String {
        let answer = self.answer(request);
        answer.split_once("\r\n\r\n").unwrap().0.to_owned()
    }

    /// Sends text and gives the status and the body of the answer.
    fn send(&self, request: &str) -> (u16, Value) {
        let answer = self.answer(request);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap())
    }

    fn get(&self, path: &str) -> (u16, Value) {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"))
    }

    /// As curl does: with the type of a form.
    fn post(&self, path: &str, body: &str) -> (u16, Value) {
        self.send(&format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        ))
    }

    #[track_caller]
    fn fails(&self, (status, body): (u16, Value), expected: u16, kind: FailureKind) -> Failure {
        let failure: Failure = serde_json::from_value(body).unwrap();
        assert_eq!((status, failure.kind), (expected, kind), "{failure}");
        failure
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let _ = self.events.send(Event::Signal(Signal::Stop));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        drop(self.control.take());
    }
}

#[test]
fn every_route_answers_in_its_documented_shape() {
    let fixture = Fixture::new();
    let (code, body) = fixture.get("/v1/status");
    assert_eq!(code, 200);
    assert_eq!(body["state"], "routing");
    assert_eq!(body["datapath"]["services"][1]["name"], "web");
    assert_eq!(body["daemon"]["pid"], std::process::id());
    serde_json::from_value::<Status>(body).unwrap();

    let (code, body) = fixture.get("/v1/explain?address=%5B::1%5D:80&protocol=udp");
    assert_eq!(code, 200);
    assert_eq!(body["address"], "[::1]:80");
    assert_eq!(body["protocol"], "udp");

    // Without chunks, which come before the first byte of a body of unknown length.
    let (code, body) = fixture.send("GET /v1/dump HTTP/1.0\r\n\r\n");
    assert_eq!(code, 200);
    assert_eq!(body["tables"][0]["name"], "settings");
    let mut tables = body["tables"].as_array().unwrap().iter();
    let services = tables.find(|table| table["name"] == "services").unwrap();
    assert_eq!(services["rows"][0]["id"], 1);

    let (code, body) = fixture.post("/v1/plan", "");
    let nothing = json!({"summary": [], "operations": [], "absent": [], "leaving": []});
    assert_eq!((code, body), (200, nothing));

    let (code, body) = fixture.get("/v1/connections?name=web");
    let none = json!({"connections": [], "limit": 65_536, "unlisted": 0});
    assert_eq!((code, body), (200, none));
    assert_eq!(fixture.get("/v1/connections?name=nobody").0, 404);

    let (code, body) = fixture.post("/v1/reload", "");
    assert_eq!((code, &body["operations"]), (200, &json!(0)));
}

#[test]
fn a_single_service_can_be_asked_for() {
    let fixture = Fixture::new();
    let (_, body) = fixture.get("/v1/status?name=pay.ments");
    assert_eq!(body["datapath"]["services"].as_array().unwrap().len(), 1);
    let failure = fixture.fails(
        fixture.get("/v1/status?name=none"),
        404,
        FailureKind::NotFound,
    );
    assert_eq!(failure.error, "there is no service \"none\"");
}

#[test]
fn a_bad_file_fails_the_reload_with_its_problems() {
    let fixture = Fixture::new();
    fixture.source.write("web\nbad");
    let answer = fixture.post("/v1/reload", "");
    let failure = fixture.fails(answer, 422, FailureKind::InvalidConfiguration);
    let problems = failure.problems.unwrap();
    assert_eq!(problems.errors, 1);
    assert_eq!(problems.list[0]["file"], "memory:mesh");
    assert_eq!(problems.list[0]["line"], 2);
}

#[test]
fn wrong_requests_are_told_what_is_wrong() {
    let fixture = Fixture::new();
    let bad = FailureKind::BadRequest;
    fixture.fails(fixture.get("/v1/explain?address=1.2.3.4"), 400, bad);
    fixture.fails(fixture.get("/v1/explain"), 400, bad);
    fixture.fails(fixture.get("/v1/status?nme=x"), 400, bad);
    fixture.fails(fixture.get("/v1/reload"), 405, bad);
    fixture.fails(fixture.post("/v1/dump", ""), 405, bad);
    let head = fixture.head("GET /v1/plan HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(head.contains("allow: POST"), "{head}");
    fixture.fails(fixture.post("/v1/plan", "{\"path\": \"a.toml\"}"), 400, bad);
    fixture.fails(fixture.post("/v1/plan", "{\"files\": []}"), 400, bad);
    fixture.fails(fixture.post("/v1/plan", "path"), 400, bad);
    fixture.fails(fixture.get("/v2"), 404, FailureKind::NotFound);
}

#[test]
fn a_plan_of_another_file_comes_with_its_text() {
    let fixture = Fixture::new();
    let plan = |text: &str| {
        let files = json!({ "files": [{ "path": "other.toml", "text": fake::toml(text) }] });
        fixture.post("/v1/plan", &files.to_string())
    };
    let (code, body) = plan("web");
    let last = body["operations"]
        .as_array()
        .and_then(|operations| operations.last());
    assert_eq!(
        (code, last),
        (200, Some(&json!("free service #1 pay.ments")))
    );
    let failure = fixture.fails(plan("bad"), 422, FailureKind::InvalidConfiguration);
    assert_eq!(failure.error, "other.toml has 1 error");
}

#[test]
fn a_plan_may_be_large() {
    let fixture = Fixture::new();
    let blank = " ".repeat(22 << 20);
    let files = ["a.toml", "b.toml", "c.toml"];
    let texts = [
        format!("{}{blank}", fake::toml("web")),
        blank.clone(),
        blank,
    ];
    let files = files.iter().zip(texts);
    let files: Vec<_> = files
        .map(|(path, text)| json!({ "path": path, "text": text }))
        .collect();
    let files = json!({ "files": files });
    assert_eq!(fixture.post("/v1/plan", &files.to_string()).0, 200);
}

#[test]
fn a_silent_client_keeps_nobody_waiting() {
    let fixture = Fixture::new();
    let silent: Vec<_> = (0..8)
        .map(|_| UnixStream::connect(&fixture.socket).unwrap())
        .collect();
    assert_eq!(fixture.get("/v1/status").0, 200);
    drop(silent);
}

#[test]
fn the_socket_is_for_owner_and_group_and_goes_away() {
    let fixture = Fixture::new();
    let mode = fs::metadata(&fixture.socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let socket = fixture.socket.clone();
    drop(fixture);
    assert!(!socket.exists());
}

#[test]
fn a_stale_socket_is_replaced_and_anything_else_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.sock");
    drop(UnixListener::bind(&path).unwrap());
    drop(Control::listen(&path, None, requests(mpsc::channel().0)).unwrap());
    fs::write(&path, "precious").unwrap();
    let refused = Control::listen(&path, None, requests(mpsc::channel().0));
    assert!(matches!(refused, Err(ControlError::Occupied(_))));
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}
