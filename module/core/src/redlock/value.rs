//! A node's answers, independent of the client library.

/// An answer of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Nothing.
    Nil,
    /// An integer.
    Int(i64),
    /// A string or a status.
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
    /// It is loading its data.
    Loading,
    /// It is out of memory.
    OutOfMemory,
    /// It cannot persist data and therefore rejects writes.
    Misconfigured,
    /// It is running a script that does not end.
    Busy,
    /// It does not have the script: send its text.
    NoScript,
    /// The password is missing or wrong.
    Denied,
    /// The user may not run the command, or not on this key.
    NoPermission,
    /// It is a replica without its master.
    MasterDown,
    /// It has fewer replicas than configured and rejects writes.
    NoReplicas,
    /// A key has the wrong type for the command.
    WrongType,
    /// Any other error.
    Other,
    /// The lock was set, but the fence is too low or the node had lost its data. The script
    /// returns more details.
    Unsure,
    /// The connection broke before an answer came.
    Disconnected,
    /// The answer is invalid.
    Garbage,
}

impl ErrorKind {
    /// Classifies an error by its text, with or without the leading `-`.
    #[must_use]
    pub fn classify(message: &str) -> Self {
        let message = message.strip_prefix('-').unwrap_or(message);
        if message.starts_with("ERR Protocol error: unauthenticated") {
            // The answer to a call as long as ours without a password; the node disconnects then.
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

    /// The name in logs and listings; for errors of Redis, Redis's name.
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

    /// Whether the node may have executed the command nevertheless.
    #[must_use]
    pub fn may_have_run(self) -> bool {
        matches!(
            self,
            Self::WrongType | Self::Other | Self::Unsure | Self::Disconnected | Self::Garbage
        )
    }
}
