//! Records with arbitrary bytes, for example after a process died.

use proptest::prelude::*;

use super::bed::{Bed, ID};
use crate::circuit::*;

proptest! {
    #[test]
    fn any_bytes_are_a_circuit_that_lets_a_request_through_in_time(
        bytes in proptest::collection::vec(any::<u8>(), size_of::<Circuit>()),
        now in prop_oneof![any::<u64>(), 0u64..1 << 40],
        random in any::<u64>(),
        steps in proptest::collection::vec((0u64..100_000, 0u8..4), 0..40),
    ) {
        let circuit: Circuit = bytemuck::pod_read_unaligned(&bytes);
        let mut bed = Bed { circuit, now, random };
        let mut permits = vec![];
        for (ms, step) in steps {
            bed.now = bed.now.saturating_add(ms);
            match step {
                0 => {
                    if let Admission::Permitted(permit) = bed.circuit.admit(ID, bed.now) {
                        permits.push(permit);
                    }
                }
                1 => drop(permits.pop().map(|permit| bed.report(permit, CircuitOutcome::Failure))),
                2 => drop(permits.pop().map(|permit| bed.report(permit, CircuitOutcome::Success))),
                _ => {
                    let status = bed.circuit.status(bed.now);
                    prop_assert!(status.share() <= Share(10_000));
                }
            }
        }
        if bed.now < u64::MAX / 2 {
            // With any bytes in the record, valid settings make the circuit recover.
            bed.circuit.set(&CircuitSettings::default(), bed.now);
            bed.now += 75_000;
            let healed = (0..3).any(|_| match bed.circuit.admit(ID, bed.now) {
                Admission::Permitted(permit) => {
                    bed.circuit.note(permit, CircuitOutcome::Success, bed.now, random);
                    bed.state() == CircuitState::Closed
                }
                Admission::Open { .. } => false,
            });
            prop_assert!(healed);
        }
    }
}
