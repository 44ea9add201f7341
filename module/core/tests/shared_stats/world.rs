//! Machines and nodes, and what was really counted.

use std::collections::BTreeMap;

use openai_core::redlock::share::{Instance, RowId, RowSums, Sharing};
use openai_core::redlock::{ErrorKind, ShareNames, Value};

use crate::memory::Memory;

const TODAY: u32 = 20_000;
const COUNTERS: usize = 3;
/// More rounds than a node needs to get all missing rows.
const ROUNDS: usize = 30;

type Counts = BTreeMap<RowId, [u64; COUNTERS]>;

#[derive(Clone, Debug)]
pub enum Step {
    Count {
        machine: usize,
        row: u32,
        at: usize,
        more: u64,
    },
    /// A machine synchronizes with all nodes; the bits of `luck` decide which calls and answers
    /// are lost.
    Round {
        machine: usize,
        luck: u64,
    },
    Reconnect {
        machine: usize,
        node: usize,
    },
    /// The machine's stats restart at zero.
    Restart {
        machine: usize,
    },
    /// A node loses its data; connections break if that is noticed.
    Empty {
        node: usize,
        notices: bool,
    },
}

struct Machine {
    instance: Instance,
    sharing: Sharing,
    counted: Counts,
    /// What it has seen of others, at the least.
    seen: BTreeMap<RowId, RowSums>,
}

pub struct World {
    machines: Vec<Machine>,
    nodes: Vec<Memory>,
    /// What each instance has counted, including former ones.
    truth: BTreeMap<Instance, Counts>,
    names: ShareNames,
    last: u64,
}

fn row(number: u32) -> RowId {
    RowId {
        day: TODAY - number / 2,
        name: format!("s:{number}").into(),
    }
}

impl Machine {
    fn new(instance: Instance, nodes: usize) -> Self {
        let mut sharing = Sharing::new(instance, 62, nodes);
        (0..nodes).for_each(|node| sharing.opened(node));
        Self {
            instance,
            sharing,
            counted: Counts::new(),
            seen: BTreeMap::new(),
        }
    }
}

impl World {
    pub fn new(machines: usize, nodes: usize) -> Self {
        let mut world = Self {
            machines: vec![],
            nodes: vec![Memory::default(); nodes],
            truth: BTreeMap::new(),
            names: ShareNames::new("t:").unwrap(),
            last: 0,
        };
        for _ in 0..machines {
            let machine = Machine::new(world.instance(), nodes);
            world.machines.push(machine);
        }
        world
    }

    fn instance(&mut self) -> Instance {
        self.last += 1;
        Instance(self.last)
    }

    pub fn take(&mut self, step: Step) {
        match step {
            Step::Count {
                machine,
                row: at_row,
                at,
                more,
            } => {
                let machine = &mut self.machines[machine];
                machine.counted.entry(row(at_row)).or_default()[at] += more;
                let truth = self.truth.entry(machine.instance).or_default();
                truth.entry(row(at_row)).or_default()[at] += more;
            }
            Step::Round { machine, luck } => self.round(machine, luck),
            Step::Reconnect { machine, node } => self.machines[machine].sharing.opened(node),
            Step::Restart { machine } => {
                let instance = self.instance();
                self.machines[machine] = Machine::new(instance, self.nodes.len());
            }
            Step::Empty { node, notices } => {
                self.nodes[node] = Memory::default();
                for machine in self.machines.iter_mut().filter(|_| notices) {
                    machine.sharing.opened(node);
                }
            }
        }
    }

    fn round(&mut self, at: usize, mut luck: u64) {
        let machine = &mut self.machines[at];
        for (row, sums) in &machine.counted {
            machine.sharing.count(row.clone(), &RowSums::new(sums));
        }
        for (node, memory) in self.nodes.iter_mut().enumerate() {
            machine.sharing.begin_round(node);
            self.last += 1;
            let mut calls = 0;
            while let Some(call) = machine.sharing.next(node, &self.names, self.last) {
                calls += 1;
                assert!(calls < 100, "it must come to an end");
                let (is_sent, is_answered) = (luck & 3 != 3, luck & 12 != 12);
                luck = luck.rotate_right(4);
                let mut answer = Value::Error(ErrorKind::Disconnected);
                if is_sent {
                    let said = memory.run(&call, TODAY.into());
                    answer = if is_answered { said } else { answer };
                }
                let is_done = machine.sharing.answered(node, &answer).is_ok();
                assert_eq!(is_done, is_sent && is_answered);
            }
        }
        for (row, sums) in machine.sharing.take_risen() {
            machine.seen.entry(row).or_default().raise(&sums);
        }
    }

    /// Restores connections and synchronizes until nothing is new.
    pub fn heal(&mut self) {
        for _ in 0..ROUNDS {
            for machine in 0..self.machines.len() {
                self.round(machine, 0);
            }
        }
        for machine in &self.machines {
            assert!((0..self.nodes.len()).all(|node| machine.sharing.is_even(node)));
        }
    }

    /// Everything counted in a row, except by one instance.
    fn others(&self, but: Instance, row: &RowId) -> [u64; COUNTERS] {
        let mut total = [0; COUNTERS];
        for (_, counts) in self.truth.iter().filter(|(instance, _)| **instance != but) {
            let counts = counts.get(row).copied().unwrap_or_default();
            total
                .iter_mut()
                .zip(counts)
                .for_each(|(sum, more)| *sum += more);
        }
        total
    }

    pub fn check(&self) {
        for machine in &self.machines {
            for number in 0..4 {
                let row = row(number);
                let (now, truth) = (
                    machine.sharing.others(&row),
                    self.others(machine.instance, &row),
                );
                for (at, truth) in truth.into_iter().enumerate() {
                    assert!(now.get(at) <= truth, "{row:?}: {now:?} of {truth}");
                }
                if let Some(seen) = machine.seen.get(&row) {
                    assert!(
                        !now.clone().raise(seen),
                        "{row:?} fell from {seen:?} to {now:?}"
                    );
                }
            }
        }
    }

    /// All machines see the same, and existing instances see everything that they counted.
    pub fn check_all_agree(&self) {
        for number in 0..4 {
            let row = row(number);
            let whole = |machine: &Machine| {
                let mut whole = machine.sharing.others(&row);
                let own = machine.counted.get(&row).copied().unwrap_or_default();
                whole.add(&RowSums::new(&own));
                RowSums::new(&[0, 1, 2].map(|at| whole.get(at)))
            };
            let first = whole(&self.machines[0]);
            for machine in &self.machines {
                assert_eq!(whole(machine), first, "{row:?}");
            }
            let mut least = RowSums::default();
            for machine in &self.machines {
                least.add(&RowSums::new(
                    &machine.counted.get(&row).copied().unwrap_or_default(),
                ));
            }
            assert!(!first.clone().raise(&least), "{row:?}");
        }
        for node in &self.nodes {
            assert_eq!(node.rows, self.nodes[0].rows);
        }
    }

    /// Rows that a majority of the nodes has, by name.
    pub fn acknowledged(&self) -> BTreeMap<String, Vec<u64>> {
        let needed = self.nodes.len() / 2 + 1;
        let mut safe: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for name in self.nodes.iter().flat_map(|node| node.rows.keys()) {
            let sum = |at: usize| {
                let of_node = |node: &Memory| {
                    let sums = node.rows.get(name)?;
                    Some(sums.get(at).copied().unwrap_or_default())
                };
                let mut sums: Vec<_> = self.nodes.iter().filter_map(of_node).collect();
                sums.sort_unstable_by(|one, other| other.cmp(one));
                sums.get(needed - 1).copied().unwrap_or_default()
            };
            safe.insert(name.clone(), (0..COUNTERS).map(sum).collect());
        }
        safe
    }

    /// Every node has at least these rows.
    pub fn check_at_least(&self, safe: &BTreeMap<String, Vec<u64>>) {
        for node in &self.nodes {
            for (name, sums) in safe
                .iter()
                .filter(|(_, sums)| sums.iter().any(|&sum| sum > 0))
            {
                let known = node
                    .rows
                    .get(name)
                    .unwrap_or_else(|| panic!("{name} is lost"));
                for (at, sum) in sums.iter().enumerate() {
                    assert!(known.get(at).copied().unwrap_or_default() >= *sum, "{name}");
                }
            }
        }
    }
}
