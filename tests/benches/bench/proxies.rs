//! HAProxy and nginx in front of the server, each one process with one thread, as their packages
//! configure them otherwise.

use crate::Error;
use crate::process::Process;
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A running proxy.
pub struct Proxy {
    _process: Process,
    _folder: TempDir,
    pub address: SocketAddrV4,
}

const NGINX_STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

impl Proxy {
    pub fn haproxy(server: u16) -> Result<Self, Error> {
        let configuration = |port| {
            format!(
                "global\n nbthread 1\n maxconn 1000\n\
                 defaults\n mode tcp\n timeout connect 5s\n timeout client 1m\n timeout server 1m\n\
                 listen bench\n bind 127.0.0.1:{port}\n server bench 127.0.0.1:{server}\n"
            )
        };
        Self::start(configuration, |file| {
            let mut command = Command::new("haproxy");
            command.arg("-db").arg("-f").arg(file);
            command
        })
    }

    pub fn nginx(server: u16) -> Result<Self, Error> {
        let configuration = |port| {
            format!(
                "daemon off;\nmaster_process off;\npid nginx.pid;\nerror_log stderr error;\n\
                 load_module {NGINX_STREAM};\nevents {{ worker_connections 1000; }}\n\
                 stream {{ server {{ listen 127.0.0.1:{port}; proxy_pass 127.0.0.1:{server}; }} }}\n"
            )
        };
        Self::start(configuration, |file| {
            let mut command = Command::new("nginx");
            // Its folder is where it would write.
            command.arg("-p").arg(file.parent().unwrap_or(file));
            command.args(["-e", "stderr", "-c"]).arg(file);
            command
        })
    }

    fn start(
        configuration: impl Fn(u16) -> String,
        command: impl Fn(&Path) -> Command,
    ) -> Result<Self, Error> {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = free.local_addr()?.port();
        drop(free);
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("proxy.conf");
        fs::write(&file, configuration(port))?;
        let mut command = command(&file);
        command.stdout(Stdio::null()).stdin(Stdio::null());
        let mut process = Process::start(&mut command)?;
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        let until = Instant::now() + Duration::from_secs(5);
        while TcpStream::connect(address).is_err() {
            if let Some(status) = process.child().try_wait()? {
                return Err(format!("it ended at once: {status}").into());
            }
            if Instant::now() > until {
                return Err("it does not listen after 5 seconds".into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(Self {
            _process: process,
            _folder: folder,
            address,
        })
    }
}
