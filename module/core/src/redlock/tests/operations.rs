//! Pending operations.

use crate::redlock::{Operation, Operations};

#[test]
fn each_is_concluded_once_by_its_own_answer() {
    let mut operations = Operations::default();
    // Two on the same lock.
    let names: Vec<Operation> = ["lock", "lock"]
        .map(|lock| operations.begin(lock, 100))
        .into();
    assert_eq!(operations.iter().count(), 2);
    assert_eq!(operations.conclude(names[1]), Some("lock"));
    assert_eq!(operations.conclude(names[1]), None);
    assert_eq!(operations.iter().count(), 1, "the other goes on");
    let later = operations.begin("later", 200);
    assert!(!names.contains(&later));
    assert_eq!(operations.overdue(99), Vec::<&str>::new());
    assert_eq!(operations.overdue(100), ["lock"]);
    assert_eq!(operations.conclude(names[0]), None);
    assert_eq!(operations.conclude(later), Some("later"));
}
