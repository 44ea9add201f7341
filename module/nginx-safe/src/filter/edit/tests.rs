use core::ops::Range;
use core::slice;

use ngx::ffi::{ngx_buf_t, ngx_chain_t};

use super::{Edit, Edits};
use crate::config::registered;
use crate::request::handle::Request;
use crate::testing::TestPool;

const TEXT: &[u8] = b"0123456789";

/// Keeps a range of each piece, and inserts the text after it.
struct Part(Range<usize>);

impl Edits for Part {
    fn feed(&mut self, _piece: &[u8], emit: &mut dyn FnMut(Edit)) {
        emit(Edit::Keep(self.0.clone()));
        emit(Edit::Insert);
    }
}

/// The body after an edit that keeps the given range; `None` if the edit fails.
fn edited(kept: Range<usize>) -> Option<Vec<u8>> {
    registered::place_at(1);
    let pool = TestPool::new();
    let buffer = pool.zeros::<ngx_buf_t>();
    let chain = pool.zeros::<ngx_chain_t>();
    let place = pool.bytes(TEXT);
    // SAFETY: the request lives as long as the pool.
    let request = unsafe { Request::borrow(pool.request()) };
    request.attach(|_| ()).expect("memory");
    // SAFETY: fresh records of a live pool, of a text that is there.
    unsafe {
        (*buffer).pos = place;
        (*buffer).last = place.add(TEXT.len());
        (*buffer).set_memory(1);
        (*chain).buf = buffer;
        assert!(!request.is_edited());
        request
            .edit_answer(Box::new(Part(kept)), b"text")
            .expect("memory");
        let editor = request.editor().expect("an editor");
        let mut next = editor.edited(pool.0, chain)?;
        let mut bytes = vec![];
        while let Some(link) = next.as_ref() {
            let buffer = &*link.buf;
            let length = buffer.last.offset_from(buffer.pos) as usize;
            bytes.extend_from_slice(slice::from_raw_parts(buffer.pos, length));
            next = link.next;
        }
        Some(bytes)
    }
}

#[test]
fn a_part_that_is_there_is_kept() {
    assert_eq!(edited(2..5).as_deref(), Some(&b"234text"[..]));
    assert_eq!(edited(0..10).as_deref(), Some(&b"0123456789text"[..]));
}

#[test]
fn a_part_that_is_not_there_fails() {
    assert_eq!(edited(2..11), None);
    assert_eq!(edited(usize::MAX..usize::MAX), None);
    #[expect(
        clippy::reversed_empty_ranges,
        reason = "an invalid range is the input of this test"
    )]
    let reversed = 5..2;
    assert_eq!(edited(reversed), None);
}
