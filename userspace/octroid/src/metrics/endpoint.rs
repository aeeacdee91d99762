//! The Prometheus endpoint: HTTP on a unix socket or on this host's loopback, in threads of its own.
//!
//! A scraper can be as slow as it likes: it holds a thread here for [`PATIENCE`] and nothing else. The daemon makes the page
//! when it is asked, hands it over whole, and forgets about it. One request is answered on each connection, and then it is
//! closed: whoever asks again before it has read would be waited for, and all others behind it.
use std::{
    fs,
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::{UnixListener, UnixStream},
    },
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, SyncSender, channel, sync_channel},
    },
    time::{Duration, Instant},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::eventfd::{EfdFlags, EventFd},
};

use super::prometheus::CONTENT_TYPE;
use crate::{config::file::Listen, confine, control::listener::restrict};

/// Scrapers that may be slow at the same time; one more is told to come back.
const MAX_SCRAPERS: usize = 8;

/// How long a scrape may take, from the first byte of the request to the last of the page.
const PATIENCE: Duration = Duration::from_secs(5);

/// Longest request that is read.
const MAX_REQUEST: usize = 8192;

/// The endpoint; it closes with this value.
pub struct Endpoint {
    scrapes: Receiver<Scrape>,
    bell: Arc<EventFd>,
    /// Tells the thread that accepts to end.
    end: Arc<EventFd>,
    socket: Option<PathBuf>,
}

/// Somebody who waits for a page.
#[derive(Debug)]
pub struct Scrape(SyncSender<String>);

/// Where scrapers come from.
enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

/// A scraper.
enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

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
        let (listener, socket) = match listen {
            Listen::Tcp(addr) => (Listener::Tcp(TcpListener::bind(addr)?), None),
            Listen::Unix(path) => {
                remove_stale(path)?;
                let listener = UnixListener::bind(path)?;
                restrict(path)?;
                (Listener::Unix(listener), Some(path.clone()))
            }
        };
        let event = || EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).map(Arc::new);
        let (bell, end) = (event()?, event()?);
        let (sender, scrapes) = channel();
        let desk = Desk { daemon: sender, bell: Arc::clone(&bell), scrapers: Arc::default() };
        let ended = Arc::clone(&end);
        let thread = std::thread::Builder::new().name("octroi-metrics".to_owned());
        thread.spawn(move || accept_all(&listener, &ended, &desk))?;
        Ok(Self { scrapes, bell, end, socket })
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
        // Its threads are not waited for: one may be writing to somebody who does not read.
        let _ = self.end.write(1);
        if let Some(path) = &self.socket {
            let _ = fs::remove_file(path);
        }
    }
}

impl Listener {
    fn accept(&self) -> io::Result<Stream> {
        Ok(match self {
            Self::Unix(listener) => Stream::Unix(listener.accept()?.0),
            Self::Tcp(listener) => Stream::Tcp(listener.accept()?.0),
        })
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Unix(listener) => listener.as_fd(),
            Self::Tcp(listener) => listener.as_fd(),
        }
    }
}

impl Stream {
    /// Lets the next call wait until then at most.
    fn limit(&self, until: Instant) -> io::Result<()> {
        let left = until.saturating_duration_since(Instant::now());
        // Zero would mean "wait for ever".
        let left = Some(left).filter(|left| !left.is_zero()).ok_or(io::ErrorKind::TimedOut)?;
        match self {
            Self::Unix(stream) => {
                stream.set_read_timeout(Some(left)).and(stream.set_write_timeout(Some(left)))
            }
            Self::Tcp(stream) => {
                stream.set_read_timeout(Some(left)).and(stream.set_write_timeout(Some(left)))
            }
        }
    }

    fn read(&mut self, buffer: &mut [u8], until: Instant) -> io::Result<usize> {
        self.again(until, |stream| match stream {
            Self::Unix(stream) => stream.read(buffer),
            Self::Tcp(stream) => stream.read(buffer),
        })
    }

    fn write(&mut self, bytes: &[u8], until: Instant) -> io::Result<usize> {
        self.again(until, |stream| match stream {
            Self::Unix(stream) => stream.write(bytes),
            Self::Tcp(stream) => stream.write(bytes),
        })
    }

    /// A call that a signal interrupts is made again: the kernel resumes none that has a time limit (signal(7)).
    fn again(
        &mut self,
        until: Instant,
        mut call: impl FnMut(&mut Self) -> io::Result<usize>,
    ) -> io::Result<usize> {
        loop {
            self.limit(until)?;
            match call(self) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => return outcome,
            }
        }
    }

    /// The target of a GET, once its head is whole; `None` if it is something else, or too long.
    fn target(&mut self, until: Instant) -> io::Result<Option<String>> {
        let mut head = Vec::new();
        while !head.windows(4).any(|end| end == b"\r\n\r\n") {
            let mut part = [0; 1024];
            let length = self.read(&mut part, until)?;
            head.extend_from_slice(part.get(..length).unwrap_or_default());
            if length == 0 || MAX_REQUEST < head.len() {
                return Ok(None);
            }
        }
        let head = String::from_utf8_lossy(&head);
        let mut words = head.split(' ');
        Ok(words.next().filter(|&method| method == "GET").and(words.next()).map(str::to_owned))
    }

    fn send(&mut self, text: &str, until: Instant) -> io::Result<()> {
        let mut left = text.as_bytes();
        while !left.is_empty() {
            let sent = self.write(left, until)?;
            left = left.get(sent..).filter(|_| sent != 0).ok_or(io::ErrorKind::WriteZero)?;
        }
        Ok(())
    }
}

/// A socket file that nobody listens on is left over from a crash.
fn remove_stale(path: &PathBuf) -> io::Result<()> {
    match UnixStream::connect(path) {
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(_) => Ok(()),
    }
}

/// What a scraper's thread needs.
#[derive(Clone)]
struct Desk {
    daemon: Sender<Scrape>,
    bell: Arc<EventFd>,
    /// How many there are.
    scrapers: Arc<AtomicUsize>,
}

fn accept_all(listener: &Listener, end: &EventFd, desk: &Desk) {
    // Whoever speaks HTTP to these threads speaks to nobody who may do anything.
    if let Err(error) = confine::drop_capabilities() {
        tracing::warn!(%error, "the metrics endpoint keeps its capabilities");
    }
    loop {
        let mut fds =
            [PollFd::new(listener.as_fd(), PollFlags::POLLIN), PollFd::new(end.as_fd(), PollFlags::POLLIN)];
        let _ = poll(&mut fds, PollTimeout::NONE);
        if fds[1].any().unwrap_or(true) {
            return;
        }
        match listener.accept() {
            Ok(mut stream) if MAX_SCRAPERS <= desk.scrapers.load(Ordering::Relaxed) => {
                // It fits whatever a new connection has room for, so this waits for nobody.
                let _ = stream.send(&refusal("503 Service Unavailable"), Instant::now() + PATIENCE);
            }
            Ok(stream) => {
                desk.scrapers.fetch_add(1, Ordering::Relaxed);
                let own = desk.clone();
                let thread = std::thread::Builder::new().name("octroi-scrape".to_owned());
                if thread.spawn(move || own.serve(stream)).is_err() {
                    desk.scrapers.fetch_sub(1, Ordering::Relaxed);
                }
            }
            // Out of descriptors, most likely: others need the time to give some back.
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

fn refusal(status: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
}

impl Desk {
    /// Answers one scraper.
    fn serve(self, mut stream: Stream) {
        if let Err(error) = self.answer(&mut stream) {
            tracing::debug!(%error, "a scraper went away");
        }
        self.scrapers.fetch_sub(1, Ordering::Relaxed);
    }

    fn answer(&self, stream: &mut Stream) -> io::Result<()> {
        let until = Instant::now() + PATIENCE;
        let target = stream.target(until)?;
        let answer = match target.as_deref().and_then(|target| target.split('?').next()) {
            None => refusal("400 Bad Request"),
            Some("/metrics") => match self.page() {
                Some(page) => {
                    let length = page.len();
                    format!(
                        "HTTP/1.1 200 OK\r\nContent-Type: {CONTENT_TYPE}\r\nContent-Length: {length}\r\n\
                         Connection: close\r\n\r\n{page}"
                    )
                }
                None => refusal("503 Service Unavailable"),
            },
            Some(_) => refusal("404 Not Found"),
        };
        stream.send(&answer, until)
    }

    fn page(&self) -> Option<String> {
        let (answer, page) = sync_channel(1);
        self.daemon.send(Scrape(answer)).ok()?;
        let _ = self.bell.write(1);
        page.recv_timeout(PATIENCE).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

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

    #[test]
    fn f20_whoever_does_not_read_or_does_not_finish_is_given_up_and_holds_nobody_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.sock");
        let endpoint = Endpoint::open(&Listen::Unix(path.clone())).unwrap();
        // As many as may be slow: half a request, and requests without an end.
        let slow: Vec<_> = (0..MAX_SCRAPERS)
            .map(|n| {
                let mut stream = UnixStream::connect(&path).unwrap();
                let said = if n % 2 == 0 { "GET /metr" } else { "GET /metrics HTTP/1.1\r\nX: y\r\n" };
                stream.write_all(said.as_bytes()).unwrap();
                stream
            })
            .collect();
        let mut more = UnixStream::connect(&path).unwrap();
        let mut answer = String::new();
        more.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        drop(slow);
        for said in ["POST /metrics HTTP/1.1\r\n\r\n".to_owned(), "x".repeat(2 * MAX_REQUEST)] {
            let answer = loop {
                let mut stream = UnixStream::connect(&path).unwrap();
                let _ = stream.write_all(said.as_bytes());
                let mut answer = String::new();
                let _ = stream.read_to_string(&mut answer);
                // Those that were slow are found to be gone one after the other.
                if !answer.starts_with("HTTP/1.1 503 ") {
                    break answer;
                }
            };
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer}");
        }
        drop(endpoint);
    }
}
