//! The configuration, and who may do what to its files.

use crate::config::{Loaded, Origin, Severity};
use crate::doctor::files::{About, Configuration, Reader, Role};
use crate::doctor::unit::Service;
use crate::model::{Header, Mesh, Speaker};
use nix::errno::Errno;
use nix::unistd::{AccessFlags, Gid, Uid, User, eaccess, getgrouplist};
use std::ffi::CString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Whether this process may read all there is. What it may not even look for counts as well.
pub fn are_readable(file: &Path, drop_ins: &Path, loaded: &Loaded) -> bool {
    let others = loaded.origins.iter().map(Origin::as_path);
    let mut all = [file, drop_ins].into_iter().chain(others);
    all.all(|path| eaccess(path, AccessFlags::R_OK) != Err(Errno::EACCES))
}

pub fn configuration(path: &Path, loaded: &Loaded, readable: bool) -> Configuration {
    Configuration {
        path: path.to_owned(),
        present: loaded.present,
        readable,
        errors: loaded.problems.count(Severity::Error),
        first: first(loaded),
        files: loaded.origins.len(),
        services: loaded.mesh.as_ref().map_or(0, |mesh| mesh.services.len()),
    }
}

/// The first error, as one line.
fn first(loaded: &Loaded) -> Option<String> {
    let mut problems = loaded.problems.iter();
    let error = problems.find(|problem| problem.severity == Severity::Error)?;
    let (origin, message) = (error.origin(), &error.message);
    Some(match error.line() {
        Some(line) => format!("{origin}:{line}: {message}"),
        None => message.clone(),
    })
}

/// Whom the daemon runs as, if systemd or /proc says.
pub fn reader(service: &Service, process: Option<u32>) -> Option<Reader> {
    let unit = match service {
        Service::Known(unit) => User::from_name(unit.user())
            .ok()
            .flatten()
            .or_else(|| by_id(unit.user().parse().ok()?)),
        Service::Unknown(_) => None,
    };
    let running = || by_id(fs::metadata(format!("/proc/{}", process?)).ok()?.uid());
    let user = unit.or_else(running)?;
    let name = CString::new(user.name.clone()).ok();
    let groups = name.and_then(|name| getgrouplist(&name, user.gid).ok());
    let groups = groups.unwrap_or_else(|| vec![user.gid]).into_iter();
    Some(Reader {
        name: user.name,
        uid: user.uid.as_raw(),
        groups: groups.map(Gid::as_raw).collect(),
    })
}

fn by_id(uid: u32) -> Option<User> {
    User::from_uid(Uid::from_raw(uid)).ok().flatten()
}

/// The files that are there, after the folders that lead to them.
pub fn abouts(file: &Path, drop_ins: &Path, loaded: &Loaded) -> Vec<About> {
    let folder = file.parent().unwrap_or(Path::new("/"));
    let way: Vec<_> = folder.ancestors().skip(1).collect();
    let way = way.into_iter().rev().map(|path| (path, Role::Way));
    let folders = [(folder, Role::Folder), (drop_ins, Role::Folder)];
    let mut paths: Vec<_> = way.chain(folders).collect();
    paths.push((file, Role::File));
    let others = loaded.origins.iter().map(Origin::as_path);
    paths.extend(
        others
            .filter(|path| *path != file)
            .map(|path| (path, Role::File)),
    );
    let about = |(path, role): (&Path, Role)| {
        let about = path.metadata().ok()?;
        Some(About {
            path: path.to_owned(),
            role,
            uid: about.uid(),
            gid: about.gid(),
            mode: about.mode(),
        })
    };
    paths.into_iter().filter_map(about).collect()
}

/// Waypoints whose header is not to wait for the client.
pub fn server_first(mesh: &Mesh) -> Vec<String> {
    let waypoints = mesh.waypoints.iter();
    waypoints
        .filter(|(_, waypoint)| {
            waypoint.speaker == Speaker::Server && waypoint.header != Header::Nothing
        })
        .map(|(name, _)| name.to_string())
        .collect()
}
