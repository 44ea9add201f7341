//! Seeded mutations of a corpus.

/// Tokens of JSON.
const TOKENS: [&[u8]; 16] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\"",
    b"\\",
    b"\\u00",
    b"\\ud83d",
    b"null",
    b"true",
    b"\"model\":",
    b"\"stream\":",
    b"-1.5e3",
    b"\xFF",
];

/// An endless sequence of bodies, the same for the same seed.
pub(crate) struct Mutator<'a> {
    corpus: &'a [Vec<u8>],
    state: u64,
}

impl<'a> Mutator<'a> {
    pub(crate) fn new(corpus: &'a [Vec<u8>], seed: u64) -> Self {
        Self {
            corpus,
            state: seed,
        }
    }

    /// A body of the corpus, changed in up to four places.
    pub(crate) fn next_body(&mut self) -> Vec<u8> {
        let mut body = self.pick().to_vec();
        for _ in 0..=self.below(4) {
            self.mutate(&mut body);
        }
        body
    }

    fn mutate(&mut self, body: &mut Vec<u8>) {
        let (from, to) = self.range(body.len());
        match self.below(6) {
            0 => body.truncate(to),
            1 => drop(body.drain(from..to.min(from + 8))),
            2 => {
                let token = TOKENS[self.below(TOKENS.len())];
                body.splice(from..from, token.iter().copied());
            }
            3 => {
                let copy = body[from..to].to_vec();
                body.splice(to..to, copy);
            }
            4 => {
                let byte = self.below(256) as u8;
                body.splice(from..to.min(from + 1), [byte]);
            }
            _ => {
                let other = self.pick();
                let (start, end) = self.range(other.len());
                body.splice(from..to, other[start..end].iter().copied());
            }
        }
    }

    fn pick(&mut self) -> &'a [u8] {
        &self.corpus[self.below(self.corpus.len())]
    }

    /// Two ordered indexes.
    fn range(&mut self, len: usize) -> (usize, usize) {
        let (one, other) = (self.below(len + 1), self.below(len + 1));
        (one.min(other), one.max(other))
    }

    /// A number below `end`, by xorshift.
    fn below(&mut self, end: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 16) as usize % end
    }
}
