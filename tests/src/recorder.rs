//! An upstream that writes down every byte that it is sent.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// An upstream that answers every request, and keeps what it was sent.
pub struct Recorder {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    stopped: AtomicBool,
    received: Mutex<Vec<u8>>,
    answer: Box<dyn Fn(&str) -> String + Send + Sync>,
}

impl Recorder {
    /// Listens on a port of its own. `answer` gets the head of a request and gives the bytes of
    /// its answer, which must not end the connection.
    pub fn start(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared {
            stopped: AtomicBool::new(false),
            received: Mutex::default(),
            answer: Box::new(answer),
        });
        let accepting = thread::spawn({
            let shared = shared.clone();
            move || {
                for stream in listener.incoming().map_while(Result::ok) {
                    if shared.stopped.load(Ordering::SeqCst) {
                        return;
                    }
                    let shared = shared.clone();
                    // Ends when nginx closes the connection, at its own end at the latest.
                    thread::spawn(move || shared.serve(stream));
                }
            }
        });
        Self {
            address,
            shared,
            accepting: Some(accepting),
        }
    }

    /// Answers every request with an empty JSON object.
    pub fn plain() -> Self {
        Self::start(|_| {
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
                .to_owned()
        })
    }

    /// Where it listens, as `127.0.0.1:port`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// All that has been received so far, over all connections.
    pub fn received(&self) -> String {
        let received = self.shared.received.lock();
        String::from_utf8_lossy(&received.unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

impl Shared {
    fn serve(&self, mut stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let mut waiting = Vec::new();
        let mut chunk = [0; 16 * 1024];
        loop {
            while let Some((head, rest)) = first_request(&waiting) {
                let answer = (self.answer)(&head);
                if stream.write_all(answer.as_bytes()).is_err() {
                    return;
                }
                waiting.drain(..rest);
            }
            match stream.read(&mut chunk) {
                Ok(0) | Err(_) => return,
                Ok(n) => {
                    waiting.extend_from_slice(&chunk[..n]);
                    let received = self.received.lock();
                    received
                        .unwrap_or_else(PoisonError::into_inner)
                        .extend_from_slice(&chunk[..n]);
                }
            }
        }
    }
}

/// The head of the first request, and how long it is with its body, once all of it is there.
fn first_request(bytes: &[u8]) -> Option<(String, usize)> {
    let text = String::from_utf8_lossy(bytes);
    let (head, _) = text.split_once("\r\n\r\n")?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.parse().ok())?
    });
    let whole = head.len() + 4 + length.unwrap_or(0);
    (bytes.len() >= whole).then(|| (head.to_owned(), whole))
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        let woken = TcpStream::connect(self.address).is_ok();
        if let Some(accepting) = self.accepting.take().filter(|_| woken) {
            let _ = accepting.join();
        }
    }
}
