//! When the events of a stream are due.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::chunks::Event;

/// The times of a stream's events.
///
/// The `k`th word is due `k` delays after the start: deadlines are absolute, a late word does
/// not make the next one late. Everything else leaves at once, yet in a write of its own.
#[derive(Debug)]
pub(crate) enum Pace {
    /// Every event as soon as the connection takes it.
    Immediate,
    /// A fixed time between words.
    Steady {
        start: Instant,
        delay: Duration,
        wait: Wait,
    },
}

/// What the next event waits for.
#[derive(Debug)]
pub(crate) enum Wait {
    Nothing,
    Flush,
    Timer(Pin<Box<Sleep>>),
}

impl Pace {
    pub(crate) fn new(delay: Duration) -> Self {
        if delay.is_zero() {
            return Self::Immediate;
        }
        Self::Steady {
            start: Instant::now(),
            delay,
            wait: Wait::Nothing,
        }
    }

    /// Ready when `event` is due. Each event is to be asked for until it is.
    pub(crate) fn poll_due(&mut self, event: Event, cx: &mut Context<'_>) -> Poll<()> {
        let Self::Steady { start, delay, wait } = self else {
            return Poll::Ready(());
        };
        match wait {
            Wait::Nothing => match event {
                Event::Role => return Poll::Ready(()),
                Event::Word(index @ 1..) => {
                    let deadline = *start + delay.saturating_mul(index);
                    *wait = Wait::Timer(Box::pin(sleep_until(deadline)));
                }
                Event::Word(0) | Event::Stop | Event::Usage | Event::Done => {
                    *wait = Wait::Flush;
                    // The connection flushes what it has whenever the body has nothing more.
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            },
            Wait::Flush | Wait::Timer(_) => {}
        }
        if let Wait::Timer(timer) = wait {
            std::task::ready!(timer.as_mut().poll(cx));
        }
        *wait = Wait::Nothing;
        Poll::Ready(())
    }
}
