#[cfg(test)]
mod tests;

use core::cell::Cell;
use core::ffi::c_void;
use core::ptr::{self, NonNull};
use core::slice;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering, fence};

use ngx::ffi::{
    ngx_conf_t, ngx_cycle, ngx_int_t, ngx_pagesize, ngx_pid_t, ngx_shared_memory_add,
    ngx_shm_zone_t, ngx_shmtx_force_unlock, ngx_shmtx_lock, ngx_shmtx_t, ngx_shmtx_trylock,
    ngx_shmtx_unlock, ngx_slab_alloc, ngx_slab_pool_t,
};

use crate::config::parse::{Conf, ConfResult, status};
use crate::guard;
use crate::in_force;
use crate::log::{Level, write_to};
use crate::net::timer::{Watcher, watch};
use crate::process;
use crate::request::context;
use crate::text::{bytes_of, copy_into, keep_in};

/// The maximum number of channels, and so of processes that can be woken.
const MOST_CHANNELS: usize = 256;

/// The maximum number of pages that nginx's slab allocator and [`Root`] use in a small zone.
const OWN_PAGES: usize = 8;

/// Identifies the layout of [`Root`]. After an upgrade, a new build of the module finds the zone of
/// the old build. Change the number when the layout changes.
const LAYOUT: u32 = 0x6f61_0001;

/// The first page that is allocated in the zone. The content starts on the next page.
#[repr(C)]
struct Root {
    /// Not zero while a process changes the content.
    busy: AtomicU32,
    channels: u32,
    /// Descriptors of eventfds. The master opens them before it forks, so that they are the same in
    /// all workers, also in those of other configurations.
    channel: [i32; MOST_CHANNELS],
    len: usize,
    /// [`LAYOUT`]. It stays at this place in all builds.
    layout: u32,
}

/// The content of a shared zone.
pub trait ZoneContent: 'static {
    /// The directive that declares the zone; the prefix of its error messages.
    const DIRECTIVE: &'static str;
    /// Distinguishes the zone from those of other modules, and from the other zones of this module.
    /// It begins with an ASCII character. It must not change between builds of the module: after an
    /// upgrade, the new build finds the existing zone by it.
    const TAG: [u8; 8];

    /// The number of channels: how many processes can be woken at the same time.
    fn channels(&self) -> usize;
    /// Initialises the content of a new zone.
    fn format(&self, bytes: &mut [u8]) -> ConfResult;
    /// Takes over the content of an earlier cycle, or fails. `interrupted` says that a process died
    /// during a change.
    fn adopt(&self, bytes: &mut [u8], interrupted: bool) -> ConfResult;
}

/// The tag by which nginx compares zones. Other modules use the address of their record, which
/// never equals a number that begins with an ASCII character.
const fn tag<C: ZoneContent>() -> usize {
    const { assert!(C::TAG[0] > 0 && C::TAG[0].is_ascii()) };
    usize::from_be_bytes(C::TAG)
}

/// A shared zone of the configuration in force: bytes protected by nginx's slab mutex, which nginx
/// releases when a worker dies while holding it.
///
/// The value is a number, not a pointer, so that it can be kept and copied freely. Each call looks
/// up the zone. It finds none before the configuration is in force, after that has ended, and in
/// threads that are not nginx's.
///
/// The bytes do not outlive the call:
///
/// ```compile_fail,E0521
/// fn keep(zone: nginx_safe::SharedZone) {
///     let mut kept: Option<&'static mut [u8]> = None;
///     zone.with(|bytes, _| kept = Some(bytes));
/// }
/// ```
#[derive(Clone, Copy)]
pub struct SharedZone {
    tag: usize,
}

impl SharedZone {
    /// The minimum size of a zone with room for `bytes` bytes of content, which must not be more
    /// than some pages. In bytes, a multiple of the system's page size.
    pub fn size_for(bytes: usize) -> usize {
        // SAFETY: nginx sets this word at its start (ngx_os_init), before it reads a configuration
        // and calls a module (Thread).
        let page = unsafe { ngx_pagesize };
        bytes.next_multiple_of(page) + OWN_PAGES * page
    }

    /// Declares the zone in the configuration being read, which owns `content`. nginx calls
    /// `content` once the zone is mapped. Fails if the size is too small, another zone has the
    /// name, or memory runs out.
    pub fn declare<C: ZoneContent>(
        conf: &Conf,
        name: &str,
        size: usize,
        content: C,
    ) -> ConfResult<Self> {
        let tag = tag::<C>();
        // SAFETY: nginx creates the pool before it reads the configuration (Configuration). The
        // content and the name are in that pool, which lives as long as the record of the zone
        // (Cycle). ngx_shared_memory_add returns null or a record in the pool; nginx compares the
        // tag and does not dereference it. It sets ngx_pagesize before it reads a configuration.
        unsafe {
            // nginx does not check that the zone has room for its slab pool.
            if size < Self::size_for(0) {
                return Err("the zone is too small".into());
            }
            let cf: *mut ngx_conf_t = conf.0;
            let content = keep_in((*cf).pool, content).ok_or("no memory")?;
            let mut name = copy_into((*cf).pool, name.as_bytes()).ok_or("no memory")?;
            let own = ptr::without_provenance_mut(tag);
            let zone = ngx_shared_memory_add(cf, &raw mut name, size, own);
            let record = zone.as_mut().ok_or("the zone's name is in use")?;
            record.init = Some(init_entry::<C>);
            record.data = content.as_ptr().cast();
            in_force::declare_zone(tag, zone)?;
        }
        Ok(Self { tag })
    }

    fn root(self) -> Option<(*mut ngx_slab_pool_t, NonNull<Root>)> {
        let zone = in_force::zone(self.tag)?;
        // SAFETY: the zone's record and memory live as long as the configuration is in force, which
        // does not end during a call from nginx (Cycle).
        unsafe { root_of(zone) }
    }

    /// Runs `change` on the content while holding the zone's mutex. The flag says that a process
    /// died or panicked during an earlier change.
    ///
    /// `None` if there is no such zone, and if the call is inside another change, of this or any
    /// other zone: it would wait for itself, or two workers could wait for each other.
    pub fn with<T>(self, change: impl FnOnce(&mut [u8], bool) -> T) -> Option<T> {
        let (slab, root) = self.root()?;
        // SAFETY: `root` has just looked up the zone; the configuration in force does not end
        // during a call from nginx (Cycle).
        unsafe { change_content(slab, root, change) }
    }

    /// The eventfd of a channel, if the zone has so many.
    fn channel(self, at: usize) -> Option<i32> {
        let (_, root) = self.root()?;
        // SAFETY: nginx keeps the zone mapped (see `root`). These fields are written only while the
        // zone is created, before the master forks, so that a shared reference is possible.
        let (count, channel) = unsafe { ((*root.as_ptr()).channels, &(*root.as_ptr()).channel) };
        (at < count as usize)
            .then(|| channel.get(at).copied())
            .flatten()
    }

    /// Wakes the process that watches the channel. Does nothing if there is no such channel.
    pub fn signal(self, at: usize) {
        if let Some(fd) = self.channel(at) {
            let one = 1u64.to_ne_bytes();
            // SAFETY: write reads eight bytes of `one`. The master opened the eventfd before it
            // forked, and closes its own descriptor only when the zone is no longer in force
            // (Cycle). If the counter is full, the process is woken anyway, so the result is
            // ignored.
            let _ = unsafe { libc::write(fd, one.as_ptr().cast(), one.len()) };
        }
    }

    /// Calls `W::woken` in this process whenever the channel is signalled, until the process ends.
    /// `false` if there is no such channel, the process has no event loop, or this is called within
    /// [`Token::with`](crate::Token::with).
    pub fn watch<W: Watcher>(self, at: usize) -> bool {
        !context::is_borrowed() && self.channel(at).is_some_and(watch::<W>)
    }
}

/// The slab pool and the root of a zone. `None` if the zone has not been created yet, or was created
/// by a build of the module with another layout.
///
/// # Safety
/// `zone` must be the live record of a zone of this crate, whose memory, if it is mapped, begins
/// with nginx's slab pool.
unsafe fn root_of(zone: *mut ngx_shm_zone_t) -> Option<(*mut ngx_slab_pool_t, NonNull<Root>)> {
    // SAFETY: the caller guarantees the zone. ngx_init_zone_pool makes the memory begin with a slab
    // pool, whose `data` is null, or the root that `create` has made (Zone).
    unsafe {
        let slab: *mut ngx_slab_pool_t = (*zone).shm.addr.cast();
        if slab.is_null() {
            return None;
        }
        let root: NonNull<Root> = NonNull::new((*slab).data.cast())?;
        ((*root.as_ptr()).layout == LAYOUT).then_some((slab, root))
    }
}

/// Closes this process's descriptors of the channels of a zone that the next configuration does not
/// use. Workers of earlier configurations keep theirs.
///
/// # Safety
/// As for [`root_of`].
pub(crate) unsafe fn close_channels(zone: *mut ngx_shm_zone_t) {
    // SAFETY: the caller guarantees the zone. Only `create` writes to these fields, before other
    // processes know the zone (Zone).
    unsafe {
        let Some((_, root)) = root_of(zone) else {
            return;
        };
        let root = &raw const *root.as_ptr();
        let channels = (&(*root).channel)[..(*root).channels as usize].iter();
        for fd in channels {
            libc::close(*fd);
        }
    }
}

/// Runs `change` on the content of a zone: see [`SharedZone::with`].
///
/// # Safety
/// The arguments must come from [`root_of`], and the zone live until this returns.
unsafe fn change_content<T>(
    slab: *mut ngx_slab_pool_t,
    root: NonNull<Root>,
    change: impl FnOnce(&mut [u8], bool) -> T,
) -> Option<T> {
    // SAFETY: the caller guarantees the zone until after `held` is dropped; nginx keeps it mapped
    // as long as its cycle (Zone).
    let held = unsafe { ZoneGuard::take(slab, root)? };
    // SAFETY: the content starts one page after the root, and is `len` bytes long. While this
    // process holds the slab mutex, there is no other reference to it in any process (Zone).
    let bytes = unsafe {
        let start = root.as_ptr().cast::<u8>().add(ngx_pagesize);
        slice::from_raw_parts_mut(start, (*root.as_ptr()).len)
    };
    let answer = change(bytes, held.interrupted);
    held.finish();
    Some(answer)
}

/// The zone's mutex while it is held. Dropping it releases the mutex.
struct ZoneGuard {
    slab: *mut ngx_slab_pool_t,
    root: NonNull<Root>,
    interrupted: bool,
    whole: bool,
}

thread_local! {
    /// Whether this process holds the mutex of a zone.
    static HOLDS: Cell<bool> = const { Cell::new(false) };
}

impl ZoneGuard {
    /// # Safety
    /// As for [`change_content`], until the value is dropped.
    unsafe fn take(slab: *mut ngx_slab_pool_t, root: NonNull<Root>) -> Option<Self> {
        if HOLDS.replace(true) {
            return None;
        }
        // SAFETY: the caller guarantees the zone. nginx releases the mutex of a process that has
        // died (Zone). The compiler moves no access across the call, because it does not know the
        // function.
        unsafe {
            let mutex = &raw mut (*slab).mutex;
            if process::is_exiting() {
                lock_of_any(mutex);
            } else {
                ngx_shmtx_lock(mutex);
            }
            let interrupted = (*root.as_ptr()).busy.swap(1, Ordering::SeqCst) != 0;
            fence(Ordering::SeqCst);
            Some(Self {
                slab,
                root,
                interrupted,
                whole: false,
            })
        }
    }

    fn finish(mut self) {
        self.whole = true;
    }
}

/// Locks a mutex that may be in a zone of an earlier configuration. When a worker dies, nginx only
/// releases its mutexes in zones of the newest configuration. If a reload has removed a zone, only
/// the workers that are shutting down use it, so they have to release it.
///
/// # Safety
/// `mutex` must be in a live zone.
unsafe fn lock_of_any(mutex: *mut ngx_shmtx_t) {
    // SAFETY: the caller guarantees the mutex. nginx sets its word to the id of the process that
    // takes it, and to zero when that releases it (ngx_shmtx_trylock). ngx_shmtx_force_unlock
    // changes it only if it still contains that id.
    unsafe {
        while ngx_shmtx_trylock(mutex) == 0 {
            let holder = AtomicUsize::from_ptr((*mutex).lock.cast()).load(Ordering::SeqCst);
            if holder != 0 && !process::alive(holder as u32) {
                ngx_shmtx_force_unlock(mutex, holder as ngx_pid_t);
            } else {
                libc::sched_yield();
            }
        }
    }
}

impl Drop for ZoneGuard {
    fn drop(&mut self) {
        // SAFETY: `take` requires that the zone lives until this drop. This process holds its mutex
        // (Zone). After a panic, `busy` remains set, which tells the next holder to rebuild the
        // content.
        unsafe {
            if self.whole {
                (*self.root.as_ptr()).busy.store(0, Ordering::SeqCst);
            }
            ngx_shmtx_unlock(&raw mut (*self.slab).mutex);
        }
        HOLDS.set(false);
    }
}

unsafe extern "C" fn init_entry<C: ZoneContent>(
    zone: *mut ngx_shm_zone_t,
    old: *mut c_void,
) -> ngx_int_t {
    guard(status(false), || {
        // SAFETY: nginx calls this once in a cycle, with the record that `declare` has filled
        // (Zone). The memory is mapped and begins with a slab pool; `data` is the content, and
        // `exists` is set on platforms that find existing memory. The content and the name are in
        // the pool of the cycle (Pool).
        let (content, name, reused) = unsafe {
            let reused = !old.is_null() || (*zone).shm.exists != 0;
            let name = String::from_utf8_lossy(bytes_of(&(*zone).shm.name));
            (&*(*zone).data.cast::<C>(), name, reused)
        };
        let of_content = |e| format!("{} \"{name}\": {e}", C::DIRECTIVE);
        // SAFETY: nginx calls this with the record of a mapped zone, after ngx_init_zone_pool has
        // made its memory begin with a slab pool (Zone). If `reused` is `false`, nothing has been
        // allocated there yet.
        let done = unsafe {
            let made = if reused {
                Ok(())
            } else {
                create_first(zone, content)
            };
            made.and_then(|()| {
                let changed = root_of(zone).and_then(|(slab, root)| {
                    change_content(slab, root, |bytes, interrupted| match reused {
                        true => content.adopt(bytes, interrupted),
                        false => content.format(bytes),
                    })
                });
                let changed = changed.unwrap_or_else(|| {
                    Err("it was created by another version of the module; restart nginx".into())
                });
                changed.map_err(of_content)
            })
        };
        if let Err(message) = &done {
            // SAFETY: ngx_init_cycle sets `shm.log` to the log of the cycle that it is creating,
            // before it calls this (Cycle).
            if let Some(log) = NonNull::new(unsafe { (*zone).shm.log }) {
                let message = crate::log::shown(message, &[]);
                // SAFETY: the log of the cycle that calls this (Cycle).
                unsafe { write_to(log, Level::Emergency, &message) };
            }
        }
        status(done.is_ok())
    })
}

/// Creates a zone, unless it would replace one of the running configuration. nginx does not pass
/// the existing memory if the name or the size of a zone has changed. Workers of the running
/// configuration would continue to use the old zone, and what they hold there could be given out
/// again in the new one.
///
/// # Safety
/// As for [`create`].
unsafe fn create_first<C: ZoneContent>(zone: *mut ngx_shm_zone_t, content: &C) -> ConfResult {
    let own: *mut c_void = ptr::without_provenance_mut(tag::<C>());
    // SAFETY: `main` of nginx sets ngx_cycle to a cycle without zones before the first
    // configuration is in force; then it is the running cycle (Cycle). Its list of zones ends with
    // null (Lists).
    let replaced = unsafe {
        let mut part = ngx_cycle
            .as_ref()
            .map(|cycle| &raw const cycle.shared_memory.part);
        let mut found = false;
        while let Some(zones) = part.and_then(|p| p.as_ref()) {
            let first = zones.elts.cast::<ngx_shm_zone_t>();
            found |= (0..zones.nelts).any(|at| (*first.add(at)).tag == own);
            part = Some(zones.next.cast_const());
        }
        found
    };
    if replaced {
        return Err(format!(
            "{}: a reload cannot change the zone's name or size, since running requests \
             use it; restart nginx to change it",
            C::DIRECTIVE
        ));
    }
    // SAFETY: the caller guarantees a mapped zone with an empty slab pool, as for `create` (Zone).
    unsafe { create(zone, content) }
}

/// Allocates the root of a zone, and opens the channels.
///
/// # Safety
/// `zone` must be the record of a zone whose memory is mapped, and contains a slab pool from which
/// nothing has been allocated.
unsafe fn create<C: ZoneContent>(zone: *mut ngx_shm_zone_t, content: &C) -> ConfResult {
    // SAFETY: the caller guarantees the zone. Other processes use it only after nginx has accepted
    // the configuration (Zone). All free pages of a new slab pool are adjacent (ngx_slab_init), so
    // that one allocation gets them all.
    let root = unsafe {
        let slab: *mut ngx_slab_pool_t = (*zone).shm.addr.cast();
        (*slab).set_log_nomem(0);
        let len = (*slab).pfree * ngx_pagesize;
        let root = ngx_slab_alloc(slab, len).cast::<Root>();
        if root.is_null() || len <= 2 * ngx_pagesize {
            return Err(format!("{}: the zone is too small", C::DIRECTIVE));
        }
        ptr::write_bytes(root.cast::<u8>(), 0, ngx_pagesize);
        (*root).layout = LAYOUT;
        (*root).len = len - ngx_pagesize;
        (*slab).data = root.cast();
        root
    };
    let wanted = content.channels().min(MOST_CHANNELS);
    for at in 0..wanted {
        // SAFETY: nginx is not involved. eventfd is a system call without pointers. Close-on-exec,
        // because a new binary creates its own zone.
        let fd = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(format!(
                "{}: eventfd: {}",
                C::DIRECTIVE,
                std::io::Error::last_os_error()
            ));
        }
        // SAFETY: ngx_slab_alloc has just returned the root, which is larger than a page. Other
        // processes use the zone only after nginx has accepted the configuration (Zone).
        unsafe {
            (*root).channel[at] = fd;
            (*root).channels = at as u32 + 1;
        }
    }
    Ok(())
}
