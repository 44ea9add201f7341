//! Locks that services take over HTTP, on shared memory and on Redlock pools alike.

mod access;
mod admin;
mod bed;
mod cooling;
mod cycles;
mod document;
mod events;
mod extends;
mod health;
mod index;
mod lifetimes;
mod listing;
mod refusals;
mod status;
mod taking;
mod usage_stats;

use bed::{
    ADMIN, Bed, OTHER, STORES, Store, TOKEN, code, group_plan, is_same_time, plan_of, seconds,
    shared_plan, some, unix_now,
};
