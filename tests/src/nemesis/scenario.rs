//! What is done to the system.

use std::time::Duration;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A node is stopped by SIGSTOP.
    Pause,
    /// A node is killed, and comes back empty.
    Kill,
    /// A node forgets all.
    Flush,
    /// A node forgets the scripts.
    ScriptFlush,
    /// Nothing passes between a node and the gateways, or one of them.
    Blackhole,
    /// The same, in one direction.
    OneWay,
    /// What passes between them takes 100 ms or 200 ms longer, each way.
    Delay,
    /// All connections to a node are reset.
    Reset,
    /// A node is busy (DEBUG SLEEP).
    Sleep,
    /// A node is out of memory.
    Memory,
    /// A node is a replica, or lacks replicas, and writes nothing.
    ReadOnly,
    /// A worker is killed.
    KillWorker,
    /// A worker is stopped by SIGSTOP for longer than a lease lives.
    StopWorker,
    /// nginx reloads its configuration.
    Reload,
}

/// All faults of nodes.
const OF_NODES: &[Fault] = &[
    Fault::Pause,
    Fault::Kill,
    Fault::Flush,
    Fault::ScriptFlush,
    Fault::Blackhole,
    Fault::OneWay,
    Fault::Delay,
    Fault::Reset,
    Fault::Sleep,
    Fault::Memory,
    Fault::ReadOnly,
];
/// All faults of gateways.
const OF_GATEWAYS: &[Fault] = &[Fault::KillWorker, Fault::StopWorker, Fault::Reload];
/// Those by which a node is not there for a while.
const ABSENCES: &[Fault] = &[Fault::Pause, Fault::Kill, Fault::Blackhole, Fault::ReadOnly];

/// Which of the five nodes are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Victims {
    /// None.
    None,
    /// Two, others in every round, independently of each other: requests must go on.
    Two,
    /// Three at once, by the same fault: requests are refused, and must go on afterwards.
    Three,
    /// Any of the five, independently of each other: requests may be refused.
    Any,
}

/// A scenario: faults, again and again, while clients call two gateways.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// Which nodes.
    pub victims: Victims,
    /// What happens to them.
    pub nodes: &'static [Fault],
    /// What happens to each gateway.
    pub gateways: &'static [Fault],
    /// One of so many clients leaves early; 0 for none.
    pub leavers: u64,
    /// Whether requests must go on all the time.
    pub available: bool,
}

/// Nothing happens.
const CALM: Scenario = Scenario {
    name: "calm",
    victims: Victims::None,
    nodes: &[],
    gateways: &[],
    leavers: 0,
    available: true,
};

const fn two(name: &'static str, nodes: &'static [Fault]) -> Scenario {
    Scenario {
        name,
        victims: Victims::Two,
        nodes,
        ..CALM
    }
}

const fn gateways(name: &'static str, gateways: &'static [Fault]) -> Scenario {
    Scenario {
        name,
        gateways,
        ..CALM
    }
}

/// Each nemesis by itself, then all together.
pub const SCENARIOS: &[Scenario] = &[
    two("pause", &[Fault::Pause]),
    two("kill", &[Fault::Kill]),
    two("flush", &[Fault::Flush]),
    Scenario {
        victims: Victims::Any,
        ..two("script-flush", &[Fault::ScriptFlush])
    },
    two("blackhole", &[Fault::Blackhole]),
    two("one-way", &[Fault::OneWay]),
    two("delay", &[Fault::Delay]),
    two("reset", &[Fault::Reset]),
    two("sleep", &[Fault::Sleep]),
    two("memory", &[Fault::Memory]),
    two("read-only", &[Fault::ReadOnly]),
    gateways("kill-worker", &[Fault::KillWorker]),
    gateways("stop-worker", &[Fault::StopWorker]),
    gateways("reload", &[Fault::Reload]),
    Scenario {
        name: "leave",
        leavers: 3,
        ..CALM
    },
    Scenario {
        name: "storm",
        victims: Victims::Two,
        nodes: OF_NODES,
        gateways: OF_GATEWAYS,
        leavers: 10,
        available: true,
    },
    Scenario {
        name: "majority",
        victims: Victims::Three,
        nodes: ABSENCES,
        available: false,
        ..CALM
    },
    Scenario {
        name: "chaos",
        victims: Victims::Any,
        nodes: OF_NODES,
        gateways: OF_GATEWAYS,
        leavers: 10,
        available: false,
    },
];

impl Scenario {
    /// The scenario of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        SCENARIOS.iter().find(|scenario| scenario.name == name)
    }

    /// Whether it shows something only if a worker stands still while it streams.
    pub(crate) fn wants_stale(&self) -> bool {
        self.gateways == [Fault::StopWorker]
    }
}

/// How long faults last, and how they follow on each other.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Faults begin within this time; then all must heal, before the next round.
    pub round: Duration,
    /// The shortest and the longest time that a fault lasts.
    pub hold: (Duration, Duration),
    /// The same for the time between two faults of the same node or gateway.
    pub gap: (Duration, Duration),
    /// The time to live of leases.
    pub ttl: Duration,
}

impl Pace {
    /// For a run of a minute or more.
    pub fn long() -> Self {
        let ms = Duration::from_millis;
        Self {
            round: ms(15_000),
            hold: (ms(200), ms(4_000)),
            gap: (ms(100), ms(3_000)),
            ttl: ms(2_000),
        }
    }

    /// For one of some seconds.
    pub fn short() -> Self {
        let ms = Duration::from_millis;
        Self {
            round: ms(2_500),
            hold: (ms(200), ms(1_000)),
            gap: (ms(50), ms(500)),
            ttl: ms(1_500),
        }
    }
}
