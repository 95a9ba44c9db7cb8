//! Values that are one of a closed set of words.

use super::read::{DocumentReader, Read, Value, Wrong};
use super::suggest::{did_you_mean, either, quote};
use crate::model::{
    Balance, ClientsBy, Header, OnAllDown, OnRemove, OperatorState, Policy, Protocol, Scope,
    UpstreamOrder,
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use std::borrow::Cow;
use toml::de::DeValue;

/// A closed set of words and what they mean.
pub trait Choices: Copy + 'static {
    const NAME: &'static str;
    const WHAT: &'static str;
    /// Each value with the word for it and its description.
    const ALL: &'static [(Self, &'static str, &'static str)];

    /// What to write instead of a word of another system.
    fn converted(_word: &str) -> Option<&'static str> {
        None
    }
}

/// One of the words of `T`.
#[derive(Clone, Copy, Debug)]
pub struct Choice<T>(pub T);

impl Choices for Policy {
    const NAME: &'static str = "Policy";
    const WHAT: &'static str = "a policy: `random`, `strict` or `failover`";
    const ALL: &'static [(Self, &'static str, &'static str)] = &[
        (
            Self::Random,
            "random",
            "any endpoint, by weight; localities do not count",
        ),
        (
            Self::Strict,
            "strict",
            "only endpoints that match this host in every scope of `prefer`; without one, connections are refused",
        ),
        (
            Self::Failover,
            "failover",
            "the nearest endpoints there are: those that match this host in the most leading scopes of `prefer`",
        ),
    ];

    fn converted(word: &str) -> Option<&'static str> {
        let plain = word.to_ascii_lowercase().replace(['-', '_'], "");
        Some(match plain.as_str() {
            "roundrobin" | "staticrr" | "rr" | "wrr" => {
                "`random` spreads connections as evenly, by `weight`"
            }
            "leastconn" | "leastconnections" | "leastrequest" | "leasttime" | "lc" | "wlc" => {
                "`policy` says which endpoints are near enough; write `balance = \"least-connections\"` beside it"
            }
            "weightedrandom" => {
                "`random` is by `weight`; `balance = \"weighted-random\"` is the default"
            }
            "source" | "iphash" | "hash" | "ringhash" | "maglev" | "consistenthash" | "uri" => {
                "`policy` says which endpoints are near enough; write `balance = \"consistent-hash\"` beside it"
            }
            "first" | "nearest" | "locality" | "backup" => {
                "`failover` goes to the nearest endpoints"
            }
            _ => return None,
        })
    }
}

impl Choices for Balance {
    const NAME: &'static str = "Balance";
    const WHAT: &'static str =
        "a way to balance: `weighted-random`, `least-connections` or `consistent-hash`";
    const ALL: &'static [(Self, &'static str, &'static str)] = &[
        (
            Self::WeightedRandom,
            "weighted-random",
            "at random, by `weight`",
        ),
        (
            Self::LeastConnections,
            "least-connections",
            "of two that are drawn by `weight`, the one with fewer open connections of this host for its weight",
        ),
        (
            Self::ConsistentHash,
            "consistent-hash",
            "the same endpoint for the same client (see `clients_by`), on every host that has the same file; when an endpoint comes or goes, hardly more clients move than have to",
        ),
    ];

    fn converted(word: &str) -> Option<&'static str> {
        let plain = word.to_ascii_lowercase().replace(['-', '_'], "");
        Some(match plain.as_str() {
            "random" | "roundrobin" | "staticrr" | "rr" | "wrr" => {
                "`weighted-random` spreads connections as evenly, by `weight`"
            }
            "leastconn" | "leastrequest" | "leasttime" | "lc" | "wlc" => {
                "`least-connections` counts the open connections of this host"
            }
            "source" | "iphash" | "hash" | "ringhash" | "maglev" => {
                "`consistent-hash` ties each client to an endpoint; `clients_by` says what a client is"
            }
            "strict" | "failover" => "that is a `policy`: it says which endpoints are near enough",
            _ => return None,
        })
    }
}

impl Choices for ClientsBy {
    const NAME: &'static str = "ClientsBy";
    const WHAT: &'static str =
        "a way to tell clients apart: `unit`, `user`, `address` or `network-namespace`";
    const ALL: &'static [(Self, &'static str, &'static str)] = &[
        (
            Self::Unit,
            "unit",
            "by the cgroup of the process: each systemd unit, session or container is one client, and another one after it was restarted",
        ),
        (Self::User, "user", "by the user that the process runs as"),
        (
            Self::Address,
            "address",
            "by the address that the socket is bound to before it connects, as proxies bind to that of their client; one that is bound to none, by its network namespace",
        ),
        (
            Self::NetworkNamespace,
            "network-namespace",
            "by the network namespace of the process, which most containers have of their own",
        ),
    ];

    fn converted(word: &str) -> Option<&'static str> {
        Some(match word.to_ascii_lowercase().as_str() {
            "uid" => "`user`",
            "cgroup" | "service" | "container" => "`unit`",
            "ip" | "source" | "source-ip" | "src" | "client-ip" | "clientip" => "`address`",
            "netns" | "namespace" | "pod" => "`network-namespace`",
            _ => return None,
        })
    }
}

impl Choices for OnAllDown {
    const NAME: &'static str = "OnAllDown";
    const WHAT: &'static str = "`refuse` or `use-all`";
    const ALL: &'static [(Self, &'static str, &'static str)] = &[
        (Self::Refuse, "refuse", "connections are refused"),
        (
            Self::UseAll,
            "use-all",
            "endpoints are used as if nothing had been found of them",
        ),
    ];
}

impl Choices for OperatorState {
    const NAME: &'static str = "OperatorState";
    const WHAT: &'static str = "a state: `ready`, `drain` or `maintenance`";
    const ALL: &'static [(Self, &'static str, &'static str)] = &[
        (Self::Ready, "ready", "it serves"),
        (
            Self::Drain,
            "drain",
            "it takes no new connections, and keeps those that it has",
        ),
        (
            Self::Maintenance,
            "maintenance",
            "the same, and it is not probed",
        ),
    ];

    fn converted(word: &str) -> Option<&'static str> {
        Some(match word.to_ascii_lowercase().as_str() {
            "maint" | "disabled" | "down" | "off" => "`maintenance`",
            "draining" | "backup" => "`drain`",
            "up" | "enabled" | "on" => "`ready`",
            _ => return None,
        })
    }
}

impl Choices for Header {
    const NAME: &'static str = "Header";
    const WHAT: &'static str = "a header: `tlv`, `proxy-v2` or `none`";
    const ALL: &'static [(Self, &'static str, &'static str)] = &[
        (
            Self::Nothing,
            "none",
            "the waypoint is told nothing, for proxies that send everything to one place",
        ),
        (
            Self::Tlv,
            "tlv",
            "the header of Kmesh waypoints: the original destination",
        ),
        (
            Self::ProxyV2,
            "proxy-v2",
            "PROXY protocol version 2, as HAProxy, nginx and Envoy accept it: original source and destination",
        ),
    ];
}

impl Choices for OnRemove {
    const NAME: &'static str = "OnRemove";
    const WHAT: &'static str = "what becomes of connections: `keep`, `drain` or `kill`";
    const ALL: &'static [(Self, &'static str, &'static str)] = &[
        (Self::Keep, "keep", "they go on until a program closes them"),
        (
            Self::Drain,
            "drain",
            "they go on, and `status` and the log show them until they are gone",
        ),
        (
            Self::Kill,
            "kill",
            "they are ended once no new one can begin; programs see ECONNABORTED",
        ),
    ];
}

impl Choices for UpstreamOrder {
    const NAME: &'static str = "UpstreamOrder";
    const WHAT: &'static str = "an order: `in-order` or `race`";
    const ALL: &'static [(Self, &'static str, &'static str)] = &[
        (
            Self::InOrder,
            "in-order",
            "the first is asked, and each other one when those before it fail",
        ),
        (
            Self::Race,
            "race",
            "all are asked at once, and the first good answer counts",
        ),
    ];

    fn converted(word: &str) -> Option<&'static str> {
        let plain = word.to_ascii_lowercase().replace(['-', '_'], "");
        Some(match plain.as_str() {
            "sequential" | "strict" | "strictorder" | "first" | "failover" => "`in-order`",
            "parallel" | "all" | "allservers" | "fastest" => "`race`",
            _ => return None,
        })
    }
}

impl Choices for Protocol {
    const NAME: &'static str = "Protocol";
    const WHAT: &'static str = "a protocol: `tcp` or `udp`";
    const ALL: &'static [(Self, &'static str, &'static str)] =
        &[(Self::Tcp, "tcp", "TCP"), (Self::Udp, "udp", "UDP")];
}

impl Choices for Scope {
    const NAME: &'static str = "Scope";
    const WHAT: &'static str =
        "a scope: `network`, `region`, `zone`, `subzone`, `node` or `cluster`";
    const ALL: &'static [(Self, &'static str, &'static str)] = &[
        (Self::Network, "network", "the same `network`"),
        (Self::Region, "region", "the same region of the locality"),
        (Self::Zone, "zone", "the same zone of the locality"),
        (Self::Subzone, "subzone", "the same subzone of the locality"),
        (Self::Node, "node", "the same `node`: this host itself"),
        (Self::Cluster, "cluster", "the same `cluster`"),
    ];
}

/// The value of a word, or what is wrong with it.
pub fn choose<T: Choices>(text: &str) -> Result<T, Wrong> {
    let found = T::ALL.iter().find(|(_, word, _)| *word == text);
    found.map(|(value, _, _)| *value).ok_or_else(|| {
        let words = T::ALL.iter().map(|(_, word, _)| *word);
        let what = T::WHAT.split(':').next().unwrap_or(T::WHAT);
        Wrong::new(format!("{} is not {what}", quote(text)))
            .expected(either(words.clone()))
            .help(
                T::converted(text)
                    .map(str::to_owned)
                    .or_else(|| did_you_mean(text, words)),
            )
    })
}

impl<T: Choices> Read for Choice<T> {
    const WHAT: &'static str = T::WHAT;

    fn advice() -> Option<String> {
        let words = T::ALL.iter();
        let each: Vec<_> = words
            .map(|(_, word, text)| format!("`{word}`: {text}"))
            .collect();
        Some(format!("there is no default; {}", each.join("; ")))
    }

    fn read(value: &Value<'_>, reader: &mut DocumentReader) -> Option<Self> {
        let DeValue::String(text) = value.get_ref() else {
            reader.wrong_type(value, &format!("a string: {}", T::WHAT));
            return None;
        };
        choose(text)
            .map(Self)
            .map_err(|wrong| reader.wrong(value.span().into(), wrong))
            .ok()
    }
}

impl<T: Choices> JsonSchema for Choice<T> {
    fn schema_name() -> Cow<'static, str> {
        T::NAME.into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let words: Vec<_> = T::ALL
            .iter()
            .map(|(_, word, text)| serde_json::json!({ "const": word, "description": text }))
            .collect();
        json_schema!({ "type": "string", "oneOf": words })
    }
}
