//! A redis-server for tests, and a connection to it.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command as Process, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::Duration;
use std::{env, fs, process};

use openai_core::redlock::{Command, ErrorKind, PoolNames, Proposal, ScriptCall, TakeCall, Value};

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A server; dropping it kills the process and removes its directory.
pub struct Server {
    child: Child,
    pub dir: PathBuf,
    socket: PathBuf,
}

impl Server {
    /// Starts a server without persistence and port, plus `options`.
    pub fn start(options: &[&str]) -> Self {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("redlock-scripts-{}-{number}", process::id());
        let dir = env::temp_dir().join(&name);
        let socket = env::temp_dir().join(format!("{name}.socket"));
        fs::create_dir_all(&dir).unwrap();
        let program = env::var_os("E2E_REDIS_SERVER").unwrap_or_else(|| "redis-server".into());
        let child = Process::new(program)
            .args(["--port", "0", "--bind", "127.0.0.1", "--save", ""])
            .args(["--appendonly", "no", "--enable-debug-command", "local"])
            .arg("--unixsocket")
            .arg(&socket)
            .arg("--dir")
            .arg(&dir)
            .args(options)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server must be installed (Debian: apt-get install redis-server)");
        let mut server = Self { child, dir, socket };
        for _ in 0..500 {
            if UnixStream::connect(&server.socket).is_ok() {
                return server;
            }
            let ended = server.child.try_wait().unwrap();
            assert_eq!(ended, None, "redis-server ended at once, with {options:?}");
            sleep(Duration::from_millis(10));
        }
        panic!("redis-server does not listen, with {options:?}");
    }

    pub fn connect(&self) -> Connection {
        let stream = UnixStream::connect(&self.socket).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        Connection(BufReader::new(stream))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The process may have exited.
        let _killed = self.child.kill();
        let _ended = self.child.wait();
        let _removed = fs::remove_dir_all(&self.dir);
        let _removed = fs::remove_file(&self.socket);
    }
}

/// A RESP2 connection over a socket.
pub struct Connection(BufReader<UnixStream>);

impl Connection {
    pub fn send(&mut self, words: &[&str]) {
        let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            bytes.extend(format!("${}\r\n{word}\r\n", word.len()).bytes());
        }
        self.0.get_mut().write_all(&bytes).unwrap();
    }

    pub fn receive(&mut self) -> Value {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        let (kind, rest) = line.trim_end().split_at(1);
        match kind {
            "+" if rest == "OK" => Value::Okay,
            "+" => Value::Bytes(rest.into()),
            "-" => Value::Error(ErrorKind::classify(rest)),
            ":" => Value::Int(rest.parse().unwrap()),
            "$" | "*" if rest == "-1" => Value::Nil,
            "$" => {
                let mut bytes = vec![0; rest.parse::<usize>().unwrap() + 2];
                self.0.read_exact(&mut bytes).unwrap();
                bytes.truncate(bytes.len() - 2);
                Value::Bytes(bytes)
            }
            "*" => Value::Array((0..rest.parse().unwrap()).map(|_| self.receive()).collect()),
            other => panic!("{other:?} is no RESP2"),
        }
    }

    pub fn ask(&mut self, words: &[&str]) -> Value {
        self.send(words);
        self.receive()
    }

    pub fn run(&mut self, command: &Command, names: &PoolNames) -> Value {
        self.call(&ScriptCall::new(command, names))
    }

    pub fn call(&mut self, call: &ScriptCall) -> Value {
        let count = call.keys.len().to_string();
        let mut words = vec!["EVAL", call.script.source(), &count];
        words.extend(call.keys.iter().chain(&call.args).map(String::as_str));
        self.ask(&words)
    }

    /// Sends a proposal of one slot as plain commands.
    pub fn take(&mut self, proposal: &Proposal, names: &PoolNames) -> Value {
        let slot = &proposal.candidates.slots()[0];
        let call = TakeCall::new(proposal, slot, names);
        let answers = call.commands.iter().map(|words| {
            let words: Vec<_> = words.iter().map(String::as_str).collect();
            self.ask(&words)
        });
        Value::Array(answers.collect())
    }

    /// The answer as a list of texts.
    pub fn texts(&mut self, words: &[&str]) -> Vec<String> {
        fn flat(value: Value) -> Vec<String> {
            match value {
                Value::Nil => Vec::new(),
                Value::Int(number) => vec![number.to_string()],
                Value::Okay => vec!["OK".into()],
                Value::Bytes(bytes) => vec![String::from_utf8(bytes).unwrap()],
                Value::Array(values) => values.into_iter().flat_map(flat).collect(),
                Value::Error(kind) => panic!("{kind:?}"),
            }
        }
        flat(self.ask(words))
    }

    pub fn ok(&mut self, words: &[&str]) {
        assert_eq!(self.ask(words), Value::Okay, "{words:?}");
    }

    /// The node's clock, in milliseconds.
    pub fn time(&mut self) -> u64 {
        let time = self.texts(&["TIME"]);
        let part = |at: usize| time[at].parse::<u64>().unwrap();
        part(0) * 1_000 + part(1) / 1_000
    }
}
