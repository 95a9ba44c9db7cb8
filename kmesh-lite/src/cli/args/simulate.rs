//! What would happen if something were down.

use super::{Format, Socket};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kmesh-lite simulate --down zone=eu-1b             a zone
  kmesh-lite simulate --down node=db-1 --down endpoint=10.0.2.10
                                                    a host, and an endpoint of any service
  kmesh-lite simulate --down waypoint=edge --json

KEY is network, region, zone, subzone, node, cluster, endpoint or waypoint. Nothing is changed: tables are
built beside those of the kernel, by the same functions, with what is known of endpoints now.

An endpoint is overloaded where it would get more than its share by weight of the endpoints of its priority,
times 1.4, or times `overprovision` of the service: that is what it is taken to be meant for. How many
connections come, and what a machine bears, is not known here.")]
pub struct Simulate {
    /// What is down; repeatable
    #[arg(long, value_name = "KEY=VALUE", required = true)]
    pub down: Vec<String>,
    #[command(flatten)]
    pub socket: Socket,
    #[command(flatten)]
    pub format: Format,
}
