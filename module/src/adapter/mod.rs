//! Connections to Redis.

pub mod redis;
