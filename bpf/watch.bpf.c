// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is watched once for the whole machine: the tags of all steered sockets with their queues
 * (read by the sampler, and by a daemon that starts), and the number of open connections of each
 * listener (read by least mode).
 */
#include <linux/bpf.h>
#include <stdbool.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "bpf/layout.h"

#define TCP_ESTABLISHED 1
#define TCP_SYN_RECV 3
#define TCP_CLOSE 7
#define TCP_LISTEN 10
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define AF_INET 2
#define AF_INET6 10

/* The few kernel fields that are read; CO-RE finds their offsets in the running kernel. */
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
typedef struct {
	int counter;
} atomic_t;

typedef struct {
	__s64 counter;
} atomic64_t;

struct in6_addr {
	__u8 s6_addr[16];
};

struct net {
	__u64 net_cookie;
};

typedef struct {
	struct net *net;
} possible_net_t;

typedef struct {
	__u32 val;
} kuid_t;

struct sock_common {
	atomic64_t skc_cookie;
	volatile unsigned char skc_state;
	unsigned short skc_family;
	__u16 skc_num;
	__u32 skc_rcv_saddr;
	struct in6_addr skc_v6_rcv_saddr;
	possible_net_t skc_net;
};

struct numa_drop_counters {
	atomic_t drops0;
	atomic_t drops1;
};

struct bpf_map {
	__u32 id;
};

struct bpf_prog_aux {
	__u32 used_map_cnt;
	struct bpf_map **used_maps;
	char name[16];
};

struct sock_filter {
	__u16 code;
	__u32 k;
};

struct sock_fprog_kern {
	struct sock_filter *filter;
};

struct bpf_prog {
	struct bpf_prog_aux *aux;
	struct sock_fprog_kern *orig_prog; /* of a classic one, as it was given */
};

struct sock_reuseport {
	unsigned int reuseport_id;
	struct bpf_prog *prog;
};

struct sock {
	struct sock_common __sk_common;
	struct {
		atomic_t rmem_alloc;
	} sk_backlog;
	int sk_rcvbuf;
	atomic_t sk_drops;
	struct numa_drop_counters *sk_drop_counters; /* from 6.18 on */
	__u32 sk_ack_backlog;
	__u32 sk_max_ack_backlog;
	__u16 sk_protocol;
	kuid_t sk_uid;
	struct sock_reuseport *sk_reuseport_cb;
	struct socket *sk_socket;
};

struct socket {
	struct file *file;
	struct sock *sk;
};

typedef struct {
	atomic64_t refcnt;
} file_ref_t;

struct file {
	file_ref_t f_ref; /* from 6.13 on: one less than there are */
	void *private_data;
};

struct file___before_6_13 {
	atomic64_t f_count;
};

struct upid {
	int nr;
};

struct pid {
	unsigned int level;
	struct upid numbers[1]; /* one a PID namespace, the outermost first */
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

struct files_struct {
	struct fdtable *fdt;
};

struct task_struct {
	struct files_struct *files;
	struct pid *thread_pid;
	struct task_struct *group_leader;
	char comm[16];
};

struct udp_sock {
	int forward_deficit;
};

struct seq_file;
struct bpf_iter_meta {
	struct seq_file *seq;
};

struct bpf_iter__bpf_sk_storage_map {
	struct bpf_iter_meta *meta;
	struct bpf_map *map;
	struct sock *sk;
	void *value;
};

struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	__u32 fd;
	struct file *file;
};
#pragma clang attribute pop

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct subset_tag);
} tags SEC(".maps");

/* On listeners; an accepted socket gets a copy when it is made. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, int);
	__type(value, struct subset_connection);
} connections SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct subset_open);
} open_connections SEC(".maps");

/* Connections that waited in the queue of a listener that closed: whose they are now. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, __u64);
	__type(value, __u32);
} migrated_connections SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 65536);
} notices SEC(".maps");

/* The ports that groups share, in their namespaces. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct subset_managed);
	__type(value, __u32);
} managed SEC(".maps");

static __always_inline __u64 drops_of(struct sock *sk)
{
	__u64 drops = BPF_CORE_READ(sk, sk_drops.counter);

	if (bpf_core_field_exists(sk->sk_drop_counters)) {
		struct numa_drop_counters *split = BPF_CORE_READ(sk, sk_drop_counters);

		if (split)
			drops = (__u64)BPF_CORE_READ(split, drops0.counter) +
				BPF_CORE_READ(split, drops1.counter);
	}
	return drops;
}

/* Bytes that wait to be received (udp_rqueue_get): what the reader has not yet given back to the
 * socket's account is no longer in the queue. */
static __always_inline __u64 queued_of(struct sock *sk)
{
	int queued = BPF_CORE_READ(sk, sk_backlog.rmem_alloc.counter);

	if (BPF_CORE_READ(sk, sk_protocol) == IPPROTO_UDP)
		queued -= BPF_CORE_READ((struct udp_sock *)sk, forward_deficit);
	return queued > 0 ? queued : 0;
}

/* `enter` by its name; the shim's by what it begins with. */
static __always_inline bool is_ours(struct bpf_prog *program)
{
	struct sock_filter *classic = BPF_CORE_READ(program, orig_prog, filter);
	char name[16] = {};

	if (classic)
		return BPF_CORE_READ(classic, k) == SUBSET_SIGNATURE;
	BPF_CORE_READ_INTO(&name, program, aux, name);
	return name[0] == 'e' && name[1] == 'n' && name[2] == 't' && name[3] == 'e' &&
	       name[4] == 'r' && !name[5];
}

static __always_inline void describe_group(struct sock *sk, struct subset_kernel_group *group)
{
	struct sock_reuseport *reuse = BPF_CORE_READ(sk, sk_reuseport_cb);
	struct bpf_prog *program;

	if (!reuse)
		return;
	group->number = BPF_CORE_READ(reuse, reuseport_id) + 1;
	program = BPF_CORE_READ(reuse, prog);
	if (!program)
		return;
	group->program = is_ours(program) ? SUBSET_OUR_PROGRAM : SUBSET_OTHER_PROGRAM;
	if (BPF_CORE_READ(program, aux, used_map_cnt)) {
		struct bpf_map **maps = BPF_CORE_READ(program, aux, used_maps);
		struct bpf_map *first = NULL;

		bpf_probe_read_kernel(&first, sizeof(first), maps);
		if (first)
			group->stage = BPF_CORE_READ(first, id);
	}
}

/* How many keep the socket open. The kernel closes it when none does; whoever keeps a duplicate sees
 * here that nobody else has one any more. */
static __always_inline __u32 references_of(struct sock *sk)
{
	struct file *file = BPF_CORE_READ(sk, sk_socket, file);
	struct file___before_6_13 *older = (void *)file;

	if (!file)
		return 0;
	if (bpf_core_field_exists(file->f_ref))
		return BPF_CORE_READ(file, f_ref.refcnt.counter) + 1;
	return BPF_CORE_READ(older, f_count.counter);
}

/* `own`: references that the iterator itself has. */
static __always_inline void write_sample(struct seq_file *seq, struct sock *sk,
					 struct subset_tag *tag, __u32 own)
{
	struct subset_sample sample = {};

	sample.cookie = BPF_CORE_READ(sk, __sk_common.skc_cookie.counter);
	sample.queue_bytes = queued_of(sk);
	sample.queue_limit_bytes = BPF_CORE_READ(sk, sk_rcvbuf);
	sample.drops = drops_of(sk);
	sample.references = references_of(sk) - own;
	if (BPF_CORE_READ(sk, __sk_common.skc_state) == TCP_LISTEN) {
		sample.listening = 1;
		sample.backlog = BPF_CORE_READ(sk, sk_ack_backlog);
		sample.backlog_limit = BPF_CORE_READ(sk, sk_max_ack_backlog);
	}
	describe_group(sk, &sample.kernel_group);
	sample.tag = *tag;
	bpf_seq_write(seq, &sample, sizeof(sample));
}

static __always_inline struct sock *sock_of(struct file *file)
{
	struct socket *socket = file ? bpf_sock_from_file(file) : NULL;

	return socket ? socket->sk : NULL;
}

SEC("iter/bpf_sk_storage_map")
int sample_sockets(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	/* Read once: to the verifier of Linux 6.1 what is read again may be null again. */
	struct sock *sk = ctx->sk;
	struct subset_tag *tag = ctx->value;

	if (sk && tag)
		write_sample(ctx->meta->seq, sk, tag, 0);
	return 0;
}

/* The same where the kernel allows no iterator over the values of a map: a look at every descriptor
 * of the machine, so that a socket is seen once for each process that has it. */
SEC("iter/task_file")
int sample_descriptors(struct bpf_iter__task_file *ctx)
{
	struct sock *sk = sock_of(ctx->file);
	struct subset_tag *tag = sk ? bpf_sk_storage_get(&tags, sk, 0, 0) : NULL;

	if (tag)
		write_sample(ctx->meta->seq, sk, tag, 1);
	return 0;
}

/* One socket, by its descriptor in the process that runs this: the daemon, which knows that it is
 * one, has one thread and closes nothing meanwhile. An iterator would go over all descriptors for it. */
SEC("syscall")
int look_at_socket(struct subset_look *look)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	struct file **files = BPF_CORE_READ(table, fd);
	struct socket *socket;
	struct sock *sk;
	struct file *file = NULL;

	if (look->descriptor >= BPF_CORE_READ(table, max_fds))
		return 0;
	bpf_probe_read_kernel(&file, sizeof(file), files + look->descriptor);
	socket = file ? BPF_CORE_READ(file, private_data) : NULL;
	sk = socket ? BPF_CORE_READ(socket, sk) : NULL;
	if (!sk)
		return 0;
	look->references = references_of(sk);
	describe_group(sk, &look->kernel_group);
	return 0;
}

/* The process' number in the PID namespace of the daemon, which is the one that reads. */
static __always_inline __s32 pid_here(struct task_struct *task)
{
	struct task_struct *reader = (struct task_struct *)bpf_get_current_task();
	__u32 level = BPF_CORE_READ(reader, thread_pid, level);
	struct pid *pid = BPF_CORE_READ(task, group_leader, thread_pid);
	__s32 number = 0;

	bpf_probe_read_kernel(&number, sizeof(number),
			      (char *)pid + bpf_core_field_offset(pid->numbers[0].nr) +
				      level * bpf_core_type_size(struct upid));
	return number;
}

/* Every descriptor of the machine comes past: those that are no socket on a managed port leave as
 * soon as may be. TCP sockets count while they listen, UDP sockets while they are bound. */
SEC("iter/task_file")
int find_sockets(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct sock *sk = sock_of(ctx->file);
	struct subset_managed key = {};
	struct subset_found found = {};

	if (!sk || !task)
		return 0;
	key.port = BPF_CORE_READ(sk, __sk_common.skc_num);
	key.protocol = BPF_CORE_READ(sk, sk_protocol);
	if (!key.port || (key.protocol != IPPROTO_UDP && key.protocol != IPPROTO_TCP))
		return 0;
	found.family = BPF_CORE_READ(sk, __sk_common.skc_family);
	if (found.family != AF_INET && found.family != AF_INET6)
		return 0;
	if (key.protocol == IPPROTO_TCP && BPF_CORE_READ(sk, __sk_common.skc_state) != TCP_LISTEN)
		return 0;
	key.netns_cookie = BPF_CORE_READ(sk, __sk_common.skc_net.net, net_cookie);
	if (!bpf_map_lookup_elem(&managed, &key))
		return 0;
	found.netns_cookie = key.netns_cookie;
	found.port = key.port;
	found.protocol = key.protocol;
	found.cookie = bpf_get_socket_cookie(sk); /* makes one where nobody asked before */
	found.uid = BPF_CORE_READ(sk, sk_uid.val);
	found.pid = pid_here(task);
	if (found.family == AF_INET)
		BPF_CORE_READ_INTO((__u32 *)found.address, sk, __sk_common.skc_rcv_saddr);
	else
		BPF_CORE_READ_INTO((struct in6_addr *)found.address, sk,
				   __sk_common.skc_v6_rcv_saddr);
	BPF_CORE_READ_STR_INTO(&found.command, task, group_leader, comm);
	bpf_seq_write(ctx->meta->seq, &found, sizeof(found));
	return 0;
}

static const __u32 zero = 0;

static __always_inline void add_open(__u32 counter, __s64 change)
{
	struct subset_open *open = bpf_map_lookup_elem(&open_connections, &zero);

	if (open)
		__sync_fetch_and_add(&open->connections[counter % SUBSET_COUNTERS], change);
}

/* The counters of a listener go up when a connection of its is established and down when that
 * socket closes, whoever holds it then. Each is done once, whoever is told of it how often: what is
 * done is written beside it. */
static __always_inline int count(struct sock *sk, int before, int after)
{
	struct subset_connection *connection;
	__u64 cookie;
	__u32 *moved;

	if (!(before == TCP_SYN_RECV && after == TCP_ESTABLISHED) && after != TCP_CLOSE)
		return 0;
	connection = bpf_sk_storage_get(&connections, sk, 0, 0);
	if (!connection || !connection->counter)
		return 0;
	if (after == TCP_ESTABLISHED) {
		if (connection->counted)
			return 0;
		connection->counted = 1;
		add_open(connection->counter, 1);
		return 0;
	}
	if (connection->counted)
		add_open(connection->counter, -1);
	connection->counted = 0;
	cookie = BPF_CORE_READ(sk, __sk_common.skc_cookie.counter);
	moved = cookie ? bpf_map_lookup_elem(&migrated_connections, &cookie) : NULL;
	if (moved) {
		add_open(*moved, -1);
		bpf_map_delete_elem(&migrated_connections, &cookie);
	}
	return 0;
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(count_connections, struct sock *sk, int before, int after)
{
	return count(sk, before, after);
}

/* The kernel does not run a program that it has interrupted: while the one above runs for a process,
 * what a softirq on that CPU does to other connections would pass it by, and a close that is not seen
 * counts for ever. It takes two. */
SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(count_interrupting, struct sock *sk, int before, int after)
{
	return count(sk, before, after);
}

char _license[] SEC("license") = "GPL";
