//! A redis-server on a free port.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use std::{env, fs, process};

/// A running redis-server. Dropping the value kills it.
pub struct Server {
    child: Option<Child>,
    port: u16,
}

impl Server {
    /// Starts a server without data, which saves nothing.
    pub fn start() -> Self {
        // Another process may take the port before the server does, so this is tried again.
        for _ in 0..10 {
            let free = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = free.local_addr().unwrap().port();
            drop(free);
            let mut server = Self { child: None, port };
            if server.try_start() {
                return server;
            }
        }
        panic!("redis-server does not start");
    }

    /// Starts `count` servers.
    pub fn start_all(count: usize) -> Vec<Self> {
        (0..count).map(|_| Self::start()).collect()
    }

    fn try_start(&mut self) -> bool {
        let port = self.port.to_string();
        let dir = env::temp_dir().join(format!("redis-nodes-{}-{port}", process::id()));
        fs::create_dir_all(&dir).unwrap();
        let program = env::var_os("E2E_REDIS_SERVER").unwrap_or_else(|| "redis-server".into());
        let child = Command::new(program)
            .args(["--port", &port, "--bind", "127.0.0.1", "--save", ""])
            .args(["--appendonly", "no", "--dir"])
            .arg(&dir)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server must be installed (nginx/build/deps.sh test)");
        let child = self.child.insert(child);
        let deadline = Instant::now() + Duration::from_secs(10);
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        while child.try_wait().unwrap().is_none() && Instant::now() < deadline {
            if TcpStream::connect(address).is_ok() {
                return true;
            }
            sleep(Duration::from_millis(10));
        }
        false
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Kills the server; its data is lost.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Restarts the server on the same port, without data.
    pub fn restart(&mut self) {
        self.kill();
        assert!(self.try_start(), "redis-server does not start again");
    }

    /// Stops the process: connections stay open, but nothing is answered.
    pub fn stop(&self) {
        self.signal("-STOP");
    }

    /// Continues the stopped process.
    pub fn go_on(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let id = self.child.as_ref().unwrap().id().to_string();
        let status = Command::new("kill").args([signal, &id]).status().unwrap();
        assert!(status.success());
    }

    /// Sends a command. Returns the first line of the reply, and the text if the reply is one.
    pub fn ask(&self, words: &[&str]) -> String {
        let mut stream = BufReader::new(TcpStream::connect(self.address()).unwrap());
        let timeout = Some(Duration::from_secs(10));
        stream.get_ref().set_read_timeout(timeout).unwrap();
        let mut bytes = format!("*{}\r\n", words.len());
        for word in words {
            bytes += &format!("${}\r\n{word}\r\n", word.len());
        }
        stream.get_mut().write_all(bytes.as_bytes()).unwrap();
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        if line.starts_with('$') && line != "$-1\r\n" {
            line.clear();
            stream.read_line(&mut line).unwrap();
        }
        line.trim_end().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.go_on();
        }
        self.kill();
        let dir = format!("redis-nodes-{}-{}", process::id(), self.port);
        let _removed = fs::remove_dir_all(env::temp_dir().join(dir));
    }
}
