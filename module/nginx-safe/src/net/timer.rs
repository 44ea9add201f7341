use core::ffi::{c_int, c_void};
use core::mem;
use core::ptr::NonNull;

use ngx::ffi::{
    NGX_OK, ngx_add_timer, ngx_connection_t, ngx_cycle_t, ngx_del_timer, ngx_delete_posted_event,
    ngx_event_handler_pt, ngx_event_t, ngx_int_t, ngx_msec_t, ngx_post_event, ngx_posted_events,
    ngx_uint_t,
};
use ngx::log::ngx_cycle_log;

use crate::guard;
use crate::process::Cycle;

unsafe extern "C" {
    // From ngx_channel.h, which the bindings leave out.
    fn ngx_add_channel_event(
        cycle: *mut ngx_cycle_t,
        fd: c_int,
        event: ngx_int_t,
        handler: ngx_event_handler_pt,
    ) -> ngx_int_t;
}

/// NGX_READ_EVENT, which bindgen cannot read, of an nginx with epoll: on Linux
/// every one has it, whichever method it uses.
const READ_EVENT: ngx_int_t = (libc::EPOLLIN | libc::EPOLLRDHUP) as ngx_int_t;
/// NGX_WRITE_EVENT and NGX_CLEAR_EVENT, likewise.
pub(crate) const WRITE_EVENT: ngx_int_t = libc::EPOLLOUT as ngx_int_t;
pub(crate) const CLEAR_EVENT: ngx_uint_t = libc::EPOLLET as u32 as ngx_uint_t;

/// A timer of the event loop. Dropping it stops it.
pub struct Timer {
    /// Ours alone, but nginx's tree and queues refer to it: a raw pointer, not a
    /// box, which would have to be the only reference.
    timed: NonNull<TimedCall>,
}

#[repr(C)]
struct TimedCall {
    event: ngx_event_t,
    call: fn(u64),
    argument: u64,
}

impl Timer {
    /// A stopped timer that will call `call(argument)`.
    ///
    /// A `patient` one does not keep a worker that shuts down from leaving.
    pub fn new(patient: bool, call: fn(u64), argument: u64) -> Self {
        // SAFETY: all-zero bits are a valid, idle ngx_event_t.
        let mut event: ngx_event_t = unsafe { mem::zeroed() };
        event.log = ngx_cycle_log().as_ptr();
        event.handler = Some(timer_entry);
        event.set_cancelable(patient.into());
        let timed = Box::into_raw(Box::new(TimedCall {
            event,
            call,
            argument,
        }));
        // SAFETY: just made.
        let timed = unsafe {
            (*timed).event.data = timed.cast();
            NonNull::new_unchecked(timed)
        };
        Self { timed }
    }

    fn event(&self) -> *mut ngx_event_t {
        // SAFETY: ours until Drop.
        unsafe { &raw mut (*self.timed.as_ptr()).event }
    }

    /// Starts it, or starts it anew.
    pub fn start(&mut self, ms: u64) {
        let event = self.event();
        // SAFETY: the event stays where it is while it is armed; Drop disarms it.
        // nginx would leave an armed timer alone that is off by less than 300 ms.
        unsafe {
            if (*event).timer_set() != 0 {
                ngx_del_timer(event);
            }
            ngx_add_timer(event, ms as ngx_msec_t);
        }
    }

    /// Whether it is due some time.
    pub fn is_started(&self) -> bool {
        // SAFETY: ours until Drop.
        unsafe { (*self.event()).timer_set() != 0 }
    }

    /// Has it called later in this turn of the event loop.
    pub fn soon(&mut self) {
        // SAFETY: as for `start`.
        unsafe { ngx_post_event(self.event(), &raw mut ngx_posted_events) }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let event = self.event();
        // SAFETY: disarms an event that is armed; nothing refers to it any more.
        unsafe {
            if (*event).timer_set() != 0 {
                ngx_del_timer(event);
            }
            if (*event).posted() != 0 {
                ngx_delete_posted_event(event);
            }
            drop(Box::from_raw(self.timed.as_ptr()));
        }
    }
}

unsafe extern "C" fn timer_entry(event: *mut ngx_event_t) {
    // SAFETY: `data` of our events is the box they lie in. Both words are copied
    // out first: the call may drop the timer.
    let (call, argument) = unsafe {
        let timed = (*event).data.cast::<TimedCall>();
        ((*timed).call, (*timed).argument)
    };
    guard((), || call(argument));
}

/// Has `W::woken` called whenever the eventfd is signalled.
pub fn watch<W: Watcher>(cycle: Cycle, fd: i32) -> bool {
    // SAFETY: called at the start of a worker, with its own cycle and a descriptor
    // that stays open. A channel event is not reported as a leftover connection
    // when the worker leaves.
    let added = unsafe { ngx_add_channel_event(cycle.0, fd, READ_EVENT, Some(watch_entry::<W>)) };
    added == NGX_OK as ngx_int_t
}

/// Who is called when a watched eventfd is signalled.
pub trait Watcher: 'static {
    /// The eventfd was signalled.
    fn woken();
}

unsafe extern "C" fn watch_entry<W: Watcher>(event: *mut ngx_event_t) {
    let mut count = [0u8; 8];
    // SAFETY: `data` of a channel event is its connection; reads eight bytes into
    // a buffer of eight. Nothing to read is no news: the event may be stale.
    unsafe {
        let connection = (*event).data.cast::<ngx_connection_t>();
        let _ = libc::read(
            (*connection).fd,
            count.as_mut_ptr().cast::<c_void>(),
            count.len(),
        );
    }
    guard((), W::woken);
}
