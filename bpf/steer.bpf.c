// SPDX-License-Identifier: GPL-2.0-only
/*
 * Picks the member for each datagram (UDP) and each new connection (TCP) of one group.
 *
 * `enter` is attached to the group's sockets and does nothing but jump to `steer`. The daemon has no
 * socket to attach another program with (it must not keep a member's descriptor), so whatever
 * changes later (mode, size of the table, a new version of this file) is a new `steer`, loaded
 * beside the old one and published by one store into `stage`.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <stdbool.h>
#include <stddef.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "bpf/layout.h"
#include "bpf/select.h"

/* States of a connection, as bpf_sock shows them. */
#define TCP_CLOSE 7
#define TCP_NEW_SYN_RECV 12

/* The maps that the daemon puts in have the sizes that the group needs. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} stage SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_REUSEPORT_SOCKARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} members SEC(".maps");

/* A socket cannot be moved to a larger array without a descriptor of it, so a group that outgrows
 * `members` gets a second array: slots from `first_slots` on. */
struct {
	__uint(type, BPF_MAP_TYPE_REUSEPORT_SOCKARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} more_members SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* CPUs */
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct subset_cpu_count));
} counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2); /* copies × domains */
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct subset_row));
} rows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2); /* copies */
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct subset_candidates));
} candidates SEC(".maps");

/* Of each slot: the counter of its listener's open connections (TCP). */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} slot_counters SEC(".maps");

/* The rest is shared by all groups: see watch.bpf.c. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} notices SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct subset_open);
} open_connections SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, __u64);
	__type(value, __u32);
} migrated_connections SEC(".maps");

/* Constants of this group: the JIT sees their values, and dead branches are gone. The table of CPUs is
 * the last of all, since a group with one domain goes without it. */
const volatile __u64 group;
const volatile __u32 mode;
const volatile __u32 domains = 1;
const volatile __u32 row_capacity;
const volatile __u32 first_slots; /* size of `members` */
const volatile __u32 slots;       /* with those of `more_members` */
const volatile __u32 seed;  /* of source mode's hash */
const volatile __u8 refuse_vacant; /* no bool: a skeleton would spell it _Bool, which is not C++ */
const volatile __u16 domain_of_cpu[SUBSET_CPUS];

struct subset_control control;

/* The client's address: of the packet, or, where a connection migrates, of its socket, since there
 * is no packet then. */
static __always_inline __u32 hash_source(struct sk_reuseport_md *ctx)
{
	struct bpf_sock *migrating = ctx->migrating_sk;
	__u32 words[4] = {};

	if (migrating) {
		words[0] = migrating->dst_ip4;
		if (migrating->family == 2 /* AF_INET */)
			return subset_hash_words(words, 1, seed);
		words[0] = migrating->dst_ip6[0];
		words[1] = migrating->dst_ip6[1];
		words[2] = migrating->dst_ip6[2];
		words[3] = migrating->dst_ip6[3];
		if (!words[0] && !words[1] && words[2] == bpf_htonl(0xffff)) /* IPv4-mapped */
			return subset_hash_words(&words[3], 1, seed);
		return subset_hash_words(words, 4, seed);
	}
	if (ctx->eth_protocol == bpf_htons(ETH_P_IP)) {
		if (bpf_skb_load_bytes_relative(ctx, offsetof(struct iphdr, saddr), words, 4,
						BPF_HDR_START_NET))
			return ctx->hash;
		return subset_hash_words(words, 1, seed);
	}
	if (bpf_skb_load_bytes_relative(ctx, offsetof(struct ipv6hdr, saddr), words, 16,
					BPF_HDR_START_NET))
		return ctx->hash;
	return subset_hash_words(words, 4, seed);
}

static __always_inline __u32 hash_of(struct sk_reuseport_md *ctx)
{
	if (mode == SUBSET_SOURCE)
		return hash_source(ctx);
	if (mode == SUBSET_RANDOM)
		return bpf_get_prandom_u32();
	return ctx->hash;
}

static __always_inline __u32 domain_here(void)
{
	if (mode != SUBSET_CPU && mode != SUBSET_NUMA)
		return 0;
	return domain_of_cpu[bpf_get_smp_processor_id() & (SUBSET_CPUS - 1)];
}

/* What the table says. */
static __always_inline __u32 home_slot(__u32 copy, __u32 hash)
{
	__u32 index = subset_row_index(copy, domains, domain_here());
	struct subset_row *row = bpf_map_lookup_elem(&rows, &index);
	__u32 bucket;

	if (!row)
		return SUBSET_NO_SLOT;
	bucket = subset_scale(hash, row->buckets);
	if (bucket >= row_capacity)
		return SUBSET_NO_SLOT;
	return row->slot[bucket];
}

/* What a member has to do, for its weight. Of equals the lower place counts. */
static __always_inline __u64 burden_of(const struct subset_open *open,
				       const struct subset_candidate *member, __u32 place)
{
	return subset_burden(open->connections[member->counter], member->cost, place);
}

/* Of up to SUBSET_SCAN members the one with the least burden, from `start` on where they are equal.
 * Two minima side by side, as each waits for its last step. */
static __always_inline __u32 least_of_all(const struct subset_candidates *all,
					  const struct subset_open *open, __u32 hash)
{
	__u32 start = subset_scale(hash, all->count);
	__u64 even = SUBSET_NO_BURDEN, odd = SUBSET_NO_BURDEN, best;

	for (__u32 i = 0; i < SUBSET_SCAN && i < all->count; i += SUBSET_STEP) {
#pragma unroll
		for (__u32 j = i; j < i + SUBSET_STEP; j += 2) {
			even = subset_min(even,
					  burden_of(open, &all->member[j], subset_place(j, start)));
			odd = subset_min(odd, burden_of(open, &all->member[j + 1],
							subset_place(j + 1, start)));
		}
	}
	best = subset_min(even, odd);
	if ((__s64)best >= (__s64)SUBSET_NO_BURDEN)
		return SUBSET_NO_SLOT;
	return all->member[subset_at_place(best, start)].slot;
}

/* The less burdened of two members that the hash names, neither of which is `except`. */
static __always_inline __u32 least_of_two(const struct subset_candidates *all,
					  const struct subset_open *open, __u32 hash, __u32 except)
{
	__u32 one = subset_scale(hash, all->count);
	__u32 two = subset_scale(subset_mix(hash), all->count);
	bool first;

	if (one >= slots || two >= slots)
		return SUBSET_NO_SLOT;
	if (all->member[one].slot == except)
		one = two;
	else if (all->member[two].slot == except)
		two = one;
	first = (__s64)burden_of(open, &all->member[one], 0) <=
		(__s64)burden_of(open, &all->member[two], 0);
	return all->member[first ? one : two].slot;
}

/* A member with few open connections for its weight. The connection's hash is as good as a random
 * number, and costs no call. */
static __always_inline __u32 least_loaded(__u32 copy, __u32 hash)
{
	struct subset_candidates *all = bpf_map_lookup_elem(&candidates, &copy);
	__u32 zero = 0;
	struct subset_open *open = bpf_map_lookup_elem(&open_connections, &zero);

	if (!all || !open)
		return SUBSET_NO_SLOT;
	return all->count > SUBSET_SCAN ? least_of_two(all, open, hash, SUBSET_NO_SLOT) :
					  least_of_all(all, open, hash);
}

/* The same among the others, until the daemon knows that one is gone: of two only, since a second
 * look at all would be verified once for each way through the first, a million steps. */
static __always_inline __u32 least_of_others(__u32 copy, __u32 hash, __u32 except)
{
	struct subset_candidates *all = bpf_map_lookup_elem(&candidates, &copy);
	__u32 zero = 0;
	struct subset_open *open = bpf_map_lookup_elem(&open_connections, &zero);

	if (!all || !open)
		return SUBSET_NO_SLOT;
	return least_of_two(all, open, subset_mix(hash), except);
}

static __always_inline bool select_slot(struct sk_reuseport_md *ctx, __u32 slot)
{
	if (slots == first_slots || slot < first_slots)
		return !bpf_sk_select_reuseport(ctx, &members, &slot, 0);
	slot -= first_slots;
	return !bpf_sk_select_reuseport(ctx, &more_members, &slot, 0);
}

/* Any living member: the one that the table names has gone, and the daemon does not know yet. What is
 * in this loop the verifier does sixteen times, and its work is most of what a new group takes: so there
 * is no end of the list to look for, nor to wrap around at. */
static __always_inline __u32 select_alternative(struct sk_reuseport_md *ctx, __u32 copy, __u32 hash)
{
	struct subset_candidates *all = bpf_map_lookup_elem(&candidates, &copy);
	const struct subset_candidate *tried;

	if (!all || !all->count)
		return SUBSET_NO_SLOT;
	/* Fewer than slots, whose number is a power of two: the mask is for the verifier. */
	tried = &all->member[subset_scale(subset_mix(hash), all->count) & (slots - 1)];
	for (__u32 i = 0; i < SUBSET_TRIES; i++) {
		__u32 slot = tried[i].slot;

		if (select_slot(ctx, slot))
			return slot;
	}
	return SUBSET_NO_SLOT;
}

/* One notice until the daemon re-arms: it plans again, for all that is wrong. */
static __always_inline void tell(__u32 slot)
{
	struct subset_notice notice = {.group = group, .slot = slot};

	if (control.told)
		return;
	control.told = 1;
	bpf_ringbuf_output(&notices, &notice, sizeof(notice), 0);
}

static __always_inline struct subset_cpu_count *counts_here(void)
{
	__u32 cpu = bpf_get_smp_processor_id();

	return bpf_map_lookup_elem(&counts, &cpu);
}

/* An accepted connection that waits in the queue of a closing listener changes its counter; one that
 * is not yet complete (a request socket) will be counted for the listener that completes it. */
static __always_inline void move_connection(struct sk_reuseport_md *ctx, __u32 slot)
{
	struct bpf_sock *migrating = ctx->migrating_sk;
	__u32 zero = 0;
	struct subset_open *open = bpf_map_lookup_elem(&open_connections, &zero);
	__u32 *counter, *before;
	__u64 cookie;

	if (!migrating || migrating->state == TCP_NEW_SYN_RECV)
		return;
	if (migrating->state == TCP_CLOSE) /* reset while it waited: counted down already */
		return;
	counter = bpf_map_lookup_elem(&slot_counters, &slot);
	if (!open || !counter || !*counter)
		return;
	cookie = bpf_get_socket_cookie(migrating);
	before = bpf_map_lookup_elem(&migrated_connections, &cookie);
	if (before) /* it moves on once more */
		__sync_fetch_and_add(&open->connections[*before % SUBSET_COUNTERS], -1);
	if (!bpf_map_update_elem(&migrated_connections, &cookie, counter, BPF_ANY))
		__sync_fetch_and_add(&open->connections[*counter % SUBSET_COUNTERS], 1);
}

/* Softirqs of one CPU do not interrupt each other: its counters need no atomic addition. */
static __always_inline void count_selected(struct sk_reuseport_md *ctx, __u32 slot, bool home,
					   bool is_tcp)
{
	struct subset_cpu_count *here = counts_here();

	if (!here || slot >= slots)
		return;
	if (is_tcp && ctx->migrating_sk) {
		here->slot[slot].migrated++;
		move_connection(ctx, slot);
	} else if (home) {
		here->slot[slot].home++;
	} else {
		here->slot[slot].alternative++;
	}
}

static __always_inline int refuse(struct sk_reuseport_md *ctx)
{
	struct subset_cpu_count *here = counts_here();

	if (here && !ctx->migrating_sk)
		here->refused++;
	return SK_DROP;
}

/* Nothing is selectable: the kernel's own hash, over all sockets of its group. */
static __always_inline int leave_to_kernel(struct sk_reuseport_md *ctx)
{
	struct subset_cpu_count *here = counts_here();

	if (here && !ctx->migrating_sk)
		here->kernel++;
	return SK_PASS;
}

static __always_inline int steer(struct sk_reuseport_md *ctx, bool is_tcp, bool least)
{
	__u32 copy = control.active & 1;
	__u32 hash = hash_of(ctx);
	__u32 slot = least ? least_loaded(copy, hash) : home_slot(copy, hash);

	if (slot != SUBSET_NO_SLOT) {
		if (select_slot(ctx, slot)) {
			count_selected(ctx, slot, true, is_tcp);
			return SK_PASS;
		}
		tell(slot);
	}
	/* What moved away from a listener that died still counts for it: without this it would be the
	 * least loaded again and again. */
	if (least && slot != SUBSET_NO_SLOT) {
		slot = least_of_others(copy, hash, slot);
		if (slot != SUBSET_NO_SLOT && select_slot(ctx, slot)) {
			count_selected(ctx, slot, false, is_tcp);
			return SK_PASS;
		}
	}
	if (refuse_vacant)
		return refuse(ctx);
	slot = select_alternative(ctx, copy, hash);
	if (slot == SUBSET_NO_SLOT)
		return leave_to_kernel(ctx);
	count_selected(ctx, slot, false, is_tcp);
	return SK_PASS;
}

/* Three programs, since what a group has no use for takes the verifier time even where it is dead. */
SEC("sk_reuseport/migrate")
int steer_udp(struct sk_reuseport_md *ctx)
{
	return steer(ctx, false, false);
}

SEC("sk_reuseport/migrate")
int steer_tcp(struct sk_reuseport_md *ctx)
{
	return steer(ctx, true, false);
}

SEC("sk_reuseport/migrate")
int steer_least(struct sk_reuseport_md *ctx)
{
	return steer(ctx, true, true);
}

SEC("sk_reuseport/migrate")
int enter(struct sk_reuseport_md *ctx)
{
	bpf_tail_call_static(ctx, &stage, 0);
	return SK_PASS; /* only if `stage` was emptied: as if there were no program */
}

char _license[] SEC("license") = "GPL";
