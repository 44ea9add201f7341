//! `openai_zone`: the shared memory for leases.

use nginx_safe::{ConfResult, Position, SharedZone};
use openai_core::lease::{Capacity, PoolConfig};

use super::values;

/// Requirements of a configuration on the zone for leases.
pub struct Needs {
    /// Maximum number of workers that can be woken.
    pub channels: usize,
    pub pools: Vec<PoolConfig>,
    /// Position of the directive, if it is present.
    pub at: Option<Position>,
}

/// The name and the size of a shared zone.
pub struct ZoneSize {
    name: String,
    size: usize,
}

impl ZoneSize {
    pub fn new(name: &str, size: usize) -> Self {
        let name = name.to_string();
        Self { name, size }
    }

    /// Reads `NAME:SIZE`. The size must allow for `least` bytes besides nginx's own.
    pub fn parse(text: &str, least: usize) -> ConfResult<Self> {
        let least = SharedZone::size_for(least);
        let (name, size) = text.split_once(':').unwrap_or_default();
        match values::size(size) {
            Ok(size) if !name.is_empty() && size >= least => Ok(Self::new(name, size)),
            Ok(_) if !name.is_empty() => Err(format!(
                "\"{text}\" is too small, it must have {}k or more",
                least.div_ceil(1024)
            )),
            _ => Err(values::invalid(text, "NAME:SIZE, as openai:8m")),
        }
    }

    pub fn named(&self) -> (&str, usize) {
        (&self.name, self.size)
    }
}

/// Reads the name and the size of the zone for leases.
pub fn zone(text: &str) -> ConfResult<ZoneSize> {
    ZoneSize::parse(text, Capacity::bytes_for(1, 1, 1))
}
