//! Timers that are some microseconds late, where tokio's are up to a millisecond.
//!
//! A thread that [`keep`]s alarms has one timer of the kernel for all of them; elsewhere, and
//! under tokio's paused clock, an alarm is one of tokio's.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::mem;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Sleep, sleep_until};

/// The kernel's timer goes off no more often than that: what is due by then goes with it.
const GRAIN: Duration = Duration::from_micros(100);
pub(crate) const FAR_AWAY: Duration = Duration::from_secs(86400 * 365 * 30);

/// By time; the number distinguishes those of one time.
type Key = (Instant, u64);

/// The alarms of a thread.
#[derive(Debug)]
struct Alarms {
    timer: AsyncFd<OwnedFd>,
    /// When the timer goes off, if it will.
    armed: Option<Instant>,
    waiting: BTreeMap<Key, Waker>,
    next: u64,
}

thread_local! {
    static ALARMS: RefCell<Option<Alarms>> = const { RefCell::new(None) };
}

/// Keeps the alarms of this thread for as long as it is polled. Should the kernel have no timer to
/// give, they stay tokio's.
pub(crate) async fn keep() {
    let Some(alarms) = Alarms::new() else {
        return;
    };
    ALARMS.set(Some(alarms));
    let _dismissed = Dismiss;
    loop {
        let due = poll_fn(|cx| {
            ALARMS.with_borrow_mut(|alarms| match alarms {
                Some(alarms) => alarms.poll_due(cx),
                None => Poll::Pending,
            })
        });
        // A waker may drop its task, and that its alarm: not while they are borrowed.
        due.await.into_iter().for_each(Waker::wake);
    }
}

struct Dismiss;

impl Drop for Dismiss {
    fn drop(&mut self) {
        drop(ALARMS.try_with(RefCell::take));
    }
}

impl Alarms {
    fn new() -> Option<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags).ok()?;
        #[allow(
            deprecated,
            reason = "the replacement is unsafe, and requires only what an OwnedFd guarantees"
        )]
        let timer = AsyncFd::with_interest(timer, Interest::READABLE).ok()?;
        Some(Self {
            timer,
            armed: None,
            waiting: BTreeMap::new(),
            next: 0,
        })
    }

    /// Those whose time has come, as soon as the timer has gone off.
    fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<Vec<Waker>> {
        match ready!(self.timer.poll_read_ready(cx)) {
            // It need not be read: to set it anew makes it unreadable.
            Ok(mut fired) => fired.clear_ready(),
            // The runtime ends.
            Err(_) => return Poll::Pending,
        }
        let now = Instant::now();
        let later = self.waiting.split_off(&(now, u64::MAX));
        let due = mem::replace(&mut self.waiting, later);
        self.armed = None;
        if let Some((&(at, _), _)) = self.waiting.first_key_value() {
            self.arm(at.max(now + GRAIN), now);
        }
        Poll::Ready(due.into_values().collect())
    }

    fn arm(&mut self, at: Instant, now: Instant) {
        // A time of zero would never come.
        let left = at
            .saturating_duration_since(now)
            .max(Duration::from_nanos(1));
        let time = Itimerspec {
            it_interval: Timespec::default(),
            it_value: left.try_into().unwrap_or_default(),
        };
        if timerfd_settime(self.timer.get_ref(), TimerfdTimerFlags::empty(), &time).is_ok() {
            self.armed = Some(at);
        }
    }

    fn insert(&mut self, at: Instant, now: Instant, waker: Waker) -> Key {
        let key = (at, self.next);
        self.next += 1;
        self.waiting.insert(key, waker);
        if self.armed.is_none_or(|armed| at < armed) {
            self.arm(at, now);
        }
        key
    }
}

/// Ready at its time, never before.
#[derive(Debug)]
pub(crate) struct Alarm(Kind);

#[derive(Debug)]
enum Kind {
    Kept { at: Instant, key: Option<Key> },
    Tokio(Pin<Box<Sleep>>),
}

impl Alarm {
    pub(crate) fn new(at: tokio::time::Instant) -> Self {
        Self(if ALARMS.with_borrow(Option::is_some) {
            let at = at.into_std();
            Kind::Kept { at, key: None }
        } else {
            Kind::Tokio(Box::pin(sleep_until(at)))
        })
    }

    /// One that is ready after so much time.
    pub(crate) fn after(time: Duration) -> Self {
        let now = tokio::time::Instant::now();
        Self::new(now.checked_add(time).unwrap_or(now + FAR_AWAY))
    }

    pub(crate) fn reset(&mut self, to: tokio::time::Instant) {
        match &mut self.0 {
            Kind::Kept { at, key } => {
                forget(key);
                *at = to.into_std();
            }
            Kind::Tokio(sleep) => sleep.as_mut().reset(to),
        }
    }
}

impl Future for Alarm {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let (at, key) = match &mut self.0 {
            Kind::Kept { at, key } => (*at, key),
            Kind::Tokio(sleep) => return sleep.as_mut().poll(cx),
        };
        let now = Instant::now();
        if now >= at {
            forget(key);
            return Poll::Ready(());
        }
        ALARMS.with_borrow_mut(|alarms| {
            // Without them the thread is at its end.
            let Some(alarms) = alarms else { return };
            match key.as_ref().and_then(|key| alarms.waiting.get_mut(key)) {
                Some(waker) => waker.clone_from(cx.waker()),
                None => *key = Some(alarms.insert(at, now, cx.waker().clone())),
            }
        });
        Poll::Pending
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Kind::Kept { key, .. } = &mut self.0 {
            forget(key);
        }
    }
}

fn forget(key: &mut Option<Key>) {
    let Some(key) = key.take() else { return };
    let forgotten = ALARMS.try_with(|alarms| {
        let mut alarms = alarms.try_borrow_mut().ok()?;
        alarms.as_mut()?.waiting.remove(&key)
    });
    // Only now: a waker may drop its task, and that its alarms.
    drop(forgotten);
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::task::{JoinSet, LocalSet};

    fn after(micros: u64) -> tokio::time::Instant {
        tokio::time::Instant::now() + Duration::from_micros(micros)
    }

    /// Lets something go on where alarms are kept.
    async fn kept<T>(what: impl Future<Output = T>) -> T {
        let local = LocalSet::new();
        tokio::select! {
            biased;
            () = keep() => panic!("the kernel has no timer"),
            done = local.run_until(what) => done,
        }
    }

    fn waiting() -> usize {
        ALARMS.with_borrow(|alarms| alarms.as_ref().map_or(0, |alarms| alarms.waiting.len()))
    }

    #[tokio::test]
    async fn alarms_go_off_in_their_order_and_never_early() {
        let done = kept(async {
            let mut alarms = JoinSet::new();
            let first = after(5_000);
            for index in (0..200_u32).rev() {
                let at = first + Duration::from_micros(50) * index;
                alarms.spawn_local(async move {
                    Alarm::new(at).await;
                    assert!(tokio::time::Instant::now() >= at);
                    index
                });
            }
            alarms.join_all().await
        });
        assert_eq!(done.await, Vec::from_iter(0..200));
        assert!(ALARMS.with_borrow(Option::is_none));
    }

    #[tokio::test]
    async fn an_alarm_that_is_put_off_or_dropped_is_forgotten() {
        kept(async {
            let mut put_off = Alarm::new(after(3_600_000_000));
            let mut dropped = Alarm::new(after(7_200_000_000));
            let polled = poll_fn(|cx| {
                let both = [&mut put_off, &mut dropped].map(|alarm| Pin::new(alarm).poll(cx));
                Poll::Ready(both)
            });
            assert_eq!(polled.await, [Poll::Pending; 2]);
            assert_eq!(waiting(), 2);
            drop(dropped);
            assert_eq!(waiting(), 1);
            put_off.reset(after(100));
            assert_eq!(waiting(), 0);
            put_off.await;
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn where_none_are_kept_the_clock_is_tokios() {
        let hour = after(3_600_000_000);
        Alarm::new(hour).await;
        assert!(tokio::time::Instant::now() >= hour);
    }
}
