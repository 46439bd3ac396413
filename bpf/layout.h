/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * What the BPF programs and the daemon both read: map values, constants, events. Fixed-width fields,
 * explicit padding, natural alignment. What is pinned or kept in tags outlives a daemon, so whoever
 * changes a struct marked "kept" raises SUBSET_LAYOUT: a daemon refuses pins of another layout.
 */
#ifndef SUBSET_BPF_LAYOUT_H
#define SUBSET_BPF_LAYOUT_H

#ifdef __cplusplus
#include <linux/types.h>
#endif

#define SUBSET_LAYOUT 1

/* A slot that names nobody: the share is refused, or there is no member at all. */
#define SUBSET_NO_SLOT 0xffffu

/* The ordinal, in its tag, of a socket that is bound and shall get nothing: its process' workers have
 * siblings of it. */
#define SUBSET_PARKED 0xffffffffu

/* Members that least mode compares; where there are more, it takes two at random. */
#define SUBSET_SCAN 64u

/* They are compared so many at a time. */
#define SUBSET_STEP 4u

/* Members that a search for any living one tries. */
#define SUBSET_TRIES 16u

/* CPUs that have a domain of their own; further ones share these. */
#define SUBSET_CPUS 1024u

/* Open connections of all listeners of the machine are counted in one array of this many counters;
 * counter 0 belongs to nobody. */
#define SUBSET_COUNTERS 65536u

/* Values of subset::Mode (protocol/policy.h), which BPF cannot include. */
#define SUBSET_HASH 0u
#define SUBSET_SOURCE 1u
#define SUBSET_RANDOM 2u
#define SUBSET_CPU 3u
#define SUBSET_NUMA 4u
#define SUBSET_LEAST 5u

struct subset_open {
	__u64 connections[SUBSET_COUNTERS];
};

/* What one CPU counted for one slot. Kept. Each selection of a new flow is exactly one of home and
 * alternative; a migration (TCP, a listener closed) is none of them. */
struct subset_slot_count {
	__u64 home;
	__u64 alternative;
	__u64 migrated;
	__u64 padding;
};

/* One entry of the counts map, of one CPU: the group's own, then its slots'. Kept. */
struct subset_cpu_count {
	__u64 kernel;
	__u64 refused;
	__u64 padding[2];
	struct subset_slot_count slot[];
};

/* One row of the steering table: of all its buckets the first `buckets` are in use. */
struct subset_row {
	__u32 buckets;
	__u32 padding;
	__u16 slot[];
};

/* A member that may be selected. */
struct subset_candidate {
	__u32 cost;    /* of an open connection, by its weight: subset_cost() */
	__u16 counter; /* of its open connections */
	__u16 slot;
};

/* All members that may be selected: what least mode compares, and where a flow goes whose member has
 * just died. Behind the last one they stand there once more, in turn, SUBSET_TRIES of them. */
struct subset_candidates {
	__u32 count;
	__u32 padding;
	struct subset_candidate member[];
};

/* The tag of a member socket (sk_storage): what a daemon that starts must learn about it. Kept. */
struct subset_tag {
	__u64 group; /* serial of its group */
	__u64 lineage;
	__u64 since_ns; /* CLOCK_REALTIME */
	__u64 generation;
	__u32 total; /* of its generation */
	__u32 instance;
	__u32 ordinal;
	__u32 slot;
	__s32 pid;
	__u32 counter;    /* of its open connections; 0: not counted */
	char command[16]; /* comm(5), NUL-terminated */
};

/* The tag of a listener that its accepted sockets inherit (sk_storage, BPF_F_CLONE). Kept. */
struct subset_connection {
	__u32 counter;
	__u32 counted; /* this very socket was counted as open */
};

/* What decides in the kernel's group of a socket: nothing but the kernel's hash, a program of ours
 * (some group's `enter`, or what the shim attaches for lack of a daemon), or one of somebody else. */
#define SUBSET_NO_PROGRAM 0u
#define SUBSET_OUR_PROGRAM 1u
#define SUBSET_OTHER_PROGRAM 2u

/* The shim's own classic programs begin by loading this constant, for no other use. */
#define SUBSET_SIGNATURE 0x53425553u

/* What the kernel has made of a socket. */
struct subset_kernel_group {
	__u32 number;  /* the same for all sockets of one kernel group; 0: the socket is in none */
	__u32 program; /* SUBSET_*_PROGRAM */
	__u32 stage;   /* id of the first map that the program uses: `enter` has but one */
	__u32 padding;
};

/* A question about one socket of the daemon's, and the answer. */
struct subset_look {
	__u32 descriptor;
	__u32 references; /* as in subset_sample */
	struct subset_kernel_group kernel_group;
};

/* One record of the socket iterator. */
struct subset_sample {
	__u64 cookie;
	__u64 queue_bytes;
	__u64 queue_limit_bytes;
	__u64 drops;
	__u32 backlog;
	__u32 backlog_limit;
	__u32 listening; /* TCP */
	__u32 references; /* to its open file: descriptors, messages in flight, rings; 0: not known */
	struct subset_kernel_group kernel_group;
	struct subset_tag tag;
};

/* A port that some group manages: the key of the map that strangers are looked for by. */
struct subset_managed {
	__u64 netns_cookie;
	__u16 port; /* host order */
	__u8 protocol;
	__u8 padding[5];
};

/* One record of the search for strangers: a descriptor of a socket bound to a managed port. */
struct subset_found {
	__u64 cookie;
	__u64 netns_cookie;
	__s32 pid;
	__u32 uid;
	__u16 port;
	__u8 protocol;
	__u8 family;
	__u8 address[16]; /* network order; IPv4 in the first four bytes */
	__u32 padding;
	char command[16];
};

/* What the daemon writes into a running program. */
struct subset_control {
	__u32 active; /* the copy of the table that is in force: 0 or 1 */
	__u32 told;   /* a notice was sent; the daemon re-arms it */
};

/* A notice in the ring buffer: the program of this group met an empty slot. */
struct subset_notice {
	__u64 group;
	__u32 slot;
	__u32 padding;
};

#endif /* SUBSET_BPF_LAYOUT_H */
