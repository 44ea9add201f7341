//! Nodes, sets of them, and how many are enough.

/// The most nodes of a group.
pub const MAX_NODES: u8 = 16;

/// A node, by its place in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u8);

/// A set of nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeSet(u16);

impl NodeSet {
    /// A set of one.
    #[must_use]
    pub fn only(node: NodeId) -> Self {
        let mut set = Self::default();
        set.insert(node);
        set
    }

    /// Adds a node. There is no node beyond [`MAX_NODES`]; such an id is ignored.
    pub fn insert(&mut self, node: NodeId) {
        self.0 |= Self::bit(node);
    }

    /// Takes a node out; whether it was in.
    pub fn remove(&mut self, node: NodeId) -> bool {
        let had = self.contains(node);
        self.0 &= !Self::bit(node);
        had
    }

    /// Whether the node is in.
    #[must_use]
    pub fn contains(self, node: NodeId) -> bool {
        self.0 & Self::bit(node) != 0
    }

    /// How many there are.
    #[must_use]
    pub fn len(self) -> u8 {
        self.0.count_ones() as u8
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The nodes, by rising place.
    pub fn iter(self) -> impl Iterator<Item = NodeId> {
        (0..MAX_NODES)
            .map(NodeId)
            .filter(move |&node| self.contains(node))
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

/// How many of the configured nodes must agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quorum {
    nodes: u8,
}

impl Quorum {
    /// The majority of `nodes` configured nodes, however many of them are alive.
    #[must_use]
    pub fn of(nodes: u8) -> Option<Self> {
        (1..=MAX_NODES).contains(&nodes).then_some(Self { nodes })
    }

    /// How many nodes are configured.
    #[must_use]
    pub fn nodes(self) -> u8 {
        self.nodes
    }

    /// ⌊N/2⌋+1.
    #[must_use]
    pub fn needed(self) -> u8 {
        self.nodes / 2 + 1
    }

    /// How many nodes may fail.
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
