//! What a policy calls the programs of a cgroup.

use super::super::connections::unit;
use std::path::Path;

/// So many hexadecimal digits in a row are an id, which the next one of its kind does not have.
const ID: usize = 12;

/// The unit of a cgroup, in the form that the next one of its kind has as well; the slice of a login; a path where no
/// unit of the host's systemd is. None where no name would be of this client alone.
pub fn named(cgroup: &Path) -> Option<String> {
    let parts: Vec<_> = cgroup
        .iter()
        .filter_map(|part| part.to_str())
        .filter(|part| *part != "/")
        .collect();
    // Everything of one user who is logged in: sessions have numbers, and their services are the user's own.
    if let ["user.slice", login, ..] = &*parts
        && login.starts_with("user-")
    {
        return Some((*login).to_owned());
    }
    if let Some(unit) = unit(cgroup) {
        return Some(form(&unit));
    }
    // In a slice itself.
    if let Some(last) = parts.last().filter(|last| last.ends_with(".slice")) {
        return Some((*last).to_owned());
    }
    let lasting = parts.iter().take_while(|part| !has_id(part));
    let path: String = lasting.map(|part| format!("/{part}")).collect();
    (!path.is_empty()).then_some(path)
}

/// The name of a unit with `*` for what is another one next time: the instance of a template, the id of a container,
/// the number of a command that was run as a unit.
fn form(unit: &str) -> String {
    let Some((name, kind)) = unit.rsplit_once('.') else {
        return unit.to_owned();
    };
    if let Some((template, _)) = name.split_once('@') {
        return format!("{template}@*.{kind}");
    }
    if let Some(number) = name.strip_prefix("run-")
        && number.starts_with(['r', 'u', 'p'])
        && number.contains(|c: char| c.is_ascii_digit())
    {
        return format!("run-*.{kind}");
    }
    match ids(name) {
        Some((start, end)) => format!("{}*{}.{kind}", &name[..start], &name[end..]),
        None => unit.to_owned(),
    }
}

fn has_id(part: &str) -> bool {
    ids(part).is_some()
}

/// Where the first id is in a name.
fn ids(name: &str) -> Option<(usize, usize)> {
    let mut start = 0;
    for (at, c) in name.char_indices().chain([(name.len(), '.')]) {
        if c.is_ascii_hexdigit() {
            continue;
        }
        let run = &name[start..at];
        // A word is no id.
        if run.len() >= ID && run.contains(|c: char| c.is_ascii_digit()) {
            return Some((start, at));
        }
        start = at + c.len_utf8();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_the_name_that_the_next_one_of_its_kind_has() {
        let id = "0123456789abcdef".repeat(4);
        for (cgroup, expected) in [
            ("/system.slice/shop.service", Some("shop.service")),
            ("/system.slice/shop.service/workers", Some("shop.service")),
            (
                "/system.slice/system-db.slice/db@eu-1.service",
                Some("db@*.service"),
            ),
            (
                "/user.slice/user-1000.slice/session-3.scope",
                Some("user-1000.slice"),
            ),
            (
                "/user.slice/user-1000.slice/user@1000.service/app.slice/a.service",
                Some("user-1000.slice"),
            ),
            (
                &format!("/system.slice/docker-{id}.scope"),
                Some("docker-*.scope"),
            ),
            (
                &format!("/machine.slice/libpod-{id}.scope/container"),
                Some("libpod-*.scope"),
            ),
            ("/system.slice/run-u1234.service", Some("run-*.service")),
            (
                "/system.slice/run-r0f3b6d8a9c7e4f5a8b1c2d3e4f5a6b7c.scope",
                Some("run-*.scope"),
            ),
            (
                "/system.slice/run-backup.service",
                Some("run-backup.service"),
            ),
            ("/system.slice", Some("system.slice")),
            (&format!("/docker/{id}"), Some("/docker")),
            ("/lxc/web", Some("/lxc/web")),
            (&format!("/{id}"), None),
            ("/", None),
        ] {
            let named = named(Path::new(cgroup));
            assert_eq!(named.as_deref(), expected, "{cgroup}");
        }
    }
}
