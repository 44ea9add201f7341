//! The connections of another process, as the kernel shows them.

use std::collections::BTreeSet;
use std::fs;

/// The local ports of a process's TCP connections to a port of 127.0.0.1. While others open and
/// close sockets, the kernel's table can repeat a line, or lack one.
pub(crate) fn ports_to(pid: i32, port: u16) -> BTreeSet<u16> {
    let sockets: BTreeSet<String> = fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("the process runs")
        .filter_map(|file| fs::read_link(file.ok()?.path()).ok())
        .filter_map(|link| {
            let link = link.to_str()?.strip_prefix("socket:[")?;
            Some(link.strip_suffix(']')?.to_owned())
        })
        .collect();
    let table = fs::read_to_string("/proc/net/tcp").expect("the kernel's table");
    let remote = format!("0100007F:{port:04X}");
    table
        .lines()
        .filter_map(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let [_, local, to, _, _, _, _, _, _, inode, ..] = fields[..] else {
                return None;
            };
            let (_, local) = local.split_once(':')?;
            (to == remote && sockets.contains(inode))
                .then(|| u16::from_str_radix(local, 16).ok())?
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait::wait_until;
    use std::net::{TcpListener, TcpStream};
    use std::process;

    #[test]
    fn connections_are_found_by_their_far_end() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let client = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
        let ours = client.local_addr().expect("connected").port();
        let pid = i32::try_from(process::id()).expect("a process id");
        wait_until("the connection is found", || {
            ports_to(pid, port) == BTreeSet::from([ours])
        });
        drop(client);
        assert!(!ports_to(pid, port).contains(&ours));
    }
}
