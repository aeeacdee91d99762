//! The Prometheus endpoint: HTTP on a unix socket or on this host's loopback, in threads of its own.
//!
//! A scraper can be as slow as it likes: it holds a thread here and nothing else. The daemon makes the page when it is
//! asked, hands it over whole, and forgets about it.
use std::{
    fs, io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::{fs::PermissionsExt, net::UnixListener},
    },
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{Receiver, Sender, SyncSender, channel, sync_channel},
    },
    time::Duration,
};

use nix::sys::eventfd::{EfdFlags, EventFd};
use tiny_http::{Header, Response, Server, StatusCode};

use super::prometheus::CONTENT_TYPE;
use crate::config::file::Listen;

/// How long a scrape waits for the daemon.
const PATIENCE: Duration = Duration::from_secs(5);

/// The endpoint; it closes with this value.
pub struct Endpoint {
    server: Arc<Server>,
    scrapes: Receiver<Scrape>,
    bell: Arc<EventFd>,
    socket: Option<PathBuf>,
}

/// Somebody who waits for a page.
#[derive(Debug)]
pub struct Scrape(SyncSender<String>);

impl Scrape {
    /// Hands the page over. Who gave up waiting is not told.
    pub fn answer(self, page: String) {
        let _ = self.0.try_send(page);
    }
}

impl Endpoint {
    /// Begins to listen.
    ///
    /// # Errors
    /// The address is taken, or cannot be had.
    pub fn open(listen: &Listen) -> io::Result<Self> {
        let (listener, socket): (tiny_http::Listener, _) = match listen {
            Listen::Tcp(addr) => (std::net::TcpListener::bind(addr)?.into(), None),
            Listen::Unix(path) => {
                remove_stale(path)?;
                let listener = UnixListener::bind(path)?;
                fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
                (listener.into(), Some(path.clone()))
            }
        };
        let server = Server::from_listener(listener, None).map_err(io::Error::other)?;
        let server = Arc::new(server);
        let bell = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?);
        let (sender, scrapes) = channel();
        let (serve, ring) = (Arc::clone(&server), Arc::clone(&bell));
        let thread = std::thread::Builder::new().name("octroi-metrics".to_owned());
        thread.spawn(move || answer_all(&serve, &sender, &ring))?;
        Ok(Self { server, scrapes, bell, socket })
    }

    /// Who asked since the last call.
    pub fn scrapes(&self) -> impl Iterator<Item = Scrape> + '_ {
        let _ = self.bell.read();
        self.scrapes.try_iter()
    }
}

impl AsFd for Endpoint {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        // Its thread is not waited for: it may be writing to somebody who does not read.
        self.server.unblock();
        if let Some(path) = &self.socket {
            let _ = fs::remove_file(path);
        }
    }
}

/// A socket file that nobody listens on is left over from a crash.
fn remove_stale(path: &PathBuf) -> io::Result<()> {
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(_) => Ok(()),
    }
}

fn answer_all(server: &Server, daemon: &Sender<Scrape>, bell: &EventFd) {
    // `unblock` ends the iteration.
    for request in server.incoming_requests() {
        let path = request.url().split('?').next().unwrap_or_default();
        let page = if path == "/metrics" { page(daemon, bell) } else { Err(404) };
        let sent = match page {
            Ok(text) => {
                let response = Response::from_string(text);
                let header = Header::from_bytes("Content-Type", CONTENT_TYPE);
                request.respond(match header {
                    Ok(header) => response.with_header(header),
                    Err(()) => response,
                })
            }
            Err(code) => request.respond(Response::empty(StatusCode(code))),
        };
        if let Err(error) = sent {
            tracing::debug!(%error, "a scraper went away");
        }
    }
}

fn page(daemon: &Sender<Scrape>, bell: &EventFd) -> Result<String, u16> {
    let (answer, page) = sync_channel(1);
    daemon.send(Scrape(answer)).map_err(|_| 503_u16)?;
    let _ = bell.write(1);
    page.recv_timeout(PATIENCE).map_err(|_| 503)
}
