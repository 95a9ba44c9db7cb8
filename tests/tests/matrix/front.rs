//! A service that is reached directly, and by way of a HAProxy that is told who asks for what.

use kmesh_lite_tests::host::{Host, Running};
use kmesh_lite_tests::proxy::{Proxy, Unit, haproxy};
use std::fs;
use tempfile::TempDir;

/// Where the server is.
pub const SERVER: &str = "192.168.1.70";
/// Virtual addresses: the server itself behind them, or HAProxy before it.
pub const DIRECT: [&str; 2] = ["10.96.0.10", "fd00:96::10"];
pub const BEHIND: [&str; 2] = ["10.96.0.20", "fd00:96::20"];

pub struct Front {
    // Dropped in this order.
    _mesh: Running,
    pub haproxy: Proxy,
    _folder: TempDir,
}

impl Front {
    /// For a server with these ports, such as `80:8080`, in the mesh of the host.
    pub fn start(host: &Host, ports: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("haproxy.cfg");
        // 0.0.0.0 with port 0 is where the client wanted to go.
        let text = "global\n    log stdout format raw daemon\n\
             defaults\n    log global\n    mode tcp\n    timeout connect 5s\n    timeout client 1m\n    timeout server 1m\n\
             frontend waypoint\n    bind 127.0.0.1:15008 accept-proxy\n    \
             log-format \"client=%[src]:%[src_port] asked=%[dst]:%[dst_port] \"\n    default_backend asked\n\
             backend asked\n    server asked 0.0.0.0:0\n";
        fs::write(&file, text).unwrap();
        let unit = Unit::inside(&host.cgroup, "haproxy");
        let path = host.cgroup.path().join("haproxy");
        let haproxy = haproxy(unit, &file, &["127.0.0.1:15008"]);
        let mesh = format!(
            r#"
            [waypoints.edge]
            address = "127.0.0.1:15008"
            header = "proxy-v2"
            unit = {path:?}

            [services.direct]
            vips = {DIRECT:?}
            ports = ["{ports}"]
            endpoints = ["{SERVER}"]

            [services.behind]
            vips = {BEHIND:?}
            ports = ["{ports}"]
            waypoint = "edge"
            endpoints = ["{SERVER}"]
            "#
        );
        Self {
            _mesh: host.run(&mesh),
            haproxy,
            _folder: folder,
        }
    }
}
