//! Real Redis servers, to be stopped, killed and restarted.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::cert::Certificate;
use crate::gateway::directory;
use crate::port::free_port;
use crate::wait::{patience, wait_until};

/// A Redis server that keeps nothing on disk. Dropping it kills it.
pub struct Redis {
    process: Option<Child>,
    port: u16,
    tls: bool,
    options: Vec<String>,
    dir: TempDir,
}

impl Redis {
    /// Starts a server.
    #[track_caller]
    pub fn start() -> Self {
        Self::start_with("")
    }

    /// Starts a server with more options, as on its command line.
    #[track_caller]
    pub fn start_with(options: &str) -> Self {
        let mut redis = Self::absent();
        redis.options = options.split_whitespace().map(str::to_owned).collect();
        redis.restart();
        redis
    }

    /// Starts a server that speaks TLS only, with more options.
    #[track_caller]
    pub fn start_tls(certificate: &Certificate, options: &str) -> Self {
        let mut redis = Self::absent();
        redis.tls = true;
        let (cert, key) = (certificate.cert.display(), certificate.key.display());
        let options = format!("--tls-cert-file {cert} --tls-key-file {key} {options}");
        redis.options = options.split_whitespace().map(str::to_owned).collect();
        redis.restart();
        redis
    }

    /// Starts so many servers, which know nothing of each other.
    #[track_caller]
    pub fn group(count: usize) -> Vec<Self> {
        (0..count).map(|_| Self::start()).collect()
    }

    /// A server that is not running yet.
    pub fn absent() -> Self {
        Self {
            process: None,
            port: free_port(),
            tls: false,
            options: Vec::new(),
            dir: directory(),
        }
    }

    /// The server's port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its address.
    pub fn url(&self) -> String {
        let scheme = if self.tls { "rediss" } else { "redis" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// Its address as a socket in the file system.
    pub fn unix_url(&self) -> String {
        format!("unix:{}/redis.sock", self.dir.path().display())
    }

    /// Starts it again, empty, where it was; also for the first time.
    #[track_caller]
    pub fn restart(&mut self) {
        self.kill();
        let dir = self.dir.path().display();
        let ports = if self.tls {
            format!("--port 0 --tls-port {}", self.port)
        } else {
            format!("--port {}", self.port)
        };
        let own = format!(
            "{ports} --bind 127.0.0.1 --unixsocket {dir}/redis.sock --unixsocketperm 777 \
             --dir {dir} --logfile {dir}/redis.log --daemonize no --appendonly no"
        );
        let started = Command::new("redis-server")
            .args(own.split_whitespace())
            .args(["--save", ""])
            .args(&self.options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        self.process = Some(started.unwrap_or_else(|e| match e.kind() {
            ErrorKind::NotFound => panic!("no redis-server: apt-get install redis-server"),
            _ => panic!("redis-server cannot be run: {e}"),
        }));
        wait_until("redis-server answers", || self.try_ask("PING").is_some());
    }

    /// Kills it, if it runs.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Stops it: connections stay, nothing is answered.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let process = self.process.as_ref().expect("the server runs");
        let pid = i32::try_from(process.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a process id"), signal).expect("it can be signalled");
    }

    /// Has the server run a command, and gives the answer: `nil` for nothing, the items of an
    /// array line by line, an error from its code on.
    #[track_caller]
    pub fn ask(&self, command: &str) -> String {
        self.try_ask(command)
            .unwrap_or_else(|| panic!("the server does not answer {command:?}"))
    }

    /// Has the server run a command, and does not wait for the answer.
    #[track_caller]
    pub fn send(&self, command: &str) {
        let mut stream = self.connect().expect("the server accepts");
        let sent = stream.write_all(format!("{command}\r\n").as_bytes());
        sent.expect("the server reads");
    }

    fn connect(&self) -> std::io::Result<UnixStream> {
        UnixStream::connect(self.dir.path().join("redis.sock"))
    }

    fn try_ask(&self, command: &str) -> Option<String> {
        let mut stream = self.connect().ok()?;
        stream.set_read_timeout(Some(patience())).ok()?;
        stream.write_all(format!("{command}\r\n").as_bytes()).ok()?;
        reply(&mut BufReader::new(stream))
    }

    /// For how many seconds it has run, as it reports itself.
    #[track_caller]
    pub fn age(&self) -> u64 {
        let info = self.ask("INFO server");
        let mut lines = info.lines();
        let age = lines.find_map(|line| line.strip_prefix("uptime_in_seconds:"));
        age.and_then(|age| age.trim().parse().ok())
            .expect("a server reports its age")
    }

    /// Has the server run a command whose answer is a number.
    #[track_caller]
    pub fn number(&self, command: &str) -> i64 {
        let answer = self.ask(command);
        answer
            .parse()
            .unwrap_or_else(|_| panic!("{command}: {answer}"))
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

fn reply(reader: &mut impl BufRead) -> Option<String> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let (kind, rest) = line.trim_end().split_at_checked(1)?;
    match (kind, rest.parse::<usize>()) {
        ("$", Ok(length)) => {
            let mut text = vec![0; length + 2];
            reader.read_exact(&mut text).ok()?;
            text.truncate(length);
            String::from_utf8(text).ok()
        }
        ("*", Ok(length)) => {
            let items: Option<Vec<_>> = (0..length).map(|_| reply(reader)).collect();
            Some(items?.join("\n"))
        }
        ("$" | "*", Err(_)) => Some("nil".to_owned()),
        _ => Some(rest.to_owned()),
    }
}
