//! Programs that people use, which know nothing of the mesh.

use kmesh_lite_tests::host::{Host, Running};
use kmesh_lite_tests::matrix::{Program, Row};
use kmesh_lite_tests::require;
use kmesh_lite_tests::server::{Nginx, ends_with_us};
use std::process::{Command, Output, Stdio};

const MESH: &str = r#"
    [services.web]
    vips = ["10.96.0.10", "fd00:96::10"]
    ports = ["80:8080"]
    endpoints = ["127.0.0.2"]

    [services.nobody]
    vips = ["10.96.0.11"]
    ports = [80]
    endpoints = []
"#;

/// A host with nginx behind a virtual address; none where a program is missing.
fn served(program: &str) -> Option<(Host, Nginx, Running)> {
    let host = Host::new()?;
    if !require::programs(&[program, "nginx"]) {
        return None;
    }
    let nginx = Nginx::start(8080);
    let running = host.run(MESH);
    Some((host, nginx, running))
}

fn run(program: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    ends_with_us(&mut command).output().expect("a program")
}

/// What a program printed that ended well.
fn output(program: &str, arguments: &[&str]) -> String {
    let output = run(program, arguments);
    assert!(output.status.success(), "{program}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn curl_reaches_the_backend_and_sees_the_virtual_address() {
    let program = Program {
        name: "curl",
        version: &["curl", "--version"],
    };
    let row = Row::of(program, ["client", "direct", "none"]);
    let Some((_host, _nginx, _mesh)) = served("curl") else {
        return;
    };
    for (url, peer) in [
        ("http://10.96.0.10/", "10.96.0.10 80"),
        ("http://[fd00:96::10]/", "fd00:96::10 80"),
    ] {
        let format = "%{remote_ip} %{remote_port}";
        let options = ["--silent", "--max-time", "20", "--write-out", format, url];
        // nginx may show the mapped form of its own address.
        let text = output("curl", &options).replace("::ffff:", "");
        assert_eq!(text, format!("127.0.0.2:8080\n{peer}"), "{url}");
    }
    row.passed();
}

#[test]
fn curl_cannot_connect_where_the_mesh_refuses() {
    let Some((_host, _nginx, _mesh)) = served("curl") else {
        return;
    };
    for url in ["http://10.96.0.10:81/", "http://10.96.0.11/"] {
        let failed = run("curl", &["--silent", "--max-time", "60", url]);
        // "Failed to connect to host." Another number would tell that it waited in vain.
        assert_eq!(failed.status.code(), Some(7), "{url}");
    }
}

#[test]
fn python_reaches_the_backend_by_urllib_http_client_and_asyncio() {
    let Some((_host, _nginx, _mesh)) = served("python3") else {
        return;
    };
    let script = r#"
import asyncio, http.client, socket, urllib.request

for host in ("10.96.0.10", "[fd00:96::10]"):
    print(urllib.request.urlopen(f"http://{host}/", timeout=20).read())

client = http.client.HTTPConnection("10.96.0.10", 80, timeout=20)
for _ in range(2):
    client.request("GET", "/")
    print(client.getresponse().read(), client.sock.getpeername())

async def main():
    reader, writer = await asyncio.open_connection("10.96.0.10", 80)
    print(writer.get_extra_info("peername"))
    writer.write(b"GET / HTTP/1.0\r\n\r\n")
    print((await reader.read()).splitlines()[-1])
    for port in (81, 80):
        try:
            await asyncio.open_connection("10.96.0.11" if port == 80 else "10.96.0.10", port)
        except OSError as error:
            print(error.errno)

asyncio.run(main())
"#;
    let text = output("python3", &["-c", script]);
    let lines: Vec<_> = text
        .lines()
        .map(|line| line.replace("::ffff:", ""))
        .collect();
    let page = r"b'127.0.0.2:8080\n'";
    let refused = libc::ECONNREFUSED.to_string();
    let unreachable = libc::EHOSTUNREACH.to_string();
    assert_eq!(
        lines,
        [
            page,
            page,
            &format!("{page} ('10.96.0.10', 80)"),
            &format!("{page} ('10.96.0.10', 80)"),
            "('10.96.0.10', 80)",
            "b'127.0.0.2:8080'",
            &refused,
            &unreachable,
        ]
    );
}

/// Java makes every socket an IPv6 one and uses mapped addresses.
#[test]
fn java_reaches_the_backend_by_mapped_addresses() {
    if !require::optional(&["java"]) {
        return;
    }
    let Some((_host, _nginx, _mesh)) = served("java") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("Client.java");
    let text = r#"
        import java.net.*;
        public class Client {
            public static void main(String[] arguments) throws Exception {
                for (String host : new String[] { "10.96.0.10", "fd00:96::10" }) {
                    try (Socket socket = new Socket()) {
                        socket.connect(new InetSocketAddress(host, 80), 20000);
                        socket.getOutputStream().write("GET / HTTP/1.0\r\n\r\n".getBytes());
                        String answer = new String(socket.getInputStream().readAllBytes());
                        System.out.println(answer.substring(answer.indexOf("\r\n\r\n") + 4).trim());
                    }
                }
                try {
                    new Socket("10.96.0.10", 81);
                } catch (ConnectException error) {
                    System.out.println("refused");
                }
                try {
                    new Socket("10.96.0.11", 80);
                } catch (NoRouteToHostException error) {
                    System.out.println("unreachable");
                }
            }
        }
    "#;
    std::fs::write(&source, text).unwrap();
    let text = output("java", &[source.to_str().unwrap()]);
    let lines: Vec<_> = text
        .lines()
        .map(|line| line.replace("::ffff:", ""))
        .collect();
    let page = "127.0.0.2:8080";
    assert_eq!(lines, [page, page, "refused", "unreachable"]);
}
