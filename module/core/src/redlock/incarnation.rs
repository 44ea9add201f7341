//! Detection of nodes that may have lost locks since the last connection.

use thiserror::Error;

/// Fields of a node's `INFO`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerInfo {
    /// Random id, new with each start of the process.
    pub run_id: String,
    /// Uptime in seconds.
    pub uptime_s: u64,
    /// Whether the server is a replica.
    pub replica: bool,
    /// The eviction policy.
    pub maxmemory_policy: Option<String>,
}

/// Why a server cannot be a node of a group.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Mistrust {
    /// The text is not a complete answer to `INFO`.
    #[error("INFO without run_id or uptime_in_seconds")]
    Garbage,
    /// The server is a replica. Nodes must be independent masters.
    #[error("the node is a replica")]
    Replica,
    /// The server may evict locks.
    #[error("maxmemory-policy is {0}, it must be noeviction")]
    Evicts(String),
}

impl ServerInfo {
    /// Reads the text of `INFO` with the sections server, replication and memory.
    pub fn parse(text: &str) -> Result<Self, Mistrust> {
        let mut info = Self::default();
        let mut uptime = None;
        for line in text.lines() {
            let Some((name, value)) = line.trim_end().split_once(':') else {
                continue;
            };
            match name {
                "run_id" => info.run_id = value.into(),
                "uptime_in_seconds" => uptime = value.parse().ok(),
                "role" => info.replica = value != "master",
                "maxmemory_policy" => info.maxmemory_policy = Some(value.into()),
                _ => {}
            }
        }
        info.uptime_s = uptime.ok_or(Mistrust::Garbage)?;
        if info.run_id.is_empty() {
            return Err(Mistrust::Garbage);
        }
        Ok(info)
    }

    /// Checks that the server is a master that evicts no keys.
    pub fn check(&self) -> Result<(), Mistrust> {
        if self.replica {
            return Err(Mistrust::Replica);
        }
        match self.maxmemory_policy.as_deref() {
            None | Some("noeviction") => Ok(()),
            Some(policy) => Err(Mistrust::Evicts(policy.into())),
        }
    }
}

/// One run of a node's process, as seen by one client.
///
/// A node that comes back empty is detected by the guard key. An incarnation detects a node that
/// comes back with an old snapshot, which contains the guard key. Until [`Incarnation::trusted_at`]
/// the node is not asked for grants; renewals and releases are sent.
#[derive(Clone, Debug)]
pub struct Incarnation {
    quarantine_ms: u64,
    run_id: String,
    trusted_at: u64,
    /// When the process with `run_id` was last known to run.
    last_seen: Option<u64>,
}

impl Incarnation {
    /// A node to which there has been no connection.
    #[must_use]
    pub fn new(quarantine_ms: u64) -> Self {
        Self {
            quarantine_ms,
            run_id: String::new(),
            trusted_at: 0,
            last_seen: None,
        }
    }

    /// Records that the node answered on a connection made since the last
    /// [`Incarnation::connected`].
    pub fn answered(&mut self, now: u64) {
        self.last_seen = Some(now);
    }

    /// Records a new connection. `info` is the answer to `INFO`, its first command.
    pub fn connected(&mut self, info: &ServerInfo, now: u64) {
        let before = self.last_seen.replace(now);
        if info.run_id == self.run_id {
            return;
        }
        self.run_id.clone_from(&info.run_id);
        let mut uptime = info.uptime_s.saturating_mul(1_000);
        if let Some(before) = before {
            // The uptime is measured by the node's wall clock, which may have jumped.
            uptime = uptime.min(now.saturating_sub(before));
        }
        let left = self.quarantine_ms.saturating_sub(uptime);
        self.trusted_at = self.trusted_at.max(now.saturating_add(left));
    }

    /// Begins a quarantine: the node may have lost locks, because its clock was set forward.
    pub fn distrust(&mut self, now: u64) {
        let until = now.saturating_add(self.quarantine_ms);
        self.trusted_at = self.trusted_at.max(until);
    }

    /// Time from which the node may be asked for grants.
    #[must_use]
    pub fn trusted_at(&self) -> u64 {
        self.trusted_at
    }

    /// Whether the node may be asked for grants.
    #[must_use]
    pub fn is_trusted(&self, now: u64) -> bool {
        now >= self.trusted_at
    }

    /// Trusts the node at once. Only for the first day of a group.
    pub fn bootstrap(&mut self) {
        self.trusted_at = 0;
    }
}
