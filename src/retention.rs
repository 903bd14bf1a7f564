// SPDX-License-Identifier: GPL-2.0

//! Retention: the primary's copies of client segments, kept until the backup says that it has their bytes.

use crate::engine::counters::Counter;
use crate::engine::message::{Bytes, Kind as Datagram, Piece, Span, MAX_BODY, MAX_BYTES};
use crate::engine::primary::ConnectionId;
use crate::engine::seq::SeqNumber;
use crate::engine::wire::{headers_len, Packet, Segment};
use crate::node::Node;
use crate::receive::HEADERS;
use crate::sys::skb::{SkBuff, SkbQueue, Tag};
use crate::table::Entry;
use kernel::sync::atomic::{Atomic, Relaxed};
use kernel::sync::Arc;

/// What the copies of a node may take, and what they take: memory as the kernel counts it (`truesize`), in bytes.
pub(crate) struct Budget {
    used: Atomic<u64>,
    each: Atomic<u64>,
    total: Atomic<u64>,
}

impl Budget {
    /// Limits for each connection in KiB and for all of them in MiB.
    pub(crate) fn new(each_kb: u32, total_mb: u32) -> Self {
        let budget = Self {
            used: Atomic::new(0),
            each: Atomic::new(0),
            total: Atomic::new(0),
        };
        budget.set(each_kb, total_mb);
        budget
    }

    /// Changes the limits. What is kept beyond them stays until it is released.
    pub(crate) fn set(&self, each_kb: u32, total_mb: u32) {
        self.each.store(u64::from(each_kb) << 10, Relaxed);
        self.total.store(u64::from(total_mb) << 20, Relaxed);
    }

    /// What each connection may have, in bytes.
    pub(crate) fn each(&self) -> u32 {
        u32::try_from(self.each.load(Relaxed)).unwrap_or(u32::MAX)
    }
}

/// The copies of one connection, in the order in which they came.
pub(crate) struct Retained {
    queue: SkbQueue,
    bytes: u64,
    /// What counts `bytes` too, if there are any.
    budget: Option<Arc<Budget>>,
}

impl Retained {
    /// No copies.
    pub(crate) const fn new() -> Self {
        Self {
            queue: SkbQueue::new(),
            bytes: 0,
            budget: None,
        }
    }

    /// The memory that they take, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Keeps a copy, which shares the segment's bytes; `false` if a limit or memory forbids it.
    fn keep(&mut self, skb: &SkBuff, tag: Tag, budget: &Arc<Budget>) -> bool {
        let size = u64::from(skb.truesize());
        let beyond = self.bytes + size > budget.each.load(Relaxed)
            || budget.used.load(Relaxed) + size > budget.total.load(Relaxed);
        if beyond {
            return false;
        }
        let Ok(copy) = skb.share() else {
            return false;
        };
        let size = u64::from(copy.truesize());
        let budget = self.budget.get_or_insert_with(|| budget.clone());
        budget.used.fetch_add(size, Relaxed);
        self.bytes += size;
        self.queue.push_back(copy, tag);
        true
    }

    /// Frees the copies that end at `end` or before, but for those that came after one that ends later.
    pub(crate) fn release(&mut self, end: SeqNumber) {
        self.release_if(|tag| SeqNumber::new(tag.end) <= end);
    }

    /// Frees all copies.
    pub(crate) fn clear(&mut self) {
        self.release_if(|_| true);
    }

    /// Frees the copies in front that are `over`.
    fn release_if(&mut self, over: impl Fn(Tag) -> bool) {
        let mut size = 0;
        while let Some((copy, _)) = self.queue.pop_front_if(&over) {
            size += u64::from(copy.truesize());
        }
        if let Some(budget) = &self.budget {
            // Modulo 2^64, this is less.
            budget.used.fetch_add(size.wrapping_neg(), Relaxed);
        }
        self.bytes -= size;
    }

    /// Reads the beginning of a span into `to`: what one copy has of it.
    fn read(&self, span: &Span, to: &mut [u8]) -> Option<Piece> {
        self.queue.find(|skb, tag| {
            // Most copies are passed by without a look at their headers.
            if span.start >= SeqNumber::new(tag.end) {
                return None;
            }
            let header = skb.header(HEADERS)?;
            let piece = span.piece(&Packet::parse(header, skb.len()).ok()?.segment)?;
            let offset = headers_len(header)? + piece.offset as usize;
            let to = to.get_mut(..piece.len as usize)?;
            skb.copy_to(offset, to).then_some(piece)
        })
    }
}

impl Drop for Retained {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Node {
    /// Keeps a copy of a client's segment. Softirq, bucket locked.
    pub(crate) fn retain(&self, entry: &mut Entry, skb: &SkBuff, segment: &Segment) {
        let tag = Tag {
            start: segment.seq.raw(),
            end: segment.end().raw(),
        };
        if entry.retained.keep(skb, tag, &self.budget) {
            entry.side.on_retained(segment, skb.truesize());
        } else {
            // The client still has them, as they are not acknowledged before the backup has them.
            self.count(Counter::RetainOverflow);
        }
    }

    /// Sends the backup what it lacks, as far as there are copies. Any context, bucket locked.
    pub(crate) fn resend(&self, retained: &Retained, id: ConnectionId, span: &Span) {
        let mut span = *span;
        while span.start < span.end {
            let mut body = [0; MAX_BODY];
            let Some((head, payload)) = body.split_at_mut_checked(MAX_BODY - MAX_BYTES) else {
                return;
            };
            let Some(piece) = retained.read(&span, payload) else {
                return;
            };
            let bytes = Bytes {
                id,
                seq: span.start,
                fin: piece.fin,
                payload: &[],
            };
            for (to, from) in head.iter_mut().zip(bytes.emit()) {
                *to = from;
            }
            let end = MAX_BODY - MAX_BYTES + piece.len as usize;
            self.send(Datagram::Bytes, body.get(..end).unwrap_or(&[]));
            self.count(Counter::BytesSent);
            span = piece.rest;
        }
    }
}
