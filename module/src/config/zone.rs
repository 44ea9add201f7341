//! `openai_zone`: the shared memory for leases.

use nginx_safe::{Conf, ConfResult, Mistake, Position, SharedZone, ZoneContent};
use openai_core::lease::{Capacity, PoolConfig};

use super::lines::Placed;
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
    /// Reads `NAME:SIZE`. The size must allow for `least` bytes besides nginx's own.
    pub fn parse(text: &str, least: usize) -> ConfResult<Self> {
        let least = SharedZone::size_for(least);
        let (name, size) = text.split_once(':').unwrap_or_default();
        match values::size(size).map(|size| size as usize) {
            Ok(size) if !name.is_empty() && size >= least => {
                let name = name.to_string();
                Ok(Self { name, size })
            }
            Ok(_) if !name.is_empty() => Err(format!(
                "\"{text}\" is too small, it must have {}k or more",
                least.div_ceil(1024)
            )),
            _ => Err(values::invalid(text, "NAME:SIZE, as openai:8m")),
        }
    }
}

/// Declares a shared zone. `default` is its name and size if there is no directive.
pub fn declare<C: ZoneContent>(
    conf: &Conf,
    stated: Option<&Placed<ZoneSize>>,
    default: (&str, usize),
    content: C,
) -> Result<SharedZone, Mistake> {
    let (name, size) = stated.map_or(default, |zone| (&zone.value.name, zone.value.size));
    SharedZone::declare(conf, name, size, content).map_err(|e| {
        let e = format!("{}: {e}", C::DIRECTIVE);
        match stated {
            Some(zone) => zone.mistake(e),
            None => e.into(),
        }
    })
}

/// Reads the name and the size of the zone for leases.
pub fn zone(text: &str) -> ConfResult<ZoneSize> {
    ZoneSize::parse(text, Capacity::bytes_for(1, 1, 1))
}
