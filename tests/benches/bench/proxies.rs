//! Proxies, each one process with one thread, and otherwise configured as their packages do it.

use crate::Error;
use crate::process::Process;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub const NGINX_STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

/// HAProxy in front of a server of loopback, and where it listens.
pub fn haproxy(server: u16) -> Result<(Proxy, SocketAddrV4), Error> {
    let address = free()?;
    let configuration = format!(
        "global\n nbthread 1\n maxconn 1000\n\
         defaults\n mode tcp\n timeout connect 5s\n timeout client 1m\n timeout server 1m\n\
         listen bench\n bind {address}\n server bench 127.0.0.1:{server}\n"
    );
    let proxy = Proxy::start(Program::HaProxy, &configuration, &[address])?;
    Ok((proxy, address))
}

/// nginx in front of a server of loopback, and where it listens.
pub fn nginx(server: u16) -> Result<(Proxy, SocketAddrV4), Error> {
    let address = free()?;
    let configuration = format!(
        "daemon off;\nmaster_process off;\npid nginx.pid;\nerror_log stderr error;\n\
         load_module {NGINX_STREAM};\nevents {{ worker_connections 1000; }}\n\
         stream {{ server {{ listen {address}; proxy_pass 127.0.0.1:{server}; }} }}\n"
    );
    let proxy = Proxy::start(Program::Nginx, &configuration, &[address])?;
    Ok((proxy, address))
}

/// An address of loopback with a port that is free.
fn free() -> io::Result<SocketAddrV4> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    Ok(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))
}

#[derive(Clone, Copy)]
pub enum Program {
    HaProxy,
    Nginx,
    Envoy,
}

impl Program {
    /// `file` is its configuration, in a folder where it may write.
    fn command(self, file: &Path) -> Command {
        match self {
            Self::HaProxy => {
                let mut command = Command::new("haproxy");
                command.arg("-db").arg("-f").arg(file);
                command
            }
            Self::Nginx => {
                let mut command = Command::new("nginx");
                command.arg("-p").arg(file.parent().unwrap_or(file));
                command.args(["-e", "stderr", "-c"]).arg(file);
                command
            }
            Self::Envoy => {
                let mut command = Command::new("envoy");
                command.args(["--concurrency", "1", "--log-level", "error"]);
                command.args(["--disable-hot-restart", "-c"]).arg(file);
                command
            }
        }
    }
}

/// A running proxy.
pub struct Proxy {
    _process: Process,
    _folder: TempDir,
}

impl Proxy {
    /// Returns when it listens at all of these addresses.
    pub fn start(
        program: Program,
        configuration: &str,
        listens: &[SocketAddrV4],
    ) -> Result<Self, Error> {
        let folder = tempfile::tempdir()?;
        // Only Envoy looks at the end of the name.
        let file = folder.path().join("proxy.yaml");
        fs::write(&file, configuration)?;
        let mut command = program.command(&file);
        command.stdout(Stdio::null()).stdin(Stdio::null());
        let mut process = Process::start(&mut command).map_err(|error| {
            let program = command.get_program().display();
            match error.kind() {
                io::ErrorKind::NotFound => format!("no program `{program}` on PATH"),
                _ => format!("`{program}` does not start: {error}"),
            }
        })?;
        let until = Instant::now() + Duration::from_secs(5);
        for address in listens {
            while TcpStream::connect(address).is_err() {
                if let Some(status) = process.child().try_wait()? {
                    return Err(format!("it ended at once: {status}").into());
                }
                if Instant::now() > until {
                    return Err(format!("it does not listen at {address} after 5 seconds").into());
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        Ok(Self {
            _process: process,
            _folder: folder,
        })
    }
}
