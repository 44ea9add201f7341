//! When requests are sent.

use std::cell::RefCell;
use std::io::Write;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime;
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio::time::{sleep_until, timeout};

use crate::bench::client::Client;
use crate::bench::options::{Arrivals, Options};
use crate::bench::record::{Failure, Record, Sample};
use crate::bench::target::Target;
use crate::bench::{BenchError, seconds, system};

const TICK: Duration = Duration::from_millis(100);

/// A load for a while.
pub(super) struct Load<'a> {
    options: &'a Options,
    target: &'a Target,
    time: Duration,
    warmup: Duration,
    seed: u64,
}

/// What one thread does of it.
struct Share {
    client: Client,
    streams: u32,
    rate: Option<f64>,
    arrivals: Arrivals,
    seed: u64,
    start: Instant,
    counted_from: Instant,
    stop: Instant,
    timeout: Duration,
    live: Arc<Live>,
}

/// For the progress line.
#[derive(Default)]
struct Live {
    completed: AtomicU64,
    failed: AtomicU64,
    chunks: AtomicU64,
    open: AtomicU64,
}

impl<'a> Load<'a> {
    pub(super) fn new(
        options: &'a Options,
        target: &'a Target,
        time: Duration,
        round: u32,
    ) -> Self {
        Self {
            options,
            target,
            time,
            // The connections of later rounds are new too, their server is not.
            warmup: if round == 0 {
                options.warmup
            } else {
                Duration::ZERO
            },
            seed: options.seed.wrapping_add(u64::from(round) << 32),
        }
    }

    /// Generates the load, and waits until the last answer has come.
    pub(super) fn run(&self, progress: &mut dyn Write) -> Result<Record, BenchError> {
        let live = Arc::new(Live::default());
        let start = Instant::now();
        let count = self.options.threads.get() as u32;
        let mut threads = Vec::new();
        for index in 0..count {
            let share = self.share(index, count, start, Arc::clone(&live));
            let thread = thread::Builder::new().name("mock-bench".to_owned());
            let thread = thread.spawn(move || share.run());
            threads.push(thread.map_err(system("a thread"))?);
        }
        let mut tick = start;
        while threads.iter().any(|thread| !thread.is_finished()) {
            thread::sleep(TICK);
            if !self.options.quiet && tick.elapsed() >= Duration::from_secs(1) {
                tick = Instant::now();
                live.show(progress, self.target, start.elapsed());
            }
        }
        let mut record = Record::new()?;
        for thread in threads {
            let own = thread.join();
            let panicked = || system("a thread")(std::io::Error::other("it panicked"));
            let own = own.map_err(|_| panicked())??;
            // The threads sent at the same time.
            let sending = record.sending.max(own.sending);
            record.merge(&own)?;
            record.sending = sending;
        }
        Ok(record)
    }

    fn share(&self, index: u32, count: u32, start: Instant, live: Arc<Live>) -> Share {
        let options = self.options;
        let streams = options.streams.get();
        Share {
            client: Client::new(self.target.clone(), options.timeout),
            streams: streams / count + u32::from(index < streams % count),
            rate: options.rate.map(|rate| rate / f64::from(count)),
            arrivals: options.arrivals,
            seed: self.seed.wrapping_add(u64::from(index)),
            start,
            counted_from: start + self.warmup,
            stop: start + self.warmup + self.time,
            timeout: options.timeout,
            live,
        }
    }
}

impl Live {
    fn show(&self, progress: &mut dyn Write, target: &Target, elapsed: Duration) {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        // Whoever does not want to see it need not.
        let _ = writeln!(
            progress,
            "{:>5.0}s {}  {} open, {} ended, {} failed, {} chunks",
            seconds(elapsed),
            target.url,
            read(&self.open),
            read(&self.completed),
            read(&self.failed),
            read(&self.chunks),
        );
    }
}

impl Share {
    /// When the requests of an open loop are to be sent.
    fn schedule(&self, rate: f64) -> impl Iterator<Item = Instant> + Send + 'static {
        let (arrivals, start, stop) = (self.arrivals, self.start, self.stop);
        let mut rng = SmallRng::seed_from_u64(self.seed);
        let mut due = 0.0;
        let times = std::iter::from_fn(move || {
            due += match arrivals {
                Arrivals::Constant => 1.0 / rate,
                // The distances of a Poisson process are distributed exponentially.
                Arrivals::Poisson => -(1.0 - rng.random::<f64>()).ln() / rate,
            };
            start.checked_add(Duration::try_from_secs_f64(due).ok()?)
        });
        times.take_while(move |intended| *intended < stop)
    }
}

/// The state of a thread that its requests share.
struct Sending {
    share: Share,
    record: RefCell<Record>,
}

impl Share {
    fn run(self) -> Result<Record, BenchError> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(system("an event loop"))?;
        let sending = Rc::new(Sending {
            record: RefCell::new(Record::new()?),
            share: self,
        });
        let begun = Instant::now();
        let (before, own) = (cpu_time(), Rc::clone(&sending));
        let busy = LocalSet::new().block_on(&runtime, async move {
            match own.share.rate {
                Some(rate) => own.open_loop(rate, before, begun).await,
                None => Ok(own.closed_loop(before, begun).await),
            }
        })?;
        let mut record = sending.record.borrow().clone();
        record.busy = busy;
        record.sending = sending.share.counted_from.elapsed();
        Ok(record)
    }
}

impl Sending {
    async fn closed_loop(self: Rc<Self>, before: Duration, begun: Instant) -> f64 {
        let workers = (0..self.share.streams).map(|_| {
            let own = Rc::clone(&self);
            tokio::task::spawn_local(async move {
                // Once at least, however short the time.
                let mut intended = Instant::now();
                loop {
                    own.ask(intended).await;
                    intended = Instant::now();
                    if intended >= own.share.stop {
                        break;
                    }
                }
            })
        });
        let workers: Vec<_> = workers.collect();
        sleep_until(self.share.stop.into()).await;
        let busy = share_of_time(before, begun);
        for worker in workers {
            let _ = worker.await;
        }
        busy
    }

    async fn open_loop(
        self: Rc<Self>,
        rate: f64,
        before: Duration,
        begun: Instant,
    ) -> Result<f64, BenchError> {
        let mut requests = Vec::new();
        let (due, mut coming) = mpsc::unbounded_channel();
        let schedule = self.share.schedule(rate);
        let thread = thread::Builder::new().name("mock-bench-times".to_owned());
        let thread = thread.spawn(move || {
            // A thread is woken to some microseconds, a timer of the event loop to a millisecond.
            for intended in schedule {
                thread::sleep(intended.saturating_duration_since(Instant::now()));
                if due.send(intended).is_err() {
                    break;
                }
            }
        });
        thread.map_err(system("a thread"))?;
        while let Some(intended) = coming.recv().await {
            if Instant::now() >= self.share.stop {
                break;
            }
            let own = Rc::clone(&self);
            requests.push(tokio::task::spawn_local(async move {
                own.ask(intended).await;
            }));
        }
        drop(coming);
        let counted = self.share.stop - self.share.counted_from;
        self.record.borrow_mut().intended = (seconds(counted) * rate).round() as u64;
        let busy = share_of_time(before, begun);
        let all = async {
            for request in requests {
                let _ = request.await;
            }
        };
        // Each has a timeout of its own.
        let _ = timeout(self.share.timeout * 2, all).await;
        Ok(busy)
    }

    async fn ask(&self, intended: Instant) {
        let live = &self.share.live;
        live.open.fetch_add(1, Ordering::Relaxed);
        let outcome = self.share.client.ask(intended).await;
        live.open.fetch_sub(1, Ordering::Relaxed);
        let count = match &outcome {
            Ok(sample) => {
                live.chunks.fetch_add(sample.chunks, Ordering::Relaxed);
                &live.completed
            }
            Err(_) => &live.failed,
        };
        count.fetch_add(1, Ordering::Relaxed);
        if intended >= self.share.counted_from {
            self.count(&outcome);
        }
        if matches!(outcome, Err(Failure::Connect)) {
            // A server that is gone is not asked a million times.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn count(&self, outcome: &Result<Sample, Failure>) {
        let mut record = self.record.borrow_mut();
        match outcome {
            Ok(sample) => record.add(sample),
            Err(failure) => record.fail(*failure),
        }
    }
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

fn share_of_time(before: Duration, begun: Instant) -> f64 {
    let busy = cpu_time().saturating_sub(before);
    seconds(busy) / seconds(begun.elapsed()).max(1e-9)
}
