// SPDX-License-Identifier: GPL-2.0

//! Packets.
//!
//! C header: [`include/linux/skbuff.h`](srctree/include/linux/skbuff.h)

use super::{
    bindings,
    net::Net,
    route::{Dst, Flow},
};
use core::{
    mem::ManuallyDrop,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ptr::{self, NonNull},
    slice,
};
use kernel::{error::to_result, prelude::*, sync::rcu};

/// Where a packet is looked at, for [`SkBuff::verify_checksum`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Hook {
    /// On its way in, before routing.
    PreRouting,
    /// On its way into the local stack.
    LocalIn,
}

type Headers = bindings::sk_buff__bindgen_ty_4__bindgen_ty_2;

/// A packet that we own, `struct sk_buff`. Dropping it frees it. Any context.
///
/// What counts as its beginning is the network header: that of IP, or of ARP.
///
/// A hook hands out packets that point to a device and a route without a reference on them. Before
/// one outlives its hook it goes through [`prepare_hold`](Self::prepare_hold), or something that
/// does so: [`inject`](Self::inject) and [`transmit`](Self::transmit).
///
/// # Invariants
///
/// Points to a valid `sk_buff`; the value owns the one reference to it. No method but
/// [`verify_checksum`](Self::verify_checksum), which belongs in a hook, follows the pointers to the
/// device and the route that a hook left there.
#[repr(transparent)]
pub(crate) struct SkBuff(NonNull<bindings::sk_buff>);

// SAFETY: A packet may be freed and used on any CPU, by one owner at a time.
unsafe impl Send for SkBuff {}

// SAFETY: Methods that take `&self` only read.
unsafe impl Sync for SkBuff {}

impl SkBuff {
    /// Takes over a packet.
    ///
    /// # Safety
    ///
    /// The caller owns `skb`, and owns it no longer.
    pub(super) unsafe fn from_raw(skb: NonNull<bindings::sk_buff>) -> Self {
        // INVARIANT: The caller promises it.
        Self(skb)
    }

    /// Gives the packet to the caller.
    pub(super) fn into_raw(self) -> NonNull<bindings::sk_buff> {
        ManuallyDrop::new(self).0
    }

    /// Whether this is the packet at `skb`.
    pub(super) fn is(&self, skb: *const bindings::sk_buff) -> bool {
        ptr::eq(self.0.as_ptr(), skb)
    }

    fn raw(&self) -> &bindings::sk_buff {
        // SAFETY: Valid, and ours, by the type invariant.
        unsafe { self.0.as_ref() }
    }

    fn raw_mut(&mut self) -> &mut bindings::sk_buff {
        // SAFETY: Valid, and ours alone, by the type invariant.
        unsafe { self.0.as_mut() }
    }

    /// The fields that a clone has in common with its original (`struct_group(headers)`).
    fn headers(&self) -> &Headers {
        // SAFETY: Both views of the union have the same fields.
        unsafe { self.raw().__bindgen_anon_4.headers.as_ref() }
    }

    fn headers_mut(&mut self) -> &mut Headers {
        // SAFETY: As for `headers`.
        unsafe { self.raw_mut().__bindgen_anon_4.headers.as_mut() }
    }

    fn as_ptr(&self) -> *mut bindings::sk_buff {
        self.0.as_ptr()
    }

    /// From the start of the buffer to `data`; the offsets of headers count from there too.
    fn headroom(&self) -> usize {
        self.raw().data as usize - self.raw().head as usize
    }

    /// Copies packet bytes into a new packet: one whole IP packet, its checksums filled in.
    /// `None` if memory is short, or the first byte is not that of an IP header. Any context.
    pub(crate) fn alloc_from(bytes: &[u8]) -> Option<Self> {
        Self::alloc_from_parts(&[bytes])
    }

    /// The same, from parts that follow each other; the first holds the IP header at least.
    pub(crate) fn alloc_from_parts(parts: &[&[u8]]) -> Option<Self> {
        let header = parts.first()?;
        let (protocol, header_len) = match header.first()? >> 4 {
            4 => (bindings::ETH_P_IP, usize::from(header.first()? & 0xf) * 4),
            6 => (bindings::ETH_P_IPV6, 40),
            _ => return None,
        };
        let len = parts
            .iter()
            .try_fold(0usize, |sum, part| sum.checked_add(part.len()))?;
        if header.len() < header_len || header_len < 20 || len > usize::from(u16::MAX) {
            return None;
        }
        // SAFETY: No requirement.
        let skb = NonNull::new(unsafe { bindings::sttcp_alloc_skb(len as u32) })?;
        // INVARIANT: Just allocated.
        let mut skb = Self(skb);
        for part in parts {
            // SAFETY: The packet was allocated with room for all parts.
            let tail = unsafe { bindings::skb_put(skb.as_ptr(), part.len() as u32) };
            // SAFETY: `skb_put` returned `part.len()` bytes of the packet's own memory.
            unsafe { ptr::copy_nonoverlapping(part.as_ptr(), tail.cast(), part.len()) };
        }
        let offset = skb.headroom() as u16;
        let headers = skb.headers_mut();
        headers.protocol = (protocol as u16).to_be();
        headers.network_header = offset;
        headers.transport_header = offset + header_len as u16;
        Some(skb)
    }

    /// Another reference to the same data, with state of its own. Any context.
    pub(crate) fn try_clone(&self) -> Option<Self> {
        // SAFETY: The packet is valid; `skb_clone` only counts references on what they share.
        let skb = unsafe { bindings::skb_clone(self.as_ptr(), bindings::STTCP_GFP_ATOMIC) };
        // INVARIANT: `skb_clone` returns a packet that is ours.
        NonNull::new(skb).map(Self)
    }

    /// From `data` to the network header; not negative for packets that this module sees.
    fn network_offset(&self) -> Option<usize> {
        usize::from(self.headers().network_header).checked_sub(self.headroom())
    }

    /// Bytes from the network header to the end.
    pub(crate) fn len(&self) -> usize {
        let offset = self.network_offset().unwrap_or(0);
        (self.raw().len as usize).saturating_sub(offset)
    }

    /// Bytes of memory that the packet accounts for.
    pub(crate) fn truesize(&self) -> usize {
        self.raw().truesize as usize
    }

    /// The device that the packet came in by; zero for one that this host made. It is only a
    /// number, and stays with a held packet after the device has gone.
    pub(crate) fn ifindex(&self) -> u32 {
        self.headers().skb_iif as u32
    }

    /// Whether it is an IPv4 packet.
    pub(crate) fn is_ipv4(&self) -> bool {
        self.headers().protocol == (bindings::ETH_P_IP as u16).to_be()
    }

    /// Whether it is an IPv6 packet.
    pub(crate) fn is_ipv6(&self) -> bool {
        self.headers().protocol == (bindings::ETH_P_IPV6 as u16).to_be()
    }

    /// The first `min(len, need)` bytes from the network header, moved together if they were
    /// scattered. `None` if memory is short. Any context.
    pub(crate) fn header(&mut self, need: usize) -> Option<&[u8]> {
        let offset = self.network_offset()?;
        let need = need.min(self.len());
        // SAFETY: The packet is ours.
        if !unsafe { bindings::sttcp_pskb_may_pull(self.as_ptr(), (offset + need) as u32) } {
            return None;
        }
        let raw = self.raw();
        // SAFETY: The pull made `offset + need` bytes from `data` linear; they are initialised
        // packet bytes, and stay where they are while the packet is borrowed.
        Some(unsafe { slice::from_raw_parts(raw.data.add(offset).cast::<u8>(), need) })
    }

    /// The same bytes, writable: copied first if the packet shares them, as with a clone that
    /// `tcpdump` holds. Any context.
    pub(crate) fn header_mut(&mut self, need: usize) -> Option<&mut [u8]> {
        let offset = self.network_offset()?;
        let need = need.min(self.len());
        // SAFETY: The packet is ours.
        let error = unsafe { bindings::skb_ensure_writable(self.as_ptr(), (offset + need) as u32) };
        if error != 0 {
            return None;
        }
        let raw = self.raw_mut();
        // SAFETY: The first `offset + need` bytes are linear now and not shared with another
        // packet that reads them: TCP's write queue, which shares them, leaves headers to its
        // clones (`__skb_header_release`). The borrow is exclusive.
        Some(unsafe { slice::from_raw_parts_mut(raw.data.add(offset).cast::<u8>(), need) })
    }

    /// The whole packet, moved together: what is between the network header and `data`, and what
    /// is from `data` on. For a packet whose IP header has been taken off, as in a socket's queue.
    pub(super) fn linear(&mut self) -> Option<(&[u8], &[u8])> {
        let len = self.raw().len;
        // SAFETY: The packet is ours.
        if !unsafe { bindings::sttcp_pskb_may_pull(self.as_ptr(), len) } {
            return None;
        }
        let network = usize::from(self.headers().network_header);
        let before = self.headroom().checked_sub(network)?;
        let raw = self.raw();
        // SAFETY: The network header is in the linear buffer, `before` bytes ahead of `data`; they
        // are initialised packet bytes, and stay where they are while the packet is borrowed.
        let header = unsafe { slice::from_raw_parts(raw.head.add(network).cast::<u8>(), before) };
        // SAFETY: All `len` bytes from `data` on are linear now; otherwise as above.
        let rest = unsafe { slice::from_raw_parts(raw.data.cast::<u8>(), len as usize) };
        Some((header, rest))
    }

    /// Copies bytes from anywhere in the packet, `offset` counted from the network header.
    /// Whether there were that many. Any context.
    pub(crate) fn copy_bits(&self, offset: usize, to: &mut [u8]) -> bool {
        let Some(start) = self.network_offset() else {
            return false;
        };
        match offset.checked_add(to.len()) {
            Some(end) if end <= self.len() => {}
            _ => return false,
        }
        // SAFETY: `skb_copy_bits` checks the range once more, and `to` has `to.len()` bytes.
        let error = unsafe {
            bindings::skb_copy_bits(
                self.as_ptr(),
                (start + offset) as i32,
                to.as_mut_ptr().cast(),
                to.len() as i32,
            )
        };
        error == 0
    }

    /// Whether the device is yet to fill in the transport checksum. Its field then holds only the
    /// sum over the pseudo header, and a change of other bytes must leave it alone.
    pub(crate) fn is_checksum_partial(&self) -> bool {
        // SAFETY: The packet is ours.
        u32::from(unsafe { bindings::sttcp_skb_ip_summed(self.as_ptr()) })
            == bindings::CHECKSUM_PARTIAL
    }

    /// Whether the transport checksum is right, or known not to matter. The answer is remembered
    /// in the packet, so TCP does not sum again. `l4_offset` counts from the network header.
    /// Softirq, in the hook named.
    pub(crate) fn verify_checksum(&mut self, hook: Hook, l4_offset: usize, protocol: u8) -> bool {
        let hook = match hook {
            Hook::PreRouting => bindings::NF_INET_PRE_ROUTING,
            Hook::LocalIn => bindings::NF_INET_LOCAL_IN,
        };
        let family = if self.is_ipv4() {
            bindings::AF_INET
        } else {
            bindings::AF_INET6
        };
        let fixed = if self.is_ipv4() { 20 } else { 40 };
        if self.network_offset() != Some(0)
            || l4_offset > self.len()
            || self.header(fixed).is_none()
        {
            return false;
        }
        // SAFETY: `data` is at the IP header, which is linear, as the function expects.
        let sum = unsafe {
            bindings::nf_checksum(
                self.as_ptr(),
                hook,
                l4_offset as u32,
                protocol,
                family as u16,
            )
        };
        sum == 0
    }

    /// To whom the link layer says the packet goes: `PACKET_HOST` and so on.
    pub(crate) fn pkt_type(&self) -> u8 {
        // SAFETY: The packet is ours.
        unsafe { bindings::sttcp_skb_pkt_type(self.as_ptr()) }
    }

    /// Whether the packet is for this host, by its link-layer address.
    pub(crate) fn is_pkt_host(&self) -> bool {
        u32::from(self.pkt_type()) == bindings::PACKET_HOST
    }

    /// Makes it a packet for this host; TCP drops all others.
    pub(crate) fn set_pkt_host(&mut self) {
        // SAFETY: The packet is ours.
        unsafe { bindings::sttcp_skb_set_pkt_type(self.as_ptr(), bindings::PACKET_HOST as u8) };
    }

    /// Tells conntrack to ignore the packet. Before conntrack has seen it, at `PRE_ROUTING`.
    pub(crate) fn untrack(&mut self) {
        // SAFETY: The packet is ours.
        unsafe { bindings::sttcp_nf_reset_ct(self.as_ptr()) };
        // SAFETY: The packet is ours and, after the above, holds no conntrack entry to leak.
        unsafe { bindings::sttcp_nf_ct_set_untracked(self.as_ptr()) };
    }

    /// Uncouples the packet from its socket, whose queue limits then no longer count it.
    pub(crate) fn orphan(&mut self) {
        // SAFETY: The packet is ours.
        unsafe { bindings::sttcp_skb_orphan(self.as_ptr()) };
    }

    /// Gives back the route.
    pub(crate) fn drop_dst(&mut self) {
        // SAFETY: The packet is ours.
        unsafe { bindings::sttcp_skb_dst_drop(self.as_ptr()) };
    }

    /// Makes the packet fit to be kept for long: it holds memory, but no socket, route, device,
    /// conntrack entry or pages of a user's zero-copy send. (Pages of a driver's page pool stay:
    /// they hold up the end of the pool, so let go of packets when their device goes.) Any context.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; the packet must then be freed soon.
    pub(crate) fn prepare_hold(&mut self) -> Result {
        self.orphan();
        self.drop_dst();
        let skb = self.as_ptr();
        // SAFETY: The packet is ours.
        unsafe { bindings::sttcp_nf_reset_ct(skb) };
        // SAFETY: The packet is ours.
        unsafe { bindings::sttcp_nf_reset_trace(skb) };
        // SAFETY: The packet is ours.
        unsafe { bindings::sttcp_skb_ext_reset(skb) };
        self.set_dev(ptr::null_mut());
        // SAFETY: The packet is ours.
        to_result(unsafe { bindings::sttcp_skb_orphan_frags_rx(skb) })
    }

    fn set_dev(&mut self, dev: *mut bindings::net_device) {
        self.raw_mut()
            .__bindgen_anon_1
            .__bindgen_anon_1
            .__bindgen_anon_1
            .dev = dev;
    }

    /// What the IP layer left in `cb`, or [`SkbQueue`] did, means nothing to whom it goes next.
    fn clear_cb(&mut self) {
        self.raw_mut().cb = [0; 48];
    }

    /// The addresses, protocol and ports of an IP packet.
    fn flow(&mut self) -> Option<Flow> {
        // SAFETY: The packet is ours.
        let mark = unsafe { bindings::sttcp_skb_mark(self.as_ptr()) };
        let ipv4 = self.is_ipv4();
        let header = self.header(44)?;
        let (from, to, protocol, l4) = if ipv4 {
            (
                IpAddr::V4(Ipv4Addr::from(*header.get(12..16)?.first_chunk::<4>()?)),
                IpAddr::V4(Ipv4Addr::from(*header.get(16..20)?.first_chunk::<4>()?)),
                *header.get(9)?,
                usize::from(header.first()? & 0xf) * 4,
            )
        } else {
            (
                IpAddr::V6(Ipv6Addr::from(*header.get(8..24)?.first_chunk::<16>()?)),
                IpAddr::V6(Ipv6Addr::from(*header.get(24..40)?.first_chunk::<16>()?)),
                *header.get(6)?,
                40,
            )
        };
        let port = |at: usize| {
            let bytes = header.get(at..at + 2)?.first_chunk::<2>()?;
            Some(u16::from_be_bytes(*bytes))
        };
        Some(Flow {
            from,
            to,
            ifindex: 0,
            protocol,
            ports: (port(l4).unwrap_or(0), port(l4 + 2).unwrap_or(0)),
            mark,
        })
    }

    /// Looks up a route for the packet, from its own addresses, and gives it that.
    fn route(&mut self, net: Net) -> Result {
        let flow = self.flow().ok_or(EINVAL)?;
        let (dst, _) = Dst::lookup(net, &flow)?;
        self.drop_dst();
        // SAFETY: The packet is ours and has no route; it takes over the reference.
        unsafe { bindings::sttcp_skb_dst_set(self.as_ptr(), dst.into_raw()) };
        Ok(())
    }

    /// Sends the packet, which has its whole IP header: a held one, a clone, or one made by
    /// [`alloc_from`](Self::alloc_from). The route is looked up again. It does not pass
    /// `LOCAL_OUT`, so neither this module nor conntrack sees it. Any context.
    ///
    /// # Errors
    ///
    /// Of the route; `ENOBUFS` if the queue of the device is full. The packet is gone either way.
    pub(crate) fn transmit(mut self, net: Net) -> Result {
        let _rcu = rcu::read_lock();
        self.clear_cb();
        // `ip_output` takes the device for the one that a forwarded packet came by.
        self.set_dev(ptr::null_mut());
        self.route(net)?;
        let skb = self.into_raw();
        // SAFETY: The packet has a route, and its `cb` is what `ip_output` and `ip6_output` expect
        // of a packet without options: zero. They consume the packet.
        sent(unsafe { bindings::sttcp_dst_output(net.as_ptr(), skb.as_ptr()) })
    }

    /// Sends the packet as if a local socket had: it passes `LOCAL_OUT`. IPv4 length and header
    /// checksum are filled in on the way. It is fragmented where it must be. Any context.
    pub(super) fn local_out(mut self, net: Net, dst: Dst) -> Result {
        let _rcu = rcu::read_lock();
        self.drop_dst();
        // SAFETY: The packet is ours. Without this, `ip6_fragment` refuses to.
        unsafe { bindings::sttcp_skb_set_ignore_df(self.as_ptr()) };
        // SAFETY: The packet is ours and has no route; it takes over the reference.
        unsafe { bindings::sttcp_skb_dst_set(self.as_ptr(), dst.into_raw()) };
        let ipv4 = self.is_ipv4();
        let skb = self.into_raw().as_ptr();
        sent(if ipv4 {
            // SAFETY: The packet has a route and an IPv4 header, and is consumed.
            unsafe { bindings::ip_local_out(net.as_ptr(), ptr::null_mut(), skb) }
        } else {
            // SAFETY: The packet has a route and an IPv6 header, and is consumed.
            unsafe { bindings::ip6_local_out(net.as_ptr(), ptr::null_mut(), skb) }
        })
    }

    /// Hands the packet to the stack as if it had come in by device `ifindex` just now. It is
    /// queued, not processed: the caller may hold a socket's lock. It passes the hooks
    /// again. Any context.
    ///
    /// # Errors
    ///
    /// `ENODEV` if there is no such device; `ENOBUFS` if the queue is full
    /// (`net.core.netdev_max_backlog`). The packet is gone either way.
    pub(crate) fn inject(mut self, net: Net, ifindex: u32) -> Result {
        self.prepare_hold()?;
        let _rcu = rcu::read_lock();
        // SAFETY: We are in an RCU read-side critical section.
        let dev = unsafe { bindings::dev_get_by_index_rcu(net.as_ptr(), ifindex as i32) };
        if dev.is_null() {
            return Err(ENODEV);
        }
        self.clear_cb();
        self.set_pkt_host();
        self.set_dev(dev);
        // SAFETY: The packet is ours.
        unsafe { bindings::sttcp_skb_clear_tstamp(self.as_ptr()) };
        self.set_link_header(dev);
        // SAFETY: `data` is at the network header, the link header is before it, the device is
        // set and stays while we are in the RCU read-side critical section; after that `netif_rx`
        // looks after its queue when a device goes. It consumes the packet.
        match unsafe { bindings::netif_rx(self.into_raw().as_ptr()) } {
            0 => Ok(()),
            _ => Err(super::compat::enobufs()),
        }
    }

    /// Puts the link-layer header before the network header, for packet sockets that show it: the
    /// one the packet came with, or a made-up one from and to `dev`.
    fn set_link_header(&mut self, dev: *mut bindings::net_device) {
        // SAFETY: The caller is in an RCU read-side critical section and found `dev` there.
        let want = unsafe { bindings::sttcp_dev_hard_header_len(dev) } as usize;
        let headroom = self.headroom();
        let headers = self.headers();
        let (network, mac) = (headers.network_header, headers.mac_header);
        // All ones stand for "not set".
        if mac == u16::MAX || network.checked_sub(mac).map(usize::from) != Some(want) {
            let made = if headroom >= want + 2 {
                // SAFETY: As for `want`; there is room for the header, and the address is `dev`'s
                // own.
                unsafe { bindings::sttcp_dev_hard_header(self.as_ptr(), dev) }
            } else {
                0
            };
            self.headers_mut().mac_header = self.headroom() as u16;
            if made > 0 {
                // SAFETY: The header was pushed just now, so it can be pulled again.
                unsafe { bindings::skb_pull(self.as_ptr(), made as u32) };
            }
        }
        let mac = self.headers().mac_header;
        self.raw_mut().mac_len = network.wrapping_sub(mac);
    }
}

impl Drop for SkBuff {
    fn drop(&mut self) {
        // SAFETY: We own the packet, by the type invariant.
        unsafe { bindings::consume_skb(self.0.as_ptr()) };
    }
}

/// Turns the answer of an output function (`net_xmit_eval`) into a result.
fn sent(code: i32) -> Result {
    const NET_XMIT_CN: i32 = 2;

    match code {
        0 | NET_XMIT_CN => Ok(()),
        ..0 => Err(Error::from_errno(code)),
        _ => Err(super::compat::enobufs()),
    }
}

/// What a [`SkbQueue`] remembers with each packet: for TCP its first sequence number and the one
/// after its last.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Tag {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

/// A queue of packets that we own. An entry costs no memory besides the packet. Dropping the queue
/// frees all. It does not lock.
///
/// A packet loses what others left in its `cb` when it is queued, so give queued ones to
/// [`SkBuff::transmit`] or [`SkBuff::inject`], not back to a hook.
///
/// # Invariants
///
/// `head` is the first of `len` packets that the queue owns, chained by `next` up to `tail`, whose
/// `next` is null. Both are null if `len` is zero. Each packet's `cb` begins with its [`Tag`].
/// `bytes` and `truesize` are sums over all of them.
pub(crate) struct SkbQueue {
    head: *mut bindings::sk_buff,
    tail: *mut bindings::sk_buff,
    len: usize,
    bytes: usize,
    truesize: usize,
}

// SAFETY: The queue owns its packets, and packets are `Send`.
unsafe impl Send for SkbQueue {}

// SAFETY: Methods that take `&self` only read.
unsafe impl Sync for SkbQueue {}

impl Default for SkbQueue {
    fn default() -> Self {
        Self::new()
    }
}

impl SkbQueue {
    /// An empty queue.
    pub(crate) const fn new() -> Self {
        // INVARIANT: Empty.
        Self {
            head: ptr::null_mut(),
            tail: ptr::null_mut(),
            len: 0,
            bytes: 0,
            truesize: 0,
        }
    }

    /// Packets.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of all packets, headers included.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of memory that the packets account for.
    pub(crate) fn truesize(&self) -> usize {
        self.truesize
    }

    /// The field that chains a packet to the next.
    ///
    /// # Safety
    ///
    /// `skb` must be a valid packet that the queue owns, or that is about to enter or has just
    /// left.
    unsafe fn next(skb: *mut bindings::sk_buff) -> *mut *mut bindings::sk_buff {
        // SAFETY: The caller promises that `skb` is valid.
        unsafe { &raw mut (*skb).__bindgen_anon_1.__bindgen_anon_1.next }
    }

    /// The tag of a packet, in its `cb`, which is aligned to eight bytes.
    ///
    /// # Safety
    ///
    /// As for [`next`](Self::next).
    unsafe fn tag(skb: *mut bindings::sk_buff) -> *mut Tag {
        const _: () = assert!(core::mem::size_of::<Tag>() <= 48);
        // SAFETY: The caller promises that `skb` is valid.
        unsafe { (&raw mut (*skb).cb).cast::<Tag>() }
    }

    /// Takes the packet that `*link` points to out of the chain.
    ///
    /// # Safety
    ///
    /// `*link` must be a packet of this queue, `link` the queue's `head` or the `next` of the
    /// packet `previous` before it.
    unsafe fn unlink(
        &mut self,
        link: *mut *mut bindings::sk_buff,
        previous: *mut bindings::sk_buff,
    ) -> (SkBuff, Tag) {
        // SAFETY: The caller promises that `link` points to a pointer to a packet of this queue.
        let skb = unsafe { *link };
        // SAFETY: As above.
        let next = unsafe { Self::next(skb) };
        // SAFETY: As above.
        unsafe { *link = *next };
        // SAFETY: As above. A packet with a stale `next` would be taken for a list.
        unsafe { *next = ptr::null_mut() };
        // SAFETY: By the type invariant the tag is there.
        let tag = unsafe { *Self::tag(skb) };
        if self.tail == skb {
            self.tail = previous;
        }
        // SAFETY: Not null, as it is a packet of this queue, and no longer in it.
        let mut skb = unsafe { SkBuff::from_raw(NonNull::new_unchecked(skb)) };
        skb.clear_cb();
        self.len -= 1;
        self.bytes -= skb.len();
        self.truesize -= skb.truesize();
        (skb, tag)
    }

    /// Puts the packet between `previous` and what follows.
    ///
    /// # Safety
    ///
    /// `link` must be the queue's `head`, with `previous` null, or the `next` of `previous`, a
    /// packet of this queue.
    unsafe fn link(
        &mut self,
        link: *mut *mut bindings::sk_buff,
        previous: *mut bindings::sk_buff,
        skb: SkBuff,
        tag: Tag,
    ) {
        self.len += 1;
        self.bytes += skb.len();
        self.truesize += skb.truesize();
        let skb = skb.into_raw().as_ptr();
        // SAFETY: The packet is ours.
        unsafe { *Self::tag(skb) = tag };
        // SAFETY: The packet is ours; the caller promises that `link` is valid.
        unsafe { *Self::next(skb) = *link };
        // SAFETY: The caller promises that `link` is valid.
        unsafe { *link = skb };
        if self.tail == previous {
            self.tail = skb;
        }
    }

    /// Appends a packet.
    pub(crate) fn push_back(&mut self, skb: SkBuff, tag: Tag) {
        let tail = self.tail;
        let link: *mut *mut bindings::sk_buff = if tail.is_null() {
            &raw mut self.head
        } else {
            // SAFETY: `tail` is a packet of this queue.
            unsafe { Self::next(tail) }
        };
        // SAFETY: `link` is the head of the empty queue, or that of the last packet.
        unsafe { self.link(link, tail, skb, tag) };
    }

    /// Inserts a packet before the first one for whose tag `before` is true, or else at the end.
    pub(crate) fn insert_before(
        &mut self,
        skb: SkBuff,
        tag: Tag,
        mut before: impl FnMut(Tag) -> bool,
    ) {
        let mut previous = ptr::null_mut();
        let mut link: *mut *mut bindings::sk_buff = &raw mut self.head;
        loop {
            // SAFETY: `link` is the head or the `next` of a packet of this queue.
            let at = unsafe { *link };
            // SAFETY: If not null, `at` is a packet of this queue.
            if at.is_null() || before(unsafe { *Self::tag(at) }) {
                break;
            }
            previous = at;
            // SAFETY: `at` is a packet of this queue.
            link = unsafe { Self::next(at) };
        }
        // SAFETY: `link` is the head, or the `next` of `previous`.
        unsafe { self.link(link, previous, skb, tag) };
    }

    /// Takes out the first packet.
    pub(crate) fn pop_front(&mut self) -> Option<(SkBuff, Tag)> {
        if self.head.is_null() {
            return None;
        }
        let link = &raw mut self.head;
        // SAFETY: The head is a packet of this queue, and none is before it.
        Some(unsafe { self.unlink(link, ptr::null_mut()) })
    }

    /// The tag of the first packet.
    pub(crate) fn front_tag(&self) -> Option<Tag> {
        // SAFETY: If not null, `head` is a packet of this queue.
        (!self.head.is_null()).then(|| unsafe { *Self::tag(self.head) })
    }

    /// The tag of the last packet.
    pub(crate) fn back_tag(&self) -> Option<Tag> {
        // SAFETY: If not null, `tail` is a packet of this queue.
        (!self.tail.is_null()).then(|| unsafe { *Self::tag(self.tail) })
    }

    /// The first packet: for a look, or a clone of it.
    pub(crate) fn front(&self) -> Option<&SkBuff> {
        if self.head.is_null() {
            return None;
        }
        // SAFETY: `SkBuff` is a transparent wrapper of a pointer that is not null, so the field
        // `head` can be seen as one; the packet is the queue's while the queue is borrowed.
        Some(unsafe { &*(&raw const self.head).cast::<SkBuff>() })
    }

    /// All tags, first to last.
    pub(crate) fn iter_tags(&self) -> impl Iterator<Item = Tag> + '_ {
        self.iter().map(|(_, tag)| tag)
    }

    /// All packets with their tags, first to last.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&SkBuff, Tag)> + '_ {
        let mut link: *const *mut bindings::sk_buff = &raw const self.head;
        core::iter::from_fn(move || {
            // SAFETY: `link` is the head or the `next` of a packet of this queue, which is borrowed
            // as long as the iterator lives.
            let at = unsafe { *link };
            if at.is_null() {
                return None;
            }
            // SAFETY: As in `front`.
            let skb = unsafe { &*link.cast::<SkBuff>() };
            // SAFETY: `at` is a packet of this queue.
            let tag = unsafe { *Self::tag(at) };
            // SAFETY: `at` is a packet of this queue.
            link = unsafe { Self::next(at) };
            Some((skb, tag))
        })
    }

    /// Keeps the packets for which `keep` is true, and frees the rest. `keep` may change the tag
    /// and the packet, but not exchange the packet for another.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&mut Held<'_>, &mut Tag) -> bool) {
        let mut previous = ptr::null_mut();
        let mut link: *mut *mut bindings::sk_buff = &raw mut self.head;
        loop {
            // SAFETY: `link` is the head or the `next` of a packet of this queue.
            let at = unsafe { *link };
            let Some(owned) = NonNull::new(at) else {
                return;
            };
            // SAFETY: `at` is a packet of this queue, which is borrowed exclusively. It goes into a
            // `ManuallyDrop` at once, out of which `Held` lets no one take it.
            let skb = unsafe { SkBuff::from_raw(owned) };
            let mut held = Held {
                skb: ManuallyDrop::new(skb),
                _queue: core::marker::PhantomData,
            };
            let (bytes, truesize) = (held.skb.len(), held.skb.truesize());
            // SAFETY: `at` is a packet of this queue; no other reference to its tag is around.
            let kept = keep(&mut held, unsafe { &mut *Self::tag(at) });
            // A header that was made linear or writable may have changed the size in memory.
            self.bytes = self.bytes - bytes + held.skb.len();
            self.truesize = self.truesize - truesize + held.skb.truesize();
            if kept {
                previous = at;
                // SAFETY: `at` is a packet of this queue.
                link = unsafe { Self::next(at) };
            } else {
                // SAFETY: `link` points to `at`, which follows `previous`.
                drop(unsafe { self.unlink(link, previous) });
            }
        }
    }

    /// Moves all of `other`'s packets to the end of this queue.
    pub(crate) fn append(&mut self, other: &mut Self) {
        if other.is_empty() {
            return;
        }
        if self.tail.is_null() {
            self.head = other.head;
        } else {
            // SAFETY: `tail` is a packet of this queue.
            unsafe { *Self::next(self.tail) = other.head };
        }
        self.tail = other.tail;
        self.len += other.len;
        self.bytes += other.bytes;
        self.truesize += other.truesize;
        // INVARIANT: The packets belong to `self` now, and `other` is empty.
        core::mem::forget(core::mem::take(other));
    }

    /// Frees all packets.
    pub(crate) fn clear(&mut self) {
        while self.pop_front().is_some() {}
    }
}

impl Drop for SkbQueue {
    fn drop(&mut self) {
        self.clear();
    }
}

/// A packet inside a [`SkbQueue`], lent to a closure: it can be read and its header written, not
/// taken out.
pub(crate) struct Held<'a> {
    skb: ManuallyDrop<SkBuff>,
    _queue: core::marker::PhantomData<&'a mut SkbQueue>,
}

impl Held<'_> {
    /// See [`SkBuff::header`].
    pub(crate) fn header(&mut self, need: usize) -> Option<&[u8]> {
        self.skb.header(need)
    }

    /// See [`SkBuff::header_mut`].
    pub(crate) fn header_mut(&mut self, need: usize) -> Option<&mut [u8]> {
        self.skb.header_mut(need)
    }
}

impl core::ops::Deref for Held<'_> {
    type Target = SkBuff;

    fn deref(&self) -> &SkBuff {
        &self.skb
    }
}
