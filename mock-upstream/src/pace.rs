//! When the events of a stream are due.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::time::Instant;

use crate::alarm::{Alarm, FAR_AWAY};
use crate::events::Due;
use crate::latency::Latency;
use crate::witness::Witness;

/// How fast a stream is to be.
#[derive(Debug, Clone)]
pub(crate) struct Tempo {
    pub(crate) first: Latency,
    pub(crate) between: Latency,
    /// All times are multiplied by it.
    pub(crate) slow: f64,
    pub(crate) load: Option<Load>,
    pub(crate) seed: u64,
}

/// What slows streams down the more of them there are.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    pub(crate) witness: Arc<Witness>,
    pub(crate) double_at: u32,
}

impl Tempo {
    pub(crate) fn is_immediate(&self) -> bool {
        self.first.is_zero() && self.between.is_zero()
    }

    /// By how much times are stretched just now.
    fn factor(&self) -> f64 {
        let load = self.load.as_ref().map_or(0.0, |load| {
            f64::from(load.witness.in_flight()) / f64::from(load.double_at)
        });
        self.slow * (1.0 + load)
    }

    /// Whether the times between words are all the same.
    fn is_steady(&self) -> bool {
        matches!(self.between, Latency::Constant(_)) && self.load.is_none()
    }

    pub(crate) fn draw(&self, latency: Latency, rng: &mut SmallRng) -> Duration {
        let factor = self.factor();
        let time = latency.sample(rng);
        if factor == 1.0 {
            return time;
        }
        Duration::try_from_secs_f64(time.as_secs_f64() * factor).unwrap_or(Duration::MAX)
    }

    pub(crate) fn rng(&self) -> SmallRng {
        SmallRng::seed_from_u64(self.seed)
    }
}

/// The times of a stream's events.
///
/// Deadlines are absolute: a word that leaves late does not make the next one late. Everything
/// but words leaves with the word before: what is due by then is one write.
#[derive(Debug)]
pub(crate) enum Pace {
    /// Every event as soon as the connection takes it.
    Immediate,
    /// Each at its time.
    Timed(Box<Timed>),
}

#[derive(Debug)]
pub(crate) struct Timed {
    tempo: Tempo,
    rng: SmallRng,
    arrived: Instant,
    /// When the first word was due, once that is known.
    first_word: Option<Instant>,
    /// The last word and when it was due.
    word: u32,
    deadline: Instant,
    alarm: Option<Alarm>,
    /// Whether the next event waits for the alarm.
    waits: bool,
}

impl Pace {
    /// The stream's request arrived then; its answer starts now.
    pub(crate) fn new(tempo: Tempo, arrived: std::time::Instant) -> Self {
        if tempo.is_immediate() {
            return Self::Immediate;
        }
        Self::timed(tempo, arrived)
    }

    /// As events say themselves when they are due.
    pub(crate) fn recorded(arrived: std::time::Instant) -> Self {
        let tempo = Tempo {
            first: Latency::ZERO,
            between: Latency::ZERO,
            slow: 1.0,
            load: None,
            seed: 0,
        };
        Self::timed(tempo, arrived)
    }

    fn timed(tempo: Tempo, arrived: std::time::Instant) -> Self {
        let arrived = Instant::from_std(arrived);
        Self::Timed(Box::new(Timed {
            rng: tempo.rng(),
            tempo,
            arrived,
            first_word: None,
            word: 0,
            deadline: arrived,
            alarm: None,
            waits: false,
        }))
    }

    /// Ready when an event that is due then may leave. Each event is to be asked for until it is.
    pub(crate) fn poll_due(&mut self, due: Due, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Immediate => Poll::Ready(()),
            Self::Timed(timed) => timed.poll_due(due, cx),
        }
    }
}

impl Timed {
    fn poll_due(&mut self, due: Due, cx: &mut Context<'_>) -> Poll<()> {
        if !self.waits {
            let Some(deadline) = self.deadline_of(due) else {
                return Poll::Ready(());
            };
            match &mut self.alarm {
                Some(alarm) => alarm.reset(deadline),
                None => self.alarm = Some(Alarm::new(deadline)),
            }
            self.waits = true;
        }
        if let Some(alarm) = &mut self.alarm {
            ready!(Pin::new(alarm).poll(cx));
        }
        self.waits = false;
        Poll::Ready(())
    }

    fn deadline_of(&mut self, due: Due) -> Option<Instant> {
        let index = match due {
            Due::Now => return None,
            Due::At(time) => return self.arrived.checked_add(time),
            Due::Word(index) => index,
        };
        let Some(first_word) = self.first_word else {
            return self.first(index);
        };
        if index == self.word {
            // Another choice's: it goes with the one before.
            return None;
        }
        self.word = index;
        let next =
            if let (Latency::Constant(_), true) = (self.tempo.between, self.tempo.is_steady()) {
                let gap = self.tempo.draw(self.tempo.between, &mut self.rng);
                first_word.checked_add(gap.saturating_mul(index))
            } else {
                let gap = self.tempo.draw(self.tempo.between, &mut self.rng);
                self.deadline.checked_add(gap)
            };
        self.deadline = next.unwrap_or_else(far_away);
        Some(self.deadline)
    }

    fn first(&mut self, index: u32) -> Option<Instant> {
        self.word = index;
        let wait = self.tempo.draw(self.tempo.first, &mut self.rng);
        let now = Instant::now();
        let due = self.arrived.checked_add(wait).unwrap_or_else(far_away);
        // The times between words count from here.
        self.deadline = due.max(now);
        self.first_word = Some(self.deadline);
        (due > now).then_some(due)
    }
}

fn far_away() -> Instant {
    Instant::now() + FAR_AWAY
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;

    /// When each of the words of a stream leaves, in simulated milliseconds from its arrival.
    async fn times(first: &str, between: &str, slow: f64, words: u32, pause: u64) -> Vec<u64> {
        let tempo = Tempo {
            first: first.parse().expect("a latency"),
            between: between.parse().expect("a latency"),
            slow,
            load: None,
            seed: 1,
        };
        let arrived = Instant::now();
        let mut pace = Pace::new(tempo, arrived.into_std());
        let mut times = Vec::new();
        for index in 0..words {
            std::future::poll_fn(|cx| pace.poll_due(Due::Word(index), cx)).await;
            times.push(arrived.elapsed().as_millis() as u64);
            // The connection is slow to take it.
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        times
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_word_does_not_delay_the_next() {
        assert_eq!(times("0", "10ms", 1.0, 5, 0).await, [0, 10, 20, 30, 40]);
        assert_eq!(times("0", "10ms", 1.0, 5, 7).await, [0, 10, 20, 30, 40]);
        assert_eq!(times("0", "10ms", 1.0, 4, 15).await, [0, 15, 30, 45]);
        let drawn = times("0", "normal(10ms,3ms)", 1.0, 100, 0).await;
        let slowly = times("0", "normal(10ms,3ms)", 1.0, 100, 1).await;
        let mean = drawn[99] as f64 / 99.0;
        assert!((9.0..11.0).contains(&mean), "{mean}");
        assert!(drawn[99].abs_diff(slowly[99]) <= 3, "{drawn:?} {slowly:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_word_has_a_time_of_its_own() {
        assert_eq!(times("200ms", "10ms", 1.0, 3, 0).await, [200, 210, 220]);
        assert_eq!(times("200ms", "0", 1.0, 3, 0).await, [200, 200, 200]);
        assert_eq!(times("20ms", "10ms", 3.0, 3, 0).await, [60, 90, 120]);
    }

    #[tokio::test(start_paused = true)]
    async fn load_stretches_the_times() {
        let witness: Arc<Witness> = Arc::default();
        let guests: Vec<_> = (0..4)
            .map(|_| witness.enter(None, None, std::time::Instant::now()))
            .collect();
        let tempo = Tempo {
            first: Latency::ZERO,
            between: Latency::Constant(Duration::from_millis(10)),
            slow: 1.0,
            load: Some(Load {
                witness,
                double_at: NonZeroU32::new(4).expect("four").get(),
            }),
            seed: 0,
        };
        let arrived = Instant::now();
        let mut pace = Pace::new(tempo, arrived.into_std());
        for index in 0..=2 {
            std::future::poll_fn(|cx| pace.poll_due(Due::Word(index), cx)).await;
        }
        assert_eq!(arrived.elapsed().as_millis(), 40);
        drop(guests);
        std::future::poll_fn(|cx| pace.poll_due(Due::Word(3), cx)).await;
        assert_eq!(arrived.elapsed().as_millis(), 50);
    }
}
