//! Waypoints of protocols in which the client waits for the server to speak.

use kmesh_lite_ebpf::Outcome;
use kmesh_lite_tests::host::Host;
use kmesh_lite_tests::{cgroup, require};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::thread;

const MESH: &str = r#"
    [waypoints.mail]
    address = "127.0.1.1:15008"
    header = "proxy-v2"
    server_first = true

    [services.mail]
    vips = ["10.96.0.25"]
    ports = [25]
    waypoint = "mail"
    endpoints = ["127.0.0.2"]

    [waypoints.web]
    address = "127.0.1.1:15009"
    header = "proxy-v2"

    [services.web]
    vips = ["10.96.0.26"]
    ports = [80]
    waypoint = "web"
    endpoints = ["127.0.0.2"]
"#;

/// Reads a header, greets, then echoes each byte. Ends each connection with an error of its own if
/// it is not a header that comes first.
fn serve() {
    let listener = TcpListener::bind("127.0.1.1:15008").expect("a listener");
    thread::spawn(move || {
        cgroup::leave().expect("outside of the test's cgroup");
        while let Ok((stream, _)) = listener.accept() {
            thread::spawn(move || converse(stream));
        }
    });
}

fn converse(mut stream: TcpStream) -> std::io::Result<()> {
    let mut header = [0; 28];
    stream.read_exact(&mut header)?;
    if !header.starts_with(b"\r\n\r\n\0\r\nQUIT\n") || header[20..24] != [10, 96, 0, 25] {
        return stream.write_all(b"500 no header\n");
    }
    stream.write_all(b"220 hello\n")?;
    std::io::copy(&mut &stream, &mut &stream).map(drop)
}

/// Runs a Python program with `rounds` connections as `s`; it must not fail.
fn client(rounds: usize, conversation: &str) {
    let script = format!(
        "import socket\n\
         for round in range({rounds}):\n\
         \x20   s = socket.create_connection(('10.96.0.25', 25))\n\
         {conversation}\n\
         \x20   s.close()\n"
    );
    let output = Command::new("python3").arg("-c").arg(script).output();
    let output = output.expect("python3");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
}

#[test]
fn clients_that_wait_for_the_server_are_greeted() {
    let Some(host) = Host::new() else { return };
    if !require::programs(&["python3"]) {
        return;
    }
    serve();
    let mut mesh = host.run_as_daemon(MESH);
    client(
        200,
        "    assert s.recv(100) == b'220 hello\\n'\n\
         \x20   s.sendall(b'x' * 1000)\n\
         \x20   assert s.recv(1000, socket.MSG_WAITALL) == b'x' * 1000",
    );
    assert_eq!(mesh.outcomes()[&Outcome::HeaderSent], 200);
}

#[test]
fn clients_that_do_not_wait_for_the_server_send_no_byte_of_ours() {
    let Some(host) = Host::new() else { return };
    if !require::programs(&["python3"]) {
        return;
    }
    serve();
    let mut mesh = host.run_as_daemon(MESH);
    client(
        500,
        "    s.sendall(b'y' * 100)\n\
         \x20   assert s.recv(110, socket.MSG_WAITALL) == b'220 hello\\n' + b'y' * 100\n\
         \x20   s.sendall(b'z')\n\
         \x20   assert s.recv(100) == b'z'",
    );
    assert_eq!(mesh.outcomes()[&Outcome::HeaderSent], 500);
}

/// The daemon may come to the socket when that is connected elsewhere already, to where the client speaks first.
#[test]
fn a_socket_that_is_connected_elsewhere_meanwhile_sends_no_byte_of_ours() {
    let Some(host) = Host::new() else { return };
    if !require::programs(&["python3"]) {
        return;
    }
    serve();
    let listener = TcpListener::bind("127.0.1.1:15009").expect("a listener");
    thread::spawn(move || {
        cgroup::leave().expect("outside of the test's cgroup");
        while let Ok((mut stream, _)) = listener.accept() {
            let mut bytes = Vec::new();
            let _ = stream.read_to_end(&mut bytes);
            let _ = stream.write_all(&bytes);
        }
    });
    let mut mesh = host.run_as_daemon(MESH);
    client(
        200,
        "    import ctypes, time\n\
         \x20   nowhere = ctypes.create_string_buffer(16)\n\
         \x20   assert ctypes.CDLL(None).connect(s.fileno(), nowhere, 16) == 0\n\
         \x20   s.connect(('10.96.0.26', 80))\n\
         \x20   time.sleep(0.002)\n\
         \x20   s.sendall(b'mine')\n\
         \x20   s.shutdown(socket.SHUT_WR)\n\
         \x20   try: heard = s.makefile('rb').read()\n\
         \x20   except TimeoutError: continue\n\
         \x20   assert heard[28:] == b'mine', heard",
    );
    // A few are closed: the kernel does not take a socket that is just leaving the map.
    let outcomes = mesh.outcomes();
    let closed = outcomes[&Outcome::CloseUnmappable];
    assert!(outcomes[&Outcome::HeaderSent] + closed >= 200);
    assert!(closed < 100, "{closed}");
}
