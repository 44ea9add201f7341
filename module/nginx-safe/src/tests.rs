//! Operations that fail without an event loop, or in a thread that is not nginx's.

use std::panic::catch_unwind;
use std::thread;

use crate::net::peer::{Address, Peer};
use crate::net::timer::Timer;
use crate::process::{ThreadStage, cycle, enter, may_configure};
use crate::testing::set_up;
use crate::thread::Background;
use crate::{Level, clocks, is_logged, log};

#[test]
fn there_are_no_timers_without_an_event_loop() {
    set_up();
    assert!(catch_unwind(|| drop(Timer::new(true, |_| {}, 0))).is_err());
}

#[test]
fn a_process_without_a_master_reads_one_configuration() {
    set_up();
    assert!(may_configure("name").is_ok());
    let mut modules = [core::ptr::null_mut::<core::ffi::c_void>()];
    // SAFETY: the cycle of `set_up`. No other test uses its conf_ctx.
    unsafe { (*cycle().as_ptr()).conf_ctx = (&raw mut modules).cast() };
    let refused = may_configure("name");
    // SAFETY: as above.
    unsafe { (*cycle().as_ptr()).conf_ctx = core::ptr::null_mut() };
    assert!(refused.is_err());
}

#[test]
fn a_timer_does_not_start_once_the_event_loop_has_ended() {
    set_up();
    enter(ThreadStage::Serves);
    let mut timer = Timer::new(true, |_| {}, 0);
    enter(ThreadStage::Ends);
    timer.start(1);
    timer.soon();
    assert!(!timer.is_started());
}

#[test]
fn there_are_no_connections_without_an_event_loop() {
    set_up();
    let nowhere = Address::Unix("/nowhere".into());
    assert!(Peer::connect(&nowhere, None, |_| {}, 0).is_err());
}

#[test]
fn there_is_no_background_without_an_event_loop() {
    set_up();
    assert!(Background::start(|| ()).is_err());
}

#[test]
fn other_threads_do_not_read_what_nginx_writes() {
    set_up();
    clocks();
    let read = thread::spawn(|| {
        log(Level::Emergency, "is lost");
        assert!(!is_logged(Level::Emergency));
        clocks()
    });
    assert!(read.join().is_err());
}
