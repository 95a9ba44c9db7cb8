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
        "Policies (`[policies.NAME]`) say who may connect to what. A connection is judged twice: by the program that \
         connects, on the host of the client, and by the address that it comes from, on the host of the server. Both \
         sides have to allow it, and neither knows of the other.",
    );
    text.lines(SIDES);
    text.paragraph(
        "Each side takes the same steps, and the first that applies decides. The order of policies in the files never \
         matters.",
    );
    text.lines(STEPS);
    text.paragraph(
        "Policies with `mode = \"enforce\"` are asked first. If they allow the connection, the steps are taken once more with \
         all policies. If the connection would be refused then, a policy in `audit` mode is counted and told, and the \
         connection goes on.",
    );
    text.paragraph(
        "A service that no `allow` policy is about is open to everybody whom no policy denies. The first `allow` policy \
         closes it to everybody else, on each side that the policy has. A policy with only `clients` leaves open who \
         connects from other hosts. A policy with only `from` leaves open which programs of this host connect. An empty list \
         matches nobody: an `allow` policy with `clients = []` or `from = []` closes that side.",
    );
    text.paragraph(
        "Only new connections are judged, unless a policy has `enforce_existing`. Datagrams to a UDP server that is not \
         connected are judged one by one. A policy whose `from` depends on a DNS name that is not resolved goes by \
         `on_error`: with `open` it refuses nobody, with `closed` everybody, and without it the name matches nobody.",
    );
}
