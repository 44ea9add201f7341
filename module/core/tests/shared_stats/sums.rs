//! RowSums: what two sightings of them come to.

use openai_core::redlock::share::RowSums;
use proptest::prelude::*;

fn sums() -> impl Strategy<Value = RowSums> {
    let sum = prop_oneof![Just(0), 1..5_u64, any::<u64>()];
    prop::collection::vec(sum, 0..6).prop_map(|sums| RowSums::new(&sums))
}

fn raised(mut sums: RowSums, by: &RowSums) -> RowSums {
    let before = sums.clone();
    let news = sums.raise(by);
    assert_eq!(news, sums != before);
    sums
}

proptest! {
    #[test]
    fn to_raise_is_commutative_associative_and_idempotent(a in sums(), b in sums(), c in sums()) {
        prop_assert_eq!(raised(a.clone(), &b), raised(b.clone(), &a));
        let left = raised(raised(a.clone(), &b), &c);
        prop_assert_eq!(&left, &raised(a.clone(), &raised(b.clone(), &c)));
        for seen in [&a, &b, &c] {
            prop_assert_eq!(&raised(left.clone(), seen), &left);
        }
        for at in 0..6 {
            prop_assert_eq!(left.get(at), a.get(at).max(b.get(at)).max(c.get(at)));
        }
    }
}
