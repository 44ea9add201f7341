//! MetricsConfig that machines share: what this one has counted is written to the nodes of a
//! group, and what the others have is read from there.
//!
//! This is a state machine: the caller sends the calls that it returns, and passes the
//! replies to it.
//!
//! Only the first worker shares. During a reload there are two first workers, which does no
//! harm: writing a row again has no effect.

use std::cell::RefCell;
use std::rc::Rc;

use nginx_safe::{Level, SharedZone, Timer, is_first_worker};
use openai_core::metrics::{Day, KEPT_DAYS, SharedNames};
use openai_core::redlock::share::{Instance, RowId, RowSums, Sharing};
use openai_core::redlock::{ErrorKind, NodeId, NodeSet, ScriptCall, ShareNames, Value};
use serde_json::json;

use super::{event, metrics, now};
use crate::config::{KeyTable, Main, RedlockGroup};

/// How many rows are noted in the zone at once: others wait for its mutex.
const MOST_NOTED: usize = 32;

/// A group by which totals are shared.
struct Channel {
    /// The place of its first node among all nodes.
    first: usize,
    nodes: usize,
    names: Rc<ShareNames>,
    interval_ms: u64,
    /// Nodes that have refused.
    refused: NodeSet,
}

/// What rows may be about.
struct Known {
    services: Vec<String>,
    /// Pools, with their keys.
    pools: Vec<(String, Rc<KeyTable>)>,
}

impl Known {
    fn of(main: &Main) -> Self {
        let clients = main.clients.iter().flat_map(|clients| clients.as_slice());
        let pools = main.pools.iter();
        Self {
            services: clients.map(|client| client.name.clone()).collect(),
            pools: pools
                .map(|pool| (pool.name.clone(), Rc::clone(&pool.keys)))
                .collect(),
        }
    }

    fn names(&self) -> SharedNames {
        let pools = self.pools.iter().map(|(name, keys)| {
            let ids = keys.newest().iter().map(|key| key.id.clone()).collect();
            (name.as_str(), ids)
        });
        SharedNames::new(self.services.iter().map(String::as_str), pools)
    }
}

struct Sharer {
    known: Known,
    names: Rc<RefCell<SharedNames>>,
    board: SharedZone,
    sharing: Sharing,
    /// By group.
    channels: Vec<Option<Channel>>,
    /// From which day on own rows may have changed.
    since: Day,
    looked: Day,
    /// What has been heard of others and not been noted; of the newest day last.
    heard: Vec<(RowId, RowSums)>,
    note: Timer,
    /// Whether it has been said that there is no room for what others say.
    is_full: bool,
}

thread_local! {
    static SHARER: RefCell<Option<Sharer>> = const { RefCell::new(None) };
}

fn sharer<T>(act: impl FnOnce(&mut Sharer) -> T) -> Option<T> {
    SHARER.with_borrow_mut(|sharer| sharer.as_mut().map(act))
}

fn row(day: Day, name: String) -> RowId {
    RowId {
        day: day.number(),
        name: name.into(),
    }
}

fn today() -> Day {
    Day::of(now().wall_us)
}

/// Begins to share totals by those of the groups that are in use.
pub fn start(main: &Main, in_use: &[bool]) {
    let Some(board) = main.metrics.shared else {
        return;
    };
    let mut first = 0;
    let channel = |(group, &in_use): (&RedlockGroup, &bool)| {
        let interval_ms = group.stats_ms.filter(|_| in_use)?;
        let channel = Channel {
            first,
            nodes: group.nodes.len(),
            names: Rc::clone(&group.share_names),
            interval_ms,
            refused: NodeSet::default(),
        };
        first += channel.nodes;
        Some(channel)
    };
    let channels = main.groups.iter().zip(in_use).map(channel).collect();
    let Some(instance) = metrics::instance(board).filter(|_| first > 0) else {
        return;
    };
    let known = Known::of(main);
    let names = Rc::new(RefCell::new(known.names()));
    let accepting = Rc::clone(&names);
    let accepts = move |row: &RowId, sums: &RowSums| accepting.borrow().accept(row, sums, today());
    let mut sharer = Sharer {
        known,
        names,
        board,
        sharing: Sharing::new(Instance(instance), KEPT_DAYS, first).accepting(accepts),
        channels,
        since: Day::default(),
        looked: Day::default(),
        heard: vec![],
        note: Timer::new(true, |_| note(), 0),
        is_full: false,
    };
    if is_first_worker() {
        sharer.count();
        sharer.remember(main);
    }
    SHARER.set(Some(sharer));
}

/// There are other keys.
pub fn keys_changed() {
    sharer(|sharer| {
        let names = sharer.known.names();
        *sharer.names.borrow_mut() = names;
    });
}

/// How often a group is to be talked to, if this worker is to do that.
pub fn interval_ms(group: usize) -> Option<u64> {
    let interval_ms = |sharer: &mut Sharer| Some(sharer.channels.get(group)?.as_ref()?.interval_ms);
    sharer(interval_ms).flatten().filter(|_| is_first_worker())
}

/// There is a new connection to a node.
pub fn opened(group: usize, node: NodeId) {
    sharer(|sharer| {
        if let Some(at) = sharer.place(group, node) {
            sharer.sharing.opened(at);
        }
    });
}

/// It is time to talk to a group: how many nodes it has.
pub fn begin_round(group: usize) -> Option<usize> {
    let nodes = |sharer: &mut Sharer| {
        sharer.count();
        let channel = sharer.channels.get(group)?.as_ref()?;
        for at in channel.first..channel.first + channel.nodes {
            sharer.sharing.begin_round(at);
        }
        Some(channel.nodes)
    };
    sharer(nodes).flatten()
}

/// What a node is to be asked next, if there is anything; under this name.
pub fn next(group: usize, node: NodeId, id: u64) -> Option<ScriptCall> {
    let next = |sharer: &mut Sharer| {
        let at = sharer.place(group, node)?;
        let channel = sharer.channels.get(group)?.as_ref()?;
        sharer.sharing.next(at, &channel.names, id)
    };
    sharer(next).flatten()
}

/// Takes in the answer of a node; why it is none, if that is news.
pub fn answered(group: usize, node: NodeId, value: &Value) -> Option<ErrorKind> {
    sharer(|sharer| sharer.answered(group, node, value)).flatten()
}

/// What is still to be told when a worker ends.
pub struct LastWords(Sharer);

/// The worker ends: what has been counted is told once more, as far as the sockets take
/// it, by each worker. So nothing is lost by the last one.
pub fn stop() -> Option<LastWords> {
    let mut sharer = SHARER.take()?;
    sharer.since = today().before(1);
    sharer.count();
    Some(LastWords(sharer))
}

impl LastWords {
    /// What a node is to be told.
    pub fn of(&mut self, group: usize, node: NodeId, id: u64) -> Vec<ScriptCall> {
        let at = self.0.place(group, node);
        let channel = self.0.channels.get(group).and_then(Option::as_ref);
        let Some((at, channel)) = at.zip(channel) else {
            return vec![];
        };
        self.0.sharing.last_words(at, &channel.names, id)
    }
}

/// Notes in the zone what has been heard.
fn note() {
    let missed = sharer(|sharer| {
        let from = sharer.heard.len().saturating_sub(MOST_NOTED);
        let heard = sharer.heard.split_off(from);
        if !sharer.heard.is_empty() {
            sharer.note.start(1);
        }
        let missed = metrics::raise_others(sharer.board, today(), &heard);
        missed.is_some_and(|missed| missed > 0 && !std::mem::replace(&mut sharer.is_full, true))
    });
    if missed == Some(true) {
        let fields = json!({ "hint": "openai_stats needs more room for other machines' totals" });
        event(Level::Warn, "stats_not_kept", fields);
    }
}

impl Sharer {
    /// The place of a node among all.
    fn place(&self, group: usize, node: NodeId) -> Option<usize> {
        let channel = self.channels.get(group)?.as_ref()?;
        let node = usize::from(node.0);
        (node < channel.nodes).then_some(channel.first + node)
    }

    /// Looks what has been counted here.
    fn count(&mut self) {
        let today = today();
        for ((day, name), counters) in metrics::by_day(self.board, self.since) {
            self.sharing.count(row(day, name), &counters.to_sums());
        }
        // A day that is over may have come to more just after the last look.
        self.since = std::mem::replace(&mut self.looked, today);
        let oldest = today.before(KEPT_DAYS);
        self.sharing.forget_before(oldest.number());
    }

    /// Reads what the nginx before has left: nodes may not have been told all of it.
    fn remember(&mut self, main: &Main) {
        let former = main
            .metrics
            .snapshot
            .as_ref()
            .map(|kept| kept.former.borrow());
        let Some((instance, rows)) = former.as_ref().and_then(|former| former.as_ref()) else {
            return;
        };
        for ((day, name), counters) in rows {
            let row = row(*day, name.clone());
            let of = Instance(*instance);
            self.sharing.know(of, row, &counters.to_sums());
        }
    }

    /// Takes in an answer; why it is none, if that is news.
    fn answered(&mut self, group: usize, node: NodeId, value: &Value) -> Option<ErrorKind> {
        let at = self.place(group, node)?;
        let done = self.sharing.answered(at, value);
        let risen = self.sharing.take_risen();
        if !risen.is_empty() {
            self.heard.extend(risen);
            self.heard.sort_by_key(|(row, _)| row.day);
            self.note.start(1);
        }
        let channel = self.channels.get_mut(group)?.as_mut()?;
        match done {
            Ok(()) => {
                channel.refused.remove(node);
                None
            }
            Err(ErrorKind::Disconnected) => None,
            Err(kind) => {
                let is_known = channel.refused.contains(node);
                channel.refused.insert(node);
                (!is_known).then_some(kind)
            }
        }
    }
}
