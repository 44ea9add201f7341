#[cfg(test)]
mod tests;

use core::cell::Cell;
use core::ffi::c_void;
use core::ptr::{self, NonNull};
use core::slice;
use core::sync::atomic::{AtomicU32, Ordering, fence};

use ngx::ffi::{
    ngx_conf_t, ngx_cycle, ngx_int_t, ngx_pagesize, ngx_shared_memory_add, ngx_shm_zone_t,
    ngx_shmtx_lock, ngx_shmtx_unlock, ngx_slab_alloc, ngx_slab_pool_t,
};

use crate::config::parse::{Conf, ConfResult, status};
use crate::guard;
use crate::log::{Level, write_to};
use crate::text::copy_into;

/// The most workers that can be woken across processes.
const MOST_CHANNELS: usize = 256;

/// The first page of the zone; the content follows on the next.
#[repr(C)]
struct Root {
    /// Not zero while somebody changes the content.
    busy: AtomicU32,
    channels: u32,
    /// Descriptors of eventfds. The master opens them before it forks, so the
    /// number means the same in every worker, whatever its configuration.
    channel: [i32; MOST_CHANNELS],
    len: usize,
}

/// What lives in a shared zone, as its owner sees it.
pub trait ZoneContent: 'static {
    /// The directive that declares it, which its errors begin with.
    const DIRECTIVE: &'static str;
    /// Tells it from the other zones of the module.
    const KIND: usize;

    /// How many processes at once may want to be woken.
    fn channels(&self) -> usize;
    /// Makes the content of a fresh zone.
    fn format(&self, bytes: &mut [u8]) -> ConfResult;
    /// Sees whether the content of an older cycle can be gone on with.
    /// `interrupted`: a process died in the middle of a change.
    fn adopt(&self, bytes: &mut [u8], interrupted: bool) -> ConfResult;
}

fn tag<C: ZoneContent>() -> *mut c_void {
    ptr::without_provenance_mut(0x6f61_6c65_6173_6500 + C::KIND)
}

/// A shared zone: bytes behind nginx's slab mutex, which nginx itself frees when
/// a worker dies with it.
#[derive(Clone, Copy)]
pub struct SharedZone(NonNull<ngx_shm_zone_t>);

impl SharedZone {
    /// Declares the zone. `content` is asked when the memory is there; it lives
    /// in the configuration, as long as the cycle.
    pub fn declare<C: ZoneContent>(
        conf: &Conf,
        name: &str,
        size: usize,
        content: &C,
    ) -> ConfResult<Self> {
        // SAFETY: conf is live; name is copied into its pool, as nginx keeps it.
        // The tag is only compared: a constant one lets a rebuilt module find the
        // zone of its predecessor.
        unsafe {
            let cf: *mut ngx_conf_t = conf.0;
            let mut name = copy_into((*cf).pool, name.as_bytes()).ok_or("no memory")?;
            let zone = ngx_shared_memory_add(cf, &raw mut name, size, tag::<C>());
            let zone = NonNull::new(zone).ok_or("the zone's name is in use")?;
            (*zone.as_ptr()).init = Some(init_entry::<C>);
            (*zone.as_ptr()).data = ptr::from_ref(content).cast_mut().cast();
            Ok(Self(zone))
        }
    }

    fn slab(self) -> *mut ngx_slab_pool_t {
        // SAFETY: the zone record lives as long as the cycle that declared it.
        unsafe { (*self.0.as_ptr()).shm.addr.cast() }
    }

    fn root(self) -> Option<NonNull<Root>> {
        let slab = self.slab();
        if slab.is_null() {
            return None;
        }
        // SAFETY: after init_entry, `data` of the slab pool is our Root or null.
        NonNull::new(unsafe { (*slab).data.cast() })
    }

    /// Runs `change` on the content with the zone's mutex held. The flag tells
    /// that a process died, or panicked, in the middle of an earlier change. `None` when
    /// there is no content yet, and from within another change: the mutex would never be
    /// free, and its content would have two owners.
    pub fn with<T>(self, change: impl FnOnce(&mut [u8], bool) -> T) -> Option<T> {
        let root = self.root()?;
        let held = Held::take(self.slab(), root)?;
        // SAFETY: the content follows the root's page and is `len` bytes long; the
        // mutex makes this the only reference to it, over all processes.
        let bytes = unsafe {
            let start = root.as_ptr().cast::<u8>().add(ngx_pagesize);
            slice::from_raw_parts_mut(start, (*root.as_ptr()).len)
        };
        let answer = change(bytes, held.interrupted);
        held.finish();
        Some(answer)
    }

    /// The eventfd of a process, if it has one.
    pub fn channel(self, at: usize) -> Option<i32> {
        let root = self.root()?;
        // SAFETY: written once, when the zone was made.
        let (count, channel) = unsafe { ((*root.as_ptr()).channels, &(*root.as_ptr()).channel) };
        (at < count as usize)
            .then(|| channel.get(at).copied())
            .flatten()
    }

    /// Wakes the process that watches the channel.
    pub fn signal(self, at: usize) {
        if let Some(fd) = self.channel(at) {
            let one = 1u64.to_ne_bytes();
            // SAFETY: writes eight bytes to a descriptor that the master opened
            // and nobody closes. A full counter wakes as well: the result is no news.
            let _ = unsafe { libc::write(fd, one.as_ptr().cast(), one.len()) };
        }
    }
}

/// The zone's mutex, held.
struct Held {
    slab: *mut ngx_slab_pool_t,
    root: NonNull<Root>,
    interrupted: bool,
    whole: bool,
}

thread_local! {
    /// The zones whose mutex this process holds.
    static CHANGING: Cell<[*mut ngx_slab_pool_t; MOST_ZONES]> =
        const { Cell::new([ptr::null_mut(); MOST_ZONES]) };
}

/// As many zones as the module has kinds of.
const MOST_ZONES: usize = 2;

/// Puts `to` in the place of `from`; `false` if there is none.
fn exchange(from: *mut ngx_slab_pool_t, to: *mut ngx_slab_pool_t) -> bool {
    CHANGING.with(|changing| {
        let mut zones = changing.get();
        let place = zones.iter_mut().find(|zone| **zone == from);
        let found = place.map(|place| *place = to).is_some();
        changing.set(zones);
        found
    })
}

impl Held {
    fn take(slab: *mut ngx_slab_pool_t, root: NonNull<Root>) -> Option<Self> {
        if CHANGING.get().contains(&slab) || !exchange(ptr::null_mut(), slab) {
            return None;
        }
        // SAFETY: a live slab pool; ngx_shmtx_lock is an opaque call, so nothing
        // moves across it.
        unsafe {
            ngx_shmtx_lock(&raw mut (*slab).mutex);
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

impl Drop for Held {
    fn drop(&mut self) {
        // SAFETY: we hold the mutex. After a panic the busy mark stays, and the
        // next holder rebuilds.
        unsafe {
            if self.whole {
                (*self.root.as_ptr()).busy.store(0, Ordering::SeqCst);
            }
            ngx_shmtx_unlock(&raw mut (*self.slab).mutex);
        }
        exchange(self.slab, ptr::null_mut());
    }
}

unsafe extern "C" fn init_entry<C: ZoneContent>(
    zone: *mut ngx_shm_zone_t,
    old: *mut c_void,
) -> ngx_int_t {
    guard(status(false), || {
        // SAFETY: nginx passes the zone that we declared, its memory mapped and
        // its slab pool made; `data` is the content given to `declare`.
        let (content, shared) = unsafe {
            (
                &*(*zone).data.cast::<C>(),
                SharedZone(NonNull::new_unchecked(zone)),
            )
        };
        // SAFETY: as above; `exists` is set where a platform finds old memory.
        let reused = !old.is_null() || unsafe { (*zone).shm.exists } != 0;
        let done = if reused {
            let adopted = shared.with(|bytes, interrupted| content.adopt(bytes, interrupted));
            adopted.unwrap_or_else(|| Err("the zone is empty".into()))
        } else {
            create_first(shared, content)
        };
        if let Err(message) = &done {
            // SAFETY: the zone's log is that of the cycle being made.
            if let Some(log) = NonNull::new(unsafe { (*zone).shm.log }) {
                write_to(log, Level::Emergency, &crate::log::shown(message, &[]));
            }
        }
        status(done.is_ok())
    })
}

/// nginx offers no old memory when the zone's name or size has changed. What the
/// workers of the running configuration hold is in the old zone, and would be
/// given out a second time.
fn create_first<C: ZoneContent>(zone: SharedZone, content: &C) -> ConfResult {
    // SAFETY: before the first configuration is in use, `ngx_cycle` is a cycle
    // without zones; else it is the running one.
    let replaced = unsafe {
        let mut part = ngx_cycle
            .as_ref()
            .map(|cycle| &raw const cycle.shared_memory.part);
        let mut found = false;
        while let Some(zones) = part.and_then(|p| p.as_ref()) {
            let first = zones.elts.cast::<ngx_shm_zone_t>();
            found |= (0..zones.nelts).any(|at| (*first.add(at)).tag == tag::<C>());
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
    create(zone, content)
}

fn create<C: ZoneContent>(zone: SharedZone, content: &C) -> ConfResult {
    let slab = zone.slab();
    // SAFETY: the slab pool is fresh and this is the only process that has it.
    // All free pages are one run, so one allocation takes them.
    let root = unsafe {
        (*slab).set_log_nomem(0);
        let len = (*slab).pfree * ngx_pagesize;
        let root = ngx_slab_alloc(slab, len).cast::<Root>();
        let Some(root) = NonNull::new(root).filter(|_| len > 2 * ngx_pagesize) else {
            return Err(format!("{}: the zone is too small", C::DIRECTIVE));
        };
        ptr::write_bytes(root.as_ptr().cast::<u8>(), 0, ngx_pagesize);
        (*root.as_ptr()).len = len - ngx_pagesize;
        (*slab).data = root.as_ptr().cast();
        root
    };
    let wanted = content.channels().min(MOST_CHANNELS);
    for at in 0..wanted {
        // SAFETY: plain system call. Close-on-exec: the next binary makes its own zone.
        let fd = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(format!(
                "{}: eventfd: {}",
                C::DIRECTIVE,
                std::io::Error::last_os_error()
            ));
        }
        // SAFETY: the root is ours, see above.
        unsafe {
            (*root.as_ptr()).channel[at] = fd;
            (*root.as_ptr()).channels = at as u32 + 1;
        }
    }
    zone.with(|bytes, _| content.format(bytes))
        .unwrap_or(Ok(()))
}
