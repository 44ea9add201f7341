//! Timers, and wake-ups by other processes.
//!
//! # Guarantees
//!
//! The event of a [`Timer`] is in a box that the timer owns until Drop. nginx only has a pointer to
//! it while the event is in its timer tree or in a queue of posted events, and removes it from
//! there before it calls the handler (Event loop in the crate's documentation).

use core::ffi::{c_int, c_void};
use core::mem;
use core::ptr::NonNull;

use ngx::ffi::{
    NGX_OK, ngx_add_timer, ngx_connection_t, ngx_cycle_t, ngx_del_timer, ngx_delete_posted_event,
    ngx_event_handler_pt, ngx_event_t, ngx_int_t, ngx_msec_t, ngx_post_event, ngx_posted_events,
    ngx_uint_t,
};

use crate::guard;
use crate::process;

unsafe extern "C" {
    // From ngx_channel.h, which is not part of the bindings.
    fn ngx_add_channel_event(
        cycle: *mut ngx_cycle_t,
        fd: c_int,
        event: ngx_int_t,
        handler: ngx_event_handler_pt,
    ) -> ngx_int_t;
}

/// NGX_READ_EVENT of an nginx that is built with epoll, as each is on Linux; the event method in
/// use does not matter. bindgen cannot read the macro.
const READ_EVENT: ngx_int_t = (libc::EPOLLIN | libc::EPOLLRDHUP) as ngx_int_t;
/// NGX_WRITE_EVENT and NGX_CLEAR_EVENT of such an nginx.
pub(crate) const WRITE_EVENT: ngx_int_t = libc::EPOLLOUT as ngx_int_t;
pub(crate) const CLEAR_EVENT: ngx_uint_t = libc::EPOLLET as u32 as ngx_uint_t;

/// A timer of the event loop. Dropping it stops it.
pub struct Timer {
    /// A raw pointer, not a box: nginx's timer tree and queues refer to the event, and a box would
    /// have to be its only reference.
    timed: NonNull<TimedCall>,
}

#[repr(C)]
struct TimedCall {
    event: ngx_event_t,
    call: fn(u64),
    argument: u64,
}

impl Timer {
    /// Makes a stopped timer, which will call `call(argument)`.
    ///
    /// A worker that shuts down does not wait for a `patient` timer.
    ///
    /// # Panics
    /// If there is no event loop: in the master, and in threads that are not nginx's.
    pub fn new(patient: bool, call: fn(u64), argument: u64) -> Self {
        assert!(process::has_events(), "a timer without an event loop");
        // SAFETY: a zeroed ngx_event_t is valid, and neither in the timer tree nor in a queue, as
        // nginx's own static events (Zeroed).
        let mut event: ngx_event_t = unsafe { mem::zeroed() };
        event.log = process::cycle_log().as_ptr();
        event.handler = Some(timer_entry);
        event.set_cancelable(patient.into());
        let timed = Box::into_raw(Box::new(TimedCall {
            event,
            call,
            argument,
        }));
        // SAFETY: Box::into_raw has just returned this pointer, which is not null. `data` is only
        // for `timer_entry` and for nginx's debug log, which reads an int within the `TimedCall`
        // (ngx_event_ident).
        let timed = unsafe {
            (*timed).event.data = timed.cast();
            NonNull::new_unchecked(timed)
        };
        Self { timed }
    }

    fn event(&self) -> *mut ngx_event_t {
        // SAFETY: the box is owned by this `Timer` until Drop (see `Timer`). No reference is made,
        // because nginx may refer to the event.
        unsafe { &raw mut (*self.timed.as_ptr()).event }
    }

    /// Starts the timer to expire in `ms` milliseconds; restarts it if it is running. Does nothing
    /// after the event loop has ended.
    pub fn start(&mut self, ms: u64) {
        if !process::has_events() {
            return;
        }
        let event = self.event();
        // SAFETY: the event is not moved while nginx's timer tree refers to it, and Drop removes it
        // (Event loop). A running timer is deleted first, because ngx_add_timer ignores a change of
        // less than 300 ms.
        unsafe {
            if (*event).timer_set() != 0 {
                ngx_del_timer(event);
            }
            ngx_add_timer(event, ms as ngx_msec_t);
        }
    }

    /// Whether the timer is running.
    pub fn is_started(&self) -> bool {
        // SAFETY: the box is owned by this `Timer` until Drop, and only nginx's thread writes to
        // the event (Thread); a `Timer` cannot be sent to another one.
        unsafe { (*self.event()).timer_set() != 0 }
    }

    /// Calls the callback later in this turn of the event loop. Does nothing after the event loop
    /// has ended.
    pub fn soon(&mut self) {
        if !process::has_events() {
            return;
        }
        // SAFETY: the event is not moved while nginx's queue refers to it, and Drop removes it
        // (Event loop).
        unsafe { ngx_post_event(self.event(), &raw mut ngx_posted_events) }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let event = self.event();
        // SAFETY: the event is removed from nginx's timer tree and queue before it is freed (Event
        // loop). When the process is ending, its neighbours there may have been freed, so that an
        // event which is in either is leaked instead.
        unsafe {
            let (is_set, is_posted) = ((*event).timer_set() != 0, (*event).posted() != 0);
            if (is_set || is_posted) && !process::has_events() {
                return;
            }
            if is_set {
                ngx_del_timer(event);
            }
            if is_posted {
                ngx_delete_posted_event(event);
            }
            drop(Box::from_raw(self.timed.as_ptr()));
        }
    }
}

unsafe extern "C" fn timer_entry(event: *mut ngx_event_t) {
    // SAFETY: nginx calls this with an event of a `TimedCall`, whose `data` points to that, and
    // uses the event no more afterwards (Event loop). Both fields are copied first, because the
    // callback may drop the timer.
    let (call, argument) = unsafe {
        let timed = (*event).data.cast::<TimedCall>();
        ((*timed).call, (*timed).argument)
    };
    guard((), || call(argument));
}

/// Calls `W::woken` whenever the eventfd is signalled; returns `false` without an event loop.
///
/// The event is a channel event, because nginx does not report those as open connections when the
/// worker exits.
pub(crate) fn watch<W: Watcher>(fd: i32) -> bool {
    if !process::has_events() {
        return false;
    }
    let cycle = process::cycle().as_ptr();
    // SAFETY: the process has an event loop, and runs this cycle until it ends (Cycle).
    // ngx_add_channel_event accepts any descriptor that the event method can watch, and fails for
    // others.
    let added = unsafe { ngx_add_channel_event(cycle, fd, READ_EVENT, Some(watch_entry::<W>)) };
    added == NGX_OK as ngx_int_t
}

/// The receiver of signals on an eventfd.
pub trait Watcher: 'static {
    /// Called after the eventfd was signalled.
    fn woken();
}

unsafe extern "C" fn watch_entry<W: Watcher>(event: *mut ngx_event_t) {
    let mut count = [0u8; 8];
    // SAFETY: ngx_get_connection makes `data` of a channel's event its connection, which is never
    // closed here. `read` writes at most eight bytes, the length of `count`. Its error is ignored:
    // the event may be stale.
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
