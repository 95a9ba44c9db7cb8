//! Dovecot and Postfix as waypoints of themselves: no proxy in between. Both speak first.

use kmesh_lite_tests::host::Host;
use kmesh_lite_tests::matrix::{Program, Row};
use kmesh_lite_tests::page::curl;
use kmesh_lite_tests::proxy::{FOUR, Proxy, Unit, host};
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

const SERVER: &str = "192.168.1.70";
const ROLE: [&str; 3] = ["server, waypoint", "server first", "proxy-v2"];

/// A service behind the server's own port, which expects a header.
fn mesh(port: u16, own: u16) -> String {
    format!(
        r#"
        [waypoints.mail]
        address = "{SERVER}:{own}"
        header = "proxy-v2"
        server_first = true

        [services.mail]
        vips = ["10.96.0.70"]
        ports = ["{port}:{own}"]
        waypoint = "mail"
        endpoints = ["{SERVER}"]
        "#
    )
}

/// A folder that servers can reach with users of their own.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    folder
}

/// A message of a megabyte in a file, and how much of it is easily counted.
fn letter(folder: &Path) -> (String, usize) {
    let line = format!("{}\r\n", "~".repeat(70));
    let body = line.repeat(15_000);
    let path = folder.join("letter");
    fs::write(&path, format!("Subject: orders\r\n\r\n{body}")).unwrap();
    (path.to_str().unwrap().to_owned(), 70 * 15_000)
}

fn count(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'~').count()
}

/// What a curl gets from an address of its own.
fn talk(arguments: &[&str]) -> Vec<u8> {
    let output = curl(&[&["--interface", FOUR], arguments].concat());
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    output.stdout
}

fn id_of(user: &str) -> u32 {
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let line = users
        .lines()
        .find(|line| line.starts_with(&format!("{user}:")));
    let id = line.and_then(|line| line.split(':').nth(2));
    id.unwrap_or_else(|| panic!("no user {user}"))
        .parse()
        .unwrap()
}

fn dovecot(host: &Host) -> Proxy {
    let folder = folder();
    let path = folder.path().display();
    let text = format!(
        "protocols = imap\nlisten = {SERVER}\nbase_dir = {path}/run\nstate_dir = {path}/state\n\
         log_path = {path}/log\nssl = no\ndisable_plaintext_auth = no\n\
         haproxy_trusted_networks = 127.0.0.0/8 192.168.0.0/16\n\
         mail_location = maildir:{path}/mail/%u\nfirst_valid_uid = 1\n\
         passdb {{\n  driver = static\n  args = password=secret\n}}\n\
         userdb {{\n  driver = static\n  args = uid=65534 gid=65534 home={path}/mail/%u\n}}\n\
         service imap-login {{\n  chroot =\n  inet_listener imap {{\n    port = 10143\n    haproxy = yes\n  }}\n  \
         inet_listener imaps {{\n    port = 0\n  }}\n}}\n"
    );
    let file = folder.path().join("dovecot.conf");
    fs::write(&file, text).unwrap();
    let mail = folder.path().join("mail");
    fs::create_dir(&mail).unwrap();
    chown(&mail, Some(65534), Some(65534)).unwrap();
    let mut command = Command::new("dovecot");
    command.args(["-F", "-c"]).arg(&file);
    let place = Unit::inside(&host.cgroup, "dovecot");
    Proxy::start(place, folder, &mut command, &["192.168.1.70:10143"])
}

#[test]
fn dovecot_reads_the_header_itself() {
    let program = Program {
        name: "Dovecot (imap)",
        version: &["dovecot", "--version"],
    };
    let Some(row) = Row::with(&["dovecot"], program, ROLE) else {
        return;
    };
    let Some(host) = host(&["curl"], &[SERVER]) else {
        return;
    };
    let mut server = dovecot(&host);
    let _mesh = host.run_as_daemon(&mesh(143, 10143));
    let inbox = "imap://shop:secret@10.96.0.70/INBOX";
    let folder = folder();
    let (letter, length) = letter(folder.path());
    talk(&["--upload-file", &letter, inbox]);
    let back = talk(&[&format!("{inbox};UID=1")]);
    assert_eq!(count(&back), length);
    // Who asks, and for what.
    server.logs(&format!("rip={FOUR}, lip=10.96.0.70,"));
    row.passed();
}

fn postfix(host: &Host) -> Proxy {
    let folder = folder();
    let path = folder.path().display();
    for name in ["etc", "queue", "data"] {
        fs::create_dir(folder.path().join(name)).unwrap();
    }
    let main = format!(
        "compatibility_level = 3.6\nqueue_directory = {path}/queue\ndata_directory = {path}/data\n\
         command_directory = /usr/sbin\ndaemon_directory = /usr/lib/postfix/sbin\n\
         mail_owner = postfix\nsetgid_group = postdrop\nmyhostname = mail.example\n\
         mydestination =\nlocal_recipient_maps =\nalias_maps =\nalias_database =\n\
         inet_interfaces = {SERVER}\ninet_protocols = ipv4\n\
         smtpd_upstream_proxy_protocol = haproxy\nmynetworks = 0.0.0.0/0\nsmtpd_relay_restrictions = permit_mynetworks, reject\n\
         maillog_file = {path}/log\nmaillog_file_prefixes = {path}\n"
    );
    fs::write(folder.path().join("etc/main.cf"), main).unwrap();
    // Enough to take a message; nothing takes it away again.
    let services = "2525 inet n - n - - smtpd\n\
                    postlog unix-dgram n - n - 1 postlogd\n\
                    proxymap unix - - n - - proxymap\n\
                    anvil unix - - n - 1 anvil\n\
                    rewrite unix - - n - - trivial-rewrite\n\
                    cleanup unix n - n - 0 cleanup\n";
    fs::write(folder.path().join("etc/master.cf"), services).unwrap();
    let user = id_of("postfix");
    chown(folder.path().join("data"), Some(user), None).unwrap();
    let queue = folder.path().join("queue");
    fs::create_dir(queue.join("pid")).unwrap();
    for name in [
        "private", "public", "incoming", "active", "deferred", "hold", "maildrop",
    ] {
        let folder = queue.join(name);
        fs::create_dir(&folder).unwrap();
        chown(&folder, Some(user), None).unwrap();
    }
    let mut command = Command::new("/usr/lib/postfix/sbin/master");
    command.args(["-s", "-c"]).arg(folder.path().join("etc"));
    let place = Unit::inside(&host.cgroup, "postfix");
    Proxy::start(place, folder, &mut command, &["192.168.1.70:2525"])
}

/// All that is in the queue.
fn queued(folder: &Path) -> Vec<u8> {
    let files = fs::read_dir(folder).unwrap();
    let all: Vec<_> = files
        .map(|file| fs::read(file.unwrap().path()).unwrap())
        .collect();
    all.concat()
}

#[test]
fn postfix_reads_the_header_itself() {
    let program = Program {
        name: "Postfix",
        version: &["postconf", "-d", "mail_version"],
    };
    let Some(row) = Row::with(&["/usr/lib/postfix/sbin/master"], program, ROLE) else {
        return;
    };
    let Some(host) = host(&["curl"], &[SERVER]) else {
        return;
    };
    let mut server = postfix(&host);
    let _mesh = host.run_as_daemon(&mesh(25, 2525));
    let folder = folder();
    let (letter, length) = letter(folder.path());
    let (from, to) = ("me@mail.example", "you@mail.example");
    let options = ["--mail-from", from, "--mail-rcpt", to, "--upload-file"];
    talk(&[&options[..], &[letter.as_str(), "smtp://10.96.0.70/"]].concat());
    assert_eq!(
        count(&queued(&server.folder().join("queue/incoming"))),
        length
    );
    server.logs(&format!("connect from unknown[{FOUR}]"));
    row.passed();
}
