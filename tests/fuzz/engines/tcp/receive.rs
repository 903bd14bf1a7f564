// SPDX-License-Identifier: GPL-2.0

//! The way in.

use super::*;

impl Tcp {
    /// Takes a segment; whether bytes were queued. `listens` says whether a server waits for connections.
    pub fn receive(&mut self, frame: &Frame, listens: bool, now: Instant) -> bool {
        let segment = frame.segment();
        match self.state {
            State::Closed => {
                if segment.opens() && listens {
                    self.listen(&segment, now);
                } else {
                    self.refuse(&segment);
                }
                false
            }
            State::SynSent => {
                self.in_syn_sent(&segment, now);
                false
            }
            State::SynReceived => self.in_syn_received(frame, &segment, now),
            State::Open => self.in_open(frame, &segment, now),
            State::TimeWait => {
                self.in_time_wait(&segment, now);
                false
            }
        }
    }

    fn listen(&mut self, segment: &Segment, now: Instant) {
        // Another initial number for each connection (RFC 6528).
        let iss = SeqNumber::new(self.habits.isn) + segment.seq.raw().rotate_left(7);
        self.renew(false, iss);
        self.name = segment.seq;
        self.irs = segment.seq;
        self.rcv = segment.seq + 1;
        self.wup = self.rcv;
        self.state = State::SynReceived;
        self.agree(segment);
        self.window = u32::from(segment.window);
        self.answered = (self.clock(now), self.clock(now));
        self.send_syn(now);
    }

    fn agree(&mut self, segment: &Segment) {
        let options = &segment.options;
        self.scales = self.habits.window_scale.zip(options.window_scale);
        self.timestamps = self.habits.timestamps && options.timestamps.is_some();
        self.recent = options
            .timestamps
            .filter(|_| self.timestamps)
            .map(|ts| ts.tsval);
        self.sack = self.habits.sack && options.sack_permitted;
    }

    fn told(&self, segment: &Segment) -> u32 {
        u32::from(segment.window) << self.other_scale()
    }

    fn in_syn_sent(&mut self, segment: &Segment, now: Instant) {
        if segment.flags.contains(Flags::ACK) && segment.ack != self.iss + 1 {
            self.refuse(segment);
            return;
        }
        if segment.flags.contains(Flags::RST) {
            if segment.flags.contains(Flags::ACK) {
                self.state = State::Closed;
            }
            return;
        }
        if !segment.flags.contains(Flags::SYN | Flags::ACK) {
            return;
        }
        self.irs = segment.seq;
        self.rcv = segment.seq + 1;
        self.wup = self.rcv;
        self.edge = self.rcv + self.habits.buffer.min(65_535);
        self.agree(segment);
        self.una = segment.ack;
        self.window = u32::from(segment.window);
        self.widest = self.window;
        self.told_by = segment.seq;
        self.state = State::Open;
        self.send_ack(now);
    }

    /// Linux: `tcp_check_req`.
    fn in_syn_received(&mut self, frame: &Frame, segment: &Segment, now: Instant) -> bool {
        let flags = segment.flags;
        if flags.contains(Flags::SYN) && !flags.contains(Flags::ACK) && segment.seq == self.irs {
            self.send_syn(now);
            return false;
        }
        if flags.contains(Flags::ACK) && segment.ack != self.iss + 1 {
            self.refuse(segment);
            return false;
        }
        let echo = segment.options.timestamps.map_or(0, |ts| ts.tsecr);
        let (first, last) = self.answered;
        let echo_is_bad =
            self.timestamps && echo != 0 && echo.wrapping_sub(first) > last.wrapping_sub(first);
        if self.is_old(segment) || echo_is_bad || !self.in_window(segment) {
            if !flags.contains(Flags::RST) && self.complaints > 0 {
                self.complaints -= 1;
                let ack = self.header(self.nxt, Flags::NONE, now);
                self.out.push((ack, Origin::Empty));
            }
            return false;
        }
        if flags.intersects(Flags::RST | Flags::SYN) {
            if !flags.contains(Flags::RST) {
                self.refuse(segment);
            }
            self.state = State::Closed;
            return false;
        }
        if !flags.contains(Flags::ACK) {
            return false;
        }
        self.state = State::Open;
        self.una = segment.ack;
        self.window = self.told(segment);
        self.widest = self.window;
        self.told_by = segment.seq;
        self.in_open(frame, segment, now)
    }

    /// PAWS (RFC 7323, section 5).
    fn is_old(&self, segment: &Segment) -> bool {
        match (segment.options.timestamps, self.recent) {
            (Some(ts), Some(recent)) if self.timestamps => {
                (ts.tsval.wrapping_sub(recent) as i32) < 0
            }
            _ => false,
        }
    }

    /// Linux: `tcp_sequence`.
    pub fn in_window(&self, segment: &Segment) -> bool {
        segment.end() >= self.wup && segment.seq <= self.edge
    }

    /// Linux: `tcp_rcv_established`, `tcp_rcv_state_process`.
    fn in_open(&mut self, frame: &Frame, segment: &Segment, now: Instant) -> bool {
        let flags = segment.flags;
        if self.is_old(segment) && !flags.contains(Flags::RST) || !self.in_window(segment) {
            if !flags.contains(Flags::RST) {
                self.complain(now);
            }
            return false;
        }
        if flags.contains(Flags::RST) {
            if segment.seq == self.rcv {
                self.state = State::Closed;
            } else {
                self.complain(now);
            }
            return false;
        }
        if flags.contains(Flags::SYN) {
            self.complain(now);
            return false;
        }
        if !flags.contains(Flags::ACK) || !self.acknowledged(segment, now) {
            return false;
        }
        if self.state != State::Open {
            return false;
        }
        self.queue(frame, segment, now)
    }

    /// Linux: `tcp_ack`; `false` if the segment is dropped.
    fn acknowledged(&mut self, segment: &Segment, now: Instant) -> bool {
        if segment.ack > self.nxt {
            self.complain(now);
            return false;
        }
        if segment.ack < self.una {
            if segment.ack < self.una - self.widest {
                self.complain(now);
                return false;
            }
            return true;
        }
        if let Some(ts) = segment.options.timestamps.filter(|_| self.timestamps) {
            if segment.seq <= self.wup {
                self.recent = Some(ts.tsval);
            }
        }
        let window = self.told(segment);
        if segment.ack > self.una
            || segment.seq > self.told_by
            || segment.seq == self.told_by && (window > self.window || window == 0)
        {
            self.told_by = segment.seq;
            self.window = window;
            self.widest = self.widest.max(window);
        }
        self.una = segment.ack;
        if self.fin_out.is_some_and(|fin| self.una == fin) && self.has_taken_fin() {
            self.finish(now);
        }
        true
    }

    fn finish(&mut self, now: Instant) {
        if self.closed_first {
            self.state = State::TimeWait;
            self.ends_at = Some(now.after(TIME_WAIT));
        } else {
            self.state = State::Closed;
        }
    }

    /// Linux: `tcp_data_queue`.
    fn queue(&mut self, frame: &Frame, segment: &Segment, now: Instant) -> bool {
        if segment.is_empty() {
            return false;
        }
        if segment.end() <= self.rcv {
            self.complain(now);
            return false;
        }
        if segment.payload_len > 0 {
            let place = segment.seq.since(self.irs + 1) as u32;
            assert_eq!(
                frame.origin,
                Origin::Stream(self.name, place),
                "bytes out of place: {segment:?}"
            );
        }
        let end = (segment.seq + segment.payload_len).min(self.edge);
        if segment.flags.contains(Flags::FIN) && end + 1 == segment.end() {
            self.fin_in = Some(segment.end());
            self.ahead.push((segment.seq, segment.end()));
        } else if end > segment.seq {
            self.ahead.push((segment.seq, end));
        }
        let before = self.rcv;
        self.close_gaps();
        if self.rcv == before {
            self.complain(now);
            return false;
        }
        if !self.reads {
            self.unread = self.unread.saturating_add(self.rcv.since(before) as u32);
        }
        if self.has_taken_fin() && self.fin_out.is_some_and(|fin| self.una == fin) {
            self.finish(now);
            self.send_ack(now);
        } else if self.habits.prompt || self.has_taken_fin() {
            self.send_ack(now);
        }
        true
    }

    fn close_gaps(&mut self) {
        while let Some(at) = self
            .ahead
            .iter()
            .position(|(left, right)| *left <= self.rcv && *right > self.rcv)
        {
            self.rcv = self.ahead.swap_remove(at).1;
        }
        let rcv = self.rcv;
        self.ahead.retain(|(_, right)| *right > rcv);
        self.ahead.truncate(8);
    }

    fn in_time_wait(&mut self, segment: &Segment, now: Instant) {
        let flags = segment.flags;
        if flags.contains(Flags::SYN) && !flags.intersects(Flags::ACK | Flags::RST) {
            if segment.seq > self.rcv && !self.is_client {
                self.listen(segment, now);
            } else {
                self.complain(now);
            }
        } else if flags.contains(Flags::RST) {
            if segment.seq == self.rcv {
                self.state = State::Closed;
            }
        } else {
            // Whoever still speaks is waited for (Linux: `tcp_timewait_state_process`).
            self.ends_at = Some(now.after(TIME_WAIT));
            if !segment.is_empty() || !self.in_window(segment) {
                self.complain(now);
            }
        }
    }
}
