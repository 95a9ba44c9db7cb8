//! Proxies at the far end. Each relays TCP and HTTP, and for either it has a listener that expects a
//! PROXY header and one that does not. What concerns the sockets of clients is left at its default.

use super::backend;
use crate::proxies::{NGINX_STREAM, Program, Proxy};
use crate::report::Report;
use kmesh_lite::model::Header;
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddrV4};

/// A proxy in one mode.
pub struct Waypoint {
    pub name: &'static str,
    pub listeners: Listeners,
}

/// Two listeners that differ in nothing else.
#[derive(Clone, Copy)]
pub struct Listeners {
    /// Here connections begin with what the client says.
    pub plain: SocketAddrV4,
    /// Here they begin with a PROXY header.
    pub proxy_v2: SocketAddrV4,
}

impl Listeners {
    /// The caller's network has nothing else at these ports.
    fn at(address: Ipv4Addr, first: u16) -> Self {
        Self {
            plain: SocketAddrV4::new(address, first),
            proxy_v2: SocketAddrV4::new(address, first + 1),
        }
    }

    pub fn both(self) -> [(Header, SocketAddrV4); 2] {
        [
            (Header::Nothing, self.plain),
            (Header::ProxyV2, self.proxy_v2),
        ]
    }
}

/// Starts the proxies that are installed, in the network of the calling thread.
pub fn start(address: Ipv4Addr, report: &mut Report) -> (Vec<Proxy>, Vec<Waypoint>) {
    let backend = SocketAddrV4::new(Ipv4Addr::LOCALHOST, backend::PORT);
    let kinds = [
        (Program::HaProxy, ["HAProxy tcp", "HAProxy http"], 15000),
        (Program::Nginx, ["nginx stream", "nginx http"], 15010),
        (Program::Envoy, ["Envoy tcp", "Envoy http"], 15020),
    ];
    let (mut proxies, mut waypoints) = (Vec::new(), Vec::new());
    for (program, names, port) in kinds {
        let [tcp, http] = [port, port + 2].map(|first| Listeners::at(address, first));
        let configuration = match program {
            Program::HaProxy => haproxy(tcp, http, backend),
            Program::Nginx => nginx(tcp, http, backend),
            Program::Envoy => envoy(tcp, http, backend),
        };
        let listens = [tcp.plain, tcp.proxy_v2, http.plain, http.proxy_v2];
        match Proxy::start(program, &configuration, &listens) {
            Ok(proxy) => {
                proxies.push(proxy);
                let [first, second] = names;
                let waypoint = |name, listeners| Waypoint { name, listeners };
                waypoints.extend([waypoint(first, tcp), waypoint(second, http)]);
            }
            Err(error) => report.skip(&names.join(" and "), error),
        }
    }
    (proxies, waypoints)
}

fn haproxy(tcp: Listeners, http: Listeners, backend: SocketAddrV4) -> String {
    let listen = |mode, listeners: Listeners| {
        let Listeners { plain, proxy_v2 } = listeners;
        format!(
            "listen {mode}\n mode {mode}\n bind {plain}\n bind {proxy_v2} accept-proxy\n \
             server bench {backend}\n"
        )
    };
    format!(
        "global\n nbthread 1\n maxconn 1000\n\
         defaults\n timeout connect 5s\n timeout client 1m\n timeout server 1m\n{}{}",
        listen("tcp", tcp),
        listen("http", http)
    )
}

fn nginx(tcp: Listeners, http: Listeners, backend: SocketAddrV4) -> String {
    let listen = |Listeners { plain, proxy_v2 }: Listeners| {
        format!("listen {plain}; listen {proxy_v2} proxy_protocol;")
    };
    // nginx logs an error for a connection without a header, and such connections find out whether
    // it listens. Bodies stay in memory, because writing files would be measured with them.
    format!(
        "daemon off;\nmaster_process off;\npid nginx.pid;\nerror_log stderr crit;\n\
         load_module {NGINX_STREAM};\nevents {{ worker_connections 1000; }}\n\
         stream {{ server {{ {tcp} proxy_pass {backend}; }} }}\n\
         http {{\n access_log off;\n client_body_buffer_size 128k;\n\
         client_body_temp_path body;\n proxy_temp_path proxy;\n fastcgi_temp_path fastcgi;\n\
         uwsgi_temp_path uwsgi;\n scgi_temp_path scgi;\n\
         server {{ {http} location / {{ proxy_http_version 1.1; proxy_pass http://{backend}; }} }}\n\
         }}\n",
        tcp = listen(tcp),
        http = listen(http),
    )
}

/// JSON, which Envoy reads as YAML.
fn envoy(tcp: Listeners, http: Listeners, backend: SocketAddrV4) -> String {
    let configured = |name: &str, kind: &str, mut fields: Value| {
        fields["@type"] = format!("type.googleapis.com/envoy.extensions.filters.{kind}").into();
        json!({ "name": name, "typed_config": fields })
    };
    let at = |address: SocketAddrV4| {
        json!({
            "socket_address": { "address": address.ip().to_string(), "port_value": address.port() },
        })
    };
    let header = configured(
        "envoy.filters.listener.proxy_protocol",
        "listener.proxy_protocol.v3.ProxyProtocol",
        json!({}),
    );
    let any = configured(
        "envoy.filters.network.tcp_proxy",
        "network.tcp_proxy.v3.TcpProxy",
        json!({ "stat_prefix": "tcp", "cluster": "bench" }),
    );
    let router = configured(
        "envoy.filters.http.router",
        "http.router.v3.Router",
        json!({}),
    );
    let route = json!({ "match": { "prefix": "/" }, "route": { "cluster": "bench" } });
    let host = json!({ "name": "bench", "domains": ["*"], "routes": [route] });
    let http_only = configured(
        "envoy.filters.network.http_connection_manager",
        "network.http_connection_manager.v3.HttpConnectionManager",
        json!({
            "stat_prefix": "http",
            "http_filters": [router],
            "route_config": { "virtual_hosts": [host] },
        }),
    );
    let listener = |address: SocketAddrV4, before: &[&Value], filter: &Value| {
        json!({
            "name": address.to_string(),
            "address": at(address),
            "listener_filters": before,
            "filter_chains": [{ "filters": [filter] }],
        })
    };
    let listeners = [(tcp, &any), (http, &http_only)].map(|(listeners, filter)| {
        [
            listener(listeners.plain, &[], filter),
            listener(listeners.proxy_v2, &[&header], filter),
        ]
    });
    let endpoint = json!({ "endpoint": { "address": at(backend) } });
    let cluster = json!({
        "name": "bench",
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {
            "cluster_name": "bench",
            "endpoints": [{ "lb_endpoints": [endpoint] }],
        },
    });
    json!({
        "static_resources": { "listeners": listeners.as_flattened(), "clusters": [cluster] },
    })
    .to_string()
}
