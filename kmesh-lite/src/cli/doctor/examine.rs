//! Looks at the machine, for the checks to judge. Nothing is changed: programs are loaded and let go.

mod cgroup;
mod daemon;
mod files;
mod kernel;

use super::systemctl;
use crate::cli::args::{self, CONFIG};
use crate::cli::error::CliError;
use crate::cli::run::absolute;
use crate::daemon::SOCKET;
use crate::doctor::cgroup::Runner;
use crate::doctor::hooks::Unseen;
use crate::doctor::socket::Answer;
use crate::doctor::unit::Service;
use crate::doctor::{self as checks, Report};
use crate::host::{self, Cgroups, FOR_SERVER_FIRST, NEEDED};
use crate::kernel::{has_bpf, has_loopback, has_membarrier, instance, kept_for};
use crate::sources::Files;
use nix::unistd::geteuid;
use std::fs::{self, File};
use std::io;
use std::path::Path;

pub fn examine(args: &args::Doctor) -> Result<Report, CliError> {
    let path = absolute(&args.socket.path)?;
    let (answer, served) = daemon::ask(&path);
    let socket = daemon::socket(&path);
    let process = answer.daemon().map(|daemon| daemon.pid).or(socket.holder);
    let service = systemctl::show(process, path == Path::new(SOCKET));

    let file = args.config.clone().or(served);
    let file = absolute(&file.unwrap_or_else(|| CONFIG.into()))?;
    let mut source = Files::new(&file);
    let loaded = source.load(&host::this_host());
    let drop_ins = source.drop_ins().to_owned();
    let readable = files::are_readable(&file, &drop_ins, &loaded);

    let root = geteuid().is_root();
    let missing = host::missing(None, &NEEDED);
    let programs = kernel::programs(&missing);
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cgroups = Cgroups::find();
    let captured = match &cgroups {
        Ok(cgroups) => cgroup::captured(
            cgroups,
            &cgroup::wanted(args, &answer, loaded.mesh.as_ref()),
        ),
        Err(_) => Vec::new(),
    };
    let at_hooks = match &cgroups {
        Ok(cgroups) => cgroup::at_hooks(cgroups, &captured, instance(&path)),
        Err(error) => Err(Unseen::Failed(error.to_string())),
    };
    let version_1 = fs::read_to_string("/proc/self/mountinfo")
        .is_ok_and(|table| host::mounts(&table, "cgroup").next().is_some());

    Ok(Report::new(vec![
        checks::kernel::release(&release, has_bpf()),
        checks::kernel::btf(File::open("/sys/kernel/btf/vmlinux").map(drop)),
        checks::kernel::grace_period(has_membarrier()),
        checks::kernel::memlock(&release, kernel::memlock(&service)),
        checks::kernel::loopback(has_loopback()),
        checks::security::lockdown(text("/sys/kernel/security/lockdown").as_deref(), &programs),
        checks::security::modules(&kernel::modules(), &programs),
        checks::capability::own(&missing, root, text("/proc/self/uid_map").as_deref()),
        programs.check(),
        checks::cgroup::mount(&cgroup::mount(&cgroups), version_1),
        checks::cgroup::captured(&captured, runner(&answer, process)),
        checks::hooks::check(at_hooks.as_deref().map_err(Clone::clone)),
        checks::files::configuration(&files::configuration(&file, &loaded, readable)),
        checks::files::permissions(
            files::reader(&service, process).as_ref(),
            &files::abouts(&file, &drop_ins, &loaded),
        ),
        checks::capability::server_first(
            loaded.mesh.as_ref().map(files::server_first).as_deref(),
            lacks_ptrace(&service, process, root),
            text("/proc/sys/kernel/yama/ptrace_scope").as_deref(),
        ),
        checks::unit::state(&service),
        checks::unit::capabilities(&service, &NEEDED),
        checks::unit::store(&service, least_kept(&answer)),
        checks::socket::socket(&socket, &answer),
        checks::socket::daemon(&answer, &daemon::version()),
        checks::links::check(&cgroup::held(&path), &answer),
    ]))
}

fn text(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// The system call's error at the end of the chain.
fn errno(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    let own = error.downcast_ref::<io::Error>();
    own.and_then(io::Error::raw_os_error)
        .or_else(|| error.source().and_then(errno))
}

fn runner(answer: &Answer, process: Option<u32>) -> Runner {
    match (process, answer) {
        (Some(process), _) => Runner::Process(process),
        (None, Answer::Nobody) => Runner::Nobody,
        (None, _) => Runner::Somebody,
    }
}

/// Whether the daemon that runs, or the one that would, lacks CAP_SYS_PTRACE.
fn lacks_ptrace(service: &Service, process: Option<u32>, root: bool) -> Option<bool> {
    let wanted = [FOR_SERVER_FIRST];
    match (process, service) {
        (Some(process), _) => Some(!host::missing(Some(process), &wanted).is_empty()),
        (None, Service::Known(unit)) => Some(!unit.missing(&wanted).is_empty()),
        (None, Service::Unknown(_)) if root => Some(!host::missing(None, &wanted).is_empty()),
        (None, Service::Unknown(_)) => None,
    }
}

fn least_kept(answer: &Answer) -> Option<usize> {
    let attached = &answer.daemon()?.attached;
    (!attached.is_empty()).then(|| kept_for(attached.len()))
}
