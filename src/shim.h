/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Inline functions and macros of the kernel, as functions that Rust can call. A function
 * sttcp_<name>() is <name>() of the kernel; the few others read or set one field.
 */
#ifndef _STTCP_SHIM_H
#define _STTCP_SHIM_H

#include <linux/netdevice.h>
#include <linux/notifier.h>
#include <linux/pid.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>
#include <linux/skbuff.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/umh.h>
#include <net/dst.h>
#include <net/neighbour.h>
#include <net/net_namespace.h>
#include <net/sock.h>

/* Network namespaces. Any context. */
void *sttcp_net_generic(const struct net *net, unsigned int id);
struct proc_dir_entry *sttcp_proc_net(const struct net *net);

/* Slab caches. The first from process context. */
struct kmem_cache *sttcp_kmem_cache_create(const char *name, unsigned int size, unsigned int align);
void *sttcp_kmem_cache_alloc(struct kmem_cache *cache);

/* Packets. Any context, for their owner. */
struct sk_buff *sttcp_alloc_skb(unsigned int size);
struct sk_buff *sttcp_skb_clone(struct sk_buff *skb);
bool sttcp_pskb_may_pull(struct sk_buff *skb, unsigned int len);
void sttcp_skb_set_pkt_type(struct sk_buff *skb, u8 type);
void sttcp_skb_set_ignore_df(struct sk_buff *skb);
bool sttcp_skb_header_cloned(const struct sk_buff *skb);
bool sttcp_skb_frags_readable(const struct sk_buff *skb);
u8 sttcp_skb_ip_summed(const struct sk_buff *skb);
u32 sttcp_skb_mark(const struct sk_buff *skb);
void sttcp_skb_orphan(struct sk_buff *skb);
int sttcp_skb_orphan_frags_rx(struct sk_buff *skb);
void sttcp_skb_dst_drop(struct sk_buff *skb);
void sttcp_skb_dst_set(struct sk_buff *skb, struct dst_entry *dst);
void sttcp_skb_ext_reset(struct sk_buff *skb);
void sttcp_skb_clear_tstamp(struct sk_buff *skb);
void sttcp_nf_reset_ct(struct sk_buff *skb);
void sttcp_nf_reset_trace(struct sk_buff *skb);
void sttcp_nf_ct_set_untracked(struct sk_buff *skb);

/*
 * Routes, neighbours, devices. Any context; what takes or returns a device, under the RCU read lock.
 */
int sttcp_dst_output(struct net *net, struct sk_buff *skb);
int sttcp_dst_error(const struct dst_entry *dst);
struct dst_entry *sttcp_rtable_dst(struct rtable *rt);
struct neighbour *sttcp_dst_neigh_lookup(const struct dst_entry *dst, const void *daddr);
bool sttcp_neigh_incomplete_for(const struct neighbour *neigh, unsigned int ms);
int sttcp_neigh_fail(struct neighbour *neigh);
int sttcp_neigh_event_send(struct neighbour *neigh);
void sttcp_neigh_release(struct neighbour *neigh);
int sttcp_dev_hard_header(struct sk_buff *skb, struct net_device *dev);
struct net_device *sttcp_next_net_device_rcu(struct net *net, struct net_device *dev);
unsigned int sttcp_dev_flags(const struct net_device *dev);
bool sttcp_dev_is_linked(const struct net_device *dev);
unsigned int sttcp_dev_hard_header_len(const struct net_device *dev);
const unsigned char *sttcp_dev_addr(const struct net_device *dev);
bool sttcp_dev_has_ipv4(struct net *net, struct net_device *dev, __be32 addr);

/*
 * Sockets. Any context, for who keeps the socket alive; sttcp_udp_encap() may sleep, and
 * sttcp_sk_user_data() wants the RCU read lock.
 */
struct sock *sttcp_socket_sk(const struct socket *sock);
void *sttcp_sk_user_data(const struct sock *sk);
void sttcp_set_sk_user_data(struct sock *sk, void *data);
void sttcp_set_ipv6only(struct sock *sk);
void sttcp_udp_encap(struct sock *sk, int (*rcv)(struct sock *sk, struct sk_buff *skb));
bool sttcp_sk_is_tcp(const struct sock *sk);
u32 sttcp_tcp_rcv_nxt(const struct sock *sk);
u8 sttcp_tw_substate(const struct sock *sk);

/*
 * The end. A received packet; under the RCU read lock, the last three for a kernel that dies. Process context.
 */
bool sttcp_skb_eth_header(const struct sk_buff *skb, u8 *to);
bool sttcp_dev_is_stacked(const struct net_device *dev);
unsigned int sttcp_tx_queues(const struct net_device *dev);
bool sttcp_tx_trylock(struct net_device *dev, unsigned int index);
void sttcp_tx_unlock(struct net_device *dev, unsigned int index);
bool sttcp_start_xmit(struct sk_buff *skb, struct net_device *dev, unsigned int index);
int sttcp_register_panic_notifier(struct notifier_block *block);
int sttcp_unregister_panic_notifier(struct notifier_block *block);

/* Programs in user space. Process context. */
void *sttcp_umh_data(const struct subprocess_info *info);
struct pid *sttcp_get_current_pid(void);

/* Locks. Any context but hard interrupts. */
void sttcp_spin_lock_bh(spinlock_t *lock);
void sttcp_spin_unlock_bh(spinlock_t *lock);
int sttcp_spin_trylock_bh(spinlock_t *lock);

/* Files in /proc. In an operation of the file. */
void *sttcp_seq_pde_data(const struct seq_file *m);

/* Tracepoint sk_data_ready. Process context; once the second returns, no probe runs. */
int sttcp_register_trace_sk_data_ready(void (*probe)(void *data, const struct sock *sk), void *data);
void sttcp_unregister_trace_sk_data_ready(void (*probe)(void *data, const struct sock *sk), void *data);

#endif /* _STTCP_SHIM_H */
