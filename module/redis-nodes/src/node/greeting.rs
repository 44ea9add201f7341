//! The first commands on a connection to a node.

use openai_core::redlock::{ErrorKind, Script};

use super::NodeTarget;
use crate::link::Link;
use crate::transport::Connection;

/// The command that a reply belongs to.
pub enum Owed<N> {
    Auth,
    Hello,
    Select,
    Subscribe,
    Info,
    Script,
    Probe,
    NodeCheck,
    Command(N),
}

/// Pushes the first commands on a new connection. Returns their number: the node is open after so
/// many replies.
pub fn greet<C: Connection, N, A>(
    link: &mut Link<C, Owed<N>>,
    target: &NodeTarget<A>,
    now_us: u64,
) -> usize {
    let mut greetings = vec![];
    if let Some(password) = &target.password {
        let mut auth = redis::cmd("AUTH");
        if let Some(user) = &target.user {
            auth.arg(user);
        }
        auth.arg(password.as_str());
        greetings.push((auth, Owed::Auth));
    }
    let mut hello = redis::cmd("HELLO");
    hello.arg(3);
    greetings.push((hello, Owed::Hello));
    if target.database != 0 {
        let mut select = redis::cmd("SELECT");
        select.arg(target.database);
        greetings.push((select, Owed::Select));
    }
    greetings.push((redis::cmd("INFO"), Owed::Info));
    for script in Script::ALL {
        let mut load = redis::cmd("SCRIPT");
        load.arg("LOAD").arg(script.source());
        greetings.push((load, Owed::Script));
    }
    let count = greetings.len();
    for (command, owed) in greetings {
        let _ = link.push(&command.get_packed_command(), 1, owed, now_us);
    }
    count
}

pub fn refusal<N>(owed: &Owed<N>, kind: ErrorKind) -> String {
    let what = match owed {
        Owed::Auth => "AUTH",
        Owed::Select => "SELECT",
        _ => "SCRIPT LOAD",
    };
    format!("{what} was refused: {kind:?}")
}
