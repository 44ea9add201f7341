//! What a node answers, whatever client library reads it.

/// An answer of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Nothing.
    Nil,
    /// An integer.
    Int(i64),
    /// A string, or a status.
    Bytes(Vec<u8>),
    /// A list.
    Array(Vec<Self>),
    /// An error.
    Error(ErrorKind),
}

/// Why a node gave no vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// It is a read-only replica.
    ReadOnly,
    /// It still loads its data.
    Loading,
    /// It has no memory left.
    OutOfMemory,
    /// It cannot persist and therefore refuses writes.
    Misconfigured,
    /// It runs a script that does not end.
    Busy,
    /// It does not know the script: send its text.
    NoScript,
    /// It wants a password, a better one, or permission.
    Denied,
    /// It is a replica without its master.
    MasterDown,
    /// It has too few replicas for its configuration, and refuses writes.
    NoReplicas,
    /// Any other error.
    Other,
    /// It has taken the lock, but with a fence that is too low, or after it forgot
    /// what it knew: ask by script to learn more.
    Unsure,
    /// The connection broke before an answer came.
    Disconnected,
    /// What it answered is not what a node answers.
    Garbage,
}

impl ErrorKind {
    /// The kind of an error by its text, with or without the leading `-`.
    #[must_use]
    pub fn classify(message: &str) -> Self {
        let message = message.strip_prefix('-').unwrap_or(message);
        if message.starts_with("ERR Protocol error: unauthenticated") {
            // What a call as long as ours gets without a password; then it hangs up.
            return Self::Denied;
        }
        match message.split_ascii_whitespace().next().unwrap_or_default() {
            "READONLY" => Self::ReadOnly,
            "LOADING" => Self::Loading,
            "OOM" => Self::OutOfMemory,
            "MISCONF" => Self::Misconfigured,
            "BUSY" => Self::Busy,
            "NOSCRIPT" => Self::NoScript,
            "NOAUTH" | "WRONGPASS" | "NOPERM" => Self::Denied,
            "MASTERDOWN" => Self::MasterDown,
            "NOREPLICAS" => Self::NoReplicas,
            _ => Self::Other,
        }
    }

    /// Whether the node may have done what it was asked to all the same.
    #[must_use]
    pub fn may_have_run(self) -> bool {
        matches!(
            self,
            Self::Other | Self::Unsure | Self::Disconnected | Self::Garbage
        )
    }
}
