//! Events for clients, and their effects outside of the network.

#[derive(Clone, Debug)]
pub enum Timer {
    /// Ask for a lease of any slot.
    Ask,
    Abandon(u64),
    Renew(u64),
    GiveBack(u64),
    /// No lock was handed over: ask the nodes.
    WaitedOut,
    /// A lock has been handed over.
    Mail,
    /// The retention of a lock of this worker may be over.
    Reclaim,
    /// A call of a service for its lock.
    Serve,
    /// Maintenance of service locks.
    Tend,
    /// Maintenance of connections.
    TendNodes,
}

/// An effect of a client outside of the network.
#[derive(Debug)]
pub enum Output {
    /// Starts a timer, in milliseconds.
    Timer(u64, Timer),
    /// Notifies another worker of the machine at once.
    Tell(usize, Timer),
}
