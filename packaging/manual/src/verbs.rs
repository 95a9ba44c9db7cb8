//! kmesh-lite(8) describes the verbs, from the definition of the arguments.
//!
//! clap_mangen 0.3 would make a page for each verb. Its synopsis leaves the values of options out, it
//! spreads the lines of examples like prose, and mandoc warns about its breaks.

use crate::Text;
use clap::{Arg, ArgAction, Command};

const SERVICE: &[&str] = &[
    "The packages install `kmesh-lite.service`, which runs `kmesh-lite run --no-agent` as the user `kmesh` with \
     CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON and nothing else. It is ready once the kernel follows the \
     file, and it starts with a bad file or none as well: then it waits for a good one.",
    "`systemctl reload kmesh-lite` waits for the outcome and fails if the file has an error; the \
     journal then has every problem, as `check` prints them. `systemctl stop` leaves nothing in the \
     kernel. While the daemon is away for any other reason, systemd keeps the kernel's side of the mesh.",
    "The daemon reads the file as its own user: /etc/kmesh and what is in it must be readable for \
     everybody, or for the group `kmesh`. Members of that group may read the status on the control \
     socket; only root and the daemon's user may reload.",
    "`kmesh-lite-agent.service` runs beside it as the user `kmesh-agent`, with CAP_NET_BIND_SERVICE alone, and is \
     started, stopped and upgraded with it. The agent probes endpoints where `health` of the file says so, looks \
     up their DNS names, and serves metrics over TCP where `[metrics] listen` says so; the daemon itself never talks to the network. While the agent is \
     away, endpoints are what they were found to be, and names what they were.",
    "Waypoints with `server_first = true` need CAP_SYS_PTRACE, which the unit does not have: see \
     server-first.conf among the examples.",
];

const ACCESS_LOG: &[&str] = &[
    "`[access_log]` of `mesh.toml`(5) has a line written for each TCP connection that is over: it ended \
     (`closed`), never stood (`failed`), or was refused before any packet (`rejected`), and one for each that a policy in \
     audit mode would have refused (`decided`, with `policy`). A file has one JSON object \
     a line. In the journal each field is `KMESH_` and its name in capitals: \
     `journalctl -t kmesh-lite-access KMESH_SERVICE=payments KMESH_EVENT=failed`. These fields are stable; what is \
     not known is left out. `kmesh-lite trace --json` prints the same, with every `decided` and with `established`.",
    "After the file was renamed, SIGHUP or a reload (`systemctl reload kmesh-lite`) opens it anew. It is made with \
     mode 0640, in a folder that the service may write to: the unit has /var/log/kmesh-lite. A file that cannot be \
     written, and a full disk, is said once in the service's own log and in `status`, and tried again every second.",
    "Lines that are missing, because of `rate_limit`, because writing was too slow or failed, or because the \
     kernel's buffer was full, are counted in a line of the log itself (`lost`), once a second at most. What ends \
     while the daemon is away is logged when it is back. The journal has a limit of its own: see \
     RateLimitBurst in `journald.conf`(5).",
];

const TRIALS: &[&str] = &[
    "`kmesh-lite reload --confirm 60s` applies the file on trial and returns at once. The state before comes back after that \
     time, as one pass, unless `kmesh-lite confirm` comes before. It does so as well where the daemon was killed or \
     restarted meanwhile; where the host was, the next start goes back at once. The state before is the one that counted \
     a minute ago, if something was applied since: a file is applied as soon as it is saved.",
    "While a trial is pending, `status` shows how long it waits. What is saved in this time belongs to it. Another \
     `reload --confirm` gives it more time, and still goes back to where it began; a reload without it applies the file and \
     confirms nothing.",
    "What was taken back is still in the file, which is not touched. It is not applied until the file says something else or \
     somebody asks for a reload; SIGHUP does not ask for that. `status` and the log say so.",
];

const LOCKOUTS: &[&str] = &[
    "A configuration is not applied where one of its policies would refuse a connection to port 22 of this host that stands, \
     the SSH connection of somebody who has asked for a reload (by SSH_CONNECTION, at whatever port), or the probes of an \
     endpoint that is on this host. The last good state stays; `status`, `reload`, `plan` and the log name the policy and both \
     ends, and the exit status of `reload` is 3.",
    "`force = true` in the policy overrides this; policies with `mode = \"audit\"` refuse nobody. What was refused stays so \
     until the file says something else or somebody asks for a reload, also when the connection has ended. The daemon looks \
     at connections of its own network namespace.",
];

const FIELDS: &[(&str, &str)] = &[
    ("time", "When it was, as RFC 3339 in UTC."),
    (
        "event",
        "`closed`, `failed`, `rejected`, `decided`, or `lost`.",
    ),
    (
        "outcome",
        "How it ended (closed, refused, timed_out, unreachable, reset, aborted, killed, not_sent, other), or why it \
         was refused (refuse_no_endpoint and so on).",
    ),
    ("text", "The same for people; not in the journal."),
    (
        "lost",
        "How many lines are missing; in lines of that event.",
    ),
    ("cookie", "The number of the socket: its SO_COOKIE."),
    ("protocol", "`tcp`."),
    ("client", "The client's own address and port."),
    ("unit", "The systemd unit that the client ran in."),
    ("cgroup", "Its cgroup."),
    (
        "uid, pid, command",
        "Its user, process, and the name of its thread.",
    ),
    ("service, endpoint, waypoint", "Where it was sent."),
    (
        "policy",
        "The authorization policy that refused it, or would have if it were not in audit mode.",
    ),
    ("original_destination", "What the client asked for."),
    ("started", "When its first segment left."),
    (
        "sent_bytes, received_bytes",
        "What it carried, without headers.",
    ),
    ("rtt_seconds", "The smoothed round trip time at its end."),
    ("retransmits", "Segments that were sent again."),
    ("connect_seconds", "From the first segment until it stood."),
    ("duration_seconds", "From the first segment until its end."),
];

const FILES: &[(&str, &str)] = &[
    ("/etc/kmesh/mesh.toml", "The mesh; see `mesh.toml`(5)."),
    (
        "/etc/kmesh/mesh.d/*.toml",
        "Drop-ins of the same format, one for each tool or team.",
    ),
    (
        "/var/lib/kmesh-lite",
        "What outlives the daemon: what the operator wants of endpoints, a reload on trial, and what was refused.",
    ),
    (
        "/run/kmesh-lite/control.sock",
        "The control socket: HTTP with JSON. What `--json` prints is what it answers.",
    ),
    (
        "/run/kmesh-lite/zone",
        "Where the names of the mesh are answered, from which `kmesh-lite-resolved.service` tells `systemd-resolved`(8).",
    ),
    (
        "/usr/share/doc/kmesh-lite/examples-config",
        "Examples; every one of them runs.",
    ),
];

/// The body of the page.
pub fn page() -> Text {
    let mut command = kmesh_lite::cli::command();
    command.build();
    let mut text = Text::default();
    let about = command
        .get_about()
        .map(ToString::to_string)
        .unwrap_or_default();
    let about = about.trim_end_matches('.');
    text.section("NAME")
        .words(&format!("kmesh-lite - {}", lower_first(about)));
    text.section("SYNOPSIS");
    for verb in verbs(&command) {
        text.paragraph(&usage(verb));
    }
    text.section("DESCRIPTION");
    if let Some(long) = command.get_long_about() {
        // The first paragraph is the line under NAME.
        for paragraph in long.to_string().split("\n\n").skip(1) {
            text.paragraph(paragraph);
        }
    }
    text.section("VERBS");
    for verb in verbs(&command) {
        describe(&mut text, verb);
    }
    text.section("THE SERVICE");
    for paragraph in SERVICE {
        text.paragraph(paragraph);
    }
    text.section("RELOADS ON TRIAL");
    for paragraph in TRIALS {
        text.paragraph(paragraph);
    }
    text.section("POLICIES THAT LOCK OUT");
    for paragraph in LOCKOUTS {
        text.paragraph(paragraph);
    }
    text.section("THE ACCESS LOG");
    for paragraph in ACCESS_LOG {
        text.paragraph(paragraph);
    }
    for (field, meaning) in FIELDS {
        text.term(field, "").words(meaning);
    }
    text.section("FILES");
    for (path, meaning) in FILES {
        text.term(path, "").words(meaning);
    }
    if let Some(examples) = command.get_after_help() {
        let examples = examples.to_string();
        let (examples, exit) = examples.split_once("\n\n").unwrap_or((&examples, ""));
        text.section("EXIT STATUS")
            .paragraph(exit.trim_start_matches("Exit codes: "));
        text.section("EXAMPLES");
        text.lines(examples.trim_start_matches("Examples:\n"));
    }
    text.section("SEE ALSO")
        .words("`mesh.toml`(5), `systemctl`(1), `journalctl`(1), `bpftool`(8)");
    text
}

/// The verbs of an operator. clap's own `help` is not among them.
pub fn verbs(command: &Command) -> impl Iterator<Item = &Command> {
    let told = |verb: &&Command| verb.get_name() != "help" && !verb.is_hide_set();
    let verbs = command.get_subcommands().filter(told);
    verbs.flat_map(move |verb| {
        [verb]
            .into_iter()
            .chain(verb.get_subcommands().filter(told))
    })
}

/// The words of a verb after the name of the program.
pub fn name(verb: &Command) -> &str {
    let bin = verb.get_bin_name().unwrap_or_default();
    bin.strip_prefix("kmesh-lite ").unwrap_or(verb.get_name())
}

/// The options and arguments that the page describes.
pub fn arguments(verb: &Command) -> impl Iterator<Item = &Arg> {
    let told = |argument: &&Arg| {
        !matches!(argument.get_id().as_str(), "help" | "version") && !argument.is_hide_set()
    };
    verb.get_arguments().filter(told)
}

fn usage(verb: &Command) -> String {
    let mut usage = format!("`kmesh-lite {}`", name(verb));
    for argument in arguments(verb) {
        let spelled = spelled(argument);
        usage += &match argument.is_required_set() {
            true => format!(" {spelled}"),
            false => format!(" [{spelled}]"),
        };
        if matches!(argument.get_action(), ArgAction::Append) && argument.get_long().is_some() {
            usage += "...";
        }
    }
    usage
}

fn spelled(argument: &Arg) -> String {
    let value = value(argument);
    match argument.get_long() {
        Some(long) if value.is_empty() => format!("--{long}"),
        Some(long) => format!("--{long} {value}"),
        None => value,
    }
}

fn value(argument: &Arg) -> String {
    if !argument.get_action().takes_values() {
        return String::new();
    }
    let names = argument.get_value_names().unwrap_or_default();
    match names {
        [] => argument.get_id().as_str().to_uppercase(),
        names => names
            .iter()
            .map(|name| name.as_str())
            .collect::<Vec<_>>()
            .join(" "),
    }
}

fn describe(text: &mut Text, verb: &Command) {
    text.subsection(&format!("kmesh-lite {}", name(verb)));
    if let Some(about) = verb.get_about() {
        text.paragraph(&format!("{about}."));
    }
    for argument in arguments(verb) {
        let (term, kind) = match argument.get_long() {
            Some(long) => (format!("--{long}"), value(argument)),
            None => (value(argument), String::new()),
        };
        text.term(&term, &kind).words(&said(argument));
        let described = argument.get_possible_values().into_iter();
        let described: Vec<_> = described
            .filter_map(|value| Some((value.get_name().to_owned(), value.get_help()?.to_string())))
            .collect();
        if !described.is_empty() {
            text.nested(|text| {
                for (name, help) in &described {
                    text.term(name, "").words(help);
                }
            });
        }
    }
    let Some(more) = verb.get_after_help() else {
        return;
    };
    for part in more.to_string().split("\n\n") {
        match part.split_once(":\n") {
            Some(("Example" | "Examples", lines)) => text.lines(lines),
            _ => text.paragraph(part),
        };
    }
}

fn said(argument: &Arg) -> String {
    let help = argument.get_help().map(ToString::to_string);
    let mut said = match help {
        Some(help) if !help.is_empty() => format!("{help}."),
        _ => String::new(),
    };
    let values: Vec<_> = argument
        .get_possible_values()
        .iter()
        .map(|value| format!("`{}`", value.get_name()))
        .collect();
    if !values.is_empty()
        && argument.get_action().takes_values()
        && !argument.is_hide_possible_values_set()
    {
        said += &format!(" One of {}.", values.join(", "));
    }
    let defaults: Vec<_> = argument
        .get_default_values()
        .iter()
        .map(|value| format!("`{}`", value.to_string_lossy()))
        .collect();
    if !defaults.is_empty() && argument.get_action().takes_values() {
        said += &format!(" Default: {}.", defaults.join(" "));
    }
    said
}

fn lower_first(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters
        .next()
        .map(|first| first.to_lowercase().to_string());
    first.unwrap_or_default() + characters.as_str()
}
