//! The tables of the file. Their comments are the reference of the format: they become the
//! descriptions of the JSON Schema and the man page.

use super::choice::Choice;
use super::endpoint::{
    EndpointTable, EndpointText, LocalityTable, LocalityText, SharedEndpoint, VipText,
};
use super::health::{HealthField, HealthText};
use super::policy::{GroupText, PolicyText};
use super::port::{PortTable, PortText};
use super::read::{At, List, Named, OneOrMore, Required, text};
use super::scalar::{
    AskerText, Attempts, CacheSize, CgroupText, Cidr, ConnectRate, Connections, DurationText, Flag,
    Hostname, Label, Limit, LineRate, LocalityRef, LogTargetText, NameText, Overprovision,
    ServiceHostname, Share, Slots, SocketText,
};
use crate::model::{Balance, ClientsBy, Header, OnAllDown, OnRemove, Policy, Scope, UpstreamOrder};
use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::{RecursiveTransform, Transform};
use serde_json::{Value, json};

text! {
    /// The mesh as one host sees it: `/etc/kmesh/mesh.toml`, together with every `*.toml` in
    /// `/etc/kmesh/mesh.d/`, which have the same format. Files are merged by name; a name may be
    /// defined once, and `[node]`, `[mesh]`, `[capture]`, `[accounting]`, `[metrics]`, `[access_log]`,
    /// `[health]`, `[dns]` and `[limits]` may each stand in one file.
    /// The order of entries and files never matters.
    DocumentText "a table" {
        /// This host: what localities of endpoints are compared with.
        node: Option<NodeText>,
        /// Settings of the whole mesh.
        mesh: Option<MeshText>,
        /// Whose connections are handled. Default: those of every program on the host.
        capture: Option<CaptureText>,
        /// What is counted of connections.
        accounting: Option<AccountingText>,
        /// Where metrics are served to Prometheus, beside the control socket.
        metrics: Option<MetricsText>,
        /// One line for each connection that ended, failed or was refused. Default: none.
        access_log: Option<AccessLogText>,
        /// How endpoints are checked, where a service or an endpoint does not say otherwise. Default: not at all.
        health: Option<HealthText>,
        /// How the names of endpoints are looked up, and how those of the mesh are served.
        dns: Option<DnsText>,
        /// How many rows each table of the kernel holds. Memory is set aside for them, and a mesh
        /// that needs more is refused before anything is changed.
        limits: Option<LimitsText>,
        /// Names for localities, so that endpoints need not repeat them.
        localities: Option<Named<LocalityText>>,
        /// Proxies that receive connections in place of endpoints.
        waypoints: Option<Named<WaypointText>>,
        /// What programs connect to.
        services: Option<Named<ServiceText>>,
        /// Who may connect to what. Default: everybody to everything.
        policies: Option<Named<PolicyText>>,
        /// Addresses under one name, for policies.
        groups: Option<Named<GroupText>>,
        /// Backends that several services share, or whose own address is captured.
        endpoints: Option<Named<SharedEndpoint>>,
    }
}

text! {
    /// This host.
    NodeText "a table" {
        /// What endpoints on this host give as `node`. Default: the hostname.
        name: Option<At<Label>>,
        /// The network this host is in. Default: unknown, which matches endpoints without one.
        network: Option<At<Label>>,
        /// The cluster this host belongs to. Default: unknown.
        cluster: Option<At<Label>>,
        /// Where this host is: a name from `[localities]`, or `region/zone/subzone`. Default:
        /// unknown.
        locality: Option<At<LocalityRef>>,
    }
}

text! {
    /// Settings of the whole mesh.
    MeshText "a table" {
        /// Where `vips = ["auto"]` takes addresses from: ranges in CIDR notation that nothing else
        /// uses. Default: `["240.64.0.0/16", "fd6b:6d65:7368::/64"]`.
        vip_ranges: Option<List<Cidr>>,
        /// Whether a configuration without any service is meant. A change that takes the last service
        /// away is not applied otherwise. Default: false.
        allow_empty: Option<At<Flag>>,
        /// What services do that say nothing else with `on_remove`. Default: `keep`.
        on_remove: Option<At<Choice<OnRemove>>>,
    }
}

text! {
    /// Whose connections are handled.
    CaptureText "a table" {
        /// Handle programs in these cgroups and below: systemd units like `shop.service`, or cgroup
        /// paths like `/user.slice`. Those that do not exist yet are waited for. Default: `["/"]`,
        /// the whole host.
        cgroups: Option<List<CgroupText>>,
        /// Leave these alone, although they are below one of `cgroups`: systemd units like
        /// `sshd.service`, or cgroup paths like `/machine.slice`. Default: none.
        bypass: Option<List<CgroupText>>,
    }
}

text! {
    /// What is counted of connections.
    AccountingText "a table" {
        /// Whether connections are followed from their first segment to their end: what became of them,
        /// how long they took, and how many bytes they carried. Default: true.
        enabled: Option<At<Flag>>,
    }
}

text! {
    /// Where metrics are served to Prometheus, beside the control socket.
    MetricsText "a table" {
        /// Addresses and ports of this host at which the agent answers `GET /metrics`, to everybody who
        /// reaches them: one, or several. `0.0.0.0` and `[::]` are every address. An address that is
        /// taken or not there is tried again until it can be had. Default: none.
        listen: Option<OneOrMore<SocketText>>,
    }
}

text! {
    /// A log of connections. It needs `[accounting]`, and changes of it count at once.
    AccessLogText "a table with `to`" {
        /// `journal`: entries of systemd's journal with a field for each fact. Or the path of a file that
        /// begins with `/`: JSON lines, for its owner and group; SIGHUP and reloads open it anew after it was renamed.
        to: Required<At<LogTargetText>>,
        /// Only connections to these services. Default: those to every service, and to backends whose own
        /// address is captured; and refusals at ports that no service declares, which are of no service.
        services: Option<List<NameText>>,
        /// The share of connections that are logged, up to 1: `0.1` for one in ten. Default: 1.
        sample: Option<At<Share>>,
        /// How many lines a second are written at most. Those left out are counted in the log. Default: 1000.
        rate_limit: Option<At<LineRate>>,
    }
}

text! {
    /// How the names of endpoints are looked up (`dns` of an endpoint), and how names of the mesh are served. The agent does
    /// both.
    DnsText "a table" {
        /// Addresses and ports of the servers that are asked, one or several, the first that answers counts:
        /// `127.0.0.53:53`. Default: those of `/etc/resolv.conf`, which is read anew when it changes.
        resolvers: Option<OneOrMore<SocketText>>,
        /// A name is asked for again when the time is over that the answer gives (its TTL), but not before this.
        /// Default: `5s`, or `ttl_max` if that is shorter.
        ttl_min: Option<At<DurationText>>,
        /// And not later than this. Default: `5m`, or `ttl_min` if that is longer.
        ttl_max: Option<At<DurationText>>,
        /// Addresses and ports at which the agent answers questions over UDP and TCP, one or several: `127.0.0.1:53`.
        /// What is below `domain`, and every one of `hostnames`, is answered out of the mesh, and all else is asked of
        /// `upstreams`. An address that is taken is tried again until it can be had. Default: none; then no names are
        /// served, and the keys below have no effect.
        listen: Option<OneOrMore<SocketText>>,
        /// Every service is `NAME.DOMAIN`. Names below it are not asked of anybody else, whether there are such services or
        /// not. Default: `mesh`.
        domain: Option<At<Hostname>>,
        /// For how long an answer out of the mesh may be remembered, in whole seconds. Default: `5s`.
        ttl: Option<At<DurationText>>,
        /// The same of the answer that there is no such name or record. Default: `5s`.
        negative_ttl: Option<At<DurationText>>,
        /// Addresses and ports of the servers that all other names are asked of, one or several. Default: those of
        /// `/etc/resolv.conf`, which is read anew when it changes.
        upstreams: Option<OneOrMore<SocketText>>,
        /// Which of them is asked. Default: `in-order`.
        order: Option<At<Choice<UpstreamOrder>>>,
        /// How long one of them has to answer before it, or the next one, is asked again. Default: `2s`.
        timeout: Option<At<DurationText>>,
        /// How often each of them is asked one question at most. Default: 2.
        attempts: Option<At<Attempts>>,
        /// How many of their answers are remembered. 0 remembers none. Default: 10000.
        cache: Option<At<CacheSize>>,
        /// Whose questions to other DNS servers are answered here, whatever server they ask: connects and datagrams to port 53,
        /// over UDP and TCP, of programs whose connections are handled. `all`, or systemd units and cgroup paths, one or several.
        /// They go where they are sent while the agent, the daemon or all upstreams do not answer, from other network
        /// namespaces than the agent's, and from sockets that are bound to an interface. Without `listen`, or where it has no
        /// address of a family, the agent answers at port 15053 of `127.0.0.1` and `::1`. Default: nobody's.
        capture: Option<OneOrMore<AskerText>>,
        /// Resolvers of this host, which the agent may ask: systemd units or cgroup paths whose own questions are left alone.
        /// Units of those that are well known are left alone without being named: systemd-resolved, dnsmasq, unbound, BIND,
        /// PowerDNS Recursor, Knot Resolver, NetworkManager and others. Default: no others.
        capture_bypass: Option<OneOrMore<CgroupText>>,
    }
}

text! {
    /// How large a mesh may be: a larger one is an error, and changes nothing. The kernel's tables begin small
    /// and grow with the mesh, so a high limit takes no memory by itself. They become smaller again when the
    /// service is stopped and started. Only the tables of `connections` and `flows` have their sizes from the start.
    LimitsText "a table" {
        /// Virtual addresses, and endpoints whose own address is captured. Default: 65536.
        addresses: Option<At<Limit>>,
        /// Virtual addresses times their ports. Default: 65536.
        frontends: Option<At<Limit>>,
        /// Services. Default: 10000.
        services: Option<At<Limit>>,
        /// Endpoints, counted in every service they belong to, and there once for each port of the service
        /// behind which endpoints differ in their own ports. Default: 100000. A million are supported: then
        /// `backends` has to be as high.
        endpoints: Option<At<Limit>>,
        /// Distinct addresses of endpoints. Default: 100000.
        backends: Option<At<Limit>>,
        /// Waypoints. Default: 1024.
        waypoints: Option<At<Limit>>,
        /// Authorization policies. Default: 1024.
        policies: Option<At<Limit>>,
        /// What authorization policies are about: services, ports of this host, and what is at the same address and
        /// port. Default: 16384.
        guards: Option<At<Limit>>,
        /// Clients of authorization policies, counted in every service that each policy is about. Default: 65536.
        rules: Option<At<Limit>>,
        /// Addresses and ports that authorization policies are about: each port of each endpoint of their services, and
        /// each of `ports`. Default: 65536.
        destinations: Option<At<Limit>>,
        /// Networks that authorization policies name in `from`, counted in everything that each policy is about. Default: 131072.
        sources: Option<At<Limit>>,
        /// Living connections that are listed and counted. More of them work as well, at a higher price.
        /// Counts after the service was stopped and started. Default: 65536.
        connections: Option<At<Limit>>,
        /// Addresses of services to which sockets that are not connected send datagrams, counted in every socket. Of more of
        /// them, those that were of no use for longest are forgotten: the next datagram may go to another endpoint. Each
        /// takes some 350 bytes. Counts after the service was stopped and started. Default: 16384.
        flows: Option<At<Limit>>,
    }
}

text! {
    /// A proxy that receives connections in place of endpoints. Clients notice nothing: to them
    /// the peer is the address they asked for.
    WaypointText "a table with `address` and `header`" {
        /// Where it listens: address and port. Clients of IPv4 addresses need an IPv4 waypoint;
        /// those of IPv6 addresses can use either.
        address: Required<At<SocketText>>,
        /// How it learns the original destination. There is no default, because a waypoint that
        /// expects another header than it gets misreads every connection.
        header: Required<At<Choice<Header>>>,
        /// The systemd unit or cgroup path of the waypoint, if it runs on this host: its own
        /// connections skip waypoints. Without it a waypoint on this host would be redirected to
        /// itself.
        unit: Option<At<CgroupText>>,
        /// For protocols in which the client waits for the server to speak, such as those of MySQL,
        /// SMTP and SSH: the header does not wait for the first bytes of the client. The daemon
        /// then takes hold of each such connection for a moment, for which it needs CAP_SYS_PTRACE,
        /// and while it does not run the header waits. Default: false.
        server_first: Option<At<Flag>>,
    }
}

text! {
    /// A set of addresses that programs connect to, and the endpoints behind them.
    ServiceText "a table with `vips`, `ports` and `endpoints`" {
        /// Addresses that programs connect to: fixed ones of either family, or `auto` for one of
        /// each family from `[mesh] vip_ranges`, which stays the same across reloads and restarts.
        /// A loopback address or an address of this host is allowed: then only the ports declared
        /// here are captured, and all others pass. A headless service may do without.
        vips: Option<List<VipText>>,
        /// More DNS names of the service, in lower case, beside `NAME.DOMAIN`: `payments.example`, or `*.shop.internal` for
        /// all names below `shop.internal` that nothing else has. `[dns] listen` serves them; nobody else is asked for them
        /// then.
        hostnames: Option<List<ServiceHostname>>,
        /// Whether its DNS names lead to the addresses of usable endpoints, the nearest first, in place of those of the service:
        /// for programs that want to know all of them, and connect to them by themselves. Default: false.
        headless: Option<At<Flag>>,
        /// Ports that programs connect to, with the endpoints' port after a colon if it differs.
        /// Other ports of a virtual address refuse connections.
        ports: Required<List<PortText>>,
        /// Which endpoints may be picked. Default: `random`.
        policy: Option<At<Choice<Policy>>>,
        /// How one of them is picked. Default: `weighted-random`.
        balance: Option<At<Choice<Balance>>>,
        /// Who is one client, where clients are told apart. Default: `unit`.
        clients_by: Option<At<Choice<ClientsBy>>>,
        /// For `consistent-hash`: over how many slots clients are spread, at least; the next prime number is taken. Each
        /// endpoint has as many as its weight is worth, and each slot takes 64 bytes for every set of endpoints that are
        /// equally near. With another number nearly every client moves. With more slots fewer clients
        /// move that need not: of 10 endpoints one goes, and 11.8 % of clients move with 1021 slots, 10.7 % with 8191.
        /// Default: 1021 for up to 12 endpoints, 8191 for up to 100, 65521 for up to 6500, and 524287.
        hash_slots: Option<At<Slots>>,
        /// How many connections of this host to the service may be open, counted exactly. One more is refused
        /// (ECONNREFUSED). A connection is open from connect() until TCP is done with it; without `[accounting]`,
        /// until its socket is closed. So is an attempt of which no segment left (no route, no free port), and a UDP
        /// socket, unless it connects elsewhere. Connections of Multipath TCP and of the kernel itself (NFS) are held to the
        /// limit and not counted. What is open to an endpoint that is taken out of the file, or out of a DNS answer, is counted
        /// when it comes back; to a whole service that was taken out it is not. Default: any number.
        max_connections: Option<Connections>,
        /// How many connects to the service this host may make a second: others are refused (ECONNREFUSED). Those of
        /// one second may be saved up. One that is refused for another reason, such as `max_connections`, was made as
        /// well. Default: any number.
        connects_per_second: Option<ConnectRate>,
        /// How many connects to the service each systemd unit of this host (each cgroup) may make a second: others of
        /// that unit are refused (ECONNREFUSED). Those of one second may be saved up. Default: any number.
        client_connects_per_second: Option<ConnectRate>,
        /// For how long after its last connect a client gets the same endpoint, whatever `balance` says, as long as that
        /// takes connections, is of the nearest priority that has any, and is not full. It is kept over reloads and
        /// restarts. See `clients_by`. Default: each connect is a choice of its own.
        affinity: Option<At<DurationText>>,
        /// What makes an endpoint near: scopes that are compared with this host, the most
        /// important first. Its priority is the number of scopes minus that of leading matches; 0
        /// is nearest. Two unknown values match. Default, as in Istio: `["network", "region",
        /// "zone", "subzone"]` for `failover`, `["node"]` for `strict`; `random` does not use it.
        prefer: Option<List<Choice<Scope>>>,
        /// An entry of `[waypoints]`: every connection to the service goes there.
        waypoint: Option<At<NameText>>,
        /// How its endpoints are checked, where that is otherwise than `[health]` says: `tcp`, or a table.
        health: Option<HealthField>,
        /// What becomes of connections while no endpoint that the policy allows is healthy. Default: `refuse`.
        on_all_down: Option<At<Choice<OnAllDown>>>,
        /// For `failover`: how much more than its share an endpoint can bear. With `1.4`, which is what Istio and Envoy
        /// use, connections stay at the nearest endpoints while 72 % of their weight is usable; then the rest goes to
        /// the next ones in proportion. Default: they stay while any is usable.
        overprovision: Option<At<Overprovision>>,
        /// How long an endpoint that was down takes to get all of its share of new connections again: it begins
        /// with a tenth. Default: at once.
        slow_start: Option<At<DurationText>>,
        /// Who serves: addresses, names from `[endpoints]`, or tables, also with a DNS name. Where the service has one port, an
        /// address may have a port that takes the place of the declared one: `10.0.0.1:8081`. Servers that
        /// share an address are endpoints with different ports. Without any endpoint, connections are
        /// refused. IPv4 endpoints serve the IPv4 addresses of the service, and its IPv6 addresses
        /// too if it has no IPv6 endpoint at all; IPv6 endpoints serve the IPv6 addresses.
        endpoints: Option<List<EndpointText>>,
        /// What becomes of open connections to an endpoint that is taken out of the service, and to all of its
        /// endpoints when the service goes. Connections to a waypoint go on in any case. Default: what `[mesh]` says.
        on_remove: Option<At<Choice<OnRemove>>>,
    }
}

/// Every table of the file, as it is called, and its keys.
const TABLES: [(&str, &[&str]); 18] = [
    ("the top of the file", DocumentText::KEYS),
    ("`[node]`", NodeText::KEYS),
    ("`[mesh]`", MeshText::KEYS),
    ("`[capture]`", CaptureText::KEYS),
    ("`[accounting]`", AccountingText::KEYS),
    ("`[metrics]`", MetricsText::KEYS),
    ("`[access_log]`", AccessLogText::KEYS),
    (
        "`[health]`, or `health` of a service or an endpoint",
        HealthText::KEYS,
    ),
    ("`[dns]`", DnsText::KEYS),
    ("`[limits]`", LimitsText::KEYS),
    ("a service (`[services.NAME]`)", ServiceText::KEYS),
    (
        "an endpoint of a service (`endpoints = [{ ... }]`)",
        EndpointTable::KEYS,
    ),
    ("an entry of `[endpoints]`", SharedEndpoint::KEYS),
    ("a waypoint (`[waypoints.NAME]`)", WaypointText::KEYS),
    ("a policy (`[policies.NAME]`)", PolicyText::KEYS),
    ("a group (`[groups.NAME]`)", GroupText::KEYS),
    ("a port of a service (`ports = [{ ... }]`)", PortTable::KEYS),
    ("a locality (`[localities.NAME]`)", LocalityTable::KEYS),
];

/// Where a key belongs that stands somewhere else, if there is such a place.
pub fn belongs(key: &str) -> Option<String> {
    let tables = TABLES.iter().filter(|(_, keys)| keys.contains(&key));
    let mut places: Vec<_> = tables.map(|(place, _)| *place).collect();
    let last = places.pop()?;
    Some(match places.is_empty() {
        true => format!("`{key}` belongs to {last}"),
        false => format!("`{key}` belongs to {}, or to {last}", places.join(", to ")),
    })
}

/// The JSON Schema of the file, from the types that read it.
pub fn schema() -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let mut schema = generator.into_root_schema_for::<DocumentText>();
    RecursiveTransform(without_null).transform(&mut schema);
    schema.insert("title".to_owned(), "mesh.toml".into());
    let mut schema = Value::from(schema);
    // One of two keys has to be there, which no field by itself says.
    let either = ["address", "dns"].map(|key| json!({ "required": [key] }));
    schema["$defs"]["SharedEndpoint"]["anyOf"] = json!(either);
    let either = |keys: [&str; 2]| json!({ "anyOf": keys.map(|key| json!({ "required": [key] })) });
    let policy = &mut schema["$defs"]["PolicyText"];
    policy["allOf"] = json!([either(["services", "ports"]), either(["clients", "from"])]);
    policy["dependentRequired"] = json!({ "clients": ["services"], "ports": ["from"] });
    // A service has addresses, or is headless.
    let headless =
        json!({ "properties": { "headless": { "const": true } }, "required": ["headless"] });
    let service = &mut schema["$defs"]["ServiceText"];
    service["allOf"] = json!([{ "anyOf": [{ "required": ["vips"] }, headless] }]);
    schema
}

/// TOML has no null: a key is there or it is not.
fn without_null(schema: &mut Schema) {
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            schema.insert("type".to_owned(), only);
        }
    }
    let Some(Value::Array(choices)) = schema.get_mut("anyOf") else {
        return;
    };
    choices.retain(|choice| choice.get("type").is_none_or(|name| name != "null"));
    if let [Value::Object(only)] = choices.as_mut_slice() {
        let only = std::mem::take(only);
        schema.remove("anyOf");
        for (key, value) in only {
            schema.ensure_object().entry(key).or_insert(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::fragment::{Fragment, Origin};
    use crate::config::parse::parse;
    use crate::config::problem::Problem;
    use std::collections::BTreeSet;

    fn problems(text: &str) -> Vec<Problem> {
        parse(&Fragment::new(Origin::new("f"), 0, text.into())).problems
    }

    /// Each table of the schema, and where a file has it.
    fn tables() -> Vec<(&'static str, &'static [&'static str], &'static str)> {
        vec![
            ("", DocumentText::KEYS, ""),
            ("NodeText", NodeText::KEYS, "[node]\n"),
            ("MeshText", MeshText::KEYS, "[mesh]\n"),
            ("CaptureText", CaptureText::KEYS, "[capture]\n"),
            ("AccountingText", AccountingText::KEYS, "[accounting]\n"),
            ("MetricsText", MetricsText::KEYS, "[metrics]\n"),
            ("AccessLogText", AccessLogText::KEYS, "[access_log]\n"),
            ("HealthText", HealthText::KEYS, "[health]\n"),
            ("DnsText", DnsText::KEYS, "[dns]\n"),
            ("LimitsText", LimitsText::KEYS, "[limits]\n"),
            ("WaypointText", WaypointText::KEYS, "[waypoints.w]\n"),
            ("ServiceText", ServiceText::KEYS, "[services.s]\n"),
            ("PolicyText", PolicyText::KEYS, "[policies.p]\n"),
            ("GroupText", GroupText::KEYS, "[groups.g]\n"),
            ("SharedEndpoint", SharedEndpoint::KEYS, "[endpoints.e]\n"),
            ("LocalityTable", LocalityTable::KEYS, "[localities.l]\n"),
            (
                "PortTable",
                PortTable::KEYS,
                "[services.s]\nvips = ['::1']\n[[services.s.ports]]\n",
            ),
            (
                "EndpointTable",
                EndpointTable::KEYS,
                "[services.s]\nvips = ['::1']\nports = [1]\n[[services.s.endpoints]]\n",
            ),
        ]
    }

    #[test]
    fn what_the_schema_allows_is_read_and_nothing_else() {
        let schema = schema();
        let mut seen = BTreeSet::new();
        for (name, keys, header) in tables() {
            let object = match name {
                "" => &schema,
                name => &schema["$defs"][name],
            };
            seen.insert(name);
            assert_eq!(object["additionalProperties"], false, "{name}");
            let properties = object["properties"].as_object().unwrap();
            let allowed: BTreeSet<_> = properties.keys().map(String::as_str).collect();
            assert_eq!(allowed, keys.iter().copied().collect(), "{name}");
            let required: BTreeSet<_> = object["required"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|key| key.as_str().unwrap())
                .collect();
            for key in keys {
                // Of a type that no key takes, so that the key is known and its value is not.
                let text = format!("{header}{key} = 1979-05-27\n");
                let problems = problems(&text);
                assert!(!problems.is_empty(), "{name}.{key}");
                for problem in problems {
                    assert!(!problem.message.contains("unknown key"), "{problem}");
                    assert!(!problem.message.contains(&format!("missing key `{key}`")));
                }
            }
            let problems = problems(&format!("{header}zzz = 1\n"));
            let missing: BTreeSet<_> = problems
                .iter()
                .filter_map(|p| p.message.strip_prefix("missing key `")?.strip_suffix('`'))
                .collect();
            assert_eq!(missing, required, "{name}");
            assert!(problems.iter().any(|p| p.message == "unknown key `zzz`"));
        }
        // A table that is added to the format is added above.
        let objects = schema["$defs"].as_object().unwrap().iter();
        for (name, _) in objects.filter(|(_, def)| def.get("properties").is_some()) {
            assert!(seen.contains(name.as_str()), "{name}");
        }
    }

    #[test]
    fn every_key_is_described_and_none_is_null() {
        let text = schema().to_string();
        assert!(!text.contains("\"null\""), "{text}");
        for (name, _, _) in tables() {
            let schema = schema();
            let object = match name {
                "" => &schema,
                name => &schema["$defs"][name],
            };
            for (key, property) in object["properties"].as_object().unwrap() {
                assert!(property["description"].is_string(), "{name}.{key}");
            }
        }
    }
}
