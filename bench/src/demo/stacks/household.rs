//! Who lives at the shared address: nginx on the OS stack, and three applications on stacks of their own.
use std::{
    fs::{self, Permissions},
    net::{SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt as _,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result};
use octroi_examples::http::object::{Kib, Objects};
use octroi_tests::lab::{self, Service, User, program};
use tempfile::TempDir;

use crate::demo::scene::Scene;

/// The users of `examples/shared-address.toml`.
const WEB: u32 = 60_080;
const NAMES: u32 = 60_053;
pub(super) const OTHERS: u32 = 60_007;

/// KiB of the objects that are fetched.
pub(crate) const SIZES: [u16; 4] = [1, 8, 16, 32];

/// Applications with stacks of their own.
pub(super) const APPLICATIONS: u64 = 3;

/// A server of objects.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Server {
    pub(crate) name: &'static str,
    pub(crate) port: u16,
}

/// The one on a stack of its own.
pub(crate) const HTTP: Server = Server { name: "octroi-http", port: 8080 };

/// The one on the OS's.
pub(crate) const NGINX: Server = Server { name: "nginx", port: 80 };

/// The very file that a reader would copy.
const NGINX_CONF: &str = include_str!("../../../../examples/nginx.conf");

/// How long nginx may take to listen.
const PATIENCE: Duration = Duration::from_secs(1);

/// Running servers. Dropping it ends them.
pub(crate) struct Household {
    nginx: Service,
    applications: Vec<Service>,
    /// What is served.
    pub(super) objects: Objects,
    _directory: TempDir,
    _users: Vec<User>,
}

impl Household {
    /// Starts all of them, and waits until they serve.
    ///
    /// # Errors
    /// One does not start.
    pub(crate) fn start(scene: &Scene) -> Result<Self> {
        let objects = Objects::default();
        let directory = files(&objects)?;
        let nginx = nginx(scene, &directory)?;
        let mut users = Vec::new();
        let mut applications = Vec::new();
        for (uid, name, port) in
            [(WEB, HTTP.name, HTTP.port), (NAMES, "octroi-dns", 53), (OTHERS, "octroi-echo", 7)]
        {
            let user = User::new(uid)?;
            let mut command = user.command(name)?;
            command.arg("--control").arg(&scene.socket).args(["--listen", &format!("any:{port}")]);
            applications.push(Service::start(&scene.pair.served, &mut command)?);
            users.push(user);
        }
        Ok(Self { nginx, applications, objects, _directory: directory, _users: users })
    }

    /// The applications.
    pub(super) fn applications(&self) -> &[Service] {
        &self.applications
    }

    /// Asks all of them to end, and counts the applications that end without complaint.
    ///
    /// # Errors
    /// One does not end.
    pub(crate) fn end(self) -> Result<u64> {
        let mut clean = 0;
        for application in self.applications {
            clean += u64::from(application.stop()?.success());
        }
        self.nginx.stop()?;
        Ok(clean)
    }
}

/// Starts the server of the same code on the OS's TCP.
///
/// # Errors
/// It does not start.
pub(crate) fn on_os(scene: &Scene, server: Server) -> Result<Service> {
    let end = &scene.pair.served;
    let mut command = Command::new(program::find(server.name)?);
    command.arg("--listen").arg(SocketAddr::new(end.v4.into(), server.port).to_string());
    Service::start(end, &mut command)
}

/// What nginx serves: the same objects, as files.
fn files(objects: &Objects) -> Result<TempDir> {
    let directory = tempfile::Builder::new().prefix("octroi-demo-nginx").tempdir()?;
    let served = directory.path().join("objects");
    fs::create_dir(&served)?;
    for kib in SIZES {
        fs::write(served.join(format!("{kib}k")), objects.get(Kib::new(kib).context("no such object")?))?;
    }
    fs::write(directory.path().join("nginx.conf"), NGINX_CONF)?;
    // Its workers are another user.
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755))?;
    Ok(directory)
}

fn nginx(scene: &Scene, directory: &TempDir) -> Result<Service> {
    let end = &scene.pair.served;
    // Debian has it where users without privileges do not look.
    let found = ["/usr/sbin/nginx"].into_iter().find(|path| fs::exists(path).unwrap_or(false));
    let mut command = Command::new(found.unwrap_or("nginx"));
    command.args(["-e", "stderr", "-c", "nginx.conf", "-p"]).arg(directory.path()).stderr(Stdio::null());
    let nginx = Service::spawn(end, &mut command).context("`cargo xtask setup --peers` installs nginx")?;
    let at = SocketAddr::new(end.v4.into(), NGINX.port);
    lab::until("nginx listens", || {
        Ok(scene.pair.peer.netns.enter(|| TcpStream::connect_timeout(&at, PATIENCE))?.is_ok())
    })?;
    Ok(nginx)
}
