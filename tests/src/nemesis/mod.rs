//! Exclusivity under nemeses: two gateways, each with two workers, that know nothing of each other
//! but five Redis servers, which fail, as do links, workers and clients, by a schedule made from a
//! seed. The mock upstream reports whether a key was ever in use twice.

mod act;
mod arena;
mod clients;
mod overlaps;
mod report;
mod run;
mod scenario;
mod schedule;
mod stall;
mod verdict;

pub use report::{Report, table};
pub use run::{Size, run};
pub use scenario::{Fault, Pace, SCENARIOS, Scenario, Victims};
pub use schedule::{Schedule, Step, Target};
