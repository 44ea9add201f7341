use core::{ptr, slice};

use ngx::ffi::{ngx_buf_t, ngx_chain_t, ngx_http_upstream_t};

use super::{BodyPart, Remainder, cut};
use crate::testing::TestPool;

const TEXT: &[u8] = b"0123456789";

/// The text, in a page that is read-only.
fn read_only() -> *mut u8 {
    const SIZE: usize = 4096;
    // SAFETY: a fresh page, which is not used elsewhere.
    unsafe {
        let place = libc::mmap(
            ptr::null_mut(),
            SIZE,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        assert_ne!(place, libc::MAP_FAILED);
        ptr::copy_nonoverlapping(TEXT.as_ptr(), place.cast(), TEXT.len());
        assert_eq!(libc::mprotect(place, SIZE, libc::PROT_READ), 0);
        place.cast()
    }
}

/// A buffer over the text at `place`.
fn buffer(pool: &TestPool, place: *mut u8) -> *mut ngx_buf_t {
    let buffer = pool.zeros::<ngx_buf_t>();
    // SAFETY: a fresh record; `place` points to the text.
    unsafe {
        (*buffer).pos = place;
        (*buffer).last = place.add(TEXT.len());
        (*buffer).set_last_buf(1);
    }
    buffer
}

/// Removes the first three bytes of a response in the buffer `from`, which lies within `own`,
/// the upstream's buffer. Returns the remaining bytes and their address.
fn cut_three(pool: &TestPool, from: *mut ngx_buf_t, own: *mut u8) -> (Vec<u8>, *mut u8) {
    let r = pool.request();
    let upstream = pool.zeros::<ngx_http_upstream_t>();
    let chain = pool.zeros::<ngx_chain_t>();
    // SAFETY: fresh records of a live pool.
    unsafe {
        if !own.is_null() {
            (*upstream).buffer.start = own;
            (*upstream).buffer.end = own.add(TEXT.len());
            (*r).upstream = upstream;
        }
        (*chain).buf = from;
        let cutter = |part: BodyPart<'_>| match part {
            BodyPart::Bytes(bytes) => {
                bytes.copy_within(3.., 0);
                Remainder {
                    before: vec![],
                    kept: bytes.len() - 3,
                }
            }
            BodyPart::End => Remainder::default(),
        };
        let left = cut(r, chain, cutter).expect("memory");
        assert!((*left).next.is_null(), "one buffer");
        let buffer = &*(*left).buf;
        assert_eq!(buffer.last_buf(), 1, "it still ends the answer");
        let length = buffer.last.offset_from(buffer.pos) as usize;
        let bytes = slice::from_raw_parts(buffer.pos, length).to_vec();
        (bytes, buffer.pos)
    }
}

/// nginx's modules pass such buffers for text from the configuration, for mapped files, and for
/// bytes that are also sent to other requests.
#[test]
fn what_cannot_be_written_to_is_copied() {
    let pool = TestPool::new();
    for mapped in [false, true] {
        let place = read_only();
        let from = buffer(&pool, place);
        // SAFETY: the buffer that has just been made.
        unsafe {
            (*from).set_memory(u32::from(!mapped));
            (*from).set_mmap(u32::from(mapped));
        }
        let (left, at) = cut_three(&pool, from, ptr::null_mut());
        assert_eq!(left, &TEXT[3..]);
        assert_ne!(at, place);
        // SAFETY: as above, and the page is still there.
        unsafe {
            assert_eq!(
                (*from).pos,
                (*from).last,
                "its sender sees that all has gone"
            );
            assert_eq!(slice::from_raw_parts(place, TEXT.len()), TEXT);
        }
    }
}

#[test]
fn what_has_been_read_for_the_request_alone_is_cut_where_it_lies() {
    let pool = TestPool::new();
    let place = pool.bytes(TEXT);
    let from = buffer(&pool, place);
    // SAFETY: the buffer that has just been made.
    unsafe { (*from).set_temporary(1) };
    let (left, at) = cut_three(&pool, from, ptr::null_mut());
    assert_eq!((&left[..], at), (&TEXT[3..], place));
    // The upstream's own buffer is marked `memory`, not `temporary`.
    let place = pool.bytes(TEXT);
    let from = buffer(&pool, place);
    // SAFETY: as above.
    unsafe { (*from).set_memory(1) };
    let (left, at) = cut_three(&pool, from, place);
    assert_eq!((&left[..], at), (&TEXT[3..], place));
}
