//! Nodes, sets of nodes, and the quorum.

/// Maximum number of nodes in a group.
pub const MAX_NODES: u8 = 16;

/// A node, by its index in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u8);

/// A set of nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeSet(u16);

impl NodeSet {
    /// A set of one node.
    #[must_use]
    pub fn only(node: NodeId) -> Self {
        let mut set = Self::default();
        set.insert(node);
        set
    }

    /// Adds a node. Ids of [`MAX_NODES`] and above are ignored.
    pub fn insert(&mut self, node: NodeId) {
        self.0 |= Self::bit(node);
    }

    /// Removes a node; returns whether it was in the set.
    pub fn remove(&mut self, node: NodeId) -> bool {
        let had = self.contains(node);
        self.0 &= !Self::bit(node);
        had
    }

    /// Whether the node is in the set.
    #[must_use]
    pub fn contains(self, node: NodeId) -> bool {
        self.0 & Self::bit(node) != 0
    }

    /// Number of nodes.
    #[must_use]
    pub fn len(self) -> u8 {
        self.0.count_ones() as u8
    }

    /// Whether the set is empty.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The nodes, ascending.
    pub fn iter(self) -> impl Iterator<Item = NodeId> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let first = rest.trailing_zeros();
            // Without its lowest bit; `None` if there is none.
            rest &= rest.checked_sub(1)?;
            Some(NodeId(first as u8))
        })
    }

    fn bit(node: NodeId) -> u16 {
        1u16.checked_shl(u32::from(node.0)).unwrap_or(0)
    }
}

impl FromIterator<NodeId> for NodeSet {
    fn from_iter<I: IntoIterator<Item = NodeId>>(nodes: I) -> Self {
        let mut set = Self::default();
        for node in nodes {
            set.insert(node);
        }
        set
    }
}

/// A group of nodes and the number of them that must agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quorum {
    nodes: u8,
}

impl Quorum {
    /// The majority of `nodes` configured nodes, however many of them are alive. `None` unless
    /// `nodes` is from 1 to [`MAX_NODES`].
    #[must_use]
    pub fn of(nodes: u8) -> Option<Self> {
        (1..=MAX_NODES).contains(&nodes).then_some(Self { nodes })
    }

    /// Number of configured nodes.
    #[must_use]
    pub fn nodes(self) -> u8 {
        self.nodes
    }

    /// Number of nodes that must agree: ⌊N/2⌋+1.
    #[must_use]
    pub fn needed(self) -> u8 {
        self.nodes / 2 + 1
    }

    /// Number of nodes that may fail.
    #[must_use]
    pub fn spare(self) -> u8 {
        self.nodes - self.needed()
    }

    /// All configured nodes.
    #[must_use]
    pub fn all(self) -> NodeSet {
        (0..self.nodes).map(NodeId).collect()
    }
}
