// SPDX-License-Identifier: GPL-2.0
/*
 * What Rust cannot reach: inline functions, macros, and the registration of a tracepoint probe.
 * No logic belongs here. See shim.h.
 */
#include <linux/inetdevice.h>
#include <linux/etherdevice.h>
#include <linux/if_arp.h>
#include <linux/moduleparam.h>
#include <linux/panic_notifier.h>
#include <linux/tracepoint.h>
#include <linux/udp.h>
#include <net/netfilter/nf_conntrack.h>
#include <net/tcp.h>
#include <net/udp_tunnel.h>
#include <trace/events/sock.h>

#include "shim.h"

void *sttcp_net_generic(const struct net *net, unsigned int id)
{
	return net_generic(net, id);
}

u8 sttcp_tw_substate(const struct sock *sk)
{
	return READ_ONCE(inet_twsk(sk)->tw_substate);
}

struct proc_dir_entry *sttcp_proc_net(const struct net *net)
{
	return net->proc_net;
}

struct kmem_cache *sttcp_kmem_cache_create(const char *name, unsigned int size, unsigned int align)
{
	/* Not merged with others of its size: so the kernel tells of objects that are left. */
	return kmem_cache_create(name, size, align, SLAB_NO_MERGE, NULL);
}

void *sttcp_kmem_cache_alloc(struct kmem_cache *cache)
{
	return kmem_cache_alloc(cache, GFP_ATOMIC);
}

struct sk_buff *sttcp_alloc_skb(unsigned int size)
{
	struct sk_buff *skb = alloc_skb(LL_MAX_HEADER + size, GFP_ATOMIC);

	if (skb)
		skb_reserve(skb, LL_MAX_HEADER);
	return skb;
}

struct sk_buff *sttcp_skb_clone(struct sk_buff *skb)
{
	return skb_clone(skb, GFP_ATOMIC);
}

bool sttcp_pskb_may_pull(struct sk_buff *skb, unsigned int len)
{
	return pskb_may_pull(skb, len);
}

void sttcp_skb_set_pkt_type(struct sk_buff *skb, u8 type)
{
	skb->pkt_type = type;
}

void sttcp_skb_set_ignore_df(struct sk_buff *skb)
{
	skb->ignore_df = true;
}

bool sttcp_skb_frags_readable(const struct sk_buff *skb)
{
	return skb_frags_readable(skb);
}

bool sttcp_skb_header_cloned(const struct sk_buff *skb)
{
	return skb_header_cloned(skb);
}

u8 sttcp_skb_ip_summed(const struct sk_buff *skb)
{
	return skb->ip_summed;
}

u32 sttcp_skb_mark(const struct sk_buff *skb)
{
	return skb->mark;
}

void sttcp_skb_orphan(struct sk_buff *skb)
{
	skb_orphan(skb);
}

int sttcp_skb_orphan_frags_rx(struct sk_buff *skb)
{
	return skb_orphan_frags_rx(skb, GFP_ATOMIC);
}

void sttcp_skb_dst_drop(struct sk_buff *skb)
{
	skb_dst_drop(skb);
}

void sttcp_skb_dst_set(struct sk_buff *skb, struct dst_entry *dst)
{
	skb_dst_set(skb, dst);
}

void sttcp_skb_ext_reset(struct sk_buff *skb)
{
	skb_ext_reset(skb);
}

void sttcp_skb_clear_tstamp(struct sk_buff *skb)
{
	skb_set_delivery_time(skb, 0, SKB_CLOCK_REALTIME);
}

void sttcp_nf_reset_ct(struct sk_buff *skb)
{
	nf_reset_ct(skb);
}

void sttcp_nf_reset_trace(struct sk_buff *skb)
{
	nf_reset_trace(skb);
}

void sttcp_nf_ct_set_untracked(struct sk_buff *skb)
{
	nf_ct_set(skb, NULL, IP_CT_UNTRACKED);
}

int sttcp_dst_output(struct net *net, struct sk_buff *skb)
{
	return dst_output(net, NULL, skb);
}

int sttcp_dst_error(const struct dst_entry *dst)
{
	return dst->error;
}

struct dst_entry *sttcp_rtable_dst(struct rtable *rt)
{
	return &rt->dst;
}

struct neighbour *sttcp_dst_neigh_lookup(const struct dst_entry *dst, const void *daddr)
{
	return dst_neigh_lookup(dst, daddr);
}

bool sttcp_neigh_incomplete_for(const struct neighbour *neigh, unsigned int ms)
{
	return READ_ONCE(neigh->nud_state) & NUD_INCOMPLETE &&
	       time_is_before_jiffies(READ_ONCE(neigh->updated) + msecs_to_jiffies(ms));
}

int sttcp_neigh_fail(struct neighbour *neigh)
{
	return neigh_update(neigh, NULL, NUD_FAILED,
			    NEIGH_UPDATE_F_OVERRIDE | NEIGH_UPDATE_F_ADMIN, 0);
}

int sttcp_neigh_event_send(struct neighbour *neigh)
{
	return neigh_event_send(neigh, NULL);
}

void sttcp_neigh_release(struct neighbour *neigh)
{
	neigh_release(neigh);
}

int sttcp_dev_hard_header(struct sk_buff *skb, struct net_device *dev)
{
	return dev_hard_header(skb, dev, ntohs(skb->protocol), dev->dev_addr, NULL, skb->len);
}

struct net_device *sttcp_next_net_device_rcu(struct net *net, struct net_device *dev)
{
	return dev ? next_net_device_rcu(dev) :
		list_first_or_null_rcu(&net->dev_base_head, struct net_device, dev_list);
}

unsigned int sttcp_dev_flags(const struct net_device *dev)
{
	return READ_ONCE(dev->flags);
}

bool sttcp_dev_is_linked(const struct net_device *dev)
{
	return netif_running(dev) && netif_carrier_ok(dev);
}

unsigned int sttcp_dev_hard_header_len(const struct net_device *dev)
{
	return dev->hard_header_len;
}

const unsigned char *sttcp_dev_addr(const struct net_device *dev)
{
	return dev->dev_addr;
}

bool sttcp_dev_has_ipv4(struct net *net, struct net_device *dev, __be32 addr)
{
	struct in_device *in_dev = __in_dev_get_rcu(dev);

	return in_dev && inet_confirm_addr(net, in_dev, 0, addr, RT_SCOPE_HOST);
}

struct sock *sttcp_socket_sk(const struct socket *sock)
{
	return sock->sk;
}

void *sttcp_sk_user_data(const struct sock *sk)
{
	return rcu_dereference_sk_user_data(sk);
}

void sttcp_set_sk_user_data(struct sock *sk, void *data)
{
	rcu_assign_sk_user_data(sk, data);
}

void sttcp_set_ipv6only(struct sock *sk)
{
	sk->sk_ipv6only = true;
}

void sttcp_udp_encap(struct sock *sk, int (*rcv)(struct sock *sk, struct sk_buff *skb))
{
	WRITE_ONCE(udp_sk(sk)->encap_rcv, rcv);
	WRITE_ONCE(udp_sk(sk)->encap_type, 1);
	udp_tunnel_encap_enable(sk);
}

bool sttcp_skb_eth_header(const struct sk_buff *skb, u8 *to)
{
	if (!skb->dev || skb->dev->type != ARPHRD_ETHER || !skb_mac_header_was_set(skb))
		return false;
	memcpy(to, eth_hdr(skb), ETH_HLEN);
	return true;
}

bool sttcp_dev_is_stacked(const struct net_device *dev)
{
	return !list_empty(&dev->adj_list.lower);
}

unsigned int sttcp_tx_queues(const struct net_device *dev)
{
	return READ_ONCE(dev->real_num_tx_queues);
}

bool sttcp_tx_trylock(struct net_device *dev, unsigned int index)
{
	return __netif_tx_trylock(netdev_get_tx_queue(dev, index));
}

void sttcp_tx_unlock(struct net_device *dev, unsigned int index)
{
	__netif_tx_unlock(netdev_get_tx_queue(dev, index));
}

/* Also into a queue that is stopped: room for one packet there mostly is, and a driver looks for itself. */
bool sttcp_start_xmit(struct sk_buff *skb, struct net_device *dev, unsigned int index)
{
	struct netdev_queue *queue = netdev_get_tx_queue(dev, index);

	skb_set_queue_mapping(skb, index);
	return !test_bit(__QUEUE_STATE_FROZEN, &queue->state) &&
	       dev_xmit_complete(netdev_start_xmit(skb, dev, queue, false));
}

int sttcp_register_panic_notifier(struct notifier_block *block)
{
	return atomic_notifier_chain_register(&panic_notifier_list, block);
}

int sttcp_unregister_panic_notifier(struct notifier_block *block)
{
	return atomic_notifier_chain_unregister(&panic_notifier_list, block);
}

bool sttcp_sk_is_tcp(const struct sock *sk)
{
	return sk_is_tcp(sk);
}

u32 sttcp_tcp_rcv_nxt(const struct sock *sk)
{
	return READ_ONCE(tcp_sk(sk)->rcv_nxt);
}

void *sttcp_umh_data(const struct subprocess_info *info)
{
	return info->data;
}

struct pid *sttcp_get_current_pid(void)
{
	return get_task_pid(current, PIDTYPE_PID);
}

void sttcp_spin_lock_bh(spinlock_t *lock)
{
	spin_lock_bh(lock);
}

void sttcp_spin_unlock_bh(spinlock_t *lock)
{
	spin_unlock_bh(lock);
}

int sttcp_spin_trylock_bh(spinlock_t *lock)
{
	return spin_trylock_bh(lock);
}

void *sttcp_seq_pde_data(const struct seq_file *m)
{
	return pde_data(file_inode(m->file));
}

int sttcp_register_trace_sk_data_ready(void (*probe)(void *data, const struct sock *sk), void *data)
{
	return register_trace_sk_data_ready(probe, data);
}

void sttcp_unregister_trace_sk_data_ready(void (*probe)(void *data, const struct sock *sk), void *data)
{
	unregister_trace_sk_data_ready(probe, data);
	tracepoint_synchronize_unregister();
}

#ifdef STTCP_FAULTS
int sttcp_fail_set(const char *text, const struct kernel_param *parameter);
int sttcp_fail_get(char *buffer, const struct kernel_param *parameter);

static const struct kernel_param_ops sttcp_fail_ops = {
	.set = sttcp_fail_set,
	.get = sttcp_fail_get,
};

module_param_cb(fail, &sttcp_fail_ops, NULL, 0644);
MODULE_PARM_DESC(fail, "SITE N: every N-th request for memory at SITE fails");
#endif
