//! Looks at the machine, for the checks to judge. Nothing is changed: programs are loaded and let go.

use super::systemctl;
use crate::cli::args::{self, CONFIG};
use crate::cli::client::Client;
use crate::cli::error::CliError;
use crate::cli::run::{absolute, files, rooted};
use crate::daemon::api::{self, Status};
use crate::daemon::{self, Loaded, Source};
use crate::doctor::cgroup::{Captured, Mount, Runner};
use crate::doctor::files::{About, Configuration, Reader, Role};
use crate::doctor::hooks::{Hook, Level, Owner, Program, Sharing, Unseen};
use crate::doctor::links::{Attached, Held};
use crate::doctor::programs::{Programs, Refusal};
use crate::doctor::security::Modules;
use crate::doctor::socket::{Answer, Daemon, Socket, State, Version};
use crate::doctor::unit::Service;
use crate::doctor::{
    Report, capability, cgroup, files as file_checks, hooks, kernel as kernel_checks, links,
    security, socket as socket_checks, unit,
};
use crate::kernel::{
    self, CgroupError, Cgroups, FOR_SERVER_FIRST, LoadError, NEEDED, ObserveError, Observer,
};
use crate::log::chain;
use crate::model::{Capture, Header, Mesh, Speaker};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use nix::unistd::{AccessFlags, Gid, Group, Uid, User, eaccess, geteuid, getgrouplist};
use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A daemon that takes longer is one to be told about.
const PATIENCE: Duration = Duration::from_secs(3);

pub fn examine(args: &args::Doctor) -> Result<Report, CliError> {
    let path = absolute(&args.socket.path)?;
    let (answer, served) = ask(&path);
    let socket = socket(&path);
    let process = answer.daemon().map(|daemon| daemon.pid).or(socket.holder);
    let service = systemctl::show(process, path == Path::new(daemon::SOCKET));

    let file = args.config.clone().or(served);
    let file = absolute(&file.unwrap_or_else(|| CONFIG.into()))?;
    let mut source = files(&file)?;
    let loaded = source.load();
    let drop_ins = source.drop_ins().to_owned();
    let readable = [file.as_path(), &drop_ins]
        .iter()
        .chain(
            &loaded
                .files
                .iter()
                .map(PathBuf::as_path)
                .collect::<Vec<_>>(),
        )
        .all(|path| eaccess(*path, AccessFlags::R_OK) != Err(nix::errno::Errno::EACCES));

    let root = geteuid().is_root();
    let missing = kernel::missing(None, &NEEDED);
    let programs = programs(&missing);
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cgroups = Cgroups::find();
    let captured = match &cgroups {
        Ok(cgroups) => captured(cgroups, &wanted(args, &answer, loaded.mesh.as_ref())),
        Err(_) => Vec::new(),
    };
    let at_hooks = match &cgroups {
        Ok(cgroups) => at_hooks(cgroups, &captured, kernel::instance(&path)),
        Err(error) => Err(Unseen::Failed(error.to_string())),
    };
    let version_1 = fs::read_to_string("/proc/self/mountinfo")
        .is_ok_and(|table| kernel::mounts(&table, "cgroup").next().is_some());

    Ok(Report::new(vec![
        kernel_checks::release(&release, kernel::has_bpf()),
        kernel_checks::btf(File::open("/sys/kernel/btf/vmlinux").map(drop)),
        kernel_checks::grace_period(kernel::has_grace_periods()),
        kernel_checks::memlock(&release, memlock(&service)),
        kernel_checks::loopback(kernel::has_loopback()),
        security::lockdown(text("/sys/kernel/security/lockdown").as_deref(), &programs),
        security::modules(&modules(), &programs),
        capability::own(&missing, root, text("/proc/self/uid_map").as_deref()),
        programs.check(),
        cgroup::mount(&mount(&cgroups), version_1),
        cgroup::captured(&captured, runner(&answer, process)),
        hooks::check(at_hooks.as_deref().map_err(Clone::clone)),
        file_checks::configuration(&configuration(&file, &loaded, readable)),
        file_checks::permissions(
            reader(&service, process).as_ref(),
            &abouts(&file, &drop_ins, &loaded),
        ),
        capability::server_first(
            loaded.mesh.as_ref().map(server_first).as_deref(),
            lacks_ptrace(&service, process, root),
            text("/proc/sys/kernel/yama/ptrace_scope").as_deref(),
        ),
        unit::state(&service),
        unit::capabilities(&service, &NEEDED),
        unit::store(&service, least_kept(&answer)),
        socket_checks::socket(&socket, &answer),
        socket_checks::daemon(&answer, &version()),
        links::check(&held(&path), &answer),
    ]))
}

fn text(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

fn version() -> Version {
    Version {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        commit: env!("KMESH_LITE_COMMIT").to_owned(),
        layout: kmesh_lite_common::LAYOUT_VERSION,
    }
}

/// What the daemon says, and its file.
fn ask(socket: &Path) -> (Answer, Option<PathBuf>) {
    let client = Client::new(socket.to_owned()).patient_for(PATIENCE);
    let status: Status = match client.get("status", &[]) {
        Ok(status) => status,
        Err(CliError::NotRunning(_)) => return (Answer::Nobody, None),
        Err(CliError::Denied { group, .. }) => return (Answer::Denied(group), None),
        Err(CliError::Silent(_)) => return (Answer::Silent, None),
        Err(CliError::Failure(failure)) if failure.kind == api::FailureKind::Forbidden => {
            return (Answer::Denied(None), None);
        }
        Err(error) => return (Answer::Failed(chain(&error)), None),
    };
    let file = status.config.map(|config| config.path);
    let state = match status.state {
        api::State::Routing => State::Routing,
        api::State::Waiting => State::Waiting,
        api::State::Keeping => State::Keeping,
        api::State::Failing | api::State::Unattended => State::Failing,
    };
    let Some(about) = status.daemon else {
        let why = "the daemon does not say what it is".to_owned();
        return (Answer::Failed(why), file);
    };
    let daemon = Daemon {
        pid: about.pid,
        version: Version {
            version: about.version,
            commit: about.commit,
            layout: about.layout_version,
        },
        state,
        verdict: status.verdict,
        failure: status.failure,
        attached: status.datapath.attached.iter().map(PathBuf::from).collect(),
    };
    (Answer::Daemon(daemon), file)
}

fn socket(path: &Path) -> Socket {
    let lock = File::open(daemon::lock_path(path));
    Socket {
        path: path.to_owned(),
        file: path
            .metadata()
            .ok()
            .map(|about| crate::doctor::socket::File {
                is_socket: about.file_type().is_socket(),
                owner: user_name(about.uid()),
                group: group_name(about.gid()),
                mode: about.mode(),
            }),
        holder: lock.ok().and_then(|lock| kernel::lock_holder(&lock)),
    }
}

fn user_name(uid: u32) -> String {
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    user.map_or_else(|| uid.to_string(), |user| user.name)
}

fn group_name(gid: u32) -> String {
    let group = Group::from_gid(Gid::from_raw(gid)).ok().flatten();
    group.map_or_else(|| gid.to_string(), |group| group.name)
}

fn programs(missing: &[&'static str]) -> Programs {
    if !missing.is_empty() {
        return Programs::NotTried(missing.to_vec());
    }
    match kernel::probe() {
        Ok(abilities) => Programs::Loaded {
            choose_errno: abilities.choose_errno,
            know_mptcp: abilities.know_mptcp,
        },
        Err(LoadError::Skipped) => Programs::NotBuilt,
        Err(error) => Programs::Refused(refusal(&error)),
    }
}

fn refusal(error: &LoadError) -> Refusal {
    if let Some((source, log)) = error.rejected() {
        return Refusal {
            error: format!("{error}: {source}"),
            denied: source.raw_os_error() == Some(libc::EPERM) && log.is_empty(),
            log,
        };
    }
    Refusal {
        error: chain(error),
        log: String::new(),
        denied: errno(error) == Some(libc::EPERM),
    }
}

/// The system call's error at the end of the chain.
fn errno(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    let own = error.downcast_ref::<io::Error>();
    own.and_then(io::Error::raw_os_error)
        .or_else(|| error.source().and_then(errno))
}

fn memlock(service: &Service) -> Option<u64> {
    if let Service::Known(unit) = service {
        return unit.memlock();
    }
    let (limit, _) = getrlimit(Resource::RLIMIT_MEMLOCK).ok()?;
    Some(limit).filter(|limit| *limit != RLIM_INFINITY)
}

fn modules() -> Modules {
    Modules {
        list: text("/sys/kernel/security/lsm"),
        selinux: text("/sys/fs/selinux/enforce"),
        apparmor: text("/sys/module/apparmor/parameters/enabled"),
    }
}

fn mount(cgroups: &Result<Cgroups, CgroupError>) -> Mount<'_> {
    match cgroups {
        Ok(cgroups) => Mount::At(cgroups.mount()),
        Err(CgroupError::NotMounted) => Mount::Nowhere,
        Err(error) => Mount::Unseen(chain(error)),
    }
}

/// Cgroups that were asked for; or those that the daemon has; or those of the file.
fn wanted(args: &args::Doctor, answer: &Answer, mesh: Option<&Mesh>) -> Vec<PathBuf> {
    if !args.cgroups.is_empty() {
        return args.cgroups.iter().map(|path| rooted(path)).collect();
    }
    match (answer.daemon(), mesh) {
        (Some(daemon), _) if !daemon.attached.is_empty() => daemon.attached.clone(),
        (_, Some(mesh)) => mesh.capture.cgroups.clone(),
        (_, None) => Capture::default().cgroups,
    }
}

fn captured(cgroups: &Cgroups, wanted: &[PathBuf]) -> Vec<Captured> {
    let captured = kernel::outermost(cgroups, wanted).into_iter().map(|path| {
        let at = cgroups.folder(&path);
        let folder = File::open(&at);
        Captured {
            there: at.is_dir(),
            holder: folder.ok().and_then(|folder| kernel::lock_holder(&folder)),
            path,
            at,
        }
    });
    captured.collect()
}

fn at_hooks(cgroups: &Cgroups, captured: &[Captured], instance: u64) -> Result<Vec<Hook>, Unseen> {
    let mut seen = Vec::new();
    for cgroup in captured.iter().filter(|cgroup| cgroup.there) {
        seen.extend(kernel::at_hooks(cgroups, &cgroup.path).map_err(|error| {
            match error.raw_os_error() {
                Some(libc::EPERM | libc::EACCES) => {
                    Unseen::Denied("CAP_NET_ADMIN is needed".to_owned())
                }
                Some(libc::EINVAL) => Unseen::Absent,
                _ => Unseen::Failed(error.to_string()),
            }
        })?);
    }
    if seen.iter().all(|hook| {
        hook.effective.is_empty() && hook.levels.iter().all(|level| level.programs.is_empty())
    }) {
        return Ok(Vec::new());
    }
    // Somebody is there, perhaps the daemon itself.
    let denied = || Unseen::Denied("only root can tell whose programs are attached".to_owned());
    let names = kernel::names().map_err(|_| denied())?;
    let instances = kernel::instances().map_err(|_| denied())?;
    let programs = |ids: &[u32]| {
        ids.iter()
            .map(|id| program(*id, &names, &instances, instance))
            .collect()
    };
    Ok(seen
        .into_iter()
        .map(|hook| Hook {
            name: hook.hook,
            levels: hook
                .levels
                .into_iter()
                .map(|level| Level {
                    cgroup: level.cgroup,
                    sharing: Sharing::from_flags(level.flags),
                    programs: programs(&level.programs),
                })
                .collect(),
            effective: programs(&hook.effective),
        })
        .collect())
}

fn program(
    id: u32,
    names: &BTreeMap<u32, String>,
    instances: &BTreeMap<u32, u64>,
    instance: u64,
) -> Program {
    Program {
        id,
        name: names.get(&id).filter(|name| !name.is_empty()).cloned(),
        owner: match instances.get(&id) {
            Some(owner) if *owner == instance => Owner::Us,
            Some(_) => Owner::Another,
            None => Owner::Other,
        },
    }
}

fn configuration(path: &Path, loaded: &Loaded, readable: bool) -> Configuration {
    Configuration {
        path: path.to_owned(),
        present: loaded.present,
        readable,
        errors: loaded.errors(),
        first: first(loaded),
        files: loaded.files.len(),
        services: loaded.mesh.as_ref().map_or(0, |mesh| mesh.services.len()),
    }
}

/// The first error, as one line.
fn first(loaded: &Loaded) -> Option<String> {
    let findings = loaded.findings();
    let list = findings.list.as_array()?;
    let error = list.iter().find(|problem| problem["severity"] == "error")?;
    let message = error["message"].as_str()?;
    match (error["file"].as_str(), error["line"].as_u64()) {
        (Some(file), Some(line)) => Some(format!("{file}:{line}: {message}")),
        _ => Some(message.to_owned()),
    }
}

fn runner(answer: &Answer, process: Option<u32>) -> Runner {
    match (process, answer) {
        (Some(process), _) => Runner::Process(process),
        (None, Answer::Nobody) => Runner::Nobody,
        (None, _) => Runner::Somebody,
    }
}

/// Whom the daemon runs as, if systemd or /proc says.
fn reader(service: &Service, process: Option<u32>) -> Option<Reader> {
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
fn abouts(file: &Path, drop_ins: &Path, loaded: &Loaded) -> Vec<About> {
    let folder = file.parent().unwrap_or(Path::new("/"));
    let way: Vec<_> = folder.ancestors().skip(1).collect();
    let way = way.into_iter().rev().map(|path| (path, Role::Way));
    let folders = [(folder, Role::Folder), (drop_ins, Role::Folder)];
    let mut paths: Vec<_> = way.chain(folders).collect();
    paths.push((file, Role::File));
    let others = loaded.files.iter().map(PathBuf::as_path);
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
fn server_first(mesh: &Mesh) -> Vec<String> {
    let waypoints = mesh.waypoints.iter();
    waypoints
        .filter(|(_, waypoint)| {
            waypoint.speaker == Speaker::Server && waypoint.header != Header::Nothing
        })
        .map(|(name, _)| name.to_string())
        .collect()
}

/// Whether the daemon that runs, or the one that would, lacks CAP_SYS_PTRACE.
fn lacks_ptrace(service: &Service, process: Option<u32>, root: bool) -> Option<bool> {
    let wanted = [FOR_SERVER_FIRST];
    match (process, service) {
        (Some(process), _) => Some(!kernel::missing(Some(process), &wanted).is_empty()),
        (None, Service::Known(unit)) => Some(!unit.missing(&wanted).is_empty()),
        (None, Service::Unknown(_)) if root => Some(!kernel::missing(None, &wanted).is_empty()),
        (None, Service::Unknown(_)) => None,
    }
}

fn least_kept(answer: &Answer) -> Option<usize> {
    let attached = &answer.daemon()?.attached;
    (!attached.is_empty()).then(|| kernel::kept_for(attached.len()))
}

fn held(socket: &Path) -> Held {
    match Observer::find(kernel::instance(socket)) {
        Ok(Some(observer)) => Held::Attached(observer.attached().iter().map(attached).collect()),
        Ok(None) => Held::Nothing,
        Err(ObserveError::Layout { there, ours }) => Held::Layout { there, ours },
        Err(error) if errno(&error) == Some(libc::EPERM) => Held::Denied,
        Err(error) => Held::Failed(chain(&error)),
    }
}

fn attached(path: &PathBuf) -> Attached {
    let folder = Cgroups::find().ok().map(|cgroups| cgroups.folder(path));
    let folder = folder.and_then(|folder| File::open(folder).ok());
    Attached {
        path: path.clone(),
        holder: folder.and_then(|folder| kernel::lock_holder(&folder)),
    }
}
