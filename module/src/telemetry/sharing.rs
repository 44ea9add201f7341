//! Metrics that machines share: what this one has counted is written to the nodes of a
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

use super::metrics::{self, today};
use super::{event, snapshot};
use crate::config::{Main, RedlockGroup};

/// Maximum number of rows that are written to the zone at once, because other workers wait
/// for its mutex.
const MOST_WRITTEN: usize = 32;

/// A group through which stats are shared.
struct Channel {
    /// Index of its first node among the nodes of all channels.
    first: usize,
    nodes: usize,
    names: Rc<ShareNames>,
    interval_ms: u64,
    /// Nodes whose last reply was an error.
    refused: NodeSet,
}

/// The names of pools, each with the ids of its keys.
pub type KeyIds = Vec<(String, Vec<String>)>;

struct Sharer {
    services: Vec<String>,
    names: Rc<RefCell<SharedNames>>,
    zone: SharedZone,
    sharing: Sharing,
    /// By group; `None` if the group shares no stats.
    channels: Vec<Option<Channel>>,
    /// First day whose rows of this machine may have changed.
    since: Day,
    /// Received counts of other machines that have not been written to the zone; the newest
    /// day last.
    received: Vec<(RowId, RowSums)>,
    write: Timer,
    /// Whether it has been logged that the zone has no room for the counts of other machines.
    is_full: bool,
}

thread_local! {
    static SHARER: RefCell<Option<Sharer>> = const { RefCell::new(None) };
}

fn sharer<T>(act: impl FnOnce(&mut Sharer) -> Option<T>) -> Option<T> {
    SHARER.with_borrow_mut(|sharer| act(sharer.as_mut()?))
}

fn row(day: Day, name: String) -> RowId {
    RowId {
        day: day.number(),
        name: name.into(),
    }
}

/// Starts to share stats through those of the groups that are in use.
pub fn start(main: &Main, keys: KeyIds, in_use: &[bool]) {
    let Some(zone) = main.metrics.shared else {
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
    let Some(instance) = metrics::instance(zone).filter(|_| first > 0) else {
        return;
    };
    let clients = main.clients.iter().flat_map(|clients| clients.as_slice());
    let services: Vec<_> = clients.map(|client| client.name.clone()).collect();
    let names = Rc::new(RefCell::new(SharedNames::new(&services, keys)));
    let accepting = Rc::clone(&names);
    let accepts = move |row: &RowId, sums: &RowSums| accepting.borrow().accept(row, sums, today());
    let mut sharer = Sharer {
        services,
        names,
        zone,
        sharing: Sharing::new(Instance(instance), KEPT_DAYS, first).accepting(accepts),
        channels,
        since: Day::default(),
        received: vec![],
        write: Timer::new(true, |_| write(), 0),
        is_full: false,
    };
    if is_first_worker() {
        sharer.count();
        sharer.remember();
    }
    SHARER.set(Some(sharer));
}

/// Sets the names that rows may have, after the keys have changed.
pub fn keys_changed(keys: KeyIds) {
    sharer(|sharer| {
        *sharer.names.borrow_mut() = SharedNames::new(&sharer.services, keys);
        Some(())
    });
}

/// Milliseconds between two rounds with a group; `None` if this worker does not share.
pub fn interval_ms(group: usize) -> Option<u64> {
    let interval_ms = sharer(|sharer| Some(sharer.channel(group)?.interval_ms));
    interval_ms.filter(|_| is_first_worker())
}

/// Handles a new connection to a node.
pub fn opened(group: usize, node: NodeId) {
    sharer(|sharer| {
        let at = sharer.place(group, node)?;
        sharer.sharing.opened(at);
        Some(())
    });
}

/// Starts a round with all nodes of a group, and returns their number.
pub fn begin_round(group: usize) -> Option<usize> {
    sharer(|sharer| {
        sharer.count();
        let &Channel { first, nodes, .. } = sharer.channel(group)?;
        for at in first..first + nodes {
            sharer.sharing.begin_round(at);
        }
        Some(nodes)
    })
}

/// The next command for a node, if there is one. `id` names the node's data set if it has
/// no id yet.
pub fn next(group: usize, node: NodeId, id: u64) -> Option<ScriptCall> {
    sharer(|sharer| {
        let at = sharer.place(group, node)?;
        let names = Rc::clone(&sharer.channel(group)?.names);
        sharer.sharing.next(at, &names, id)
    })
}

/// Handles a node's reply. Returns an error if it is the first in a row; never for a lost
/// connection.
pub fn answered(group: usize, node: NodeId, value: &Value) -> Option<ErrorKind> {
    sharer(|sharer| {
        let at = sharer.place(group, node)?;
        let done = sharer.sharing.answered(at, value);
        let risen = sharer.sharing.take_risen();
        if !risen.is_empty() {
            sharer.received.extend(risen);
            sharer.received.sort_by_key(|(row, _)| row.day);
            sharer.write.start(1);
        }
        let channel = sharer.channels.get_mut(group)?.as_mut()?;
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
    })
}

/// The last commands of a worker that exits.
pub struct LastWords(Sharer);

/// Stops sharing when the worker exits. Every worker sends its last commands, as far as the
/// sockets accept them, so that the last counts are not lost.
pub fn stop() -> Option<LastWords> {
    let mut sharer = SHARER.take()?;
    sharer.since = today().before(1);
    sharer.count();
    Some(LastWords(sharer))
}

impl LastWords {
    /// The last commands for a node.
    pub fn of(&mut self, group: usize, node: NodeId, id: u64) -> Vec<ScriptCall> {
        let sharer = &mut self.0;
        let names = sharer
            .channel(group)
            .map(|channel| Rc::clone(&channel.names));
        let Some((at, names)) = sharer.place(group, node).zip(names) else {
            return vec![];
        };
        sharer.sharing.last_calls(at, &names, id)
    }
}

/// Writes received counts to the zone.
fn write() {
    let is_full_now = sharer(|sharer| {
        let from = sharer.received.len().saturating_sub(MOST_WRITTEN);
        let received = sharer.received.split_off(from);
        if !sharer.received.is_empty() {
            sharer.write.start(1);
        }
        let missed = metrics::raise_others(sharer.zone, today(), &received)?;
        Some(missed > 0 && !std::mem::replace(&mut sharer.is_full, true))
    });
    if is_full_now == Some(true) {
        let fields =
            json!({ "hint": "the stats of other machines do not fit: enlarge openai_stats" });
        event(Level::Warn, "stats_not_kept", fields);
    }
}

impl Sharer {
    fn channel(&self, group: usize) -> Option<&Channel> {
        self.channels.get(group)?.as_ref()
    }

    /// Index of a node among the nodes of all channels.
    fn place(&self, group: usize, node: NodeId) -> Option<usize> {
        let channel = self.channel(group)?;
        let node = usize::from(node.0);
        (node < channel.nodes).then_some(channel.first + node)
    }

    /// Reads the counts of this machine from the zone.
    fn count(&mut self) {
        let today = today();
        for ((day, name), counters) in metrics::by_day(self.zone, self.since) {
            self.sharing.count(row(day, name), &counters.to_sums());
        }
        // Requests that ended before midnight may be added after it.
        self.since = today.before(1);
        let oldest = today.before(KEPT_DAYS);
        self.sharing.forget_before(oldest.number());
    }

    /// Reads the counts of the previous nginx from its snapshot: nodes may lack some of them.
    fn remember(&mut self) {
        let Some((instance, rows)) = snapshot::take_former() else {
            return;
        };
        for ((day, name), counters) in rows {
            let of = Instance(instance);
            self.sharing.know(of, row(day, name), &counters.to_sums());
        }
    }
}
