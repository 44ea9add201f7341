//! Steps of the model.

use openai_wire::Verdict;
use proptest::prelude::*;

use crate::lease::tests::bed::TTL;

#[derive(Clone, Debug)]
pub(super) enum Step {
    Take {
        worker: usize,
        priority: i32,
        /// A key that the request must not get.
        tried: Option<u8>,
    },
    Answer(usize, Answer),
    Release(usize),
    Renew(usize),
    Leave(usize),
    /// A lease moves to another slot; its old slot is held elsewhere for a while.
    Move(usize, u64),
    Pass(u64),
    Kill(usize),
    Reload(Vec<(u8, u32, u32)>),
    /// A worker reads its keys again: new ones, or those that another worker read last.
    Read(usize, Option<Vec<(u8, u32, u32)>>),
    /// A process died while it held the mutex.
    Tear(u64),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Answer {
    Ok,
    UpstreamError,
    InvalidKey,
    /// The response states how long to wait.
    RateLimited(u64),
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let keys = proptest::collection::btree_map(0u8..6, (1u32..4, 1u32..5), 1..5).prop_map(|keys| {
        keys.into_iter()
            .map(|(k, (s, w))| (k, s, w))
            .collect::<Vec<_>>()
    });
    let answer = prop_oneof![
        4 => Just(Answer::Ok),
        1 => Just(Answer::UpstreamError),
        1 => Just(Answer::InvalidKey),
        2 => (1..TTL).prop_map(Answer::RateLimited),
    ];
    let step = prop_oneof![
        12 => (0usize..3, 0i32..3, proptest::option::weighted(0.3, 0u8..6))
            .prop_map(|(worker, priority, tried)| Step::Take { worker, priority, tried }),
        6 => (any::<usize>(), answer).prop_map(|(at, answer)| Step::Answer(at, answer)),
        8 => any::<usize>().prop_map(Step::Release),
        3 => any::<usize>().prop_map(Step::Renew),
        3 => any::<usize>().prop_map(Step::Leave),
        3 => (any::<usize>(), any::<u64>()).prop_map(|(at, random)| Step::Move(at, random)),
        2 => (1..TTL).prop_map(Step::Pass),
        1 => (0usize..3).prop_map(Step::Kill),
        1 => keys.clone().prop_map(Step::Reload),
        3 => (0usize..3, proptest::option::of(keys)).prop_map(|(at, keys)| Step::Read(at, keys)),
        1 => any::<u64>().prop_map(Step::Tear),
    ];
    proptest::collection::vec(step, 1..120)
}

impl Answer {
    pub(super) fn verdict(self) -> Verdict {
        match self {
            Self::Ok => Verdict::Ok,
            Self::UpstreamError => Verdict::UpstreamError,
            Self::InvalidKey => Verdict::InvalidKey,
            Self::RateLimited(_) => Verdict::RateLimited,
        }
    }
}
