//! Proxies that people run, as waypoints of a curl that knows nothing: the files of
//! `examples-config/waypoint-*`, as they are, and our own forwarder.

use kmesh_lite::kernel::Options;
use kmesh_lite_tests::cgroup::{self, Cgroup};
use kmesh_lite_tests::host::{Host, Running};
use kmesh_lite_tests::require;
use kmesh_lite_tests::server::{ends_with_us, installed};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const KMESH_LITE: &str = env!("CARGO_BIN_EXE_kmesh-lite-under-test");

/// Where clients call from.
const FOUR: &str = "192.168.1.5";
const SIX: &str = "fd00:1::5";

/// One request of a curl.
struct Call {
    /// Its own address where it chooses one.
    from: Option<&'static str>,
    /// The virtual address and port.
    to: &'static str,
    /// Backends that may answer.
    by: &'static [&'static str],
}

const fn call(from: Option<&'static str>, to: &'static str, by: &'static [&'static str]) -> Call {
    Call { from, to, by }
}

/// The cgroup of a proxy, and the one that it is in.
struct Unit {
    unit: Cgroup,
    slice: Option<Cgroup>,
}

impl Unit {
    /// The cgroup that systemd would make for a unit.
    fn of_systemd(host: &Host, name: &str) -> Self {
        let slice = host.cgroup.child("system.slice").unwrap();
        Self {
            unit: slice.child(name).unwrap(),
            slice: Some(slice),
        }
    }

    fn inside(cgroup: &Cgroup, name: &str) -> Self {
        Self {
            unit: cgroup.child(name).unwrap(),
            slice: None,
        }
    }
}

/// A proxy in the cgroup of its unit; killed when dropped.
struct Proxy {
    process: Child,
    folder: TempDir,
    // After the process that is in them, the inner one first.
    _unit: Cgroup,
    _slice: Option<Cgroup>,
}

impl Proxy {
    /// Starts a program, which logs to `log` in its folder or to standard output; returns when it
    /// listens.
    fn start(place: Unit, folder: TempDir, command: &mut Command, listens: &[&str]) -> Self {
        let path = folder.path().join("log");
        let log = File::options()
            .create(true)
            .append(true)
            .open(path)
            .unwrap();
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap());
        ends_with_us(command.stderr(log));
        let process = place
            .unit
            .run(|| command.spawn().expect("a proxy"))
            .unwrap();
        let mut proxy = Self {
            process,
            folder,
            _unit: place.unit,
            _slice: place.slice,
        };
        for address in listens {
            let listening = || TcpStream::connect(address).is_ok();
            proxy.wait(address, listening);
        }
        proxy
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn wait(&mut self, what: &str, holds: impl Fn() -> bool) {
        let until = Instant::now() + Duration::from_secs(20);
        while !holds() {
            let ended = self.process.try_wait().unwrap();
            assert!(ended.is_none(), "{ended:?}\n{}", self.log());
            assert!(Instant::now() < until, "no {what}:\n{}", self.log());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for a line of its log.
    fn logs(&mut self, line: &str) {
        let path = self.folder.path().join("log");
        let canonical = || fs::read_to_string(&path).unwrap_or_default();
        self.wait(line, || canonical().replace("::ffff:", "").contains(line));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if thread::panicking() {
            eprintln!("{}", self.log());
        }
    }
}

fn example(file: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples-config");
    folder.join(file)
}

/// A host with the addresses of these backends and of the clients; none where a program is missing.
fn host(programs: &[&str], backends: &[&str]) -> Option<Host> {
    let host = Host::new()?;
    for program in programs.iter().chain(&["curl"]) {
        if !installed(program) {
            require::skip(&format!("{program} is not installed"));
            return None;
        }
    }
    host.add(&[FOUR, SIX]);
    host.add(backends);
    Some(host)
}

/// Serves HTTP at these ports of every address: a page says who answers and for whom, as far as it
/// was told. Ends with the test's process.
fn pages(ports: &[u16]) {
    for port in ports {
        let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, *port)).unwrap();
        thread::spawn(move || {
            cgroup::leave().expect("outside of the test's cgroup");
            while let Ok((stream, _)) = listener.accept() {
                thread::spawn(move || page(stream));
            }
        });
    }
}

fn page(mut stream: TcpStream) -> std::io::Result<()> {
    let local = stream.local_addr()?;
    let local = SocketAddr::new(local.ip().to_canonical(), local.port());
    let mut client = "nobody".to_owned();
    for line in BufReader::new(&stream).lines() {
        let line = line?.to_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(address) = line.strip_prefix("x-forwarded-for: ") {
            client = address.replace("::ffff:", "");
        }
    }
    let text = format!("{local} for {client}");
    let length = text.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{text}"
    )
}

fn curl(arguments: &[&str]) -> Output {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "20"]);
    command.args(arguments).stdin(Stdio::null());
    ends_with_us(&mut command).output().expect("curl")
}

/// What a curl got, and the address and port it called from.
fn get(call: &Call) -> (String, SocketAddr) {
    let url = format!("http://{}/", call.to);
    let mut arguments = vec!["--write-out", "\n%{local_ip} %{local_port}"];
    if let Some(from) = call.from {
        arguments.extend(["--interface", from]);
    }
    arguments.push(&url);
    let output = curl(&arguments);
    assert!(output.status.success(), "{url}: {output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let (page, own) = text.rsplit_once('\n').unwrap();
    let (ip, port) = own.split_once(' ').unwrap();
    let ip: std::net::IpAddr = ip.parse().unwrap();
    let own = SocketAddr::new(ip.to_canonical(), port.parse().unwrap());
    if let Some(from) = call.from {
        assert_eq!(own.ip().to_string(), from);
    }
    (page.to_owned(), own)
}

/// As proxies log them: no brackets.
fn plain(address: SocketAddr) -> String {
    format!("{}:{}", address.ip(), address.port())
}

/// Every call is answered by the right backend, and the proxy saw who asked for what. Where the
/// proxy tells its backend who asks, that is true, too.
fn passes(proxy: &mut Proxy, calls: &[Call], tells: bool) {
    for call in calls {
        let (page, own) = get(call);
        let client = if tells {
            own.ip().to_string()
        } else {
            "nobody".to_owned()
        };
        let (answered, told) = page.split_once(" for ").unwrap();
        assert!(call.by.contains(&answered), "{}: {page}", call.to);
        assert_eq!(told, client, "{}", call.to);
        let asked = plain(call.to.parse().unwrap());
        proxy.logs(&format!("client={} asked={asked} ", plain(own)));
    }
}

/// Whoever comes past the mesh gets nothing: without a header, or with one that asks for what the
/// proxy was not told of.
fn is_no_open_proxy(address: &str) {
    let url = format!("http://{address}/");
    gets_nothing(&[&url]);
    gets_nothing(&["--haproxy-protocol", &url]);
}

fn gets_nothing(arguments: &[&str]) {
    let output = curl(&[&["--fail"], arguments].concat());
    // An error page, an empty answer, or a reset; but there was a connection.
    let code = output.status.code();
    assert!(matches!(code, Some(22 | 52 | 55 | 56)), "{output:?}");
}

const HAPROXY_BACKENDS: [&str; 6] = [
    "192.168.1.60",
    "192.168.1.61",
    "192.168.1.62",
    "192.168.1.63",
    "192.168.1.65",
    "fd00:1::64",
];

fn haproxy(host: &Host) -> Proxy {
    let unit = Unit::of_systemd(host, "haproxy.service");
    let mut command = Command::new("haproxy");
    command.args(["-db", "-f"]);
    command.arg(example("waypoint-haproxy/haproxy.cfg"));
    let folder = tempfile::tempdir().unwrap();
    let listens = ["127.0.0.1:15008", "[::1]:15008"];
    Proxy::start(unit, folder, &mut command, &listens)
}

#[test]
fn haproxy_routes_by_the_original_destination() {
    let Some(host) = host(&["haproxy"], &HAPROXY_BACKENDS) else {
        return;
    };
    pages(&[8080, 8081, 8082]);
    let mut proxy = haproxy(&host);
    let text = fs::read_to_string(example("waypoint-haproxy/mesh.toml")).unwrap();
    let _mesh = host.run(&text);
    let shop: &[_] = &["192.168.1.60:8080", "192.168.1.61:8080"];
    let calls = [
        call(Some(FOUR), "10.96.0.60:80", shop),
        call(None, "10.96.0.60:80", shop),
        call(None, "[fd00:96::60]:80", shop),
    ];
    passes(&mut proxy, &calls, true);
    let ledger: &[_] = &["192.168.1.62:8081", "192.168.1.63:8081"];
    let archive: &[_] = &["[fd00:1::64]:8082"];
    let calls = [
        call(Some(FOUR), "10.96.0.61:80", ledger),
        call(None, "[fd00:96::61]:80", ledger),
        call(Some(SIX), "[fd00:96::62]:80", archive),
    ];
    passes(&mut proxy, &calls, false);
    is_no_open_proxy("127.0.0.1:15008");
    is_no_open_proxy("[::1]:15008");
}

/// The file, but for folders that belong to the host's own nginx.
fn nginx(host: &Host) -> Proxy {
    let unit = Unit::of_systemd(host, "nginx.service");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display();
    let text = fs::read_to_string(example("waypoint-nginx/nginx.conf")).unwrap();
    let text = text
        .replace("/var/log/nginx/waypoint.log", &format!("{path}/log"))
        .replace("/var/log/nginx/", &format!("{path}/"))
        .replace("/run/", &format!("{path}/"));
    let file = folder.path().join("nginx.conf");
    fs::write(&file, text).unwrap();
    let mut command = Command::new("nginx");
    command.arg("-c").arg(&file);
    // One process, so that nothing is left of it when it is killed.
    command.args(["-g", "daemon off; master_process off;"]);
    let listens = [
        "127.0.0.1:15008",
        "[::1]:15008",
        "127.0.0.1:15009",
        "[::1]:15009",
    ];
    Proxy::start(unit, folder, &mut command, &listens)
}

#[test]
fn nginx_routes_by_the_original_destination() {
    let backends = [
        "192.168.1.70",
        "192.168.1.71",
        "192.168.1.75",
        "192.168.1.76",
        "192.168.1.77",
        "fd00:1::72",
        "fd00:1::78",
    ];
    let Some(host) = host(&["nginx"], &backends) else {
        return;
    };
    pages(&[8080, 8081]);
    let mut proxy = nginx(&host);
    let text = fs::read_to_string(example("waypoint-nginx/mesh.toml")).unwrap();
    let _mesh = host.run(&text);
    // TCP.
    let ledger: &[_] = &["192.168.1.70:8080"];
    let archive: &[_] = &["192.168.1.71:8081"];
    let calls = [
        call(Some(FOUR), "10.96.0.70:80", ledger),
        call(None, "[fd00:96::70]:80", ledger),
        call(Some(FOUR), "10.96.0.71:80", archive),
        call(None, "[fd00:96::71]:80", archive),
        call(Some(SIX), "[fd00:96::72]:80", &["[fd00:1::72]:8081"]),
    ];
    passes(&mut proxy, &calls, false);
    // HTTP.
    let shop: &[_] = &["192.168.1.75:8080", "192.168.1.76:8080"];
    let search: &[_] = &["192.168.1.77:8081"];
    let calls = [
        call(Some(FOUR), "10.96.0.75:80", shop),
        call(None, "[fd00:96::75]:80", shop),
        call(Some(FOUR), "10.96.0.77:80", search),
        call(None, "[fd00:96::77]:80", search),
        call(Some(SIX), "[fd00:96::78]:80", &["[fd00:1::78]:8081"]),
    ];
    passes(&mut proxy, &calls, true);
    for port in [15008, 15009] {
        is_no_open_proxy(&format!("127.0.0.1:{port}"));
        is_no_open_proxy(&format!("[::1]:{port}"));
    }
}

/// A mesh whose waypoint is our own forwarder, in a cgroup.
fn forwarded(header: &str, unit: &Path) -> String {
    format!(
        r#"
        [waypoints.four]
        address = "127.0.0.1:15008"
        header = "{header}"
        unit = {unit:?}

        [waypoints.six]
        address = "[::1]:15009"
        header = "{header}"
        unit = {unit:?}

        [services.one]
        vips = ["10.96.0.80", "fd00:96::80"]
        ports = ["80:8080"]
        waypoint = "four"
        endpoints = ["192.168.1.80"]

        [services.two]
        vips = ["10.96.0.81", "fd00:96::81"]
        ports = ["80:8081"]
        waypoint = "four"
        endpoints = ["192.168.1.81"]

        [services.six]
        vips = ["fd00:96::82", "fd00:97::82"]
        ports = ["80:8081"]
        waypoint = "six"
        endpoints = ["fd00:1::82"]

        [endpoints.captured]
        address = "192.168.1.83"
        waypoint = "four"
        "#
    )
}

fn forwarder(unit: &Cgroup, name: &str, listen: &str, arguments: &[&str]) -> Proxy {
    let mut command = Command::new(KMESH_LITE);
    command
        .args(["waypoint", "--listen", listen])
        .args(arguments);
    let worker = Unit::inside(unit, name);
    let folder = tempfile::tempdir().unwrap();
    Proxy::start(worker, folder, &mut command, &[listen])
}

#[test]
fn our_forwarder_takes_every_header_to_what_it_asks_for() {
    let backends = ["192.168.1.80", "192.168.1.81", "192.168.1.83", "fd00:1::82"];
    let Some(host) = host(&[], &backends) else {
        return;
    };
    pages(&[8080, 8081]);
    for header in ["tlv", "proxy-v2"] {
        let unit = host.cgroup.child("forwarder").unwrap();
        let text = forwarded(header, unit.path());
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mesh.toml");
        fs::write(&file, &text).unwrap();
        let config = file.to_str().unwrap();
        let options = ["--accept", header, "--config", config];
        let _four = forwarder(&unit, "four", "127.0.0.1:15008", &options);
        let networks = ["--accept", header, "--allow", "fd00:96::/64"];
        let mut six = forwarder(&unit, "six", "[::1]:15009", &networks);
        let _mesh = host.run(&text);
        for call in [
            call(Some(FOUR), "10.96.0.80:80", &["192.168.1.80:8080"]),
            call(None, "[fd00:96::80]:80", &["192.168.1.80:8080"]),
            call(Some(FOUR), "10.96.0.81:80", &["192.168.1.81:8081"]),
            call(None, "[fd00:96::81]:80", &["192.168.1.81:8081"]),
            call(Some(SIX), "[fd00:96::82]:80", &["[fd00:1::82]:8081"]),
            // A backend that is captured, and not a word about it in the request.
            call(Some(FOUR), "192.168.1.83:8080", &["192.168.1.83:8080"]),
        ] {
            let (page, _) = get(&call);
            let (answered, _) = page.split_once(" for ").unwrap();
            assert!(call.by.contains(&answered), "{header}: {}: {page}", call.to);
        }
        is_no_open_proxy("127.0.0.1:15008");
        // In the mesh, but not in what this forwarder allows.
        gets_nothing(&["http://[fd00:97::82]/"]);
        six.logs("destination [fd00:97::82]:80 is not allowed");
    }
}

/// An SMTP server, which speaks first.
fn smtp(host: &Host) -> Proxy {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("smtpd.conf");
    let text = "listen on 192.168.1.65 port 2525 hostname mail.example\n\
                match from any for any reject\n";
    fs::write(&file, text).unwrap();
    let mut command = Command::new("smtpd");
    command.arg("-d").arg("-f").arg(&file);
    let place = Unit::inside(&host.cgroup, "mail");
    Proxy::start(place, folder, &mut command, &["192.168.1.65:2525"])
}

/// The mesh, with this process for the daemon, which sees to the header: clients have to be others.
fn with_daemon(host: &Host, mesh: &str) -> Running {
    let mut running = Running::load(Options {
        cgroups: Some(vec![host.cgroup.path().to_owned()]),
        daemon: Some(std::process::id()),
        ..Options::default()
    });
    running.reload(mesh);
    running
}

/// Clients that wait for the server's greeting before they say anything are served.
fn talks_smtp() {
    for _ in 0..20 {
        let options = ["--interface", FOUR, "--request", "HELP"];
        let output = curl(&[&options[..], &["smtp://10.96.0.65/"]].concat());
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("This is OpenSMTPD"), "{text}");
    }
}

/// OpenSMTPD has one control socket for the whole machine; none where it is somebody else's.
fn alone() -> Option<MutexGuard<'static, ()>> {
    static SMTP: Mutex<()> = Mutex::new(());
    let guard = SMTP.lock().unwrap_or_else(PoisonError::into_inner);
    if UnixStream::connect("/run/smtpd.sock").is_ok() {
        require::skip("an OpenSMTPD runs on this machine");
        return None;
    }
    Some(guard)
}

#[test]
fn haproxy_passes_smtp_on_although_the_client_waits() {
    let Some(host) = host(&["haproxy", "smtpd"], &HAPROXY_BACKENDS) else {
        return;
    };
    let Some(_alone) = alone() else { return };
    let mut proxy = haproxy(&host);
    let _smtp = smtp(&host);
    let text = fs::read_to_string(example("waypoint-haproxy/mesh.toml")).unwrap();
    let _mesh = with_daemon(&host, &text);
    talks_smtp();
    proxy.logs("asked=10.96.0.65:25 backend=mail server=mail-1 ");
    assert!(proxy.log().contains(&format!("client={FOUR}:")));
}

#[test]
fn our_forwarder_passes_smtp_on_although_the_client_waits() {
    let Some(host) = host(&["smtpd"], &["192.168.1.65"]) else {
        return;
    };
    let Some(_alone) = alone() else { return };
    let _smtp = smtp(&host);
    for header in ["tlv", "proxy-v2"] {
        let unit = host.cgroup.child("forwarder").unwrap();
        let options = ["--accept", header, "--allow", "10.96.0.65"];
        let _forwarder = forwarder(&unit, "worker", "127.0.0.1:15008", &options);
        let path = unit.path();
        let text = format!(
            r#"
            [waypoints.mail]
            address = "127.0.0.1:15008"
            header = "{header}"
            server_first = true
            unit = {path:?}

            [services.mail]
            vips = ["10.96.0.65"]
            ports = ["25:2525"]
            waypoint = "mail"
            endpoints = ["192.168.1.65"]
            "#
        );
        let _mesh = with_daemon(&host, &text);
        talks_smtp();
    }
}
