//! A transport with tokio's connections and timers, on one thread.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use openai_core::redlock::NodeId;
use redis_nodes::{Connection, GroupTimer, NodeEvent, Transport};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::sleep;

/// An event for a group.
#[derive(Clone, Copy, Debug)]
pub enum Happening {
    Node(usize),
    Timer(GroupTimer),
}

/// The log entries about nodes.
pub type Log = Rc<RefCell<Vec<String>>>;

pub struct Tokio {
    happenings: UnboundedSender<Happening>,
    timers: [Option<AbortHandle>; 2],
    origin: Instant,
    log: Log,
}

impl Tokio {
    pub fn new(happenings: UnboundedSender<Happening>, log: Log) -> Self {
        Self {
            happenings,
            timers: [None, None],
            origin: Instant::now(),
            log,
        }
    }
}

impl Transport for Tokio {
    type Target = SocketAddr;
    type Connection = Socket;

    fn connect(&mut self, target: &SocketAddr, node: NodeId) -> io::Result<Socket> {
        let shared = Rc::new(Shared::default());
        let happening = Happening::Node(usize::from(node.0));
        let task = attend(
            *target,
            Rc::clone(&shared),
            self.happenings.clone(),
            happening,
        );
        Ok(Socket {
            task: spawn_local(task).abort_handle(),
            shared,
        })
    }

    fn start(&mut self, timer: GroupTimer, after_ms: u64) {
        let happenings = self.happenings.clone();
        let task = spawn_local(async move {
            sleep(Duration::from_millis(after_ms)).await;
            let _ended = happenings.send(Happening::Timer(timer));
        });
        let started = &mut self.timers[usize::from(timer == GroupTimer::Wake)];
        if let Some(before) = started.replace(task.abort_handle()) {
            before.abort();
        }
    }

    fn clock_us(&self) -> u64 {
        self.origin.elapsed().as_micros() as u64
    }

    fn log(&mut self, node: &str, event: NodeEvent<'_>) {
        let event = match event {
            NodeEvent::Down { .. } => "down",
            NodeEvent::Up => "up",
            NodeEvent::Failing { .. } => "failing",
            NodeEvent::Voting => "voting",
            NodeEvent::ClockJumped { .. } => "clock",
        };
        self.log.borrow_mut().push(format!("{node} {event}"));
    }
}

#[derive(Default)]
struct Shared {
    /// The connection once it is established, or the error.
    stream: RefCell<Option<io::Result<TcpStream>>>,
    /// Notified when all data has been read, or no more can be written.
    used_up: Notify,
}

/// Connects, and reports whenever the connection can be read or written.
async fn attend(
    target: SocketAddr,
    shared: Rc<Shared>,
    happenings: UnboundedSender<Happening>,
    happening: Happening,
) {
    let stream = TcpStream::connect(target).await;
    *shared.stream.borrow_mut() = Some(stream);
    while happenings.send(happening).is_ok() {
        shared.used_up.notified().await;
        let ready = std::future::poll_fn(|context| {
            let stream = shared.stream.borrow();
            let Some(Ok(stream)) = stream.as_ref() else {
                return std::task::Poll::Pending;
            };
            stream.poll_read_ready(context)
        });
        if ready.await.is_err() {
            return;
        }
    }
}

/// A connection to a redis-server.
pub struct Socket {
    shared: Rc<Shared>,
    task: AbortHandle,
}

impl Socket {
    fn with<T>(&self, act: impl FnOnce(&TcpStream) -> io::Result<T>) -> io::Result<T> {
        match self.shared.stream.borrow().as_ref() {
            Some(Ok(stream)) => act(stream),
            Some(Err(error)) => Err(error.kind().into()),
            None => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl Connection for Socket {
    fn connected(&mut self) -> io::Result<bool> {
        match self.with(|_| Ok(true)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            decided => decided,
        }
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.with(|stream| stream.try_write(bytes)) {
            // These tests send no more than fits into a socket's buffer. A later flush would send
            // the rest.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            sent => sent,
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.with(|stream| stream.try_read(buffer));
        if matches!(&read, Err(error) if error.kind() == io::ErrorKind::WouldBlock) {
            self.shared.used_up.notify_one();
        }
        read
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.task.abort();
        // The task may keep the connection until it runs next.
        self.shared.stream.borrow_mut().take();
    }
}
