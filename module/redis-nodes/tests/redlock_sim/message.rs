//! What clients have to be called for, and what they do to the world.

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
    /// A call for a service lock.
    Serve,
    /// Maintenance of service locks.
    Tend,
    /// Connections are seen to.
    TendNodes,
}

/// What a client does to the world, beside what it does to the network.
#[derive(Debug)]
pub enum Output {
    /// A timer in that many milliseconds.
    Timer(u64, Timer),
    /// Notifies another worker of the machine at once.
    Tell(usize, Timer),
}
