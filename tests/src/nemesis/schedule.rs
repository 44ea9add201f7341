//! When which fault begins and ends: a function of the scenario, the pace and the seed.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};

use super::scenario::{Fault, Pace, Scenario, Victims};

/// How many nodes there are.
pub const NODES: usize = 5;
/// How many gateways there are.
pub const GATEWAYS: usize = 2;

/// To whom a fault happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// A node.
    Node(usize),
    /// A gateway.
    Gateway(usize),
}

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// When it begins, from the start of the round.
    pub at: Duration,
    /// How long it lasts.
    pub hold: Duration,
    /// What.
    pub fault: Fault,
    /// To whom.
    pub target: Target,
    /// What else chance decides: which worker, which direction.
    pub whim: u32,
}

/// The rounds of a scenario, one after the other.
pub struct Schedule {
    scenario: Scenario,
    pace: Pace,
    random: StdRng,
}

impl Schedule {
    /// The schedule of this seed.
    pub fn new(scenario: &Scenario, pace: Pace, seed: u64) -> Self {
        // So that scenarios of the same seed differ.
        let name = scenario.name.bytes();
        let salt = name.fold(0, |salt: u64, byte| {
            salt.wrapping_mul(0x100_0000_01B3) ^ u64::from(byte)
        });
        Self {
            scenario: *scenario,
            pace,
            random: StdRng::seed_from_u64(seed ^ salt),
        }
    }

    /// Faults that happen to one target, one after the other.
    fn track(&mut self, target: Target, faults: &[Fault], steps: &mut Vec<Step>) {
        let mut at = self.between(self.pace.gap);
        while let Some(&fault) = faults.choose(&mut self.random)
            && at < self.pace.round
        {
            let hold = match fault {
                // Its leases have ended when it goes on.
                Fault::StopWorker => self.pace.ttl.mul_f64(1.2) + self.between(self.pace.hold),
                _ => self.between(self.pace.hold),
            };
            let whim = self.random.random();
            steps.push(Step {
                at,
                hold,
                fault,
                target,
                whim,
            });
            at += hold + self.between(self.pace.gap);
        }
    }

    fn between(&mut self, (least, most): (Duration, Duration)) -> Duration {
        let ms = self
            .random
            .random_range(least.as_millis()..=most.as_millis());
        Duration::from_millis(u64::try_from(ms).unwrap_or(u64::MAX))
    }
}

impl Iterator for Schedule {
    type Item = Vec<Step>;

    /// The steps of the next round, by the time at which they begin. There is no last one.
    fn next(&mut self) -> Option<Vec<Step>> {
        let Scenario {
            victims,
            nodes,
            gateways,
            ..
        } = self.scenario;
        let mut steps = Vec::new();
        let mut chosen: Vec<usize> = (0..NODES).collect();
        chosen.shuffle(&mut self.random);
        match victims {
            Victims::None => {}
            Victims::Two => chosen.truncate(2),
            Victims::Three => chosen.truncate(3),
            Victims::Any => {}
        }
        if victims == Victims::Three {
            self.track(Target::Node(chosen[0]), nodes, &mut steps);
            let first = steps.clone();
            for &node in &chosen[1..] {
                let target = Target::Node(node);
                steps.extend(first.iter().map(|step| Step { target, ..*step }));
            }
        } else if victims != Victims::None {
            for node in chosen {
                self.track(Target::Node(node), nodes, &mut steps);
            }
        }
        for gateway in 0..GATEWAYS {
            self.track(Target::Gateway(gateway), gateways, &mut steps);
        }
        steps.sort_by_key(|step| (step.at, step.target));
        Some(steps)
    }
}
