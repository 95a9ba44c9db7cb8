//! How policies are evaluated.

use crate::Text;

const SIDES: &str = "\
                 programs of this host        connections that arrive
---------------  ---------------------------  ---------------------------
who is judged    clients                      from
where and when   on the host of the client,   on the host of the server,
                 at connect(), before any     at the first packet, before
                 packet                       the server sees anything
what a policy    services: every address      services: the address and
is about         and port of each             port of each endpoint;
                                              ports of this host
without the key  the policy says nothing      the policy says nothing
one that is      EACCES from connect()        ECONNREFUSED; nothing that
refused sees                                  it sent is delivered
";

const STEPS: &str = "\
   of the policies about it that have this side     then
-  -----------------------------------------------  --------------------
1  a deny policy matches                            refused, by its name
2  none is an allow policy                          allowed
3  an allow policy matches                          allowed
4  otherwise                                        refused, by the name
                                                    of an allow policy
";

/// The section.
pub fn section(text: &mut Text) {
    text.section("AUTHORIZATION").paragraph(
        "Policies (`[policies.NAME]`) say who may connect to what. Each connection is judged on up to two sides, \
         and both have to allow it: by the program that connects, on its own host, and by the address that it comes from, on \
         the host where it arrives. The sides know nothing of each other.",
    );
    text.lines(SIDES);
    text.paragraph(
        "On each side the same steps are taken, and the first that applies decides. The order of policies in the files never \
         matters.",
    );
    text.lines(STEPS);
    text.paragraph(
        "The steps are taken with the policies whose `mode` is `enforce`. If they allow the connection, they are taken once \
         more with all policies: if the connection would be refused then, a policy in `audit` mode is counted and told, and the \
         connection goes on.",
    );
    text.paragraph(
        "So a service that no `allow` policy is about is open to everybody whom no policy denies, and the first `allow` \
         policy closes it to everybody else, on the sides that the policy has. A policy with `clients` alone leaves open who \
         connects from other hosts, and one with `from` alone leaves open which programs of this host connect. `clients = []` and `from = []` \
         match nobody: an `allow` policy with one of them closes that side.",
    );
    text.paragraph(
        "Only new connections are judged, unless a policy has `enforce_existing`. A UDP server that is not connected is judged \
         at each datagram. Where nothing is known of a name that `from` depends on, `on_error` decides: `open` and `closed` make the \
         policy refuse nobody or everybody, and without it a name that is not resolved matches nobody.",
    );
}
