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
    /// It wants a password, or a better one.
    Denied,
    /// The user may not run the command, or not on this key.
    NoPermission,
    /// It is a replica without its master.
    MasterDown,
    /// It has too few replicas for its configuration, and refuses writes.
    NoReplicas,
    /// A key is of a type that the command is not for.
    WrongType,
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
            "NOAUTH" | "WRONGPASS" => Self::Denied,
            "NOPERM" => Self::NoPermission,
            "WRONGTYPE" => Self::WrongType,
            "MASTERDOWN" => Self::MasterDown,
            "NOREPLICAS" => Self::NoReplicas,
            _ => Self::Other,
        }
    }

    /// Its name in logs and listings: as Redis has it, where it is an error of Redis.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ReadOnly => "READONLY",
            Self::Loading => "LOADING",
            Self::OutOfMemory => "OOM",
            Self::Misconfigured => "MISCONF",
            Self::Busy => "BUSY",
            Self::NoScript => "NOSCRIPT",
            Self::Denied => "NOAUTH",
            Self::NoPermission => "NOPERM",
            Self::MasterDown => "MASTERDOWN",
            Self::NoReplicas => "NOREPLICAS",
            Self::WrongType => "WRONGTYPE",
            Self::Other => "ERR",
            Self::Unsure => "unsure",
            Self::Disconnected => "disconnected",
            Self::Garbage => "garbage",
        }
    }

    /// Whether the node may have done what it was asked to all the same.
    #[must_use]
    pub fn may_have_run(self) -> bool {
        matches!(
            self,
            Self::WrongType | Self::Other | Self::Unsure | Self::Disconnected | Self::Garbage
        )
    }
}
