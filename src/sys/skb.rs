// SPDX-License-Identifier: GPL-2.0

//! Packets.
//!
//! C header: [`include/linux/skbuff.h`](srctree/include/linux/skbuff.h)

use super::{
    bindings,
    fail::{self, Site},
    net::Net,
    netdev::Device,
    route::{Dst, Flow},
};
use core::{
    mem::ManuallyDrop,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ptr::{self, NonNull},
    slice,
};
use kernel::{error::to_result, prelude::*, sync::rcu};

/// Bytes of an Ethernet header.
const ETH_HLEN: usize = 14;

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

// SAFETY: Any CPU. A packet may be used and freed anywhere, by one owner at a time.
unsafe impl Send for SkBuff {}

// SAFETY: Any CPU. Methods that take `&self` only read.
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
        // SAFETY: Our packet. By the type invariant.
        unsafe { self.0.as_ref() }
    }

    fn raw_mut(&mut self) -> &mut bindings::sk_buff {
        // SAFETY: Our packet. By the type invariant, and ours alone.
        unsafe { self.0.as_mut() }
    }

    /// The fields that a clone has in common with its original (`struct_group(headers)`).
    fn headers(&self) -> &Headers {
        // SAFETY: Plain bytes. Both views of the union have the same fields (`struct_group`).
        unsafe { self.raw().__bindgen_anon_4.headers.as_ref() }
    }

    fn headers_mut(&mut self) -> &mut Headers {
        // SAFETY: Plain bytes. As for `headers`.
        unsafe { self.raw_mut().__bindgen_anon_4.headers.as_mut() }
    }

    pub(super) fn as_ptr(&self) -> *mut bindings::sk_buff {
        self.0.as_ptr()
    }

    /// From the start of the buffer to `data`; the offsets of headers count from there too.
    fn headroom(&self) -> usize {
        self.raw().data as usize - self.raw().head as usize
    }

    /// A packet without bytes yet, with room for `room` of them and a link-layer header. Any context.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn reserve(room: usize, site: Site) -> Result<Self> {
        fail::at(site)?;
        // SAFETY: No requirement.
        let skb = NonNull::new(unsafe { bindings::sttcp_alloc_skb(room as u32) }).ok_or(ENOMEM)?;
        // INVARIANT: Just allocated.
        Ok(Self(skb))
    }

    /// Bytes that can still be put behind the last one.
    fn tailroom(&self) -> usize {
        let raw = self.raw();
        (raw.end as usize).saturating_sub(raw.tail as usize)
    }

    /// Copies packet bytes into a packet that has none: one whole IP packet, its checksums filled in,
    /// in parts that follow each other; the first holds the IP header at least. Any context.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the first byte is not that of an IP header, or there is no room.
    pub(super) fn fill(&mut self, parts: &[&[u8]]) -> Result {
        let header = *parts.first().ok_or(EINVAL)?;
        let first = *header.first().ok_or(EINVAL)?;
        let (protocol, header_len) = match first >> 4 {
            4 => (bindings::ETH_P_IP, usize::from(first & 0xf) * 4),
            6 => (bindings::ETH_P_IPV6, 40),
            _ => return Err(EINVAL),
        };
        let len = parts.iter().map(|part| part.len()).sum::<usize>();
        if header.len() < header_len || header_len < 20 || len > self.tailroom() {
            return Err(EINVAL);
        }
        for part in parts {
            // SAFETY: Our packet. It has room for all parts.
            let tail = unsafe { bindings::skb_put(self.as_ptr(), part.len() as u32) };
            // SAFETY: Valid memory. `skb_put` returned `part.len()` bytes of the packet's own.
            unsafe { ptr::copy_nonoverlapping(part.as_ptr(), tail.cast(), part.len()) };
        }
        let offset = self.headroom() as u16;
        let headers = self.headers_mut();
        headers.protocol = (protocol as u16).to_be();
        headers.network_header = offset;
        headers.transport_header = offset + header_len as u16;
        Ok(())
    }

    /// Copies packet bytes into a new packet, see [`fill`](Self::fill). Any context.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `EINVAL` if the first byte is not that of an IP header.
    pub(crate) fn alloc(parts: &[&[u8]], site: Site) -> Result<Self> {
        let len = parts.iter().map(|part| part.len()).sum::<usize>();
        if len > usize::from(u16::MAX) {
            return Err(EINVAL);
        }
        let mut skb = Self::reserve(len, site)?;
        skb.fill(parts)?;
        Ok(skb)
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

    /// The device that the packet came in by; zero for one that this host made. It is only a
    /// number, and stays with a held packet after the device has gone.
    pub(crate) fn ifindex(&self) -> u32 {
        self.headers().skb_iif as u32
    }

    /// Whether it is an IPv4 packet.
    pub(crate) fn is_ipv4(&self) -> bool {
        self.headers().protocol == (bindings::ETH_P_IP as u16).to_be()
    }

    /// The first bytes from the network header, `most` of them at most, as far as they lie together.
    /// The stack leaves IP headers so, and TCP headers in what this host sends. Any context.
    pub(crate) fn header(&self, most: usize) -> Option<&[u8]> {
        let offset = self.network_offset()?;
        let raw = self.raw();
        let linear = (raw.len - raw.data_len) as usize;
        let len = linear.checked_sub(offset)?.min(most);
        // SAFETY: Linear bytes. There are so many from `data` on. They stay where they are while
        // the packet is borrowed, and as they are: who shares them copies before writing.
        Some(unsafe { slice::from_raw_parts(raw.data.add(offset).cast::<u8>(), len) })
    }

    /// Moves the first `min(len, need)` bytes from the network header together. Whether there was
    /// memory for it. Any context.
    pub(crate) fn pull(&mut self, need: usize) -> bool {
        let offset = self.network_offset().unwrap_or(0);
        let need = (offset + need).min(self.raw().len as usize);
        if fail::at(Site::Pull).is_err() {
            return false;
        }
        // SAFETY: Our packet.
        unsafe { bindings::sttcp_pskb_may_pull(self.as_ptr(), need as u32) }
    }

    /// The first `need` bytes from the network header, moved together, and writable: copied first if
    /// the packet shares them, as with a clone that `tcpdump` holds. `None` if memory or the packet
    /// is short. Any context.
    pub(crate) fn header_mut(&mut self, need: usize) -> Option<&mut [u8]> {
        let offset = self.network_offset()?;
        fail::at(Site::Write).ok()?;
        // SAFETY: Our packet.
        let error = unsafe { bindings::skb_ensure_writable(self.as_ptr(), (offset + need) as u32) };
        if error != 0 {
            return None;
        }
        let raw = self.raw_mut();
        // SAFETY: Linear bytes. The first `offset + need` are so now, and no other packet reads
        // them: TCP's write queue, which shares the memory, leaves headers to its clones
        // (`__skb_header_release`). The borrow is exclusive.
        Some(unsafe { slice::from_raw_parts_mut(raw.data.add(offset).cast::<u8>(), need) })
    }

    /// The whole packet, moved together: what is between the network header and `data`, and what
    /// is from `data` on. For a packet whose IP header has been taken off, as in a socket's queue.
    pub(super) fn linear(&mut self) -> Option<(&[u8], &[u8])> {
        let len = self.raw().len;
        fail::at(Site::Linear).ok()?;
        // SAFETY: Our packet.
        if !unsafe { bindings::sttcp_pskb_may_pull(self.as_ptr(), len) } {
            return None;
        }
        let network = usize::from(self.headers().network_header);
        let before = self.headroom().checked_sub(network)?;
        let raw = self.raw();
        // SAFETY: Linear bytes. The network header is in the same buffer, `before` bytes ahead of
        // `data`. They stay where they are while the packet is borrowed.
        let header = unsafe { slice::from_raw_parts(raw.head.add(network).cast::<u8>(), before) };
        // SAFETY: Linear bytes. All `len` from `data` on are so now; otherwise as above.
        let rest = unsafe { slice::from_raw_parts(raw.data.cast::<u8>(), len as usize) };
        Some((header, rest))
    }

    /// Whether the device is yet to fill in the transport checksum. Its field then holds only the
    /// sum over the pseudo header, and a change of other bytes must leave it alone.
    pub(crate) fn is_checksum_partial(&self) -> bool {
        // SAFETY: Our packet.
        u32::from(unsafe { bindings::sttcp_skb_ip_summed(self.as_ptr()) })
            == bindings::CHECKSUM_PARTIAL
    }

    /// Leaves it to the device to put the transport checksum at `at` of the header that is at `l4_offset`
    /// from the network header; its field holds the sum of the pseudo header by now. Any context.
    ///
    /// # Errors
    ///
    /// `EINVAL` if there is no such place in the packet.
    pub(super) fn sum_later(&mut self, l4_offset: usize, at: usize) -> Result {
        let start = self.network_offset().unwrap_or(0) + l4_offset;
        // SAFETY: Our packet.
        let set = unsafe { bindings::skb_partial_csum_set(self.as_ptr(), start as u16, at as u16) };
        if set {
            Ok(())
        } else {
            Err(EINVAL)
        }
    }

    /// Whether the transport checksum is right, or known not to matter. The answer is remembered
    /// in the packet, so TCP does not sum again. `l4_offset` counts from the network header.
    /// Softirq, at `LOCAL_IN`.
    pub(crate) fn verify_checksum(&mut self, l4_offset: usize, protocol: u8) -> bool {
        let family = if self.is_ipv4() {
            bindings::AF_INET
        } else {
            bindings::AF_INET6
        };
        let fixed = if self.is_ipv4() { 20 } else { 40 };
        if self.network_offset() != Some(0)
            || l4_offset > self.len()
            || self.header(fixed).is_none_or(|header| header.len() < fixed)
        {
            return false;
        }
        // SAFETY: Our packet. `data` is at the IP header, which is linear, as the function expects,
        // and the device is that of the hook.
        let sum = unsafe {
            bindings::nf_checksum(
                self.as_ptr(),
                bindings::NF_INET_LOCAL_IN,
                l4_offset as u32,
                protocol,
                family as u16,
            )
        };
        sum == 0
    }

    /// Makes it a packet for this host; TCP drops all others.
    pub(crate) fn set_pkt_host(&mut self) {
        // SAFETY: Our packet.
        unsafe { bindings::sttcp_skb_set_pkt_type(self.as_ptr(), bindings::PACKET_HOST as u8) };
    }

    /// Tells conntrack to ignore the packet. Before conntrack has seen it, at `PRE_ROUTING`.
    pub(crate) fn untrack(&mut self) {
        // SAFETY: Our packet.
        unsafe { bindings::sttcp_nf_reset_ct(self.as_ptr()) };
        // SAFETY: Our packet. After the above it holds no conntrack entry to leak.
        unsafe { bindings::sttcp_nf_ct_set_untracked(self.as_ptr()) };
    }

    /// Uncouples the packet from its socket, whose queue limits then no longer count it.
    pub(crate) fn orphan(&mut self) {
        // SAFETY: Our packet.
        unsafe { bindings::sttcp_skb_orphan(self.as_ptr()) };
    }

    /// Gives back the route.
    pub(crate) fn drop_dst(&mut self) {
        // SAFETY: Our packet.
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
        // SAFETY: Our packet.
        unsafe { bindings::sttcp_nf_reset_ct(skb) };
        // SAFETY: Our packet.
        unsafe { bindings::sttcp_nf_reset_trace(skb) };
        // SAFETY: Our packet.
        unsafe { bindings::sttcp_skb_ext_reset(skb) };
        self.set_dev(ptr::null_mut());
        fail::at(Site::Hold)?;
        // SAFETY: Our packet.
        to_result(unsafe { bindings::sttcp_skb_orphan_frags_rx(skb) })
    }

    /// Another packet with the same bytes, which the two share, fit to be kept for long. Any context.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn share(&self) -> Result<Self> {
        fail::at(Site::Hold)?;
        // SAFETY: Our packet. It is only read.
        let skb = unsafe { bindings::sttcp_skb_clone(self.as_ptr()) };
        // INVARIANT: Just made.
        let mut skb = Self(NonNull::new(skb).ok_or(ENOMEM)?);
        skb.prepare_hold()?;
        Ok(skb)
    }

    /// The memory that the packet takes, in bytes, its share of the payload's pages included.
    pub(crate) fn truesize(&self) -> u32 {
        self.raw().truesize
    }

    /// Copies the bytes from `offset` on, which counts from the network header. Whether there are so
    /// many.
    pub(crate) fn copy_to(&self, offset: usize, to: &mut [u8]) -> bool {
        let Some(offset) = self.network_offset().map(|start| start + offset) else {
            return false;
        };
        let (offset, len) = (offset as i32, to.len() as i32);
        // SAFETY: Our packet. It is only read, and the function checks that it is long enough; `to`
        // has `len` bytes.
        let error =
            unsafe { bindings::skb_copy_bits(self.as_ptr(), offset, to.as_mut_ptr().cast(), len) };
        error == 0
    }

    /// Goes on with a CRC-32C (RFC 9260, appendix A, without the complements) over `len` bytes from `offset` on, which
    /// counts from the network header. Bytes that are not there do not count, nor those that the CPU cannot read.
    pub(crate) fn crc32c(&self, offset: usize, len: usize, crc: u32) -> u32 {
        let Some(start) = self.network_offset() else {
            return crc;
        };
        let len = len.min(self.len().saturating_sub(offset));
        // SAFETY: Our packet. It is only read.
        if len == 0 || !unsafe { bindings::sttcp_skb_frags_readable(self.as_ptr()) } {
            return crc;
        }
        let offset = start.saturating_add(offset);
        // SAFETY: Our packet. It is only read, and has so many bytes.
        unsafe { bindings::skb_crc32c(self.as_ptr(), offset as i32, len as i32, crc) }
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
    fn flow(&self) -> Option<Flow> {
        // SAFETY: Our packet.
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
        // SAFETY: Our packet. It has no route, and takes over the reference.
        unsafe { bindings::sttcp_skb_dst_set(self.as_ptr(), dst.into_raw()) };
        Ok(())
    }

    /// Sends the packet, which has its whole IP header: a held one, a clone, or one made by
    /// [`alloc`](Self::alloc). The route is looked up again. It does not pass
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
        // SAFETY: Our packet. It has a route, and its `cb` is what `ip_output` and `ip6_output`
        // expect of a packet without options: zero. They consume it.
        sent(unsafe { bindings::sttcp_dst_output(net.as_ptr(), skb.as_ptr()) })
    }

    /// Sends the packet as if a local socket had: it passes `LOCAL_OUT`. IPv4 length and header
    /// checksum are filled in on the way. It is fragmented where it must be. Any context.
    pub(super) fn local_out(mut self, net: Net, dst: Dst) -> Result {
        let _rcu = rcu::read_lock();
        self.drop_dst();
        // SAFETY: Our packet. Without this, `ip6_fragment` refuses to.
        unsafe { bindings::sttcp_skb_set_ignore_df(self.as_ptr()) };
        // SAFETY: Our packet. It has no route, and takes over the reference.
        unsafe { bindings::sttcp_skb_dst_set(self.as_ptr(), dst.into_raw()) };
        let ipv4 = self.is_ipv4();
        let skb = self.into_raw().as_ptr();
        sent(if ipv4 {
            // SAFETY: Our packet. It has a route and an IPv4 header, and is consumed.
            unsafe { bindings::ip_local_out(net.as_ptr(), ptr::null_mut(), skb) }
        } else {
            // SAFETY: Our packet. It has a route and an IPv6 header, and is consumed.
            unsafe { bindings::ip6_local_out(net.as_ptr(), ptr::null_mut(), skb) }
        })
    }

    /// Hands the packet to the stack as if it had come in by device `ifindex` just now. It is
    /// queued, not processed: the caller may hold a socket's lock. It passes the hooks again. Any
    /// context.
    ///
    /// # Errors
    ///
    /// `ENODEV` if there is no such device; `ENOBUFS` if the queue is full
    /// (`net.core.netdev_max_backlog`). The packet is gone either way.
    pub(crate) fn inject(mut self, net: Net, ifindex: u32) -> Result {
        self.prepare_hold()?;
        let rcu = rcu::read_lock();
        let dev = Device::by_index(net, ifindex, &rcu).ok_or(ENODEV)?;
        self.clear_cb();
        self.set_pkt_host();
        self.set_dev(dev.as_ptr());
        // SAFETY: Our packet.
        unsafe { bindings::sttcp_skb_clear_tstamp(self.as_ptr()) };
        self.set_link_header(dev);
        // SAFETY: Our packet. `data` is at the network header, the link header is before it, the
        // device is set and stays while we hold the RCU read lock; after that `netif_rx` looks
        // after its queue when a device goes. It consumes the packet.
        match unsafe { bindings::netif_rx(self.into_raw().as_ptr()) } {
            0 => Ok(()),
            _ => Err(super::compat::enobufs()),
        }
    }

    /// Puts the link-layer header before the network header, for packet sockets that show it: the
    /// one the packet came with, or a made-up one from and to `dev`; none if there is no room, or
    /// another packet shares the room.
    fn set_link_header(&mut self, dev: Device<'_>) {
        let want = dev.hard_header_len();
        let (headroom, len) = (self.headroom(), self.raw().len);
        let headers = self.headers();
        let (network, mac) = (headers.network_header, headers.mac_header);
        // All ones stand for "not set".
        if mac == u16::MAX || network.checked_sub(mac).map(usize::from) != Some(want) {
            // SAFETY: Our packet.
            let shared = unsafe { bindings::sttcp_skb_header_cloned(self.as_ptr()) };
            if headroom >= want && !shared {
                // SAFETY: Our packet. It has room for the header, and the device is there, by its
                // invariant.
                unsafe { bindings::sttcp_dev_hard_header(self.as_ptr(), dev.as_ptr()) };
            }
            self.headers_mut().mac_header = self.headroom() as u16;
            // SAFETY: Our packet. So many bytes were pushed just now, so they can be pulled again.
            unsafe { bindings::skb_pull(self.as_ptr(), self.raw().len - len) };
        }
        let headers = self.headers();
        let mac_len = headers.network_header.wrapping_sub(headers.mac_header);
        self.raw_mut().mac_len = mac_len;
    }
}

/// The link that a packet came by: an Ethernet device, and the header as it came.
#[derive(Clone, Copy)]
pub(crate) struct Link {
    ifindex: u32,
    header: [u8; ETH_HLEN],
}

impl SkBuff {
    /// The link that the packet came by, if that is Ethernet. In a receive function.
    pub(super) fn link(&self) -> Option<Link> {
        let mut header = [0; ETH_HLEN];
        // SAFETY: Our packet. It is being received, so its device is there; `header` has room for
        // an Ethernet header.
        let known = unsafe { bindings::sttcp_skb_eth_header(self.as_ptr(), header.as_mut_ptr()) };
        known.then(|| Link {
            ifindex: self.ifindex(),
            header,
        })
    }

    /// Sends the packet, one IP packet made by [`fill`](Self::fill), back by the link that another came by. For a kernel that
    /// dies: it waits for no lock, and passes neither a queue nor a hook. A packet that the device does not take is not freed, as that may
    /// wait too.
    ///
    /// # Errors
    ///
    /// `ENODEV` if there is no way, and those of [`Device::start_xmit`].
    pub(super) fn transmit_last(self, net: Net, link: &Link) -> Result {
        let mut skb = ManuallyDrop::new(self);
        let rcu = rcu::read_lock();
        let Some(dev) = Device::by_index(net, link.ifindex, &rcu) else {
            return Err(ENODEV);
        };
        if !dev.is_up() || dev.is_stacked() || skb.headroom() < ETH_HLEN {
            return Err(ENODEV);
        }
        let [to, from, kind] = [6..12, 0..6, 12..14].map(|part| link.header.get(part));
        let (Some(to), Some(from), Some(kind)) = (to, from, kind) else {
            return Err(ENODEV);
        };
        // SAFETY: Our packet. It has room for the header.
        let mut at = unsafe { bindings::skb_push(skb.as_ptr(), ETH_HLEN as u32) }.cast::<u8>();
        for part in [to, from, kind] {
            // SAFETY: Valid memory. `skb_push` returned the parts' bytes, of the packet's own.
            unsafe { ptr::copy_nonoverlapping(part.as_ptr(), at, part.len()) };
            // SAFETY: Valid memory. As above; behind the last part begins the IP header.
            at = unsafe { at.add(part.len()) };
        }
        skb.headers_mut().mac_header = skb.headroom() as u16;
        skb.set_dev(dev.as_ptr());
        dev.start_xmit(ManuallyDrop::into_inner(skb))
    }
}

impl Drop for SkBuff {
    fn drop(&mut self) {
        // SAFETY: Our packet. By the type invariant.
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
pub(crate) struct SkbQueue {
    head: *mut bindings::sk_buff,
    tail: *mut bindings::sk_buff,
    len: u32,
}

// SAFETY: Any CPU. The queue owns its packets, and packets are `Send`.
unsafe impl Send for SkbQueue {}

// SAFETY: Any CPU. Methods that take `&self` only read.
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
        }
    }

    /// Packets.
    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The field that chains a packet to the next.
    ///
    /// # Safety
    ///
    /// `skb` must be a valid packet that the queue owns, or that is about to enter or has just
    /// left.
    unsafe fn next(skb: *mut bindings::sk_buff) -> *mut *mut bindings::sk_buff {
        // SAFETY: Caller's promise. `skb` is valid.
        unsafe { &raw mut (*skb).__bindgen_anon_1.__bindgen_anon_1.next }
    }

    /// The tag of a packet, in its `cb`, which is aligned to eight bytes.
    ///
    /// # Safety
    ///
    /// As for [`next`](Self::next).
    unsafe fn tag(skb: *mut bindings::sk_buff) -> *mut Tag {
        const _: () = assert!(core::mem::size_of::<Tag>() <= 48);
        // SAFETY: Caller's promise. `skb` is valid.
        unsafe { (&raw mut (*skb).cb).cast::<Tag>() }
    }

    /// The field that points to the packet after `previous`, or to the first if that is null.
    ///
    /// # Safety
    ///
    /// `previous` must be null or a packet of this queue. The result is of use until the queue is
    /// used again.
    unsafe fn link_after(
        &mut self,
        previous: *mut bindings::sk_buff,
    ) -> *mut *mut bindings::sk_buff {
        if previous.is_null() {
            &raw mut self.head
        } else {
            // SAFETY: Caller's promise. It is a packet of this queue.
            unsafe { Self::next(previous) }
        }
    }

    /// Takes out the packet after `previous`, or the first if that is null.
    ///
    /// # Safety
    ///
    /// `previous` must be null or a packet of this queue.
    unsafe fn take_after(&mut self, previous: *mut bindings::sk_buff) -> Option<(SkBuff, Tag)> {
        // SAFETY: Caller's promise. The callee asks for the same.
        let link = unsafe { self.link_after(previous) };
        // SAFETY: Our queue. `link` is a field of it or of a packet of it.
        let skb = NonNull::new(unsafe { *link })?;
        // SAFETY: Our queue. `skb` is a packet of it.
        let next = unsafe { Self::next(skb.as_ptr()) };
        // SAFETY: Our queue. Both are fields of it or of packets of it. A packet with a stale
        // `next` would be taken for a list.
        unsafe { *link = ptr::replace(next, ptr::null_mut()) };
        // SAFETY: Our queue. By the type invariant the tag is there.
        let tag = unsafe { *Self::tag(skb.as_ptr()) };
        if self.tail == skb.as_ptr() {
            self.tail = previous;
        }
        self.len -= 1;
        // SAFETY: Our queue. The packet was in it, and is no longer.
        let mut skb = unsafe { SkBuff::from_raw(skb) };
        skb.clear_cb();
        Some((skb, tag))
    }

    /// Appends a packet.
    pub(crate) fn push_back(&mut self, skb: SkBuff, tag: Tag) {
        let skb = skb.into_raw().as_ptr();
        // SAFETY: Our packet.
        unsafe { *Self::tag(skb) = tag };
        // SAFETY: Our packet.
        unsafe { *Self::next(skb) = ptr::null_mut() };
        // SAFETY: Our queue. `tail` is null, or a packet of it.
        unsafe { *self.link_after(self.tail) = skb };
        self.tail = skb;
        self.len += 1;
    }

    /// Takes out the first packet.
    pub(crate) fn pop_front(&mut self) -> Option<(SkBuff, Tag)> {
        // SAFETY: Our queue. Null stands for before the first.
        unsafe { self.take_after(ptr::null_mut()) }
    }

    /// Takes out the first packet, if it is one of those.
    pub(crate) fn pop_front_if(
        &mut self,
        wanted: impl FnOnce(Tag) -> bool,
    ) -> Option<(SkBuff, Tag)> {
        let first = NonNull::new(self.head)?;
        // SAFETY: Our queue. `first` is a packet of it, and by the type invariant the tag is there.
        if !wanted(unsafe { *Self::tag(first.as_ptr()) }) {
            return None;
        }
        self.pop_front()
    }

    /// Keeps the packets for whose tag `keep` is true, and frees the rest.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(Tag) -> bool) {
        let mut previous = ptr::null_mut();
        loop {
            // SAFETY: Our queue. `previous` is null, or a packet of it.
            let at = unsafe { *self.link_after(previous) };
            if at.is_null() {
                return;
            }
            // SAFETY: Our queue. `at` is a packet of it.
            if keep(unsafe { *Self::tag(at) }) {
                previous = at;
            } else {
                // SAFETY: Our queue. `previous` is null, or a packet of it.
                drop(unsafe { self.take_after(previous) });
            }
        }
    }

    /// Shows the packets in their order to `look`, until that returns something.
    pub(crate) fn find<T>(&self, mut look: impl FnMut(&SkBuff, Tag) -> Option<T>) -> Option<T> {
        let mut at = self.head;
        while let Some(raw) = NonNull::new(at) {
            // SAFETY: Our queue. `at` is a packet of it, and stays there: it is only lent.
            let skb = ManuallyDrop::new(unsafe { SkBuff::from_raw(raw) });
            // SAFETY: Our queue. By the type invariant the tag is there.
            let found = look(&skb, unsafe { *Self::tag(at) });
            if found.is_some() {
                return found;
            }
            // SAFETY: Our queue. `at` is a packet of it.
            at = unsafe { *Self::next(at) };
        }
        None
    }

    /// Moves all of `other`'s packets to the end of this queue.
    pub(crate) fn append(&mut self, other: &mut Self) {
        if other.is_empty() {
            return;
        }
        // SAFETY: Our queue. `tail` is null, or a packet of it.
        unsafe { *self.link_after(self.tail) = other.head };
        self.tail = other.tail;
        self.len += other.len;
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
