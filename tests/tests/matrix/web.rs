//! Web servers as waypoints: Apache httpd and lighttpd, which learn who asks, and Varnish, which
//! also learns for what. Each connects to virtual addresses itself.

use kmesh_lite_tests::host::Host;
use kmesh_lite_tests::matrix::{Program, Row};
use kmesh_lite_tests::page::{call, gets_nothing, pages, passes_as, who_asks};
use kmesh_lite_tests::proxy::{FOUR, Proxy, Unit, host};
use std::fs;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

const LISTEN: &str = "127.0.0.1:15008";
const SHOP: &str = "192.168.1.70";
const SEARCH: &str = "192.168.1.71";

const ROLE: [&str; 3] = ["waypoint", "http", "proxy-v2"];

fn mesh(unit: &Path) -> String {
    format!(
        r#"
        [waypoints.edge]
        address = "{LISTEN}"
        header = "proxy-v2"
        unit = {unit:?}

        [services.shop]
        vips = ["10.96.0.70", "fd00:96::70"]
        ports = ["80:8080"]
        waypoint = "edge"
        endpoints = ["{SHOP}"]

        [services.search]
        vips = ["10.96.0.71"]
        ports = ["80:8081"]
        waypoint = "edge"
        endpoints = ["{SEARCH}"]
        "#
    )
}

/// A folder with the configuration of a server in a file.
fn configured(text: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let text = text.replace("{folder}", path).replace("{listen}", LISTEN);
    fs::write(folder.path().join("conf"), text).unwrap();
    folder
}

/// Starts a server in the cgroup that the mesh leaves alone.
fn start(host: &Host, folder: TempDir, command: &mut Command) -> Proxy {
    let unit = Unit::inside(&host.cgroup, "web");
    Proxy::start(unit, folder, command, &[LISTEN])
}

/// Clients of one service are passed on, and the server logs their addresses and ports.
fn tells_who_asks(host: &Host, mut server: Proxy) {
    pages(&[8080]);
    let _mesh = host.run(&mesh(&host.cgroup.path().join("web")));
    let shop: &[_] = &["192.168.1.70:8080"];
    let calls = [
        call(Some(FOUR), "10.96.0.70:80", shop),
        call(None, "10.96.0.70:80", shop),
        call(None, "[fd00:96::70]:80", shop),
    ];
    passes_as(&mut server, &calls, who_asks, |client, _| {
        format!("client={client} ")
    });
    gets_nothing(&[&format!("http://{LISTEN}/")]);
}

#[test]
fn apache_tells_its_backend_who_asks() {
    let program = Program {
        name: "Apache httpd, mod_remoteip",
        version: &["apache2", "-v"],
    };
    let Some(row) = Row::with(&["apache2"], program, ROLE) else {
        return;
    };
    let Some(host) = host(&["curl"], &[SHOP]) else {
        return;
    };
    let mut text = r#"
        ServerRoot {folder}
        PidFile {folder}/pid
        ServerName waypoint
        Listen {listen}
        User nobody
        Group nogroup
        ErrorLog {folder}/log
        RemoteIPProxyProtocol On
        LogFormat "client=%a:%{remote}p " waypoint
        CustomLog {folder}/log waypoint
        ProxyPass / http://10.96.0.70:80/
    "#
    .to_owned();
    // The last comes first, and `proxy` before what needs it.
    for module in ["mpm_event", "authz_core", "remoteip", "proxy_http", "proxy"] {
        let file = format!("/usr/lib/apache2/modules/mod_{module}.so");
        text.insert_str(0, &format!("LoadModule {module}_module {file}\n"));
    }
    let folder = configured(&text);
    let mut command = Command::new("apache2");
    command.args(["-X", "-f"]).arg(folder.path().join("conf"));
    tells_who_asks(&host, start(&host, folder, &mut command));
    row.passed();
}

#[test]
fn lighttpd_tells_its_backend_who_asks() {
    let program = Program {
        name: "lighttpd, mod_extforward",
        version: &["lighttpd", "-v"],
    };
    let Some(row) = Row::with(&["lighttpd"], program, ROLE) else {
        return;
    };
    let Some(host) = host(&["curl"], &[SHOP]) else {
        return;
    };
    let folder = configured(
        r#"
        server.document-root = "{folder}"
        server.bind = "127.0.0.1"
        server.port = 15008
        server.modules = ("mod_extforward", "mod_proxy", "mod_accesslog")
        server.errorlog = "{folder}/log"
        extforward.forwarder = ("127.0.0.0/8" => "trust", "192.168.0.0/16" => "trust")
        extforward.hap-PROXY = "enable"
        accesslog.filename = "{folder}/log"
        accesslog.format = "client=%a:%{remote}p "
        proxy.server = ("" => (("host" => "10.96.0.70", "port" => 80)))
        "#,
    );
    let mut command = Command::new("lighttpd");
    command.args(["-D", "-f"]).arg(folder.path().join("conf"));
    tells_who_asks(&host, start(&host, folder, &mut command));
    row.passed();
}

#[test]
fn varnish_routes_by_the_original_destination() {
    let program = Program {
        name: "Varnish",
        version: &["varnishd", "-V"],
    };
    // It compiles its configuration.
    let Some(row) = Row::with(&["varnishd", "gcc"], program, ROLE) else {
        return;
    };
    let Some(host) = host(&["curl"], &[SHOP, SEARCH]) else {
        return;
    };
    let folder = configured(
        r#"
        vcl 4.1;
        import std;

        backend shop { .host = "10.96.0.70"; .port = "80"; }
        backend search { .host = "10.96.0.71"; .port = "80"; }
        acl asks_shop { "10.96.0.70"; "fd00:96::70"; }
        acl asks_search { "10.96.0.71"; }

        sub vcl_recv {
            if (server.ip ~ asks_shop && std.port(server.ip) == 80) {
                set req.backend_hint = shop;
            } else if (server.ip ~ asks_search && std.port(server.ip) == 80) {
                set req.backend_hint = search;
            } else {
                return (synth(421));
            }
            return (pass);
        }
        "#,
    );
    let mut command = Command::new("varnishd");
    command.args(["-F", "-j", "none", "-s", "malloc,8m"]);
    command.arg("-a").arg(format!("{LISTEN},PROXY"));
    command.arg("-n").arg(folder.path().join("run"));
    command.arg("-f").arg(folder.path().join("conf"));
    let mut varnish = start(&host, folder, &mut command);
    pages(&[8080, 8081]);
    let _mesh = host.run(&mesh(&host.cgroup.path().join("web")));
    let shop: &[_] = &["192.168.1.70:8080"];
    let calls = [
        call(Some(FOUR), "10.96.0.70:80", shop),
        call(None, "[fd00:96::70]:80", shop),
        call(Some(FOUR), "10.96.0.71:80", &["192.168.1.71:8081"]),
    ];
    // Where a request went is what Varnish made of the destination; it logs to memory.
    passes_as(&mut varnish, &calls, who_asks, |_, _| String::new());
    let url = format!("http://{LISTEN}/");
    gets_nothing(&[&url]);
    gets_nothing(&["--haproxy-protocol", &url]);
    row.passed();
}
