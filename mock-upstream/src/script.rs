//! The words of the answer, serialized once when the mock starts.

/// A text cut into words, each ready to be copied into a chunk. A word keeps the white space
/// behind it, so that the words in a row are the text.
#[derive(Debug, PartialEq, Eq)]
pub struct Script {
    words: Vec<Word>,
    /// The last word with a space behind it, for a text that is repeated.
    joint: Option<Word>,
}

/// One word in the two forms that answers need.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Word {
    /// Inside a JSON string.
    pub(crate) escaped: Box<str>,
    /// The `delta` of a chat chunk.
    pub(crate) delta: Box<[u8]>,
}

impl Script {
    pub(crate) fn new(text: &str) -> Self {
        let words: Vec<&str> = split(text);
        let joint = words.last().map(|last| {
            let space = if last.ends_with(char::is_whitespace) {
                ""
            } else {
                " "
            };
            Word::new(&format!("{last}{space}"))
        });
        Self {
            words: words.into_iter().map(Word::new).collect(),
            joint,
        }
    }

    /// The whole text.
    pub(crate) fn text(&self) -> String {
        let escaped: String = self.words.iter().map(|word| &*word.escaped).collect();
        // What was escaped can be read again.
        serde_json::from_str(&format!("\"{escaped}\"")).unwrap_or_default()
    }

    /// The number of words of an answer: the text's own, unless a number is asked for and the
    /// text has a word to repeat.
    pub(crate) fn count(&self, asked: Option<u32>) -> u32 {
        let own = u32::try_from(self.words.len()).unwrap_or(u32::MAX);
        match asked {
            Some(asked) if own > 0 => asked,
            _ => own,
        }
    }

    /// The `index`th word of an answer of `count` words.
    pub(crate) fn word(&self, index: u32, count: u32) -> Option<&Word> {
        let own = self.words.len();
        let position = (index as usize).checked_rem(own)?;
        let ends_the_text = position + 1 == own;
        if ends_the_text && index + 1 < count {
            return self.joint.as_ref();
        }
        self.words.get(position)
    }
}

impl Word {
    fn new(text: &str) -> Self {
        // A string always serializes; between its quotes it may stand in any other string.
        let quoted = serde_json::to_string(text).unwrap_or_default();
        let escaped = quoted
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'));
        let escaped = escaped.unwrap_or_default();
        let delta = format!("{{\"content\":{quoted}}}");
        Self {
            escaped: escaped.into(),
            delta: delta.into_bytes().into(),
        }
    }
}

fn split(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let word = rest
            .find(|c: char| !c.is_whitespace())
            .unwrap_or(rest.len());
        let space = rest[word..]
            .find(char::is_whitespace)
            .map_or(rest.len(), |at| word + at);
        let next = rest[space..]
            .find(|c: char| !c.is_whitespace())
            .map_or(rest.len(), |at| space + at);
        words.push(&rest[..next]);
        rest = &rest[next..];
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str, asked: Option<u32>) -> Vec<String> {
        let script = Script::new(text);
        let count = script.count(asked);
        let words = (0..count).map(|index| script.word(index, count).expect("a word"));
        words.map(|word| word.escaped.to_string()).collect()
    }

    #[test]
    fn words_in_a_row_are_the_text() {
        assert_eq!(
            said("powered by openai", None),
            ["powered ", "by ", "openai"]
        );
        assert_eq!(said("  a\n\nb  c ", None), ["  a\\n\\n", "b  ", "c "]);
        assert_eq!(said("", None), [""; 0]);
        assert_eq!(said(" ", None), [" "]);
    }

    #[test]
    fn repeats_or_cuts_to_the_number_asked_for() {
        assert_eq!(said("a b", Some(5)), ["a ", "b ", "a ", "b ", "a "]);
        assert_eq!(said("a b", Some(4)), ["a ", "b ", "a ", "b"]);
        assert_eq!(said("a b", Some(0)), [""; 0]);
        assert_eq!(said("", Some(3)), [""; 0]);
    }

    #[test]
    fn escapes_what_json_wants_escaped() {
        let script = Script::new("\"a\\\u{1}\"");
        let word = script.word(0, 1).expect("a word");
        assert_eq!(&*word.escaped, r#"\"a\\\u0001\""#);
        assert_eq!(&*word.delta, br#"{"content":"\"a\\\u0001\""}"#.as_slice());
    }
}
