// SPDX-License-Identifier: GPL-2.0

//! Sequence numbers and the offsets between number spaces.

mod common;

use proptest::prelude::*;
use std::cmp::Ordering;
use sttcp::seq::{Delta, SeqNumber};

const fn seq(raw: u32) -> SeqNumber {
    SeqNumber::new(raw)
}

#[test]
fn order_goes_on_across_the_wrap() {
    assert!(seq(u32::MAX) < seq(0));
    assert!(seq(5) > seq(u32::MAX - 5));
    assert_eq!(seq(3).since(seq(u32::MAX)), 4);
    assert_eq!(seq(u32::MAX).since(seq(3)), -4);
}

#[test]
fn later_and_earlier_across_the_wrap() {
    assert_eq!(seq(u32::MAX).max(seq(2)), seq(2));
    assert_eq!(seq(u32::MAX).min(seq(2)), seq(u32::MAX));
    assert_eq!(seq(7).max(seq(7)), seq(7));
}

#[test]
fn half_the_circle_apart_has_no_order() {
    let (a, b) = (seq(10), seq(10 + (1 << 31)));
    assert_eq!(a.partial_cmp(&b), None);
    assert_eq!(b.partial_cmp(&a), None);
    assert_eq!((a + 1).partial_cmp(&b), Some(Ordering::Less));
}

#[test]
fn arithmetic_wraps() {
    assert_eq!(seq(u32::MAX) + 1, seq(0));
    assert_eq!(seq(0) - 1, seq(u32::MAX));
    assert_eq!(seq(17).to_string(), "17");
}

#[test]
fn delta_leads_from_the_shadow_to_the_primary_and_back() {
    let (primary, shadow) = (seq(100), seq(u32::MAX - 99));
    let delta = Delta::between(primary, shadow);
    assert_eq!(delta.raw(), 200);
    assert_eq!(shadow + 30 + delta, primary + 30);
    assert_eq!(primary + 30 - delta, shadow + 30);
}

proptest! {
    #![proptest_config(common::config(1024))]

    #[test]
    fn delta_there_and_back(delta in common::delta(), number: u32) {
        prop_assert_eq!(delta.unshift(delta.shift(number)), number);
        prop_assert_eq!(seq(number) + delta - delta, seq(number));
        prop_assert_eq!(Delta::of(delta.shift(number), number), delta);
    }

    #[test]
    fn order_is_the_sign_of_the_distance(a in common::seq(), ahead in 1_u32..1 << 31) {
        let b = a + ahead;
        prop_assert_eq!(a.partial_cmp(&b), Some(Ordering::Less));
        prop_assert_eq!(b.partial_cmp(&a), Some(Ordering::Greater));
        prop_assert_eq!(b.since(a), ahead as i32);
        prop_assert_eq!((a.max(b), b.max(a), a.min(b), b.min(a)), (b, b, a, a));
    }
}
