//! The Prometheus endpoint: HTTP on a unix socket or on this host's loopback, in threads of its own.
//!
//! A scraper can be as slow as it likes: it holds a thread here and nothing else. The daemon makes the page when it is
//! asked, hands it over whole, and forgets about it.
use std::{
    fs, io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixListener,
    },
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, SyncSender, channel, sync_channel},
    },
    time::Duration,
};

use nix::sys::eventfd::{EfdFlags, EventFd};
use tiny_http::{Header, Request, Response, Server, StatusCode};

use super::prometheus::CONTENT_TYPE;
use crate::{config::file::Listen, confine, control::listener::restrict};

/// Scrapers that may be slow at the same time; one more is told to come back.
const MAX_SCRAPERS: usize = 8;

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
                restrict(path)?;
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

fn answer_all(server: &Server, daemon: &Sender<Scrape>, bell: &Arc<EventFd>) {
    // Whoever speaks HTTP to these threads speaks to nobody who may do anything.
    if let Err(error) = confine::drop_capabilities() {
        tracing::warn!(%error, "the metrics endpoint keeps its capabilities");
    }
    let scrapers = Arc::new(AtomicUsize::new(0));
    // `unblock` ends the iteration.
    for request in server.incoming_requests() {
        if request.url().split('?').next() != Some("/metrics") {
            respond(request, Err(404));
        } else if MAX_SCRAPERS <= scrapers.load(Ordering::Relaxed) {
            respond(request, Err(503));
        } else {
            let (daemon, bell, scrapers) = (daemon.clone(), Arc::clone(bell), Arc::clone(&scrapers));
            scrapers.fetch_add(1, Ordering::Relaxed);
            std::thread::spawn(move || {
                respond(request, page(&daemon, &bell));
                scrapers.fetch_sub(1, Ordering::Relaxed);
            });
        }
    }
}

fn respond(request: Request, page: Result<String, u16>) {
    let sent = match page {
        Ok(text) => {
            let response = Response::from_string(text);
            request.respond(match Header::from_bytes("Content-Type", CONTENT_TYPE) {
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

fn page(daemon: &Sender<Scrape>, bell: &EventFd) -> Result<String, u16> {
    let (answer, page) = sync_channel(1);
    daemon.send(Scrape(answer)).map_err(|_| 503_u16)?;
    let _ = bell.write(1);
    page.recv_timeout(PATIENCE).map_err(|_| 503)
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        os::unix::net::UnixStream,
        thread,
    };

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;

    fn ask(path: &std::path::Path, url: &str) -> String {
        let mut stream = UnixStream::connect(path).unwrap();
        write!(stream, "GET {url} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn a_scrape_is_answered_with_the_page_that_was_made_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.sock");
        let endpoint = Endpoint::open(&Listen::Unix(path.clone())).unwrap();
        let scraper = thread::spawn({
            let path = path.clone();
            move || ask(&path, "/metrics?x=1")
        });
        let mut fds = [PollFd::new(endpoint.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut fds, PollTimeout::from(30_000_u16)), Ok(1));
        endpoint.scrapes().for_each(|scrape| scrape.answer("octroi_held 0\n# EOF\n".to_owned()));
        let answer = scraper.join().unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains(CONTENT_TYPE), "{answer}");
        assert!(answer.ends_with("octroi_held 0\n# EOF\n"), "{answer}");
        assert!(ask(&path, "/").starts_with("HTTP/1.1 404 "));
        drop(endpoint);
        assert!(!path.exists());
    }

    #[test]
    fn a_socket_that_a_crash_left_is_replaced_and_a_living_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.sock");
        drop(UnixListener::bind(&path).unwrap());
        let endpoint = Endpoint::open(&Listen::Unix(path.clone())).unwrap();
        let second = Endpoint::open(&Listen::Unix(path.clone()));
        assert_eq!(second.err().map(|e| e.kind()), Some(io::ErrorKind::AddrInUse));
        drop(endpoint);
    }
}
