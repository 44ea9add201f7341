//! The events of one chat completion stream.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::head::ChatHead;
use crate::script::Script;

const ROLE: &[u8] = br#"{"role":"assistant"},"finish_reason":null}]"#;
const STOP: &[u8] = br#"{},"finish_reason":"stop"}]"#;
const DONE: &[u8] = b"data: [DONE]\n\n";
const END: &[u8] = b"}\n\n";
const END_WITHOUT_USAGE: &[u8] = b",\"usage\":null}\n\n";
/// A buffer for streams that leave all at once; slower ones need room for one event only.
const BURST: usize = 4096;

/// What comes next in a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    Role,
    Word(u32),
    Stop,
    Usage,
    Done,
}

/// Counts of tokens, in the words of the real API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) prompt: u64,
    pub(crate) completion: u64,
}

impl Usage {
    pub(crate) fn to_json(self) -> String {
        let Self { prompt, completion } = self;
        let total = prompt.saturating_add(completion);
        format!(
            "{{\"prompt_tokens\":{prompt},\"completion_tokens\":{completion},\
             \"total_tokens\":{total}}}"
        )
    }
}

/// The events of one stream, in order, each made when it is due.
#[derive(Debug)]
pub(crate) struct Chunks {
    script: Arc<Script>,
    words: u32,
    next: Option<Event>,
    /// What every chunk begins with, up to the delta.
    opening: Box<[u8]>,
    /// The length of `opening` that the usage chunk shares, up to the array of choices.
    common: usize,
    usage: Option<Usage>,
    buffer: BytesMut,
}

impl Chunks {
    pub(crate) fn new(
        script: Arc<Script>,
        head: &ChatHead<'_>,
        words: u32,
        id: &str,
        created: u64,
        paced: bool,
    ) -> Self {
        let model = head.model;
        let common = format!(
            "data: {{\"id\":\"{id}\",\"object\":\"chat.completion.chunk\",\
             \"created\":{created},\"model\":{model},\"choices\":["
        );
        let usage = Usage {
            prompt: head.prompt_tokens,
            completion: u64::from(words),
        };
        Self {
            script,
            words,
            next: Some(Event::Role),
            common: common.len(),
            opening: (common + "{\"index\":0,\"delta\":").into_bytes().into(),
            usage: head.include_usage.then_some(usage),
            buffer: BytesMut::with_capacity(if paced { 0 } else { BURST }),
        }
    }

    /// The event that [`Chunks::take`] will give.
    pub(crate) fn peek(&self) -> Option<Event> {
        self.next
    }

    /// The next event's bytes.
    pub(crate) fn take(&mut self) -> Option<Bytes> {
        let event = self.next?;
        self.next = self.after(event);
        match event {
            Event::Role => self.write(ROLE),
            Event::Word(index) => {
                let script = Arc::clone(&self.script);
                self.write(
                    script
                        .word(index, self.words)
                        .map_or(STOP, |word| &word.delta),
                );
            }
            Event::Stop => self.write(STOP),
            Event::Usage => {
                let usage = self.usage.map(Usage::to_json).unwrap_or_default();
                self.buffer.extend_from_slice(&self.opening[..self.common]);
                self.buffer.extend_from_slice(b"],\"usage\":");
                self.buffer.extend_from_slice(usage.as_bytes());
                self.buffer.extend_from_slice(END);
            }
            Event::Done => return Some(Bytes::from_static(DONE)),
        }
        Some(self.buffer.split().freeze())
    }

    fn after(&self, event: Event) -> Option<Event> {
        let word = |index| {
            if index < self.words {
                Event::Word(index)
            } else {
                Event::Stop
            }
        };
        match event {
            Event::Role => Some(word(0)),
            Event::Word(index) => Some(word(index + 1)),
            Event::Stop if self.usage.is_some() => Some(Event::Usage),
            Event::Stop | Event::Usage => Some(Event::Done),
            Event::Done => None,
        }
    }

    fn write(&mut self, delta: &[u8]) {
        let end = if self.usage.is_some() {
            END_WITHOUT_USAGE
        } else {
            END
        };
        self.buffer
            .reserve(self.opening.len() + delta.len() + end.len());
        self.buffer.extend_from_slice(&self.opening);
        self.buffer.extend_from_slice(delta);
        self.buffer.extend_from_slice(end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(body: &str, text: &str, asked: Option<u32>) -> String {
        let script = Arc::new(Script::new(text));
        let head = ChatHead::read(body.as_bytes());
        let words = script.count(asked);
        let mut chunks = Chunks::new(script, &head, words, "chatcmpl-1", 7, true);
        let events = std::iter::from_fn(|| chunks.take());
        events
            .map(|event| String::from_utf8(event.to_vec()).expect("UTF-8"))
            .collect()
    }

    #[test]
    fn without_usage() {
        insta::assert_snapshot!(stream("", "powered by openai", None), @r#"
        data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"gpt-3.5-turbo","choices":[{"index":0,"delta":{"role":"assistant"},"finish_reason":null}]}

        data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"gpt-3.5-turbo","choices":[{"index":0,"delta":{"content":"powered "},"finish_reason":null}]}

        data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"gpt-3.5-turbo","choices":[{"index":0,"delta":{"content":"by "},"finish_reason":null}]}

        data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"gpt-3.5-turbo","choices":[{"index":0,"delta":{"content":"openai"},"finish_reason":null}]}

        data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"gpt-3.5-turbo","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}

        data: [DONE]
        "#);
    }

    #[test]
    fn with_usage() {
        let body = r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#;
        insta::assert_snapshot!(stream(body, "hi", Some(1)), @r#"
        data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"m","choices":[{"index":0,"delta":{"role":"assistant"},"finish_reason":null}],"usage":null}

        data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"m","choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":null}],"usage":null}

        data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}

        data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":7,"model":"m","choices":[],"usage":{"prompt_tokens":0,"completion_tokens":1,"total_tokens":1}}

        data: [DONE]
        "#);
    }

    #[test]
    fn without_words() {
        assert_eq!(stream("", "", None).matches("data: ").count(), 3);
        assert_eq!(stream("", "hello", Some(0)).matches("data: ").count(), 3);
    }
}
